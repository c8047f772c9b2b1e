import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import type { Metric, RunId } from '../../functions/tracking/model.ts';
import { openTable } from '../../local/table.ts';
import { memoryBlobs } from '../aws/memory-blobs.ts';
import { counted } from '../contracts/counted.ts';
import { testCall, testWorld } from '../world.ts';
import { play, programs } from './layout/model.ts';
import { minuteBuckets, ownPartition } from './layout/prototypes.ts';
import { type OpenSubject, product } from './layout/subject.ts';

const folder = mkdtempSync(join(tmpdir(), 'stillflow-layout-'));
const world = testWorld(3);
const table = openTable({ folder, world, noSync: true });
const blobs = memoryBlobs('bucket');
afterAll(async () => {
  await table.close();
  rmSync(folder, { recursive: true, force: true });
});

const SEEDS = Number(process.env['STILLFLOW_RUNS'] ?? 200);
let opened = 0;
const workspace = () => `ws${String(opened++).padStart(6, '0')}`;

test(`what was acknowledged is found by every later read, in ${SEEDS} programs of writers, readers, folds, crashes and clock moves`, async () => {
  await fc.assert(
    fc.asyncProperty(programs, (program) =>
      play(product, { table, blobs, world }, program, workspace()),
    ),
    { numRuns: SEEDS, seed: 20261124 },
  );
}, 120_000);

const point = (step: number): Metric => ({ key: 'a', value: step, step, timestamp: step });
const RUN = 'a'.repeat(32) as RunId;

test('a marker a run-minute loses a run to search once the clock goes forward and back: the log in the run’s own partition', async () => {
  const call = testCall({ workspace: workspace() });
  const subject = ownPartition({ table, blobs, world });
  await subject.create(call, RUN);
  await subject.log(call, RUN, [point(1)]);
  world.pass(10 * 60_000);
  await subject.fold(call, RUN); // takes the marker away with what it folded
  world.pass(-10 * 60_000);
  await subject.log(call, RUN, [point(2)]); // its head says that this minute is marked
  expect((await subject.get(call, RUN)).latest.get('a')?.value).toBe(2);
  expect((await subject.search(call)).get(RUN)?.latest.get('a')?.value).toBe(1);
});

test('a bucket a minute loses a point that lands after the fold closed its minute', async () => {
  const call = testCall({ workspace: workspace() });
  const subject = minuteBuckets({ table, blobs, world });
  await subject.create(call, RUN);
  await subject.log(call, RUN, [point(1)]);
  const late = minuteBuckets({
    blobs,
    world,
    table: {
      ...table,
      async commit(...args) {
        world.pass(10 * 60_000);
        await subject.fold(call, RUN);
        await table.commit(...args);
      },
    },
  });
  await late.log(call, RUN, [point(2)]); // slow, or on a machine whose clock is behind
  expect((await subject.get(call, RUN)).latest.get('a')?.value).toBe(1);
});

test('a history that a whole fold overtakes between its two reads lacks nothing', async () => {
  const call = testCall({ workspace: workspace() });
  const subject = product({ table, blobs, world });
  await subject.create(call, RUN);
  await subject.log(call, RUN, [point(1)]);
  let queries = 0;
  const overtaken = product({
    blobs,
    world,
    table: {
      ...table,
      async query(...args) {
        const found = await table.query(...args);
        if (queries++ === 0) await subject.fold(call, RUN);
        return found;
      },
    },
  });
  expect(await overtaken.history(call, RUN, 'a')).toEqual([point(1)]);
  expect(queries).toBeGreaterThan(1);
});

/** Requests a layout makes: 300 runs of which `live` have ten batches over five minutes that nobody folded yet. */
async function count(open: OpenSubject, live: number) {
  const { table: counting, counts } = counted(table);
  const subject = open({ table: counting, blobs, world });
  const call = testCall({ workspace: workspace() });
  const ids = Array.from({ length: 300 }, (_, i) => String(i).padStart(32, '0') as RunId);
  for (const id of ids) await subject.create(call, id);
  const measure = async (ask: () => Promise<unknown>) => {
    counts.reset();
    await ask();
    return counts.total();
  };
  let logged = 0;
  for (let batch = 0; batch < 10; batch++) {
    if (batch % 2) world.pass(60_000);
    for (const id of ids.slice(0, live))
      logged += await measure(() => subject.log(call, id, [point(batch)]));
  }
  const first = ids[0] as RunId;
  const result = {
    log: Number((logged / (live * 10)).toFixed(2)),
    logWithParam: await measure(() => subject.log(call, first, [point(99)], 'p')),
    get: await measure(() => subject.get(call, first)),
    search: await measure(() => subject.search(call)),
    fold: await measure(() => subject.fold(call, first)),
    getFolded: 0,
    searchFolded: 0,
  };
  world.pass(10 * 60_000);
  for (const id of ids.slice(0, live)) await subject.fold(call, id);
  result.getFolded = await measure(() => subject.get(call, first));
  result.searchFolded = await measure(() => subject.search(call));
  return result;
}

test('requests counted at the port: a search costs one query for all unfolded logs, not one a live run or minute', async () => {
  const rows: Record<string, Awaited<ReturnType<typeof count>>> = {};
  for (const live of [10, 100]) {
    rows[`product, ${live} live`] = await count(product, live);
    rows[`own partition, ${live} live`] = await count(ownPartition, live);
    rows[`minute buckets, ${live} live`] = await count(minuteBuckets, live);
  }
  console.table(rows);
  const chosen = rows['product, 100 live']!;
  const own = rows['own partition, 100 live']!;
  expect(chosen.get).toBe(2);
  expect(chosen.log).toBe(2);
  expect(chosen.search).toBeLessThanOrEqual(6);
  expect(own.search).toBeGreaterThan(100);
}, 60_000);
