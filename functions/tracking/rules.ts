import type { Call } from '../kernel/call.ts';
import { Problem } from '../kernel/problem.ts';
import { checkKey, type ExperimentId, type Metric, type MetricRule, type RunId } from './model.ts';
import type { RuleStore } from './rules.store.ts';

const COMPARISONS: Readonly<Record<MetricRule['comparison'], (a: number, b: number) => boolean>> = {
  '>': (a, b) => a > b,
  '>=': (a, b) => a >= b,
  '<': (a, b) => a < b,
  '<=': (a, b) => a <= b,
  '=': (a, b) => a === b,
};
const MAX_RULES = 100;

export function rulesService(store: RuleStore) {
  const subject = (exp: ExperimentId) => `experiments/${exp}`;
  return {
    /**
     * From the next points of `metric` on, `tracking.metric-rule.held` is told each time its latest value comes to
     * hold, once a run until it ceases to. A rule of the same id is replaced. Throws `invalid`.
     */
    async setMetricRule(call: Call, rule: MetricRule): Promise<void> {
      if (!/^[a-z0-9][a-z0-9-]{0,63}$/.test(rule.id))
        throw new Problem('invalid', "A rule's id is 1 to 64 of a-z, 0-9 and -.", { field: 'id' });
      checkKey(rule.metric, 'metric', 'Metric name');
      if (!Object.hasOwn(COMPARISONS, rule.comparison))
        throw new Problem('invalid', `'comparison' must be one of > >= < <= =.`, {
          field: 'comparison',
        });
      if (!Number.isFinite(rule.threshold))
        throw new Problem('invalid', "'threshold' must be a finite number.", {
          field: 'threshold',
        });
      const held = await store.list(call, rule.experimentId);
      if (held.length >= MAX_RULES && !held.some(({ id }) => id === rule.id))
        throw new Problem('invalid', `An experiment has at most ${MAX_RULES} metric rules.`, {
          field: 'id',
        });
      const data = { ruleId: rule.id, experimentId: rule.experimentId, metric: rule.metric };
      await store.put(call, rule, {
        type: 'tracking.metric-rule.set',
        subject: subject(rule.experimentId),
        data,
      });
    },

    listMetricRules: store.list,

    /** Throws `missing`. */
    async removeMetricRule(call: Call, experimentId: ExperimentId, id: string): Promise<void> {
      const event = {
        type: 'tracking.metric-rule.removed',
        subject: subject(experimentId),
        data: { ruleId: id, experimentId },
      } as const;
      if (!(await store.remove(call, experimentId, id, event)))
        throw new Problem('missing', `Metric rule ${id} not found.`, { field: 'id' });
    },
  };
}

/** Tells which of the experiment's rules the run's latest values came to hold; asked twice, it tells once. */
export async function tellRules(
  store: RuleStore,
  call: Call,
  experimentId: ExperimentId,
  runId: RunId,
  latest: ReadonlyMap<string, Metric>,
): Promise<void> {
  for (const rule of await store.list(call, experimentId)) {
    const point = latest.get(rule.metric);
    if (!point || (rule.runId !== undefined && rule.runId !== runId)) continue;
    const holds = COMPARISONS[rule.comparison](point.value, rule.threshold);
    if (holds === (await store.isHeld(call, runId, rule.id))) continue;
    const { id: ruleId, metric, comparison, threshold } = rule;
    const value = Number.isFinite(point.value) ? point.value : String(point.value);
    const at = { step: String(point.step), timestamp: String(point.timestamp) };
    await store.setHeld(
      call,
      runId,
      ruleId,
      holds,
      holds
        ? {
            type: 'tracking.metric-rule.held',
            subject: `runs/${runId}`,
            data: { ruleId, experimentId, runId, metric, value, ...at, comparison, threshold },
          }
        : undefined,
    );
  }
}
