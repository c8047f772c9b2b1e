import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import { type Item, type Key, type Platform, queryAll, Refused } from '../platform/ports.ts';
import type { ExperimentId, MetricRule, MetricRuleRef, RunId } from './model.ts';

const PREFIX = 'RULE#';
const keys = {
  rule: ({ experimentId, id }: MetricRuleRef): Key => ({
    pk: `X#${experimentId}`,
    sk: `${PREFIX}${id}`,
  }),
  state: (run: RunId, id: string): Key => ({ pk: `R#${run}`, sk: `${PREFIX}${id}` }),
};

/** A rule as it was last set. What a run has come to hold is held for one revision: another is another rule. */
export interface KeptRule {
  readonly rule: MetricRule;
  /** Absent of a rule that was set before there were any. */
  readonly revision?: string;
}

const keptRule = (item: Item): KeptRule => ({
  rule: JSON.parse(String(item['rule'])),
  ...(typeof item['revision'] === 'string' ? { revision: item['revision'] } : {}),
});

export type RuleStore = ReturnType<typeof ruleStore>;

/** Metric rules stand with their experiment; whether one holds now stands with the run. */
export function ruleStore({ table }: Pick<Platform, 'table'>) {
  return {
    /** Throws `Refused` if `before` is not what stands there. */
    put(
      call: Call,
      rule: MetricRule,
      revision: string,
      before: KeptRule | undefined,
      event: Event,
    ): Promise<void> {
      const item: Item = { ...keys.rule(rule), rule: JSON.stringify(rule), revision };
      const condition = before ? { equal: { rule: JSON.stringify(before.rule) } } : 'absent';
      return table.commit(call, [{ put: item, if: condition }], event);
    },

    async find(call: Call, ref: MetricRuleRef): Promise<KeptRule | undefined> {
      const item = await table.get(call, keys.rule(ref));
      return item && keptRule(item);
    },

    /** False if there is none. */
    async remove(call: Call, ref: MetricRuleRef, event: Event): Promise<boolean> {
      try {
        await table.commit(call, [{ remove: keys.rule(ref), if: 'present' }], event);
        return true;
      } catch (error) {
        if (error instanceof Refused) return false;
        throw error;
      }
    },

    async list(call: Call, experimentId: ExperimentId): Promise<KeptRule[]> {
      const found: KeptRule[] = [];
      const query = { pk: `X#${experimentId}`, prefix: PREFIX };
      for await (const item of queryAll(table, call, query)) found.push(keptRule(item));
      return found;
    },

    /** By id, from after this one. */
    async page(call: Call, experimentId: ExperimentId, limit: number, after?: string) {
      const { items, next } = await table.query(call, {
        pk: `X#${experimentId}`,
        prefix: PREFIX,
        limit,
        ...(after === undefined ? {} : { after: `${PREFIX}${after}` }),
      });
      const rules = items.map((item) => keptRule(item).rule);
      return next === undefined ? { rules } : { rules, next: next.slice(PREFIX.length) };
    },

    async isHeld(call: Call, run: RunId, id: string, revision: string | undefined) {
      const state = await table.get(call, keys.state(run, id));
      return state?.['held'] === true && state['revision'] === revision;
    },

    /** Moves the state, with its event if it has one. Who comes second changes and tells nothing. */
    async setHeld(
      call: Call,
      run: RunId,
      { rule: { id }, revision }: KeptRule,
      held: boolean,
      event: Event | undefined,
    ): Promise<void> {
      const before = await table.get(call, keys.state(run, id));
      if (before?.['revision'] === revision && before?.['held'] === held) return;
      const moves = Number(before?.['moves'] ?? 0) + 1;
      const put = { ...keys.state(run, id), held, revision, moves };
      try {
        await table.commit(call, [{ put, if: { newer: { moves } } }], event);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
      }
    },
  };
}
