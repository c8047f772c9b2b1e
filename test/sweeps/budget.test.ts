import { afterAll, beforeAll, expect, test } from 'vitest';
import { plant } from './entities.ts';
import { type Ground, openGround } from './ground.ts';

let planted: Awaited<ReturnType<typeof plant>>;
let ground: Ground;
beforeAll(async () => {
  planted = await plant();
  ground = openGround(planted.data);
}, 60_000);
afterAll(async () => {
  await ground.close();
  planted.remove();
});

const METHODS = ['get', 'getMany', 'query', 'commit'] as const;
const lines: string[] = [];
afterAll(() => console.log(['', 'Round trips to the table, by request:', ...lines, ''].join('\n')));

/** How often the table was asked while this was answered. */
async function trips(what: string, method: string, path: string, body?: unknown): Promise<number> {
  ground.counts.reset();
  const answered = await ground.ask({
    method,
    path,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  expect([what, answered.status]).toEqual([what, 200]);
  const { calls } = ground.counts;
  const shown = METHODS.filter((name) => calls[name]).map((name) => `${calls[name]} ${name}`);
  lines.push(`  ${what.padEnd(40)} ${ground.counts.total()}  ${shown.join(', ')}`);
  return ground.counts.total();
}

/** Source: ARCHITECTURE.md, "Round trips to the store". */
test('what the routes ask of the table stays within the budget', async () => {
  const { run: read, experiment, endpoint, registered, failedRun } = planted.entities;
  const M = '/api/2.0/mlflow';
  const made = await ground.ask({
    method: 'POST',
    path: `${M}/runs/create`,
    body: JSON.stringify({ experiment_id: experiment }),
  });
  const run_id: string = made.body.run.info.run_id;
  const metrics = Array.from({ length: 900 }, (_, i) => ({
    key: `m${i % 10}`,
    value: i,
    timestamp: i,
    step: i,
  }));
  const params = [{ key: 'budget', value: '1' }];
  const batch = `${M}/runs/log-batch`;
  // A cold process asks once which experiment the run is in.
  expect(await trips('log_batch, cold', 'POST', batch, { run_id, metrics })).toBeLessThanOrEqual(3);
  expect(
    await trips('log_batch, 900 metrics (head + 1)', 'POST', batch, { run_id, metrics }),
  ).toBeLessThanOrEqual(2);
  expect(
    await trips('log_batch, params too (head + 2)', 'POST', batch, { run_id, metrics, params }),
  ).toBeLessThanOrEqual(3);
  expect(await trips('get_run', 'GET', `${M}/runs/get?run_id=${run_id}`)).toBeLessThanOrEqual(2);
  await trips('get_run, with datasets, cold', 'GET', `${M}/runs/get?run_id=${read}`);
  // The datasets that a run read lie beside it, shared by all its experiment's runs: rows that never change.
  expect(
    await trips('get_run, with datasets', 'GET', `${M}/runs/get?run_id=${read}`),
  ).toBeLessThanOrEqual(2);
  const search = { experiment_ids: [experiment], filter: 'metrics.m1 > 0' };
  // The experiment, its places and logs, and a request each hundred documents: no segment below some 10,000 runs.
  expect(
    await trips('search, a small experiment', 'POST', `${M}/runs/search`, search),
  ).toBeLessThanOrEqual(3);
  const predict = `/endpoints/${endpoint}/invocations`;
  await trips('predict, cold', 'POST', predict, { inputs: [[1]] });
  expect(await trips('predict, warm', 'POST', predict, { inputs: [[1]] })).toBe(0);
  const alias = `${M}/registered-models/alias?name=${registered}&alias=champion`;
  expect(await trips('resolve an alias', 'GET', alias)).toBeLessThanOrEqual(3);
  expect(
    await trips('get_run (kfp)', 'GET', `/apis/v2beta1/runs/${failedRun}`),
  ).toBeLessThanOrEqual(6);
});
