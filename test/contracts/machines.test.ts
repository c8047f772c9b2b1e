import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { localMachines } from '../../local/machines.ts';
import { openTable } from '../../local/table.ts';
import { memoryTable } from '../machines/rig.ts';
import { machinesContract } from './machines.ts';

const world = {
  now: () => Date.now(),
  randomBytes: (count: number) => new Uint8Array(randomBytes(count)),
};
const closes: (() => Promise<unknown> | undefined)[] = [];
afterAll(async () => {
  for (const close of closes.reverse()) await close();
});

const nothing = { tasks: {}, functions: {}, integrations: {}, workspaces: [] };

machinesContract({
  on: 'our interpreter, in memory',
  runs: 200,
  async open() {
    const table = memoryTable();
    const machines = localMachines({ table, world, written: {} });
    await machines.serve(nothing);
    closes.push(() => machines.close());
    return { machines, events: table.events };
  },
});

machinesContract({
  on: 'our interpreter, on lmdb',
  runs: 25,
  async open() {
    const folder = mkdtempSync(join(tmpdir(), 'stillflow-machines-'));
    const table = openTable({ folder, world, noSync: true });
    const machines = localMachines({ table, world, written: {} });
    await machines.serve(nothing);
    closes.push(async () => {
      await machines.close();
      await table.close();
      rmSync(folder, { recursive: true });
    });
    return { machines };
  },
  skips: { 'tells the bus of every end once': 'the events are in the outbox of the table' },
});
