import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import type { Call } from '../../functions/kernel/call.ts';
import type { Told } from '../../functions/kernel/event.ts';
import type { Folder, Follower, Item } from '../../functions/platform/ports.ts';
import { type LocalBus, openBus } from '../../local/bus.ts';
import { type LocalTable, openTable } from '../../local/table.ts';
import { busContract } from './bus.ts';
import { callIn, testWorld } from './calls.ts';

const open: { bus: LocalBus; table: LocalTable; folder: string }[] = [];

/** A bus whose waits are over at once: tests count attempts, not time. */
async function opened(
  followers: readonly Follower[],
  folders: readonly Folder[] = [],
  at?: string,
) {
  const folder = at ?? (await mkdtemp(join(tmpdir(), 'stillflow-bus-')));
  const world = testWorld();
  const table = openTable({ folder, world, feeds: folders.map(({ prefix }) => prefix) });
  const lines: Record<string, unknown>[] = [];
  const bus = openBus({
    table,
    world,
    followers,
    folders,
    log: (line) => void lines.push(line),
    later: (run) => {
      const soon = setImmediate(run);
      return { cancel: () => clearImmediate(soon) };
    },
  });
  const all = { bus, table, folder, world, lines };
  open.push(all);
  return all;
}

async function closed({ bus, table }: { bus: LocalBus; table: LocalTable }) {
  await bus.stop();
  await table.close();
}

afterEach(async () => {
  for (const one of open.splice(0)) {
    await closed(one).catch(() => undefined);
    await rm(one.folder, { recursive: true, force: true });
  }
});

busContract({
  on: 'the outbox',
  async open(followers) {
    const { bus } = await opened(followers);
    bus.start();
    return { publish: bus.publish, settled: bus.settled, close: () => bus.stop() };
  },
});

const call = callIn('bus00000');
const event = (n: number) =>
  ({ type: 'test.thing.changed', subject: 'things/1', data: { n } }) as const;
const hearing = (heard: unknown[], fail?: () => boolean): Follower => ({
  name: 'listener',
  hears: ['test.*'],
  async run(_call, told) {
    if (fail?.()) throw new Error('down');
    heard.push((told.data as { n: number }).n);
  },
});

test('one follower hears in the order of the commits', async () => {
  const heard: number[] = [];
  const { bus, table } = await opened([hearing(heard)]);
  bus.start();
  for (let n = 0; n < 20; n++) await table.commit(call, [], event(n));
  await bus.settled();
  expect(heard).toEqual(Array.from({ length: 20 }, (_, n) => n));
});

test('delivered entries leave the outbox, also where nobody listens', async () => {
  const { bus, table } = await opened([
    hearing([]),
    { ...hearing([]), name: 'other', hears: ['x.*'] },
  ]);
  bus.start();
  for (let n = 0; n < 5; n++) await table.commit(call, [], event(n));
  await bus.settled();
  expect([...table.outbox.getKeys()]).toEqual([]);
  const deaf = await opened([]);
  deaf.bus.start();
  await deaf.table.commit(call, [], event(1));
  await expect.poll(() => deaf.table.outbox.getKeysCount()).toBe(0);
});

test('what was committed while nobody ran is heard after the next start, once each', async () => {
  const heard: number[] = [];
  const first = await opened([hearing(heard)]);
  first.bus.start();
  await first.table.commit(call, [], event(1));
  await first.bus.settled();
  await first.bus.stop();
  await first.table.commit(call, [], event(2));
  await first.table.close();
  const second = await opened([hearing(heard)], [], first.folder);
  expect(second.bus.idle()).toBe(true);
  second.bus.start();
  await second.bus.settled();
  expect(heard).toEqual([1, 2]);
});

test('what a follower commits is heard before the bus is settled', async () => {
  const heard: number[] = [];
  const chain: Follower = {
    name: 'chain',
    hears: ['test.*'],
    async run(at, told) {
      const { n } = told.data as { n: number };
      heard.push(n);
      if (n < 4) await table.commit(at, [], event(n + 1));
    },
  };
  const { bus, table } = await opened([chain]);
  bus.start();
  await table.commit(call, [], event(1));
  await bus.settled();
  expect(heard).toEqual([1, 2, 3, 4]);
});

test('a dead letter is listed with its error and can be replayed once the cause is gone', async () => {
  const heard: number[] = [];
  let down = true;
  const { bus, table } = await opened([hearing(heard, () => down)]);
  bus.start();
  await table.commit(call, [], event(7));
  await bus.settled();
  const [letter, ...more] = bus.letters();
  expect(more).toEqual([]);
  expect(letter).toMatchObject({ follower: 'listener', error: expect.stringContaining('down') });
  await expect(bus.replay(letter?.id ?? '')).rejects.toThrow('down');
  expect(bus.letters()).toHaveLength(1);
  down = false;
  await bus.replay(letter?.id ?? '');
  expect(heard).toEqual([7]);
  expect(bus.letters()).toEqual([]);
});

test('a follower of many hears what has gathered at once, a workspace at a time, and all of it again when it fails', async () => {
  const heard: { workspace: string; ns: unknown[] }[] = [];
  let failures = 1;
  const many = {
    name: 'many',
    hears: ['*'],
    run: async () => expect.unreachable(),
    async runMany(at: Call, tolds: readonly Told[]) {
      if (failures-- > 0) throw new Error('not now');
      heard.push({
        workspace: at.workspace,
        ns: tolds.map(({ data }) => (data as { n: number }).n),
      });
    },
  };
  const { bus, table } = await opened([many]);
  const other = callIn('bus00001');
  for (const [at, n] of [
    [call, 1],
    [call, 2],
    [other, 3],
    [call, 4],
  ] as const)
    await table.commit(at, [], event(n));
  bus.start();
  await bus.settled();
  expect(heard).toEqual([
    { workspace: 'bus00000', ns: [1, 2] },
    { workspace: 'bus00001', ns: [3] },
    { workspace: 'bus00000', ns: [4] },
  ]);
});

test('a folder is given the items of its prefix, a workspace at a time', async () => {
  const folded: { workspace: string; names: string[] }[] = [];
  const folder: Folder = {
    name: 'compactor',
    prefix: 'LOG#',
    async fold(at, items: readonly Item[]) {
      folded.push({ workspace: at.workspace, names: items.map(({ sk }) => sk) });
    },
  };
  const { bus, table } = await opened([], [folder]);
  const other = callIn('bus00001');
  for (const [at, sk] of [
    [call, 'LOG#1'],
    [call, 'DOC'],
    [call, 'LOG#2'],
    [other, 'LOG#3'],
    [call, 'LOG#4'],
  ] as const)
    await table.commit(at, [{ put: { pk: 'R#1', sk } }]);
  bus.start();
  await bus.settled();
  expect(folded).toEqual([
    { workspace: 'bus00000', names: ['LOG#1', 'LOG#2'] },
    { workspace: 'bus00001', names: ['LOG#3'] },
    { workspace: 'bus00000', names: ['LOG#4'] },
  ]);
});
