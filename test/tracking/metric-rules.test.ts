import { expect, test } from 'vitest';
import { call } from '../house.ts';
import { newRun, openTracking, type TrackingHouse } from '../mlflow.ts';

const BASE = '/api/experiments/0/metric-rules';
const rule = { metric: 'loss', comparison: '>', threshold: 1 };
const put = (app: TrackingHouse, id: string, more = {}) =>
  app.ask('PUT', `${BASE}/${id}`, { ...rule, ...more });
const eventsOf = async (app: TrackingHouse, subject: string) =>
  (await app.table.entries(call, subject)).entries;
const heldOf = async (app: TrackingHouse, run: string) =>
  (await eventsOf(app, `runs/${run}`))
    .filter(({ type }) => type === 'tracking.metric-rule.held')
    .map(({ data }) => data as { ruleId: string; value: number });
async function log(app: TrackingHouse, run_id: string, value: number, step: number, key = 'loss') {
  await app.post('runs/log-metric', { run_id, key, value, step, timestamp: step });
  await app.quiet();
}
/** The experiment that names none is made when it is first asked for. */
async function opened() {
  const app = openTracking();
  return { app, run: await newRun(app) };
}

test('a rule is made, shown, replaced and deleted, each change told in its commit', async () => {
  const { app } = await opened();
  const before = (await eventsOf(app, 'experiments/0')).length;
  const made = { experimentId: '0', id: 'a', ...rule };
  expect(await put(app, 'a')).toMatchObject({ status: 200, body: made });
  expect(await put(app, 'a')).toMatchObject({ status: 200, body: made });
  expect((await app.ask('GET', `${BASE}/a`)).body).toEqual(made);
  expect((await put(app, 'a', { threshold: 2 })).body).toEqual({ ...made, threshold: 2 });
  expect((await app.ask('GET', '/api/experiments/000/metric-rules/a')).body.threshold).toBe(2);
  expect((await app.ask('DELETE', `${BASE}/a`)).status).toBe(204);
  for (const method of ['GET', 'DELETE'])
    expect(await app.ask(method, `${BASE}/a`)).toMatchObject({ status: 404 });
  const told = (await eventsOf(app, 'experiments/0')).slice(before);
  expect(told.map(({ type, data }) => [type, data])).toEqual([
    ['tracking.experiment.watched', { experimentId: '0' }],
    ['tracking.metric-rule.set', { ruleId: 'a', experimentId: '0', ...rule }],
    ['tracking.metric-rule.set', { ruleId: 'a', experimentId: '0', ...rule, threshold: 2 }],
    ['tracking.metric-rule.removed', { ruleId: 'a', experimentId: '0' }],
  ]);
});

test('rules are listed in pages', async () => {
  const { app } = await opened();
  const ids = Array.from({ length: 7 }, (_, i) => `rule-${i}`);
  for (const id of ids) await put(app, id);
  const found: string[] = [];
  let token = '';
  do {
    const { body } = await app.ask('GET', `${BASE}?limit=3${token}`);
    found.push(...body.metricRules.map(({ id }: { id: string }) => id));
    token = body.nextPageToken ? `&pageToken=${body.nextPageToken}` : '';
  } while (token);
  expect(found).toEqual(ids);
  expect((await app.ask('GET', `${BASE}?pageToken=x`)).status).toBe(400);
});

test.each([
  [{ metric: '/x' }, 'metric'],
  [{ comparison: 'toString' }, 'comparison'],
  [{ threshold: 'NaN' }, 'threshold'],
  [{ threshold: undefined }, 'threshold'],
  [{ runId: 'f'.repeat(32) }, 'runId'],
  [{ colour: 'red' }, ''],
])('%j is refused', async (bad, field) => {
  const { app } = await opened();
  const refused = await put(app, 'a', bad);
  expect(refused).toMatchObject({ status: 400, body: { type: 'about:blank#invalid' } });
  expect(refused.body.field ?? '').toBe(field);
  expect((await app.ask('GET', BASE)).body.metricRules).toEqual([]);
});

test('an experiment that is not there, or is deleted, takes no rule', async () => {
  const { app } = await opened();
  const gone = '/api/experiments/77/metric-rules';
  for (const [method, path] of [
    ['PUT', '/a'],
    ['GET', '/a'],
    ['DELETE', '/a'],
    ['GET', ''],
  ] as const)
    expect(
      (await app.ask(method, `${gone}${path}`, method === 'PUT' ? rule : undefined)).status,
    ).toBe(404);
  await app.post('experiments/delete', { experiment_id: '0' });
  expect((await put(app, 'a')).status).toBe(409);
});

test('an experiment has at most a hundred rules', async () => {
  const { app } = await opened();
  for (let i = 0; i < 100; i++) await put(app, `rule-${i}`);
  expect((await put(app, 'one-more')).status).toBe(429);
  expect((await put(app, 'rule-5', { threshold: 7 })).status).toBe(200);
});

test('a rule deleted while it held, or replaced, was not told again when it was set anew', async () => {
  const { app, run } = await opened();
  await put(app, 'a');
  await log(app, run, 2, 0);
  await app.ask('DELETE', `${BASE}/a`);
  await put(app, 'a', { metric: 'other' });
  await log(app, run, 3, 1, 'other');
  await put(app, 'a', { threshold: 4 });
  await log(app, run, 5, 2);
  await log(app, run, 6, 3);
  await put(app, 'a', { threshold: 4 });
  await log(app, run, 7, 4);
  expect((await heldOf(app, run)).map(({ value }) => value)).toEqual([2, 3, 5]);
});

test('two folds at once tell a rule once', async () => {
  const { app, run } = await opened();
  await put(app, 'a');
  await app.post('runs/log-metric', { run_id: run, key: 'loss', value: 2, step: 0, timestamp: 0 });
  const { items } = await app.table.query(call, { pk: 'X#0#0', prefix: 'LOG#' });
  const [folder] = app.rooms.tracking.folders;
  await Promise.all([1, 2, 3].map(() => folder?.fold(call, items)));
  expect(await heldOf(app, run)).toMatchObject([{ ruleId: 'a', value: 2 }]);
});
