import { expect, test } from 'vitest';
import { firstBroken } from '../../functions/kernel/event.ts';
import type { Item } from '../../functions/platform/ports.ts';
import type { ExperimentId, RunId } from '../../functions/tracking/model.ts';
import { call } from '../house.ts';
import { newRun, openTracking, type TrackingHouse } from '../mlflow.ts';

const EXPERIMENT = '0' as ExperimentId;
const metric = (app: TrackingHouse, id: string, value: number | string, step: number) =>
  app.post('runs/log-metric', { run_id: id, key: 'loss', value, timestamp: 1, step });
const entries = async (app: TrackingHouse, subject: string) =>
  (await app.table.entries(call, subject)).entries;
async function log(app: TrackingHouse): Promise<Item[]> {
  const { items } = await app.table.query(call, { pk: 'X#0#0' });
  return items.filter(({ sk }) => !sk.endsWith('~'));
}

test('a fold empties the log and chains each entry with its caller into the run’s audit', async () => {
  const app = openTracking();
  const id = await newRun(app);
  await metric(app, id, 1, 0);
  await metric(app, id, 2, 1);
  expect(await log(app)).toHaveLength(2);
  await app.quiet();
  expect(await log(app)).toEqual([]);
  const told = await entries(app, `runs/${id}`);
  expect(firstBroken(told, {})).toBeUndefined();
  const folded = told.filter(({ type }) => type === 'tracking.metrics.folded');
  const callers = folded.flatMap(({ data }) => (data as { entries: object[] }).entries);
  const one = expect.objectContaining({ caller: 'ada', points: 1 });
  expect(callers).toEqual([one, one]);
});

test('a batch that changes the document anyway is folded by its own commit, and told as one event', async () => {
  const app = openTracking();
  const id = await newRun(app);
  await metric(app, id, 9, 5);
  await app.post('runs/log-batch', {
    run_id: id,
    metrics: [
      { key: 'loss', value: 1, timestamp: 1, step: 3 },
      { key: 'acc', value: 0.5, timestamp: 1, step: 3 },
    ],
    params: [{ key: 'p', value: '1' }],
    tags: [{ key: 't', value: 'x' }],
  });
  expect(await log(app)).toHaveLength(1); // the single metric's
  const shown = async () => {
    const { body } = await app.get('runs/get', { run_id: id });
    const metrics = body.run.data.metrics as { key: string; value: number }[];
    const history = await app.get('metrics/get-history', { run_id: id, metric_key: 'loss' });
    return [metrics.map(({ key, value }) => `${key} ${value}`).sort(), history.body.metrics.length];
  };
  expect(await shown()).toEqual([['acc 0.5', 'loss 9'], 2]);
  await app.quiet();
  expect(await shown()).toEqual([['acc 0.5', 'loss 9'], 2]);
  const told = await entries(app, `runs/${id}`);
  expect(told.filter(({ type }) => type === 'tracking.run.logged')).toMatchObject([
    { caller: 'ada', data: { runId: id, points: 2, names: 'p t' } },
  ]);
});

test('a metric rule is told of a batch with params too: where rules stand, every point goes through the log', async () => {
  const app = openTracking();
  const id = await newRun(app);
  const rule = { id: 'r', experimentId: EXPERIMENT, metric: 'loss', comparison: '>' } as const;
  await app.rooms.tracking.service.setMetricRule(call, { ...rule, threshold: 2 });
  await app.post('experiments/set-experiment-tag', { experiment_id: '0', key: 'a', value: 'b' });
  const metrics = [{ key: 'loss', value: 3, timestamp: 1, step: 0 }];
  await app.post('runs/log-batch', { run_id: id, metrics, params: [{ key: 'p', value: '1' }] });
  await app.quiet();
  const told = (await entries(app, `runs/${id}`)).map(({ type }) => type);
  expect(told).toContain('tracking.metric-rule.held');
});

test('a fold asked for again, or for what is gone, changes nothing', async () => {
  const app = openTracking();
  const id = await newRun(app);
  await metric(app, id, 1, 0);
  const heard = await log(app);
  await app.quiet();
  const { text } = await app.get('runs/get', { run_id: id });
  const audit = await entries(app, `runs/${id}`);
  await app.rooms.tracking.folders[0]!.fold(call, heard);
  await app.rooms.tracking.folders[0]!.fold(call, [
    { pk: 'X#0#0', sk: `LOG#${id}#~` },
    { pk: 'other', sk: 'LOG#x' },
  ]);
  expect((await app.get('runs/get', { run_id: id })).text).toBe(text);
  expect(await entries(app, `runs/${id}`)).toEqual(audit);
});

test('a deleted run is folded and stays deleted; its metrics are there when it is restored', async () => {
  const app = openTracking();
  const id = await newRun(app);
  await metric(app, id, 3, 0);
  await app.post('runs/delete', { run_id: id });
  await app.quiet();
  await app.post('runs/restore', { run_id: id });
  const found = await app.post('runs/search', {
    experiment_ids: ['0'],
    filter: 'metrics.loss = 3',
  });
  expect(found.body.runs).toHaveLength(1);
});

test('a metric rule is told once each time it comes to hold', async () => {
  const app = openTracking();
  const { service } = app.rooms.tracking;
  const [one, two] = [await newRun(app), await newRun(app)];
  await service.setMetricRule(call, {
    id: 'drift',
    experimentId: EXPERIMENT,
    metric: 'loss',
    comparison: '>',
    threshold: 2,
  });
  await service.setMetricRule(call, {
    id: 'mine',
    experimentId: EXPERIMENT,
    runId: two as RunId,
    metric: 'loss',
    comparison: '<=',
    threshold: 0,
  });
  for (const [value, step] of [
    [1, 0],
    [3, 1],
    [4, 2],
    [1, 3],
    ['NaN', 4],
    [5, 5],
    [9, 1],
  ] as const) {
    await metric(app, one, value, step);
    await app.quiet();
  }
  await metric(app, two, -1, 0);
  await app.quiet();
  const held = async (id: string) =>
    (await entries(app, `runs/${id}`))
      .filter(({ type }) => type === 'tracking.metric-rule.held')
      .map(({ data }) => data as { ruleId: string; value: number });
  expect((await held(one)).map(({ ruleId, value }) => [ruleId, value])).toEqual([
    ['drift', 3],
    ['drift', 5],
  ]);
  expect(await held(two)).toMatchObject([
    { ruleId: 'mine', value: -1, runId: two, metric: 'loss', threshold: 0 },
  ]);
});
