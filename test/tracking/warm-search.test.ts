import { expect, test, vi } from 'vitest';
import type { Item } from '../../functions/platform/ports.ts';
import { newRun, openTracking } from '../mlflow.ts';

const RUNS = 60;

/** A room with runs whose metrics nobody has folded yet, and what `ask` makes the table decode and the room parse. */
async function filled() {
  const items: Item[] = [];
  const app = openTracking({ onDecode: (item) => void items.push(item) });
  const ids: string[] = [];
  for (let i = 0; i < RUNS; i++) {
    const run_id = await newRun(app, { start_time: i });
    ids.push(run_id);
    await app.post('runs/log-batch', {
      run_id,
      metrics: [{ key: 'a', value: i, timestamp: 1, step: 1 }],
      params: [{ key: 'p', value: String(i % 3) }],
    });
  }
  const search = (more = {}) =>
    app.post('runs/search', {
      experiment_ids: ['0'],
      filter: "metrics.a >= 10 and params.p = '1'",
      order_by: ['metrics.a DESC'],
      max_results: 5,
      ...more,
    });
  const work = async (ask: () => Promise<unknown>) => {
    items.length = 0;
    const parse = vi.spyOn(JSON, 'parse');
    await ask();
    const parsed = parse.mock.calls.length;
    parse.mockRestore();
    return { decoded: items.map(({ sk }) => sk.replace(/[0-9A-Za-z]{20,}/g, '*')).sort(), parsed };
  };
  return { app, ids, search, work };
}

test('a second search decodes no item and parses no run; after a write, those of that run', async () => {
  const { app, ids, search, work } = await filled();
  const nothing = await work(search);
  expect(nothing.decoded.length).toBeGreaterThan(RUNS);
  expect(nothing.parsed).toBeGreaterThan(RUNS);

  // The request, the answer, and the experiment's two.
  const idle = await work(search);
  expect(idle).toEqual({ decoded: [], parsed: 4 });

  const run_id = ids[50];
  await app.post('runs/set-tag', { run_id, key: 'x', value: '1' });
  expect((await work(search)).decoded).toEqual(['DOC']);
  await app.post('runs/log-metric', { run_id, key: 'a', value: 99, timestamp: 2, step: 2 });
  expect((await work(search)).decoded).toEqual(['LOG#*#*']);
  expect(await work(search)).toEqual(idle);

  await app.quiet();
  await search();
  expect(await work(search)).toEqual(idle);
  await app.post('runs/log-metric', { run_id, key: 'a', value: 100, timestamp: 3, step: 3 });
  await app.quiet();
  expect((await work(search)).decoded).toEqual(['DOC', 'LOG#*#~']);
});

test('a search over what is remembered says what a search that remembers nothing says, whatever was done in between', async () => {
  const { app, ids, search } = await filled();
  await app.quiet();
  const cold = async () => {
    const fresh = openTracking({ folder: app.folder });
    return (await fresh.post('runs/search', question)).body;
  };
  const question = { experiment_ids: ['0'], order_by: ['metrics.a DESC'], run_view_type: 'ALL' };
  const run_id = ids[58];
  const point = { run_id, key: 'a', timestamp: 3, step: 3 };
  const changes: [string, object][] = [
    ['runs/log-metric', { ...point, value: 0.5 }],
    ['runs/log-metric', { ...point, value: 'NaN', step: 4 }],
    ['runs/update', { run_id, status: 'FINISHED', run_name: 'other' }],
    ['runs/delete-tag', { run_id, key: 'mlflow.runName' }],
    ['runs/delete', { run_id }],
    ['runs/restore', { run_id }],
    ['experiments/delete', { experiment_id: '0' }],
    ['experiments/restore', { experiment_id: '0' }],
  ];
  for (const [path, body] of changes) {
    await search(question);
    expect((await app.post(path, body)).status).toBe(200);
    expect((await search({ filter: '', max_results: 1000, ...question })).body).toEqual(
      await cold(),
    );
    await app.quiet();
    expect((await search({ filter: '', max_results: 1000, ...question })).body).toEqual(
      await cold(),
    );
  }
});
