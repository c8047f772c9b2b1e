import { expect, test } from 'vitest';
import { newRun, openTracking, type TrackingHouse } from '../mlflow.ts';

/** Requests to the table that `ask` made, and what it answered. */
async function cost(app: TrackingHouse, ask: () => Promise<{ status: number }>) {
  app.counts.reset();
  const { status } = await ask();
  expect(status).toBe(200);
  return { ...app.counts.calls };
}
const none = { get: 0, getMany: 0, query: 0, commit: 0, entries: 0, repeated: 0 };

test('log_batch: head and one put; with params or tags head and document at once, and one commit', async () => {
  const app = openTracking();
  const run_id = await newRun(app);
  const metrics = Array.from({ length: 900 }, (_, i) => ({
    key: `m${i}`,
    value: i,
    timestamp: 1,
  }));
  expect(await cost(app, () => app.post('runs/log-batch', { run_id, metrics }))).toEqual({
    ...none,
    getMany: 1,
    commit: 1,
  });
  const params = [{ key: 'p', value: '1' }];
  const both = await cost(app, () =>
    app.post('runs/log-batch', { run_id, metrics, params, tags: params }),
  );
  expect(both).toEqual({ ...none, getMany: 1, commit: 1 });
  const again = await cost(app, () => app.post('runs/log-batch', { run_id, params }));
  expect(again).toEqual({ ...none, getMany: 1 });
});

test('a refused batch reads and writes nothing', async () => {
  const app = openTracking();
  const run_id = await newRun(app);
  app.counts.reset();
  const metrics = [
    { key: 'a', value: 1, timestamp: 1 },
    { key: 'b', value: 1 },
  ];
  expect((await app.post('runs/log-batch', { run_id, metrics })).status).toBe(400);
  expect(app.counts.calls).toEqual(none);
});

test('get_run: document and log at once, folded or not', async () => {
  const app = openTracking();
  const run_id = await newRun(app);
  for (let i = 0; i < 5; i++)
    await app.post('runs/log-metric', { run_id, key: 'a', value: i, timestamp: i });
  for (let round = 0; round < 2; round++) {
    expect(await cost(app, () => app.get('runs/get', { run_id }))).toEqual({
      ...none,
      getMany: 1,
      query: 1,
    });
    await app.quiet();
  }
});

test('get_run with datasets asks for each dataset of the experiment once, not once a run', async () => {
  const app = openTracking();
  const dataset = { name: 'n', digest: 'd', source_type: 's', source: '{}' };
  for (let run = 0; run < 3; run++) {
    const run_id = await newRun(app);
    const logging = () => app.post('runs/log-inputs', { run_id, datasets: [{ dataset }] });
    expect(await cost(app, logging)).toEqual({
      ...none,
      getMany: run === 0 ? 2 : 1,
      commit: 1,
    });
    expect(await cost(app, () => app.get('runs/get', { run_id }))).toEqual({
      ...none,
      getMany: 1,
      query: 1,
    });
  }
});

test('create: the experiment and one commit; update: one read, one commit', async () => {
  const app = openTracking();
  const run_id = await newRun(app);
  expect(await cost(app, () => app.post('runs/create', { experiment_id: '0' }))).toEqual({
    ...none,
    get: 1,
    commit: 1,
  });
  expect(await cost(app, () => app.post('runs/update', { run_id, status: 'FINISHED' }))).toEqual({
    ...none,
    getMany: 1,
    commit: 1,
  });
});

test('search: the experiment, one query of places and logs, and a request a hundred documents', async () => {
  const app = openTracking();
  for (let i = 0; i < 250; i++) {
    const run_id = await newRun(app);
    if (i % 3 === 0)
      await app.post('runs/log-metric', { run_id, key: 'a', value: i, timestamp: i });
  }
  const ask = () =>
    app.post('runs/search', { experiment_ids: ['0'], filter: 'metrics.a > 100', max_results: 5 });
  expect(await cost(app, ask)).toEqual({ ...none, get: 1, query: 1, getMany: 3 });
});
