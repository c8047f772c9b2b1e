import { expect, test } from 'vitest';
import { openTracking, type TrackingApp } from './room.ts';

async function newRun(app: TrackingApp, more: Record<string, unknown> = {}) {
  const { body } = await app.post('runs/create', { experiment_id: '0', start_time: 5, ...more });
  if (!body.run) throw new Error(JSON.stringify(body));
  return body.run.info.run_id as string;
}

test('smoke', async () => {
  const app = openTracking();
  const id = await newRun(app);
  const logged = await app.post('runs/log-batch', {
    run_id: id,
    metrics: [{ key: 'a', value: 1, timestamp: 1, step: 0 }],
    params: [{ key: 'p', value: '1' }],
    tags: [{ key: 't', value: 'x' }],
  });
  expect(logged).toMatchObject({ status: 200, body: {} });
  const before = await app.get('runs/get', { run_id: id });
  await app.fold();
  const after = await app.get('runs/get', { run_id: id });
  expect(after.body).toEqual(before.body);
  expect(await app.post('runs/search', { experiment_ids: ['0'] })).toMatchObject({
    body: { runs: [before.body.run] },
  });
  console.log(JSON.stringify(before.body, null, 1), app.counting.counts);
});
