import * as z from 'zod';
import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import {
  countUpTo,
  type Item,
  type Key,
  queryAll,
  Refused,
  type Table,
  type Write,
} from '../platform/ports.ts';
import { Firing, LIMITS, Order, Rule } from './model.ts';

/** A rule's clock: when it strikes next. */
const Cursor = z.object({ kind: z.literal('cron'), rule: z.string(), dueAt: z.number() });
/** Which text of a rule: its generations begin anew when it is made again under its name. */
const RuleText = z.object({ createdAt: z.number(), generation: z.int() });
/** A burst of events that has not been quiet yet; `order` is what the newest of them starts. */
const Burst = z.object({
  kind: z.literal('burst'),
  rule: z.string(),
  dueAt: z.number(),
  firstAt: z.number(),
  count: z.int(),
  generation: z.int(),
  /** The text of the rule that it was heard under; absent in a burst of an earlier release. */
  text: RuleText.optional(),
  order: Order,
});
export type Burst = z.infer<typeof Burst>;
const Pending = z.object({ kind: z.literal('order'), dueAt: z.number(), order: Order });
const Due = z.discriminatedUnion('kind', [Cursor, Burst, Pending]);
export type Due = z.infer<typeof Due>;

/** A user event's id, with the digest of what was sent under it. */
const Sent = z.object({ digest: z.string() });
const Budget = z.object({ hour: z.number(), count: z.int() });

const keys = {
  rule: (name: string) => ({ pk: 'R#rules', sk: name }),
  cursor: (rule: string) => ({ pk: 'R#due', sk: `cron#${rule}` }),
  burst: (rule: string) => ({ pk: 'R#due', sk: `burst#${rule}` }),
  order: (rule: string, firing: string) => ({ pk: 'R#due', sk: `order#${rule}#${firing}` }),
  firing: (rule: string, id: string) => ({ pk: `R#firings#${rule}`, sk: `F#${id}` }),
  change: (rule: string, digest: string) => ({ pk: `R#changes#${rule}`, sk: `C#${digest}` }),
  budget: (rule: string) => ({ pk: `R#budget#${rule}`, sk: 'B' }),
  sent: (type: string, id: string) => ({ pk: `R#sent#${type}`, sk: id }),
};

const item = (key: Key, value: object): Item => ({ ...key, ...(value as Omit<Item, 'pk' | 'sk'>) });
const atGeneration = (generation: number | undefined) =>
  generation === undefined ? ('absent' as const) : { equal: { generation } };

/** Which write of `begin` was refused. */
export type Clash = 'firing' | 'change' | 'rule' | 'other';

export interface Beginning {
  readonly firing: Firing;
  /** Names of the logical change; refused if it has fired under one of them. */
  readonly changes?: readonly string[] | undefined;
  /** Started at once. */
  readonly order?: { readonly order: Order; readonly dueAt: number } | undefined;
  /** Replaces the burst it was read from, if the rule still has the text that the new one was heard under. */
  readonly burst?: { readonly before: Burst | undefined; readonly after: Burst } | undefined;
  /** What has become of the newest firing of the burst before. */
  readonly replaced?: Firing | undefined;
  /** The hour's count before this one. */
  readonly budget?: { readonly before: number; readonly hour: number } | undefined;
  /** Moves a clock from this strike to the next one. */
  readonly cursor?: { readonly from: number; readonly to: number | undefined } | undefined;
}

export function triggerStore(table: Table) {
  const kept = (firing: Firing): Item => ({
    ...item(keys.firing(firing.rule, firing.id), firing),
    expiresAt: firing.at + LIMITS.firingKeptMs,
  });

  return {
    async find(call: Call, name: string): Promise<Rule | undefined> {
      const found = await table.get(call, keys.rule(name));
      return found && Rule.parse(found);
    },
    async all(call: Call): Promise<Rule[]> {
      const rules: Rule[] = [];
      for await (const found of queryAll(table, call, { pk: 'R#rules' }))
        rules.push(Rule.parse(found));
      return rules;
    },
    countUpTo: (call: Call, limit: number): Promise<number> =>
      countUpTo(table, call, { pk: 'R#rules' }, limit),
    async page(
      call: Call,
      limit: number,
      after?: string,
    ): Promise<{ rules: Rule[]; next?: string }> {
      const found = await table.query(call, {
        pk: 'R#rules',
        limit,
        ...(after === undefined ? {} : { after }),
      });
      const rules = found.items.map((each) => Rule.parse(each));
      return found.next === undefined ? { rules } : { rules, next: found.next };
    },
    /**
     * The rule and its clock in one commit; `strikesAt` undefined: it has none. A burst stays till it is released, when
     * its firing says what became of it. Throws `Refused`.
     */
    async save(
      call: Call,
      before: Rule | undefined,
      after: Rule,
      strikesAt: number | undefined,
      event: Event,
    ): Promise<void> {
      const { name } = after;
      const cursor: Write =
        strikesAt === undefined
          ? { remove: keys.cursor(name) }
          : { put: item(keys.cursor(name), { kind: 'cron', rule: name, dueAt: strikesAt }) };
      const writes: Write[] = [
        { put: item(keys.rule(name), after), if: atGeneration(before?.generation) },
        cursor,
      ];
      await table.commit(call, writes, event);
    },
    /** Its firings stay listed until they expire. Throws `Refused`. */
    async remove(call: Call, before: Rule, event: Event): Promise<void> {
      const { name, generation } = before;
      await table.commit(
        call,
        [{ remove: keys.rule(name), if: { equal: { generation } } }, { remove: keys.cursor(name) }],
        event,
      );
    },

    async firing(call: Call, rule: string, id: string): Promise<Firing | undefined> {
      const found = await table.get(call, keys.firing(rule, id));
      return found && Firing.parse(found);
    },
    /** Newest first. */
    async firings(call: Call, rule: string, limit: number, after?: string) {
      const found = await table.query(call, {
        pk: `R#firings#${rule}`,
        prefix: 'F#',
        reverse: true,
        limit,
        ...(after === undefined ? {} : { after }),
      });
      const firings = found.items.map((each) => Firing.parse(each));
      return found.next === undefined ? { firings } : { firings, next: found.next };
    },

    /** A firing begins once: all of it lands, or the clash says what stood in the way. */
    async begin(call: Call, beginning: Beginning): Promise<Clash | undefined> {
      const { firing, changes = [], order, burst, replaced, budget, cursor } = beginning;
      const { rule } = firing;
      const writes: Write[] = [{ put: kept(firing), if: 'absent' }];
      const expiresAt = firing.at + LIMITS.firingKeptMs;
      for (const change of changes)
        writes.push({ put: { ...keys.change(rule, change), expiresAt }, if: 'absent' });
      const ruleAt = writes.length;
      if (burst?.after.text)
        writes.push({ check: keys.rule(rule), if: { equal: { ...burst.after.text } } });
      if (order)
        writes.push({
          put: item(keys.order(rule, firing.id), { kind: 'order', ...order }),
        });
      if (burst)
        writes.push({
          put: item(keys.burst(rule), burst.after),
          if: atGeneration(burst.before?.generation),
        });
      if (replaced) writes.push({ put: kept(replaced) });
      if (budget)
        writes.push({
          put: item(keys.budget(rule), { hour: budget.hour, count: budget.before + 1 }),
          if:
            budget.before === 0
              ? { newer: { hour: budget.hour } }
              : { equal: { hour: budget.hour, count: budget.before } },
        });
      if (cursor)
        writes.push(
          cursor.to === undefined
            ? { remove: keys.cursor(rule), if: { equal: { dueAt: cursor.from } } }
            : {
                put: item(keys.cursor(rule), { kind: 'cron', rule, dueAt: cursor.to }),
                if: { equal: { dueAt: cursor.from } },
              },
        );
      try {
        await table.commit(call, writes);
        return undefined;
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        if (error.index === 0) return 'firing';
        if (error.index < ruleAt) return 'change';
        return burst && error.index === ruleAt ? 'rule' : 'other';
      }
    },
    async burst(call: Call, rule: string): Promise<Burst | undefined> {
      const found = await table.get(call, keys.burst(rule));
      return found && Burst.parse(found);
    },
    /** Started in the hour so far. */
    async spent(call: Call, rule: string, hour: number): Promise<number> {
      const found = await table.get(call, keys.budget(rule));
      const budget = found && Budget.parse(found);
      return budget?.hour === hour ? budget.count : 0;
    },
    /** A burst that is quiet becomes an order, with its count against the hour; false when it moved meanwhile. */
    async release(
      call: Call,
      burst: Burst,
      firing: Firing,
      order: { order: Order; dueAt: number } | undefined,
      budget: { before: number; hour: number } | undefined,
    ): Promise<boolean> {
      const { rule, generation } = burst;
      const writes: Write[] = [
        { remove: keys.burst(rule), if: { equal: { generation } } },
        { put: kept(firing) },
      ];
      if (order)
        writes.push({ put: item(keys.order(rule, firing.id), { kind: 'order', ...order }) });
      if (budget)
        writes.push({
          put: item(keys.budget(rule), { hour: budget.hour, count: budget.before + 1 }),
          if:
            budget.before === 0
              ? { newer: { hour: budget.hour } }
              : { equal: { hour: budget.hour, count: budget.before } },
        });
      try {
        await table.commit(call, writes);
        return true;
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        return false;
      }
    },
    /** The order has been made, or given up: its firing says which. */
    async settle(call: Call, firing: Firing, event: Event): Promise<void> {
      const order = keys.order(firing.rule, firing.id);
      try {
        await table.commit(call, [{ remove: order, if: 'present' }, { put: kept(firing) }], event);
      } catch (error) {
        if (!(error instanceof Refused)) throw error; // settled by another process
      }
    },
    async postpone(call: Call, order: Order, dueAt: number): Promise<void> {
      const key = keys.order(order.rule, order.firing);
      try {
        await table.commit(call, [
          { put: item(key, { kind: 'order', dueAt, order }), if: 'present' },
        ]);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
      }
    },
    /** An order that no firing speaks of any more. */
    async drop(call: Call, order: Order): Promise<void> {
      await table.commit(call, [{ remove: keys.order(order.rule, order.firing) }]);
    },
    async moveCursor(
      call: Call,
      rule: string,
      from: number,
      to: number | undefined,
    ): Promise<void> {
      const key = keys.cursor(rule);
      const condition = { equal: { dueAt: from } };
      const write: Write =
        to === undefined
          ? { remove: key, if: condition }
          : { put: item(key, { kind: 'cron', rule, dueAt: to }), if: condition };
      try {
        await table.commit(call, [write]);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
      }
    },
    /** All that waits for a time: at most a clock, a burst and a few orders a rule. */
    async due(call: Call): Promise<Due[]> {
      const due: Due[] = [];
      for await (const found of queryAll(table, call, { pk: 'R#due' })) due.push(Due.parse(found));
      return due;
    },

    /** False when the id has been sent before; throws nothing of its own. */
    async send(
      call: Call,
      type: string,
      id: string,
      sent: z.infer<typeof Sent>,
      at: number,
      event: Event,
    ) {
      const put = { ...keys.sent(type, id), ...sent, expiresAt: at + LIMITS.firingKeptMs };
      try {
        await table.commit(call, [{ put, if: 'absent' }], event);
        return true;
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        return false;
      }
    },
    async sent(call: Call, type: string, id: string): Promise<string | undefined> {
      const found = await table.get(call, keys.sent(type, id));
      return found && Sent.parse(found).digest;
    },
  };
}
export type TriggerStore = ReturnType<typeof triggerStore>;
