import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { type LocalTable, openTable } from '../../local/table.ts';
import { callIn, testWorld } from './calls.ts';
import { counted } from './counted.ts';
import { tableContract } from './table.ts';

const opened: { table: LocalTable; folder: string }[] = [];

async function open(feeds: string[] = [], folder?: string) {
  const world = testWorld();
  const at = folder ?? (await mkdtemp(join(tmpdir(), 'stillflow-table-')));
  const table = openTable({ folder: at, world, feeds });
  opened.push({ table, folder: at });
  return { table, world, folder: at };
}

afterAll(async () => {
  for (const { table } of opened) await table.close();
  for (const { folder } of opened) await rm(folder, { recursive: true, force: true });
});

tableContract({ on: 'lmdb', open, runs: Number(process.env['STILLFLOW_RUNS'] ?? 100) });

test('an event and a fed item wait in the outbox from the commit on, a refused commit leaves none', async () => {
  const { table } = await open(['LOG#']);
  const call = callIn('outbox00');
  const event = { type: 'test.thing.changed', subject: 'a', data: {} } as const;
  await table.commit(
    call,
    [{ put: { pk: 'a', sk: 'LOG#1' } }, { put: { pk: 'a', sk: 'B' } }],
    event,
  );
  await table
    .commit(call, [{ put: { pk: 'a', sk: 'LOG#2' }, if: 'present' }], event)
    .catch(() => undefined);
  const waiting = [...table.outbox.getRange()].map(({ key, value }) => [
    key,
    'told' in value ? value.told.type : value.item.sk,
  ]);
  expect(waiting).toEqual([
    [1, 'LOG#1'],
    [2, 'test.thing.changed'],
  ]);
});

test('expired items are swept from the file, the others stay', async () => {
  const { table, world } = await open();
  const call = callIn('sweeping');
  for (let i = 0; i < 30; i++)
    await table.commit(call, [
      { put: { pk: 'a', sk: `${i}`, ...(i % 3 ? { expiresAt: world.now() + 10 } : {}) } },
    ]);
  expect(await table.sweep(7)).toBe(0);
  world.advance(10);
  let swept = 0;
  for (let i = 0; i < 10; i++) swept += await table.sweep(7);
  expect(swept).toBe(20);
  expect((await table.query(call, { pk: 'a' })).items).toHaveLength(10);
});

test('what was committed is there after closing and opening again, and numbers of the outbox go on', async () => {
  const { table, folder } = await open();
  const call = callIn('reopened');
  const event = { type: 'test.thing.changed', subject: 'a', data: {} } as const;
  await table.commit(call, [{ put: { pk: 'a', sk: '1', v: 1 } }], event);
  await table.outbox.remove(1);
  await table.close();
  opened.splice(
    opened.findIndex((one) => one.table === table),
    1,
  );
  const again = await open([], folder);
  expect(await again.table.get(call, { pk: 'a', sk: '1' })).toMatchObject({ v: 1 });
  await again.table.commit(call, [], event);
  expect([...again.table.outbox.getKeys()]).toEqual([2]);
  expect((await again.table.entries(call, 'a')).entries.map((e) => e.sequence)).toEqual([1, 2]);
});

test('a counted table counts its calls and answers as before', async () => {
  const { table } = await open();
  const { table: counting, counts } = counted(table);
  const call = callIn('counting');
  await counting.commit(call, [{ put: { pk: 'a', sk: '1' } }]);
  expect(await counting.get(call, { pk: 'a', sk: '1' })).toEqual({ pk: 'a', sk: '1' });
  await counting.query(call, { pk: 'a' });
  expect(counts.calls).toMatchObject({ commit: 1, get: 1, query: 1, getMany: 0 });
  expect(counts.total()).toBe(3);
  counts.reset();
  expect(counts.total()).toBe(0);
});
