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

/** What a shell has after `eval`, by name. */
async function evaluated(lines: string): Promise<Record<string, string>> {
  const { stdout } = await run('sh', ['-c', 'eval "$1" && env -0', 'sh', lines], { env: {} });
  return Object.fromEntries(
    stdout
      .split('\0')
      .filter((one) => /^(MLFLOW|KF)_/.test(one))
      .map((one) => [one.slice(0, one.indexOf('=')), one.slice(one.indexOf('=') + 1)]),
  );
}

describe('stillflow env', { timeout: 60_000 }, () => {
  const data = mkdtempSync(join(tmpdir(), 'command-'));
  let server: ChildServer;
  beforeAll(async () => {
    server = await startServer({ data });
  }, 60_000);
  afterAll(() => server?.stop());

  test('prints the address of the server of a data folder, and no more than it needs', async () => {
    const { stdout } = await stillflow('env', '--data', data);
    expect(stdout).not.toContain('#');
    expect(await evaluated(stdout)).toEqual({
      MLFLOW_TRACKING_URI: server.url,
      KF_PIPELINES_ENDPOINT: server.url,
    });
  });

  test('of a server elsewhere it has uploads come in parts before a gateway refuses them', async () => {
    const { stdout } = await stillflow('env', '--url', `${server.url}/`);
    expect(await evaluated(stdout)).toEqual({
      MLFLOW_TRACKING_URI: server.url,
      KF_PIPELINES_ENDPOINT: server.url,
      MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD: 'true',
      MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE: '4000000',
    });
  });

  test('for SigV4 it asks nothing of the address, which answers only who signs', async () => {
    const { stdout } = await stillflow('env', '--url', 'https://signed.example', '--sigv4');
    expect(await evaluated(stdout)).toEqual({
      MLFLOW_TRACKING_URI: 'https://signed.example',
      MLFLOW_TRACKING_AWS_SIGV4: 'true',
    });
  });

  test('a quote in an address runs nothing in the shell that evaluates it', async () => {
    const url = `https://signed.example/'$(touch x)\`id\`;'`;
    const { stdout } = await stillflow('env', '--url', url, '--sigv4');
    const { MLFLOW_TRACKING_URI } = await evaluated(stdout);
    expect(MLFLOW_TRACKING_URI).toBe(new URL(url).href);
    expect(MLFLOW_TRACKING_URI).toContain("'");
  });

  test.each([
    [['--data', join(tmpdir(), 'no-such-folder')], 'no server runs on'],
    [['--url', 'http://127.0.0.1:9'], 'nothing answers at'],
    [['--url', 'ftp://x'], '--url must be http'],
    [['--url', 'https://ada:secret@x'], '--url must be http'],
  ])('what is not there is one clear line: %s', async (flags, words) => {
    const { code, stderr, stdout } = await stillflow('env', ...flags);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toContain(words);
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
      `${server.url}/api/rules`,
      credential ? { headers: { authorization: `Bearer ${credential}` } } : {},
    );

  test('lets in who holds the token made before it started', async () => {
    expect(token).toMatch(/^sf_/);
    expect((await ask()).status).toBe(401);
    expect((await ask(token)).status).toBe(200);
  });

  test('stillflow env says that a token is missing, unless it is there', async () => {
    const missing = await stillflow('env', '--data', data);
    expect(missing.stdout).toContain('# export MLFLOW_TRACKING_TOKEN');
    const env = { ...process.env, MLFLOW_TRACKING_TOKEN: token };
    const there = await run(
      process.execPath,
      [join(root, 'bin/stillflow.ts'), 'env', '--data', data],
      {
        env,
      },
    );
    expect(there.stdout).not.toContain('#');
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
