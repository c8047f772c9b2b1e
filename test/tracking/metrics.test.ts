import { expect, test } from 'vitest';
import { blobsOf, dataOf, newRun, openTracking, type TrackingHouse } from '../mlflow.ts';

const log = (
  app: TrackingHouse,
  id: string,
  key: string,
  value: unknown,
  timestamp: unknown,
  step?: unknown,
) =>
  app.post('runs/log-metric', {
    run_id: id,
    key,
    value,
    timestamp,
    ...(step === undefined ? {} : { step }),
  });
const history = async (
  app: TrackingHouse,
  id: string,
  key: string,
  more: Record<string, string> = {},
) => (await app.get('metrics/get-history', { run_id: id, metric_key: key, ...more })).body;

test('item 1: the latest value has the greatest step, then timestamp, then value; folded or not', async () => {
  const app = openTracking();
  const id = await newRun(app);
  const points = [
    [5, 10, 2],
    [9, 99, 1],
    [3, 20, 2],
    [1, 20, 2],
    ['NaN', 20, 2],
  ];
  for (const [value, timestamp, step] of points) await log(app, id, 'a', value, timestamp, step);
  const expected = [{ key: 'a', value: 3, timestamp: 20, step: 2 }];
  const latest = async () => (await app.get('runs/get', { run_id: id })).body.run.data.metrics;
  expect(await latest()).toEqual(expected);
  await app.quiet();
  expect(await latest()).toEqual(expected);
  await log(app, id, 'a', 100, 1, 1); // a lower step, later
  expect(await latest()).toEqual(expected);
});

test('item 2: the same point again is dropped, any difference is kept; folded or not', async () => {
  const app = openTracking();
  const id = await newRun(app);
  const metrics = [
    { key: 'a', value: 1, timestamp: 5, step: 0 },
    { key: 'a', value: 'NaN', timestamp: 5, step: 0 },
    { key: 'a', value: 2, timestamp: 5, step: 0 },
  ];
  await app.post('runs/log-batch', { run_id: id, metrics });
  await app.quiet();
  await app.post('runs/log-batch', { run_id: id, metrics });
  await log(app, id, 'a', 2, 5, 1);
  const expected = [
    { key: 'a', value: 'NaN', timestamp: 5, step: 0 },
    { key: 'a', value: 1, timestamp: 5, step: 0 },
    { key: 'a', value: 2, timestamp: 5, step: 0 },
    { key: 'a', value: 2, timestamp: 5, step: 1 },
  ];
  expect((await history(app, id, 'a')).metrics).toEqual(expected);
  await app.quiet();
  expect((await history(app, id, 'a')).metrics).toEqual(expected);
});

test('item 3, C06: NaN comes back as a word, the infinities as the largest doubles, 5e-324 as itself', async () => {
  const app = openTracking();
  const id = await newRun(app);
  const values: [unknown, unknown][] = [
    ['NaN', 'NaN'],
    ['Infinity', Number.MAX_VALUE],
    ['-Infinity', -Number.MAX_VALUE],
    [1e308, 1e308],
    [5e-324, 5e-324],
    ['1.5', 1.5],
    [-0.25, -0.25],
  ];
  for (const [i, [given]] of values.entries()) await log(app, id, `m${i}`, given, 1);
  for (let round = 0; round < 2; round++) {
    const { metrics } = await dataOf(app, id);
    for (const [i, [, shown]] of values.entries()) expect(metrics[`m${i}`]).toBe(shown);
    await app.quiet();
  }
  const { text } = await app.get('runs/get', { run_id: id });
  expect(text).not.toMatch(/:\s*(NaN|-?Infinity)/);
});

test('item 4, C05, C07: steps may be negative and default to 0; int64 comes back to its last digit', async () => {
  const app = openTracking();
  const id = await newRun(app);
  const big = '9223372036854775807';
  const raw = `{"run_id":"${id}","metrics":[{"key":"a","value":1,"timestamp":${big},"step":-${big}},{"key":"b","value":1,"timestamp":"${big}","step":1e3},{"key":"c","value":1,"timestamp":0}]}`;
  expect(await app.ask('POST', '/api/2.0/mlflow/runs/log-batch', raw)).toMatchObject({
    status: 200,
    body: {},
  });
  for (let round = 0; round < 2; round++) {
    const { text } = await app.get('runs/get', { run_id: id });
    expect(text).toContain(`"key":"a","value":1,"timestamp":${big},"step":-${big}`);
    expect(text).toContain(`"key":"b","value":1,"timestamp":${big},"step":1000`);
    expect(text).toContain('"key":"c","value":1,"timestamp":0,"step":0');
    await app.quiet();
  }
  const times = `{"experiment_id":"0","start_time":${big}}`;
  expect((await app.ask('POST', '/api/2.0/mlflow/runs/create', times)).text).toContain(
    `"start_time":${big}`,
  );
});

test('item 5: a history is ordered by time, whole without max_results, paged with it; unknown ones are empty', async () => {
  const app = openTracking();
  const id = await newRun(app);
  for (const timestamp of [5, 3, 9, 1, 7])
    await log(app, id, 'a', timestamp, timestamp, 10 - timestamp);
  await app.quiet();
  await log(app, id, 'a', 8, 8, 0);
  const whole = (await history(app, id, 'a')).metrics.map(
    (m: { timestamp: number }) => m.timestamp,
  );
  expect(whole).toEqual([1, 3, 5, 7, 8, 9]);
  const paged: number[] = [];
  let token = '';
  do {
    const page = await history(app, id, 'a', {
      max_results: '4',
      ...(token ? { page_token: token } : {}),
    });
    paged.push(...page.metrics.map((m: { timestamp: number }) => m.timestamp));
    token = page.next_page_token ?? '';
  } while (token);
  expect(paged).toEqual(whole);
  expect(await history(app, id, 'none')).toEqual({});
  expect(await history(app, 'f'.repeat(32), 'a')).toEqual({});
});

test('item 6: the interval is sampled evenly by row, with both ends, a run', async () => {
  const app = openTracking();
  const ids = [await newRun(app), await newRun(app)];
  for (const id of ids) {
    const metrics = Array.from({ length: 101 }, (_, step) => ({
      key: 'a',
      value: step,
      timestamp: 1000 - step,
      step,
    }));
    await app.post('runs/log-batch', { run_id: id, metrics });
  }
  const ask = (query: Record<string, string | string[]>) =>
    app.get('metrics/get-history-bulk-interval', { run_ids: ids, metric_key: 'a', ...query });
  const rows = (await ask({ max_results: '5' })).body.metrics;
  expect(rows.map((row: { run_id: string; step: number }) => [row.run_id, row.step])).toEqual(
    ids.flatMap((id) => [0, 25, 50, 75, 100].map((step) => [id, step])),
  );
  const within = (await ask({ max_results: '3', start_step: '10', end_step: '20' })).body.metrics;
  expect(within.map((row: { step: number }) => row.step)).toEqual([10, 15, 20, 10, 15, 20]);
  for (const query of [
    { start_step: '1' },
    { end_step: '1' },
    { start_step: '5', end_step: '4' },
    { max_results: '0' },
    { max_results: '2501' },
  ])
    expect((await ask(query)).status).toBe(400);
  expect((await app.get('metrics/get-history-bulk-interval', { metric_key: 'a' })).status).toBe(
    400,
  );
});

test('the bulk history carries run ids and is capped over all runs', async () => {
  const app = openTracking();
  const ids = [await newRun(app), await newRun(app)].sort();
  for (const id of ids) for (const t of [2, 1]) await log(app, id, 'a', t, t);
  const ask = (query: Record<string, string | string[]>) =>
    app.ask(
      'GET',
      `/ajax-api/2.0/mlflow/metrics/get-history-bulk?${new URLSearchParams([...ids.map((id) => ['run_id', id]), ['metric_key', 'a'], ...Object.entries(query)] as string[][])}`,
    );
  const rows = (await ask({})).body.metrics;
  expect(
    rows.map((row: { run_id: string; timestamp: number }) => [row.run_id, row.timestamp]),
  ).toEqual(ids.flatMap((id) => [1, 2].map((t) => [id, t])));
  expect((await ask({ max_results: '3' })).body.metrics).toHaveLength(3);
});

test('item 8: batches of one run from many clients at once lose nothing', async () => {
  const app = openTracking();
  const id = await newRun(app);
  const batches = Array.from({ length: 16 }, (_, b) => ({
    run_id: id,
    metrics: Array.from({ length: 20 }, (_, i) => ({
      key: 'a',
      value: b * 20 + i,
      timestamp: 1,
      step: b * 20 + i,
    })),
    params: [{ key: `p${b}`, value: '1' }],
    tags: [{ key: `t${b}`, value: '1' }],
  }));
  const answers = await Promise.all([
    ...batches.map((body) => app.post('runs/log-batch', body)),
    app.quiet(),
  ]);
  for (const answer of answers.slice(0, 16)) expect(answer).toMatchObject({ status: 200 });
  await app.quiet();
  const { metrics, params, tags } = await dataOf(app, id);
  expect(metrics).toEqual({ a: 319 });
  expect(Object.keys(params)).toHaveLength(16);
  expect(Object.keys(tags)).toHaveLength(17);
  expect((await history(app, id, 'a')).metrics).toHaveLength(320);
});

test('item 7: a metric that names a logged model lands on run and model; an unknown model refuses the whole batch', async () => {
  const app = openTracking();
  const id = await newRun(app);
  const made = await app.post('logged-models', { experiment_id: '0', name: 'm' });
  const modelId = made.body.model.info.model_id;
  await app.post('runs/log-metric', {
    run_id: id,
    key: 'acc',
    value: 0.5,
    timestamp: 1,
    model_id: modelId,
    dataset_name: 'd',
    dataset_digest: 'x',
  });
  await app.post('runs/log-batch', {
    run_id: id,
    metrics: [{ key: 'f1', value: 0.25, timestamp: 2, modelId }],
    params: [{ key: 'p', value: '1' }],
  });
  const model = await app.get(`logged-models/${modelId}`);
  expect(model.body.model.data.metrics).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ key: 'acc', value: 0.5, dataset_name: 'd', run_id: id }),
      expect.objectContaining({ key: 'f1', value: 0.25 }),
    ]),
  );
  const lost = await app.post('runs/log-batch', {
    run_id: id,
    metrics: [{ key: 'x', value: 1, timestamp: 1, model_id: `m-${'0'.repeat(32)}` }],
    tags: [{ key: 'lost', value: '1' }],
  });
  expect(lost.status).toBe(404);
  const { metrics, tags } = await dataOf(app, id);
  expect(metrics).toEqual({ acc: 0.5, f1: 0.25 });
  expect(tags['lost']).toBeUndefined();
});

test('a block of long unlike keys goes to Blobs, and is read, folded and searched like any other', async () => {
  const app = openTracking();
  const id = await newRun(app);
  const key = (i: number) => `${String(i).padStart(4, '0')}${'é'.repeat(246)}`;
  const metrics = (from: number) =>
    Array.from({ length: 1000 }, (_, i) => ({
      key: key(from + i),
      value: i,
      timestamp: 1,
      step: 1,
    }));
  for (const from of [0, 1000])
    for (const half of [0, 500])
      await app.post('runs/log-batch', {
        run_id: id,
        metrics: metrics(from).slice(half, half + 500),
      });
  expect((await app.post('runs/log-batch', { run_id: id, metrics: metrics(0) })).status).toBe(200);
  expect((await blobsOf(app)).length).toBeGreaterThan(0);
  for (let round = 0; round < 2; round++) {
    const { body } = await app.get('runs/get', { run_id: id });
    expect(body.run.data.metrics).toHaveLength(2000);
    const found = await app.post('runs/search', {
      experiment_ids: ['0'],
      filter: `metrics.\`${key(1999)}\` = 999`,
    });
    expect(found.body.runs).toHaveLength(1);
    expect((await history(app, id, key(7))).metrics).toHaveLength(1);
    await app.quiet();
  }
});
