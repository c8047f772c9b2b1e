import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { machineChecks } from '../../local/doctor.ts';
import { examine, type Finding, fail, ok, warn } from '../../local/doctor_checks.ts';
import { start } from '../../local/start.ts';

const place = mkdtempSync(join(tmpdir(), 'doctor-'));
afterAll(() => rmSync(place, { recursive: true, force: true }));
let folders = 0;
const folder = () => join(place, `data-${folders++}`);

interface Asked {
  readonly port?: number;
  readonly env?: NodeJS.ProcessEnv;
  readonly now?: () => number;
}
async function doctored(data: string, { port = 0, env = process.env, now = Date.now }: Asked = {}) {
  const lines: string[] = [];
  const checks = machineChecks({ data, port, version: '0.1.0', env, now });
  const well = await examine(checks, { write: (line) => void lines.push(line), json: true });
  const { findings } = JSON.parse(lines.join('')) as { findings: Finding[] };
  const of = (check: string) => findings.find((finding) => finding.check === check);
  return { well, findings, of };
}

describe('what is told', () => {
  const told = async (json: boolean, ...verdicts: Parameters<typeof examine>[0][]) => {
    const lines: string[] = [];
    const well = await examine([...verdicts.flatMap((each) => [...each])], {
      write: (line) => void lines.push(line),
      json,
    });
    return { well, lines };
  };
  const check = (name: string, run: () => ReturnType<typeof ok>) => ({ name, looksAt: 'x', run });

  test('a line a check, the way out below it, and a sum; only a failure makes it unwell', async () => {
    expect(
      await told(false, [check('a', () => ok('good')), check('b', () => warn('so so', 'mend it'))]),
    ).toEqual({
      well: true,
      lines: [
        'ok      a (x): good',
        'warn    b (x): so so',
        '        do: mend it',
        '1 ok, 1 to look at, 0 wrong, 0 skipped',
      ],
    });
    expect((await told(false, [check('c', () => fail('bad', 'mend it'))])).well).toBe(false);
  });

  test('a check that cannot look is skipped with its reason, and the next is run', async () => {
    const throws = check('a', () => {
      throw new AggregateError([new Error('refused')], '');
    });
    const { well, lines } = await told(true, [throws, check('b', () => ok('good'))]);
    expect(well).toBe(true);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      ...{ ok: 1, warn: 0, fail: 0, skipped: 1 },
      findings: [{ result: 'skipped', said: 'it could not be looked at: refused' }, { check: 'b' }],
    });
  });
});

test('a folder that is not there yet is well, and is still not there afterwards', async () => {
  const data = folder();
  const { well, of } = await doctored(data);
  expect(well).toBe(true);
  expect(of('data folder')?.said).toMatch(/not there yet/);
  expect(of('table')?.said).toMatch(/no table yet/);
  expect(readdirSync(place)).not.toContain(data.slice(place.length + 1));
});

test('a running server: its lock, its port and its health are told; after its end the claim is old', async () => {
  const data = folder();
  const server = await start({
    ...{ host: '127.0.0.1', port: 0, data, auth: false, hosts: [], log: () => {} },
  });
  const running = await doctored(data);
  expect(running.of('lock')?.said).toContain(server.url);
  expect(running.of('port')).toMatchObject({ result: 'ok', said: `${server.url} answers` });
  expect(running.of('data folder')).toMatchObject({ result: 'ok' });
  await server.stop();
  const stopped = await doctored(data);
  expect(stopped.of('lock')?.said).toMatch(/free/);
  expect(stopped.of('table')).toMatchObject({ result: 'ok' });
});

test('a file in place of the folder, a folder open to others, a damaged table', async () => {
  const file = folder();
  writeFileSync(file, '');
  expect((await doctored(file)).of('data folder')).toMatchObject({
    result: 'fail',
    said: 'it is a file',
  });

  const open = folder();
  mkdirSync(open);
  chmodSync(open, 0o755);
  expect((await doctored(open)).of('data folder')).toMatchObject({ result: 'warn' });

  mkdirSync(join(open, 'table'));
  writeFileSync(join(open, 'table/data.mdb'), 'no table at all');
  const { well, of } = await doctored(open);
  expect(well).toBe(false);
  expect(of('table')).toMatchObject({ result: 'fail', said: expect.stringMatching(/damaged/) });
});

test('a folder that this user may not write', async () => {
  if (process.getuid?.() === 0) return; // nothing is closed to root
  const closed = folder();
  mkdirSync(closed, { mode: 0o500 });
  expect((await doctored(join(closed, 'data'))).of('data folder')).toMatchObject({
    result: 'fail',
  });
});

test('a port that another program has', async () => {
  const other = await new Promise<Server>((done) => {
    const server: Server = createServer().listen(0, '127.0.0.1', () => done(server));
  });
  const { port } = other.address() as { port: number };
  const { well, of } = await doctored(folder(), { port });
  expect(well).toBe(false);
  expect(of('port')).toMatchObject({ result: 'fail', said: `${port} taken by another program` });
  await new Promise((done) => other.close(done));
});

test('a clock that stands before the last write', async () => {
  const data = folder();
  mkdirSync(join(data, 'table'), { recursive: true, mode: 0o700 });
  writeFileSync(join(data, 'table/data.mdb'), '');
  const written = Date.UTC(2026, 10, 24) / 1000;
  utimesSync(join(data, 'table/data.mdb'), written, written);
  const before = () => (written - 3600) * 1000;
  expect((await doctored(data, { now: before })).of('clock')).toMatchObject({
    result: 'warn',
    said: 'the folder was last written 3600 s after now',
  });
});

describe('Python', () => {
  /** A PATH with one program on it. */
  const only = (text: string): NodeJS.ProcessEnv => {
    const bin = join(folder(), 'bin');
    mkdirSync(bin, { recursive: true });
    if (text) writeFileSync(join(bin, 'python3'), text, { mode: 0o755 });
    for (const tool of ['sh', 'echo', 'dirname']) {
      const at = ['/bin', '/usr/bin'].map((where) => join(where, tool)).find((path) => path);
      if (at) symlinkSync(at, join(bin, tool));
    }
    return { PATH: bin };
  };

  test('none on the PATH: steps cannot run, and the environment is not asked for', async () => {
    const { well, of } = await doctored(folder(), { env: only('') });
    expect(well).toBe(false);
    expect(of('python')).toMatchObject({ result: 'fail', fix: expect.stringMatching(/3\.10/) });
    expect(of('environment')).toMatchObject({ result: 'skipped' });
  });

  test('one that is too old is named', async () => {
    const env = only('#!/bin/sh\necho 3 8 3.8.1 CPython linux x86_64\n');
    expect((await doctored(folder(), { env })).of('python')?.said).toMatch(/python3 is 3\.8\.1/);
  });

  test('one without pip', async () => {
    const env = only('#!/bin/sh\n[ "$1" = -m ] && exit 1\necho 3 12 3.12.1 CPython linux x86_64\n');
    const { of } = await doctored(folder(), { env });
    expect(of('python')).toMatchObject({ result: 'fail', said: expect.stringMatching(/no pip/) });
    expect(of('environment')).toMatchObject({ result: 'warn' });
  });

  test('an environment that was made is found by its Python and lock', async () => {
    const program = '#!/bin/sh\necho 3 12 3.12.1 CPython linux x86_64\n';
    const data = folder();
    const env = { ...only(program), STILLFLOW_VENVS: join(data, 'venvs') };
    const at = /not made/.test((await doctored(data, { env })).of('environment')?.said ?? '');
    expect(at).toBe(true);
    const { environmentOf } = await import('../../local/venvs.ts');
    const { folder: made } = await environmentOf(data, env);
    mkdirSync(join(made, 'bin'), { recursive: true });
    writeFileSync(join(made, 'bin/python3'), '');
    expect((await doctored(data, { env })).of('environment')).toMatchObject({ result: 'ok' });
  });
});

test('the command prints it, ends with 1 on a failure, and knows --json', () => {
  const command = resolve(import.meta.dirname, '../../bin/stillflow.ts');
  const run = (...args: string[]) => {
    try {
      const out = execFileSync(process.execPath, [command, 'doctor', ...args], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      return { code: 0, out };
    } catch (error) {
      const { status, stdout } = error as { status: number; stdout: string };
      return { code: status, out: stdout };
    }
  };
  const file = folder();
  writeFileSync(file, '');
  const bad = run('--data', file, '--port', '0');
  expect(bad.code).toBe(1);
  expect(bad.out).toMatch(/^fail {4}data folder \(.*\): it is a file$/m);
  const good = run('--data', folder(), '--port', '0', '--json');
  expect(JSON.parse(good.out)).toMatchObject({ fail: 0 });
  expect(good.code).toBe(0);
});
