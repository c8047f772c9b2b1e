import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import { type Item, type Key, type Platform, queryAll, Refused } from '../platform/ports.ts';
import type { ExperimentId, MetricRule, RunId } from './model.ts';

const keys = {
  rule: (exp: ExperimentId, id: string): Key => ({ pk: `X#${exp}`, sk: `RULE#${id}` }),
  state: (run: RunId, id: string): Key => ({ pk: `R#${run}`, sk: `RULE#${id}` }),
};

export type RuleStore = ReturnType<typeof ruleStore>;

/** Metric rules stand with their experiment; whether one holds now stands with the run. */
export function ruleStore({ table }: Pick<Platform, 'table'>) {
  return {
    async put(call: Call, rule: MetricRule, event: Event): Promise<void> {
      const item: Item = { ...keys.rule(rule.experimentId, rule.id), rule: JSON.stringify(rule) };
      await table.commit(call, [{ put: item }], event);
    },

    /** False if there is none. */
    async remove(call: Call, exp: ExperimentId, id: string, event: Event): Promise<boolean> {
      try {
        await table.commit(call, [{ remove: keys.rule(exp, id), if: 'present' }], event);
        return true;
      } catch (error) {
        if (error instanceof Refused) return false;
        throw error;
      }
    },

    async list(call: Call, exp: ExperimentId): Promise<MetricRule[]> {
      const found: MetricRule[] = [];
      const query = { pk: `X#${exp}`, prefix: 'RULE#' };
      for await (const item of queryAll(table, call, query))
        found.push(JSON.parse(String(item['rule'])));
      return found;
    },

    async isHeld(call: Call, run: RunId, id: string): Promise<boolean> {
      return (await table.get(call, keys.state(run, id)))?.['held'] === true;
    },

    /** Moves the state, with its event if it has one. Who comes second changes and tells nothing. */
    async setHeld(
      call: Call,
      run: RunId,
      id: string,
      held: boolean,
      event: Event | undefined,
    ): Promise<void> {
      const before = await table.get(call, keys.state(run, id));
      const condition = before ? { equal: { held: !held } } : 'absent';
      try {
        await table.commit(call, [{ put: { ...keys.state(run, id), held }, if: condition }], event);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
      }
    },
  };
}
