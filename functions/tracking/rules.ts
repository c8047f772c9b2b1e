import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import type { Page, Pages } from '../kernel/page.ts';
import { Problem } from '../kernel/problem.ts';
import { newUlid, type World } from '../kernel/world.ts';
import { settler } from '../platform/settle.ts';
import { notActive } from './experiments.ts';
import {
  checkKey,
  type Experiment,
  type ExperimentId,
  type Metric,
  type MetricRule,
  type MetricRuleRef,
  type RunId,
} from './model.ts';
import type { RuleStore } from './rules.store.ts';

const COMPARISONS: Readonly<Record<MetricRule['comparison'], (a: number, b: number) => boolean>> = {
  '>': (a, b) => a > b,
  '>=': (a, b) => a >= b,
  '<': (a, b) => a < b,
  '<=': (a, b) => a <= b,
  '=': (a, b) => a === b,
};
/** Of an experiment: each fold of a run's log weighs them all. */
const MAX_RULES = 100;

/** What rules ask of experiments and runs. */
export interface RuleGround {
  /** Throws `missing`. */
  experiment(call: Call, id: ExperimentId): Promise<Experiment>;
  /** Marks the experiment, before its first rule stands: its points go through the log from then on. */
  watch(call: Call, id: ExperimentId): Promise<void>;
  /** The experiment of a run, or undefined. */
  experimentOfRun(call: Call, runId: RunId): Promise<ExperimentId | undefined>;
}

export function rulesService(store: RuleStore, ground: RuleGround, pages: Pages, world: World) {
  const settle = settler(world);

  async function checkRun(call: Call, { experimentId, runId }: MetricRule): Promise<void> {
    if (runId === undefined) return;
    if ((await ground.experimentOfRun(call, runId)) !== experimentId)
      throw new Problem('invalid', `runId: experiment ${experimentId} has no run ${runId}.`, {
        field: 'runId',
      });
  }

  /** By the id that its experiment bears: `007` and `7` are one. */
  async function named(call: Call, { experimentId, id }: MetricRuleRef): Promise<MetricRuleRef> {
    return { experimentId: (await ground.experiment(call, experimentId)).id, id };
  }

  return {
    /**
     * From the next points of `metric` on, `tracking.metric-rule.held` is told each time its latest value comes to
     * hold, once a run until it ceases to. A rule of the same id is replaced and begins anew; setting what stands
     * already changes nothing. Throws `missing` and `precondition` for the experiment, `invalid`, `exhausted`.
     */
    async setMetricRule(call: Call, asked: MetricRule): Promise<MetricRule> {
      checkKey(asked.metric, 'metric', 'Metric name');
      const experiment = await ground.experiment(call, asked.experimentId);
      if (experiment.lifecycle !== 'active') throw notActive(experiment);
      const rule = { ...asked, experimentId: experiment.id };
      await checkRun(call, rule);
      if (!experiment.watched) await ground.watch(call, experiment.id);
      return settle(call, `metric-rules/${rule.experimentId}`, async () => {
        const rules = await store.list(call, rule.experimentId);
        const before = rules.find((each) => each.rule.id === rule.id);
        if (before && told(before.rule) === told(rule)) return before.rule;
        if (!before && rules.length >= MAX_RULES)
          throw new Problem(
            'exhausted',
            `An experiment has at most ${MAX_RULES} metric rules; delete one first.`,
          );
        await store.put(call, rule, newUlid(world), before, eventOf('set', rule));
        return rule;
      });
    },

    /** Throws `missing`. */
    async getMetricRule(call: Call, asked: MetricRuleRef): Promise<MetricRule> {
      const ref = await named(call, asked);
      const found = await store.find(call, ref);
      if (!found) throw noRule(ref);
      return found.rule;
    },

    /** By id. Throws `missing` for the experiment, `invalid` for the token. */
    async listMetricRules(
      call: Call,
      experimentId: ExperimentId,
      limit: number,
      token?: string,
    ): Promise<Page<MetricRule>> {
      const { id } = await ground.experiment(call, experimentId);
      const query = ['metric-rules', id];
      const after = token === undefined ? undefined : pages.open<string>(call, query, token);
      const { rules: items, next } = await store.page(call, id, limit, after);
      return next === undefined ? { items } : { items, next: pages.seal(call, query, next) };
    },

    /** Throws `missing`. */
    async removeMetricRule(call: Call, asked: MetricRuleRef): Promise<void> {
      const ref = await named(call, asked);
      if (!(await store.remove(call, ref, eventOf('removed', ref)))) throw noRule(ref);
    },
  };
}

const told = ({ metric, comparison, threshold, runId }: MetricRule): string =>
  JSON.stringify([metric, comparison, threshold, runId]);

const eventOf = (verb: string, { experimentId, id, ...rule }: MetricRuleRef): Event => ({
  type: `tracking.metric-rule.${verb}`,
  subject: `experiments/${experimentId}`,
  data: { ruleId: id, experimentId, ...rule },
});

const noRule = ({ experimentId, id }: MetricRuleRef) =>
  new Problem('missing', `Experiment ${experimentId} has no metric rule ${id}.`, { field: 'id' });

/** Tells which of the experiment's rules the run's latest values came to hold; asked twice, it tells once. */
export async function tellRules(
  store: RuleStore,
  call: Call,
  experimentId: ExperimentId,
  runId: RunId,
  latest: ReadonlyMap<string, Metric>,
): Promise<void> {
  for (const kept of await store.list(call, experimentId)) {
    const { rule, revision } = kept;
    const point = latest.get(rule.metric);
    if (!point || (rule.runId !== undefined && rule.runId !== runId)) continue;
    const holds = COMPARISONS[rule.comparison](point.value, rule.threshold);
    if (holds === (await store.isHeld(call, runId, rule.id, revision))) continue;
    const { id: ruleId, metric, comparison, threshold } = rule;
    const value = Number.isFinite(point.value) ? point.value : String(point.value);
    const at = { step: String(point.step), timestamp: String(point.timestamp) };
    await store.setHeld(
      call,
      runId,
      kept,
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
