import { expect, test } from 'vitest';
import type { ExperimentId, Metric, RunId } from '../../functions/tracking/model.ts';
import { ruleStore } from '../../functions/tracking/rules.store.ts';
import { tellRules } from '../../functions/tracking/rules.ts';
import { call } from '../house.ts';
import { newRun, openTracking } from '../mlflow.ts';

test('a rule that two folds found to hold at the same moment was told twice', async () => {
  const app = openTracking();
  const run = (await newRun(app)) as RunId;
  const rule = { metric: 'loss', comparison: '>', threshold: 1 };
  await app.ask('PUT', '/api/experiments/0/metric-rules/a', rule);
  const point: Metric = { key: 'loss', value: 2, step: 0, timestamp: 0 };
  const tell = () =>
    tellRules(ruleStore(app), call, '0' as ExperimentId, run, new Map([['loss', point]]));
  let commits = 0;
  app.beforeCommit(async (event) => {
    if (event?.type !== 'tracking.metric-rule.held') return;
    commits += 1;
    // Both have read that it was not held; the second tells before the first does.
    if (commits === 1) await tell();
  });
  await tell();
  expect(commits).toBe(2);
  const told = (await app.told(`runs/${run}`)).map(({ type }) => type);
  expect(told.filter((type) => type === 'tracking.metric-rule.held')).toHaveLength(1);
});
