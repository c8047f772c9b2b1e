import { describe, expect, test } from 'vitest';
import { newRun, openTracking } from '../mlflow.ts';

describe('of points at one step and timestamp NaN ranks as 0, and of equals the first stays', () => {
  // As mlflow 3.17.2 answered on SQLite: the latest value, then the history.
  test.each([
    [[-5, 'NaN'], 'NaN', [-5, 'NaN']],
    [['NaN', -5], 'NaN', [-5, 'NaN']],
    [['NaN', 5], 5, ['NaN', 5]],
    [[5, 'NaN'], 5, ['NaN', 5]],
    [[0, 'NaN'], 0, [0, 'NaN']],
    [['NaN', 0], 'NaN', [0, 'NaN']],
  ])('%j: latest %j, history %j', async (values, latest, history) => {
    const app = openTracking();
    const run_id = await newRun(app);
    const shown = async () => {
      const { body } = await app.get('runs/get', { run_id });
      const points = await app.get('metrics/get-history', { run_id, metric_key: 'm' });
      const told = ({ value }: { value: unknown }) => value;
      return [body.run.data.metrics.map(told), points.body.metrics.map(told)];
    };
    for (const value of values)
      await app.post('runs/log-metric', { run_id, key: 'm', value, timestamp: 7, step: 3 });
    expect(await shown()).toEqual([[latest], history]);
    await app.quiet();
    expect(await shown()).toEqual([[latest], history]);
  });

  test('also in one batch, and when one was folded before the other came', async () => {
    const app = openTracking();
    const run_id = await newRun(app);
    const point = { timestamp: 7, step: 3 };
    await app.post('runs/log-batch', {
      run_id,
      metrics: [
        { key: 'a', value: 'NaN', ...point },
        { key: 'a', value: 0, ...point },
        { key: 'b', value: 0, ...point },
      ],
    });
    await app.quiet();
    await app.post('runs/log-metric', { run_id, key: 'b', value: 'NaN', ...point });
    await app.quiet();
    const { body } = await app.get('runs/get', { run_id });
    const values = body.run.data.metrics.map((m: { key: string; value: unknown }) => [
      m.key,
      m.value,
    ]);
    expect(Object.fromEntries(values)).toEqual({ a: 'NaN', b: 0 });
  });
});
