import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ChildServer, startServer } from '../child.ts';

const root = resolve(import.meta.dirname, '../..');
const run = promisify(execFile);
const stillflow = (...args: string[]) =>
  run(process.execPath, [join(root, 'bin/stillflow.ts'), ...args]).then(
    ({ stdout }) => ({ code: 0, stdout, stderr: '' }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  );

describe('the command', () => {
  const data = mkdtempSync(join(tmpdir(), 'command-'));
  afterAll(() => rmSync(data, { recursive: true, force: true }));

  test('E05 another address than loopback without a token does not start, and says what to do', async () => {
    const { code, stderr } = await stillflow(
      'start',
      '--host',
      '0.0.0.0',
      '--port',
      '0',
      '--data',
      data,
    );
    expect(code).toBe(1);
    expect(stderr).toContain('stillflow token create');
    expect(stderr.trim().split('\n')).toHaveLength(1);
  });

  test.each([
    ['--port', '99999'],
    ['--port', 'x'],
  ])('a bad flag is one clear line: %s %s', async (...flags) => {
    const { code, stderr } = await stillflow('start', ...flags, '--data', data);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^stillflow: --port must be/);
  });
});

describe('a running server that asks for tokens', { timeout: 60_000 }, () => {
  const data = mkdtempSync(join(tmpdir(), 'command-'));
  let token: string;
  let server: ChildServer;
  beforeAll(async () => {
    token = (
      await stillflow('token', 'create', '--name', 'ada', '--role', 'admin', '--data', data)
    ).stdout.trim();
    server = await startServer({ data, args: ['--auth'] });
  }, 60_000);
  afterAll(() => server?.stop());
  const ask = (credential?: string) =>
    fetch(
      `${server.url}/api/tokens`,
      credential ? { headers: { authorization: `Bearer ${credential}` } } : {},
    );

  test('lets in who holds the token made before it started', async () => {
    expect(token).toMatch(/^sf_/);
    expect((await ask()).status).toBe(401);
    expect((await ask(token)).status).toBe(200);
  });

  test('makes, lists and revokes tokens by the command meanwhile', async () => {
    const made = (
      await stillflow('token', 'create', '--name', 'bob', '--data', data)
    ).stdout.trim();
    expect((await ask(made)).status).toBe(200);
    const list = (await stillflow('token', 'list', '--data', data)).stdout;
    expect(list).toMatch(/\twrite\tbob\t/);
    expect(list).not.toContain(made);
    await stillflow('token', 'revoke', made.split('_')[1] ?? '', '--data', data);
    expect((await ask(made)).status).toBe(401);
  });

  test('a second server on its data ends and names it', async () => {
    const { code, stderr } = await stillflow('start', '--port', '0', '--data', data);
    expect(code).toBe(1);
    expect(stderr).toContain(server.url);
  });

  test("what only the server's user may read, nobody else can", () => {
    for (const file of ['secret', 'operator', 'server.json'])
      expect(statSync(join(data, file)).mode & 0o077, file).toBe(0);
    expect(statSync(data).mode & 0o077).toBe(0);
  });
});
