/**
 * A process that carries on all open executions on a real lmdb file, until it is killed. Effects are files, made once
 * by the attempt's id. With `start <count>` it starts that many executions first; it says `idle` when all have ended.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { systemCall } from '../../functions/kernel/call.ts';
import { DEFAULT_WORKSPACE } from '../../functions/kernel/ids.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import type { Integration } from '../../local/asl/engine.ts';
import { localMachines } from '../../local/machines.ts';
import { openTable } from '../../local/table.ts';
import { EXECUTION, machineUnderFire } from './machines-machine.ts';

const [folder = '', mode = '', count = '0'] = process.argv.slice(2);
const world = {
  now: () => Date.now(),
  randomBytes: (bytes: number) => new Uint8Array(randomBytes(bytes)),
};

/** Makes an empty file durably; false if it is there. Its name says it all, so that no kill leaves half of one. */
function mark(name: string): boolean {
  try {
    const file = openSync(join(folder, 'effects', name), 'wx');
    fsyncSync(file);
    closeSync(file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

const step: Integration = async (_call, args, context) => {
  const { what } = args as { what: string };
  const name = `${context.execution}.${what}.${context.attempt}.${context.id}`;
  if (!mark(name)) mark(`${name}.again`);
  await pause(Math.random() * 4);
  if (what === 'shaky' && context.attempt < 1) throw new Problem('unavailable', 'not yet');
  return `${what} done`;
};

const table = openTable({ folder: join(folder, 'table'), world });
const machines = localMachines({ table, world, written: {} });
const call = systemCall(DEFAULT_WORKSPACE, 'test', 'request', Number.MAX_SAFE_INTEGER);
if (mode === 'start') {
  await machines.define(call, 'm', machineUnderFire);
  for (let i = 0; i < Number(count); i++)
    await machines.start(call, 'm', `${EXECUTION}${i}`, { n: i });
  process.stdout.write('started\n');
}
await machines.serve({
  tasks: {},
  functions: { 'stillflow-run-step': step },
  integrations: {},
  workspaces: [DEFAULT_WORKSPACE],
});
process.stdout.write('serving\n');
while (machines.running() > 0) await pause(5);
await machines.close();
await table.close();
process.stdout.write('idle\n');
