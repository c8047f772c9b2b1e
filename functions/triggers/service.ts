import { createHash } from 'node:crypto';
import type { Call } from '../kernel/call.ts';
import type { Page, Pages } from '../kernel/page.ts';
import { Problem } from '../kernel/problem.ts';
import { newUlid, type World } from '../kernel/world.ts';
import { settler } from '../platform/settle.ts';
import { checkClockwork, nextStrike, preview } from './cron.ts';
import { type Firing, LIMITS, type Rule, type RuleAsked, type UserEvent } from './model.ts';
import type { Runs } from './runs.ts';
import type { TriggerStore } from './store.ts';

export interface TriggerParts {
  readonly store: TriggerStore;
  readonly runs: Pick<Runs, 'check' | 'checkExperiment'>;
  readonly world: World;
  readonly pages: Pages;
  readonly wake: (dueAt: number) => void;
}

const subject = (name: string) => `rules/${name}`;
const missing = (name: string) => new Problem('missing', `Rule ${name} not found.`);
const PREVIEWED = 3;

/**
 * A rule says what starts a run: an event, new data under a prefix, or a clock. Here rules are kept and listed, and
 * users' own events are told; what a rule starts, and when, is decided in firing.ts. A clock's next strike lies
 * beside its rule, moved in the commit of the firing, so a strike is never made twice and none is lost by a restart.
 */
export function triggerService({ store, runs, world, pages, wake }: TriggerParts) {
  const settle = settler(world);

  async function found(call: Call, name: string): Promise<Rule> {
    const rule = await store.find(call, name);
    if (!rule) throw missing(name);
    return rule;
  }

  async function save(
    call: Call,
    before: Rule | undefined,
    after: Rule,
    verb: 'set' | 'enabled' | 'disabled',
  ): Promise<void> {
    const { cron } = after.on;
    const strikesAt = cron && after.enabled ? nextStrike(cron, world.now()) : undefined;
    const { name, on, start } = after;
    await store.save(call, before, after, strikesAt, {
      type: `triggers.rule.${verb}`,
      subject: subject(name),
      data: { name, on, start: { pipeline: start.pipeline, machine: start.machine ?? null } },
    });
    if (strikesAt !== undefined) wake(strikesAt);
  }

  async function put(call: Call, name: string, asked: RuleAsked): Promise<Rule> {
    const before = await store.find(call, name);
    if (!before) await roomForOneMore(call);
    const now = world.now();
    const after: Rule = {
      ...asked,
      name,
      generation: (before?.generation ?? 0) + 1,
      createdAt: before?.createdAt ?? now,
      updatedAt: now,
    };
    if (before && sameRule(before, after)) return before;
    await save(call, before, after, 'set');
    return after;
  }

  return {
    /**
     * Makes or replaces a rule. Putting what stands already changes nothing, so a clock keeps its next strike.
     * Throws `invalid` for a schedule that is none or never fires and for a pipeline or experiment that is not there, `exhausted`
     * beyond the limit.
     */
    async put(call: Call, name: string, asked: RuleAsked): Promise<Rule> {
      if (asked.on.cron) checkClockwork(asked.on.cron, world.now());
      await startsSomething(call, asked.start);
      return settle(call, subject(name), () => put(call, name, asked));
    },

    /** Throws `missing`. Disabling drops what waits for quiet; what has started goes on. */
    enable: (call: Call, name: string, enabled: boolean): Promise<Rule> =>
      settle(call, subject(name), async () => {
        const before = await found(call, name);
        if (before.enabled === enabled) return before;
        const generation = before.generation + 1;
        const after = { ...before, enabled, generation, updatedAt: world.now() };
        await save(call, before, after, enabled ? 'enabled' : 'disabled');
        return after;
      }),

    /** Throws `missing`. */
    remove: (call: Call, name: string): Promise<void> =>
      settle(call, subject(name), async () => {
        const before = await found(call, name);
        await store.remove(call, before, {
          type: 'triggers.rule.removed',
          subject: subject(name),
          data: { name },
        });
      }),

    /** With the next strikes of its clock. Throws `missing`. */
    async get(call: Call, name: string): Promise<{ rule: Rule; next: number[] }> {
      const rule = await found(call, name);
      const { cron } = rule.on;
      return { rule, next: cron && rule.enabled ? preview(cron, world.now(), PREVIEWED) : [] };
    },

    async list(call: Call, limit: number, token?: string): Promise<Page<Rule>> {
      const after = token && pages.open<string>(call, 'rules', token);
      const { rules: items, next } = await store.page(call, limit, after);
      return next === undefined ? { items } : { items, next: pages.seal(call, 'rules', next) };
    },

    /** Newest first, also of a rule that is gone. */
    async firings(call: Call, name: string, limit: number, token?: string): Promise<Page<Firing>> {
      const query = ['firings', name];
      const after = token && pages.open<string>(call, query, token);
      const { firings: items, next } = await store.firings(call, name, limit, after);
      if (!items.length && after === undefined) await found(call, name);
      return next === undefined ? { items } : { items, next: pages.seal(call, query, next) };
    },

    /**
     * Tells a user's own event. The same id again is the same event: nothing is told twice.
     * Throws `exists` for an id that was sent with other content.
     */
    async tell(call: Call, sent: UserEvent): Promise<{ id: string; repeated: boolean }> {
      const id = sent.id ?? newUlid(world);
      const told = {
        type: sent.type as `${string}.${string}.${string}`,
        subject: `custom/${sent.subject ?? id}`,
        data: sent.data,
      };
      const digest = createHash('sha256').update(JSON.stringify(told)).digest('hex');
      const answer = { id, repeated: false };
      const event = { ...told, answer };
      if (await store.send(call, sent.type, id, { digest }, world.now(), event)) return answer;
      if ((await store.sent(call, sent.type, id)) !== digest)
        throw new Problem('exists', `Event ${id} of ${sent.type} was sent with other content.`, {
          field: 'id',
        });
      return { id, repeated: true };
    },
  };

  /** An experiment that comes with the event is looked for then. */
  async function startsSomething(call: Call, start: RuleAsked['start']): Promise<void> {
    await blame('start.pipeline', runs.check(call, start));
    const { experiment } = start;
    if (experiment !== undefined && !experiment.startsWith('$'))
      await blame('start.experiment', runs.checkExperiment(call, experiment));
  }

  async function roomForOneMore(call: Call): Promise<void> {
    if ((await store.countUpTo(call, LIMITS.rules)) >= LIMITS.rules)
      throw new Problem(
        'exhausted',
        `A workspace holds at most ${LIMITS.rules} rules; delete one first.`,
      );
  }
}
export type TriggerService = ReturnType<typeof triggerService>;

/** What is not there as `invalid`, said of the field that names it. */
async function blame(field: string, check: Promise<void>): Promise<void> {
  try {
    await check;
  } catch (error) {
    if (!(error instanceof Problem) || !['missing', 'precondition'].includes(error.code))
      throw error;
    throw new Problem('invalid', `${field}: ${error.message}`, { field });
  }
}

/** Whether both say the same, whatever their names and times. */
export function sameRule(a: RuleAsked, b: RuleAsked): boolean {
  const told = ({ on, start, debounceSeconds, maximumPerHour, enabled }: RuleAsked) =>
    canonical({ on, start, debounceSeconds, maximumPerHour, enabled });
  return told(a) === told(b);
}

/** JSON with the members of each object in order: a store need not keep theirs. */
const canonical = (value: unknown): string =>
  JSON.stringify(value, (_key, item) =>
    typeof item === 'object' && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );
