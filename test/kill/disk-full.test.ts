import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';

const PROGRAM = join(import.meta.dirname, '../../bin/stillflow.ts');
/** No file may grow larger: to the server that is a disk that takes no more. Room for some hundred runs. */
const FULL_AT = 1_500_000;

/** A server that runs into the limit; `free` lifts it while it runs. */
async function server(data: string) {
  const child = spawn(
    'prlimit',
    [
      `--fsize=${FULL_AT}:unlimited`,
      process.execPath,
      PROGRAM,
      'start',
      '--port',
      '0',
      '--data',
      data,
    ],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  );
  for await (const line of createInterface({ input: child.stdout })) {
    const url = /http:\/\/\S+/.exec(line)?.[0];
    if (url) return { child, url, free: () => lift(child) };
  }
  throw new Error('The server ended before it said its address.');
}

const lift = ({ pid }: ChildProcess) =>
  void execFileSync('prlimit', ['--pid', String(pid), '--fsize=unlimited:unlimited']);

async function stop(child: ChildProcess) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

const ask = (url: string, body?: unknown) =>
  fetch(url, {
    signal: AbortSignal.timeout(15_000),
    ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
    headers: { 'Content-Type': 'application/json' },
  });
const create = (url: string) =>
  ask(`${url}/api/2.0/mlflow/runs/create`, {
    experiment_id: '0',
    start_time: 1,
    tags: [{ key: 'x', value: 'y'.repeat(4000) }],
  });
const read = (url: string, run: string) => ask(`${url}/api/2.0/mlflow/runs/get?run_id=${run}`);
const idOf = async (answer: Response) =>
  ((await answer.json()) as { run: { info: { run_id: string } } }).run.info.run_id;

test('a full disk: writes are answered 503 and change nothing, reads go on, a restart reads, freed space is used', {
  timeout: 120_000,
}, async () => {
  const data = await mkdtemp(join(tmpdir(), 'stillflow-full-'));
  let { child, url, free } = await server(data);
  try {
    const kept: string[] = [];
    let answer = await create(url);
    while (answer.status === 200 && kept.length < 1000) {
      kept.push(await idOf(answer));
      answer = await create(url);
    }
    expect(answer.status).toBe(503);
    expect(answer.headers.get('Retry-After')).toBe('5');
    for (let round = 0; round < 20; round++) {
      const more = await Promise.all([create(url), create(url), create(url)]);
      for (const { status } of more) expect([200, 503]).toContain(status);
      for (const one of more) if (one.status === 200) kept.push(await idOf(one));
      expect((await read(url, kept[0] ?? '')).status).toBe(200);
    }
    expect(child.exitCode).toBe(null);

    await stop(child);
    ({ child, url, free } = await server(data));
    for (const run of kept) expect((await read(url, run)).status).toBe(200);
    free();
    const freed = await create(url);
    expect(freed.status).toBe(200);
    expect((await read(url, await idOf(freed))).status).toBe(200);
  } finally {
    await stop(child);
    await rm(data, { recursive: true, force: true });
  }
});
