import { expect, test } from 'vitest';
import { firstBroken } from '../../functions/kernel/event.ts';
import type { Item } from '../../functions/platform/ports.ts';
import type { ExperimentId, RunId } from '../../functions/tracking/model.ts';
import { newRun, openTracking, type TrackingApp } from './room.ts';

const EXPERIMENT = '0' as ExperimentId;
const metric = (app: TrackingApp, id: string, value: number | string, step: number) =>
  app.post('runs/log-metric', { run_id: id, key: 'loss', value, timestamp: 1, step });
const entries = async (app: TrackingApp, subject: string) =>
  (await app.counting.table.entries(app.call, subject)).entries;
async function log(app: TrackingApp): Promise<Item[]> {
  const { items } = await app.counting.table.query(app.call, { pk: 'X#0#0' });
  return items.filter(({ sk }) => !sk.endsWith('~'));
}

test('a fold empties the log and chains each entry with its caller into the run’s audit', async () => {
  const app = openTracking();
  const id = await newRun(app);
  await metric(app, id, 1, 0);
  await app.post('runs/log-batch', {
    run_id: id,
    params: [{ key: 'p', value: '1' }],
    tags: [{ key: 't', value: 'x' }],
  });
  expect(await log(app)).toHaveLength(2);
  await app.fold();
  expect(await log(app)).toEqual([]);
  const told = await entries(app, `runs/${id}`);
  expect(firstBroken(told, {})).toBeUndefined();
  const folded = told.filter(({ type }) => type === 'tracking.metrics.folded');
  const callers = folded.flatMap(({ data }) => (data as { entries: object[] }).entries);
  expect(callers).toHaveLength(2);
  expect(callers).toContainEqual(expect.objectContaining({ caller: 'ada', points: 1 }));
  expect(callers).toContainEqual(
    expect.objectContaining({ caller: 'ada', points: 0, names: 'p t' }),
  );
});

test('a fold asked for again, or for what is gone, changes nothing', async () => {
  const app = openTracking();
  const id = await newRun(app);
  await metric(app, id, 1, 0);
  const heard = await log(app);
  await app.fold();
  const before = await app.get('runs/get', { run_id: id });
  const audit = await entries(app, `runs/${id}`);
  await app.room.folders[0]!.fold(app.call, heard);
  await app.room.folders[0]!.fold(app.call, [
    { pk: 'X#0#0', sk: `LOG#${id}#~` },
    { pk: 'other', sk: 'LOG#x' },
  ]);
  expect(await app.get('runs/get', { run_id: id })).toEqual(before);
  expect(await entries(app, `runs/${id}`)).toEqual(audit);
});

test('a deleted run is folded and stays deleted; its metrics are there when it is restored', async () => {
  const app = openTracking();
  const id = await newRun(app);
  await metric(app, id, 3, 0);
  await app.post('runs/delete', { run_id: id });
  await app.fold();
  await app.post('runs/restore', { run_id: id });
  const found = await app.post('runs/search', {
    experiment_ids: ['0'],
    filter: 'metrics.loss = 3',
  });
  expect(found.body.runs).toHaveLength(1);
});

test('a metric rule is told once each time it comes to hold', async () => {
  const app = openTracking();
  const { service } = app.room;
  const [one, two] = [await newRun(app), await newRun(app)];
  await service.setMetricRule(app.call, {
    id: 'drift',
    experimentId: EXPERIMENT,
    metric: 'loss',
    comparison: '>',
    threshold: 2,
  });
  await service.setMetricRule(app.call, {
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
    await app.fold();
  }
  await metric(app, two, -1, 0);
  await app.fold();
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
