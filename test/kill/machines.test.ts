import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { systemCall } from '../../functions/kernel/call.ts';
import { DEFAULT_WORKSPACE } from '../../functions/kernel/ids.ts';
import { localMachines } from '../../local/machines.ts';
import { openTable } from '../../local/table.ts';
import { EFFECTS, EXECUTION } from './machines-machine.ts';

const EXECUTIONS = 40;
const KILLS = 20;
const script = new URL('machines-child.ts', import.meta.url).pathname;

let folder = '';
let child: ChildProcess | undefined;
afterEach(() => {
  child?.kill('SIGKILL');
  if (folder) rmSync(folder, { recursive: true });
});

function run(...more: string[]): { process: ChildProcess; said: () => string } {
  let text = '';
  const started = spawn(process.execPath, [script, folder, ...more], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  started.stdout?.on('data', (chunk) => (text += chunk));
  started.stderr?.on('data', (chunk) => (text += chunk));
  child = started;
  return { process: started, said: () => text };
}

async function waitFor(word: string, said: () => string, running: ChildProcess) {
  const deadline = Date.now() + 60_000;
  while (!said().includes(word)) {
    if (running.exitCode !== null || Date.now() > deadline)
      throw new Error(`it never said ${word}: ${said()}`);
    await pause(2);
  }
}

// Source: hardening.md G13. The clock and what it kills at are real: the delays are drawn anew each time.
test(`${EXECUTIONS} executions killed ${KILLS} times all end, each effect once an attempt`, async () => {
  folder = mkdtempSync(join(tmpdir(), 'stillflow-kill-machines-'));
  mkdirSync(join(folder, 'effects'));
  let running = run('start', String(EXECUTIONS));
  await waitFor('serving', running.said, running.process);
  let kills = 0;
  for (; kills < KILLS && !running.said().includes('idle'); kills++) {
    await pause(Math.random() * 150);
    running.process.kill('SIGKILL');
    if (running.process.exitCode === null && running.process.signalCode === null)
      await once(running.process, 'exit');
    running = run('go');
    await waitFor('serving', running.said, running.process);
  }
  await waitFor('idle', running.said, running.process);
  expect(kills).toBeGreaterThanOrEqual(KILLS / 2);

  const world = { now: () => Date.now(), randomBytes: (count: number) => new Uint8Array(count) };
  const table = openTable({ folder: join(folder, 'table'), world });
  const machines = localMachines({ table, world, written: {} });
  const call = systemCall(DEFAULT_WORKSPACE, 'test', 'request', Number.MAX_SAFE_INTEGER);
  try {
    for (let i = 0; i < EXECUTIONS; i++) {
      const end = await machines.describe(call, 'm', `${EXECUTION}${i}`);
      expect(end, `${EXECUTION}${i}`).toMatchObject({
        state: 'SUCCEEDED',
        output: { n: i, last: ['second done', 3, 'shaky done'] },
      });
      const history = await machines.history(call, 'm', `${EXECUTION}${i}`);
      expect(history.map(({ id }) => id)).toEqual(history.map((_, at) => at + 1));
      const entries = await table.entries(call, `executions/${EXECUTION}${i}`);
      expect(entries.entries).toHaveLength(1);
    }
    expect((await table.query(call, { pk: 'XO#' })).items).toEqual([]);
  } finally {
    await machines.close();
    await table.close();
  }
  const names = readdirSync(join(folder, 'effects'));
  const effects = names.filter((name) => !name.endsWith('.again'));
  expect(effects).toHaveLength(EXECUTIONS * EFFECTS);
  for (let i = 0; i < EXECUTIONS; i++)
    expect(effects.filter((name) => name.startsWith(`${EXECUTION}${i}.`))).toHaveLength(EFFECTS);
  // Some were begun again under the same id: the kills did hit open tasks.
  expect(names.length - effects.length).toBeGreaterThan(0);
});
