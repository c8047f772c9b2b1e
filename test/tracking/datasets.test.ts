import { expect, test } from 'vitest';
import { blobsOf, dataOf, newRun, openTracking, type TrackingHouse } from '../mlflow.ts';

const dataset = (name: string, more = {}) => ({
  name,
  digest: 'd',
  source_type: 's',
  source: '{}',
  ...more,
});
const many = (count: number, more = {}) =>
  Array.from({ length: count }, (_, i) => ({ dataset: dataset(`set-${i}`, more) }));
const log = (app: TrackingHouse, run_id: string, datasets: unknown[]) =>
  app.post('runs/log-inputs', { run_id, datasets });
const namesOf = async (app: TrackingHouse) => {
  const { body } = await app.post('experiments/search-datasets', { experiment_ids: ['0'] });
  return (body.dataset_summaries ?? []).map(({ name }: { name: string }) => name).sort();
};
const inputsOf = async (app: TrackingHouse, id: string) =>
  ((await dataOf(app, id)).inputs?.dataset_inputs ?? []).length;

test('a refused log-inputs left its datasets in the experiment', async () => {
  const app = openTracking();
  const id = await newRun(app);
  // More than an item of the run's document holds.
  const tags = Array.from({ length: 900 }, (_, i) => ({ key: `k${i}`, value: 'v'.repeat(500) }));
  const refused = await log(app, id, [
    { dataset: dataset('small') },
    { dataset: dataset('tagged'), tags },
  ]);
  expect([refused.status, refused.body.message]).toEqual([
    400,
    expect.stringContaining('at most 409600'),
  ]);
  expect(await namesOf(app)).toEqual([]);
  expect(await inputsOf(app, id)).toBe(0);
});

test('more new datasets than one commit takes are refused with the limit, and none is kept', async () => {
  const app = openTracking();
  const id = await newRun(app);
  const refused = await log(app, id, many(49));
  expect(refused).toMatchObject({ status: 400, body: { error_code: 'INVALID_PARAMETER_VALUE' } });
  expect(refused.body.message).toContain('98 new records');
  expect(refused.body.message).toContain('one request may bring 96');
  expect(await namesOf(app)).toEqual([]);
  expect((await log(app, id, many(48))).status).toBe(200);
  expect(await inputsOf(app, id)).toBe(48);
});

test('datasets that the experiment knows count for nothing', async () => {
  const app = openTracking();
  const id = await newRun(app);
  for (let at = 0; at < 160; at += 40)
    expect((await log(app, id, many(160).slice(at, at + 40))).status).toBe(200);
  const other = await newRun(app);
  expect((await log(app, other, many(160))).status).toBe(200);
  expect(await inputsOf(app, other)).toBe(160);
});

test('datasets of more megabytes than one commit holds', async () => {
  const app = openTracking();
  const id = await newRun(app);
  const schema = 'x'.repeat(290 * 1024);
  expect((await log(app, id, many(20, { schema }))).status).toBe(200);
  const { inputs } = await dataOf(app, id);
  expect(inputs.dataset_inputs).toHaveLength(20);
  for (const input of inputs.dataset_inputs) expect(input.dataset.schema).toBe(schema);
  expect((await blobsOf(app)).length).toBe(13); // seven fit beside each other
});

test('two runs that bring the same dataset at once both keep it', async () => {
  const app = openTracking();
  const runs = [await newRun(app), await newRun(app), await newRun(app)];
  const answers = await Promise.all(runs.map((id) => log(app, id, many(5))));
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
  for (const id of runs) expect(await inputsOf(app, id)).toBe(5);
  expect(await namesOf(app)).toHaveLength(5);
});
