import { createHash } from 'node:crypto';
import type { Call } from '../kernel/call.ts';
import type { Told } from '../kernel/event.ts';
import { ulid } from '../kernel/ids.ts';
import type { Json } from '../kernel/json.ts';
import { asProblem, Problem, type ProblemCode } from '../kernel/problem.ts';
import type { World } from '../kernel/world.ts';
import type { Machines } from '../platform/ports.ts';
import { nextStrike } from './cron.ts';
import {
  changesOf,
  filled,
  isFor,
  runOf,
  type Seen,
  startedName,
  startNamed,
  toldOfStart,
} from './match.ts';
import { type Firing, LIMITS, type Order, type Outcome, type Rule } from './model.ts';
import type { Runs } from './runs.ts';
import type { Beginning, Burst, Due, TriggerStore } from './store.ts';

export interface FiringParts {
  readonly store: TriggerStore;
  readonly machines: Machines;
  readonly runs: Pick<Runs, 'createRun' | 'nameBehind'>;
  readonly world: World;
  /** Told when something will be due, so that a clock in this process wakes in time. */
  readonly wake: (dueAt: number) => void;
}

const digestOf = (text: string) => createHash('sha256').update(text).digest();
const HOUR = 3_600_000;

/**
 * From an event, or a strike of the clock, to a start. A firing begins in one commit with the order to start; the
 * start is made by name, so it may be made twice; then the firing says what became of it. What a crash leaves in
 * between lies among the due and is made by the next tick.
 */
export function firings({ store, machines, runs, world, wake }: FiringParts) {
  const firingOf = (
    rule: string,
    cause: Firing['cause'],
    outcome: Outcome,
    why: string,
    id = cause.id,
  ): Firing => ({ rule, id, cause, outcome, why, at: world.now(), updatedAt: world.now() });

  /** The rules that led to an event, by the firings behind the run it tells of. */
  async function ledTo(call: Call, seen: Seen): Promise<string[]> {
    const start = toldOfStart(seen) ?? (await behind(call, seen));
    const before = start && (await store.firing(call, start.rule, start.firing));
    return before ? [...(before.after ?? []), before.rule] : [];
  }

  /** Of an event that names a run, of a pipeline or of MLflow: the firing that the run goes back to. */
  async function behind(call: Call, seen: Seen) {
    const runId = runOf(seen);
    const name = runId === undefined ? undefined : await runs.nameBehind(call, runId);
    return name === undefined ? undefined : startNamed(name);
  }

  async function consider(call: Call, rule: Rule, seen: Seen): Promise<void> {
    const cause = { id: seen.id, type: seen.type, subject: seen.subject };
    const after = await ledTo(call, seen);
    if (after.includes(rule.name)) {
      const why = 'the event is of a run that this rule led to';
      await store.begin(call, { firing: { ...firingOf(rule.name, cause, 'own-run', why), after } });
      return;
    }
    const changes = changesOf(rule.on, seen).map((text) =>
      digestOf(text).toString('hex').slice(0, 40),
    );
    let start: Rule['start'];
    try {
      start = filled(rule.start, seen);
    } catch (error) {
      const firing = firingOf(rule.name, cause, 'failed', asProblem(error).message);
      await store.begin(call, { firing });
      return;
    }
    const order = { rule: rule.name, firing: seen.id, cause, start, attempts: 0, after };
    for (let tries = 0; tries < 20; tries += 1) {
      const clash = rule.debounceSeconds
        ? await hold(call, rule, order, changes)
        : await go(call, rule, order, `heard ${seen.type}`, { changes });
      if (clash === undefined || clash === 'firing') return;
      if (clash === 'rule') break;
      if (clash === 'change') {
        const why = 'the same bytes have arrived at this path before';
        await store.begin(call, { firing: firingOf(rule.name, cause, 'duplicate', why) });
        return;
      }
    }
    throw new Problem('conflict', `Rule ${rule.name} is too busy; the event is heard again later.`);
  }

  /** Begins a firing that starts at once, if the hour's budget has room. */
  async function go(
    call: Call,
    rule: Rule,
    order: Order,
    why: string,
    { changes, cursor }: Pick<Beginning, 'changes' | 'cursor'>,
  ) {
    const hour = Math.floor(world.now() / HOUR);
    const before = await store.spent(call, rule.name, hour);
    const { cause, firing: id } = order;
    if (before >= rule.maximumPerHour) {
      const firing = firingOf(rule.name, cause, 'over-budget', overBudget(rule), id);
      return store.begin(call, { firing, cursor });
    }
    const dueAt = world.now() + LIMITS.confirmMs;
    const firing = { ...firingOf(rule.name, cause, 'starting', why, id), after: order.after };
    const clash = await store.begin(call, {
      firing,
      changes,
      cursor,
      order: { order, dueAt },
      budget: { before, hour },
    });
    if (clash !== undefined) return clash;
    wake(dueAt);
    await make(call, order);
    return undefined;
  }

  /**
   * Begins a firing that waits until its burst is quiet; the burst's newest one so far is folded into it. What was heard
   * under another text of the rule is no part of the burst: it starts nothing any more.
   */
  async function hold(call: Call, rule: Rule, order: Order, changes: readonly string[]) {
    const now = world.now();
    const held = await store.burst(call, rule.name);
    const before = held && isOf(held, rule) ? held : undefined;
    const firstAt = before?.firstAt ?? now;
    const quietMs = rule.debounceSeconds * 1000;
    const newest = !before || before.order.firing < order.firing;
    const after: Burst = {
      kind: 'burst',
      rule: rule.name,
      firstAt,
      dueAt: Math.min(now + quietMs, firstAt + quietMs * LIMITS.debounceFactor),
      count: (before?.count ?? 0) + 1,
      generation: (held?.generation ?? 0) + 1,
      text: { createdAt: rule.createdAt, generation: rule.generation },
      order: newest ? order : before.order,
    };
    const waiting = `waits for ${rule.debounceSeconds} s of quiet`;
    const intoLater = 'folded into a later event of its burst';
    const firing = newest
      ? { ...firingOf(rule.name, order.cause, 'waiting', waiting), after: order.after }
      : firingOf(rule.name, order.cause, 'folded', intoLater);
    const old = newest && held && (await store.firing(call, rule.name, held.order.firing));
    const became = before
      ? ({ outcome: 'folded', why: intoLater } as const)
      : ({ outcome: 'failed', why: REPLACED } as const);
    const replaced = old ? { ...old, ...became, updatedAt: now } : undefined;
    const burst = { before: held, after };
    const clash = await store.begin(call, { firing, changes, burst, replaced });
    if (clash === undefined) wake(after.dueAt);
    return clash;
  }

  /** Makes the start, by name, and says in the firing what became of it. */
  async function make(call: Call, order: Order): Promise<void> {
    const firing = await store.firing(call, order.rule, order.firing);
    if (!firing) return store.drop(call, order); // expired while nothing ran: nobody would hear of the start
    const updatedAt = world.now();
    try {
      const started = await startOf(call, order);
      await store.settle(
        call,
        { ...firing, outcome: 'started', started, updatedAt },
        {
          type: 'triggers.rule.fired',
          subject: `rules/${order.rule}`,
          data: { rule: order.rule, firing: order.firing, cause: order.cause, started },
        },
      );
    } catch (error) {
      const problem = asProblem(error);
      const attempts = order.attempts + 1;
      if (PASSING.has(problem.code) && attempts < LIMITS.attempts) {
        const dueAt = updatedAt + Math.min(5000 * 2 ** attempts, 600_000);
        await store.postpone(call, { ...order, attempts }, dueAt);
        wake(dueAt);
        return;
      }
      await store.settle(
        call,
        { ...firing, outcome: 'failed', why: problem.message, updatedAt },
        {
          type: 'triggers.rule.failed',
          subject: `rules/${order.rule}`,
          data: { rule: order.rule, firing: order.firing, why: problem.message },
        },
      );
    }
  }

  async function startOf(call: Call, order: Order): Promise<NonNullable<Firing['started']>> {
    const { pipeline, version, experiment, parameters, gate } = order.start;
    const name = startedName(order.rule, order.firing);
    if (gate === undefined) {
      const asked = { pipeline, version, experiment, parameters, name, idempotency: name };
      const { runId } = await runs.createRun(call, asked);
      return { kind: 'run', id: runId };
    }
    const input = { retraining: name, rule: order.rule, cause: order.cause, ...order.start };
    await machines.start(call, 'retraining', name, JSON.parse(JSON.stringify(input)) as Json);
    return { kind: 'retraining', id: name };
  }

  async function strike(call: Call, rule: Rule | undefined, due: Extract<Due, { kind: 'cron' }>) {
    const clockwork = rule?.enabled ? rule.on.cron : undefined;
    if (!rule || !clockwork) return store.moveCursor(call, due.rule, due.dueAt, undefined);
    const now = world.now();
    const to = nextStrike(clockwork, now);
    const missed = countStrikes(clockwork, due.dueAt, now);
    // The last strike that has passed is the one made; those before it are only counted.
    const plannedAt = missed.last;
    const id = ulid(plannedAt, digestOf(`${rule.name} ${plannedAt}`));
    const seen: Seen = {
      id,
      type: 'triggers.clock.struck',
      subject: `rules/${rule.name}`,
      at: now,
      data: { scheduledAt: plannedAt, scheduled: new Date(plannedAt).toISOString() },
    };
    const cause = { id, type: seen.type, subject: seen.subject };
    const cursor = { from: due.dueAt, to };
    const skipped = missed.count ? `, after ${missed.text} missed while nothing ran` : '';
    const why = `the clock struck ${new Date(plannedAt).toISOString()}${skipped}`;
    try {
      const start = filled(rule.start, seen);
      const order = { rule: rule.name, firing: id, cause, start, attempts: 0 };
      const clash = await go(call, rule, order, why, { cursor });
      // It has fired in another process that then lost its cursor's move: only the clock goes on.
      if (clash === 'firing') await store.moveCursor(call, rule.name, due.dueAt, to);
    } catch (error) {
      const problem = asProblem(error);
      if (problem.code !== 'invalid') throw error;
      const firing = firingOf(rule.name, cause, 'failed', problem.message);
      await store.begin(call, { firing, cursor });
    }
  }

  async function release(call: Call, rule: Rule | undefined, burst: Burst): Promise<void> {
    const { order, count } = burst;
    const hour = Math.floor(world.now() / HOUR);
    const before = await store.spent(call, burst.rule, hour);
    const events = count === 1 ? 'one event' : `${count} events`;
    if (!rule?.enabled || !isOf(burst, rule)) {
      const why = rule?.enabled ? REPLACED : 'the rule is gone or disabled';
      const firing = firingOf(burst.rule, order.cause, 'failed', why);
      await store.release(call, burst, firing, undefined, undefined);
      return;
    }
    if (before >= rule.maximumPerHour) {
      const firing = firingOf(burst.rule, order.cause, 'over-budget', overBudget(rule));
      await store.release(call, burst, firing, undefined, undefined);
      return;
    }
    const dueAt = world.now() + LIMITS.confirmMs;
    const why = `quiet after ${events}`;
    const firing = { ...firingOf(burst.rule, order.cause, 'starting', why), after: order.after };
    const budget = { before, hour };
    if (await store.release(call, burst, firing, { order, dueAt }, budget)) await make(call, order);
  }

  async function perform(call: Call, due: Due): Promise<void> {
    if (due.kind === 'order') return make(call, due.order);
    const rule = await store.find(call, due.rule);
    return due.kind === 'burst' ? release(call, rule, due) : strike(call, rule, due);
  }

  return {
    /** Hears everything. Each event fires each rule that is for it once; one rule's trouble is not another's. */
    async hear(call: Call, told: Told): Promise<void> {
      if (told.type.startsWith('triggers.')) return;
      const rules = await store.all(call);
      let trouble: unknown;
      for (const rule of rules) {
        if (!rule.enabled || told.at < rule.createdAt || !isFor(rule.on, told)) continue;
        try {
          await consider(call, rule, told);
        } catch (error) {
          trouble = error;
        }
      }
      if (trouble) throw trouble;
    },

    /**
     * Does what is due: clocks, bursts that are quiet, orders that a crash left. Safe to call at any time, from many
     * processes. Returns when to call next, or undefined when nothing waits. Throws what one of them threw once all the
     * others are done.
     */
    async tick(call: Call): Promise<number | undefined> {
      const now = world.now();
      const all = await store.due(call);
      const ripe = all.filter(({ dueAt }) => dueAt <= now);
      let trouble: unknown;
      for (const due of ripe) {
        try {
          await perform(call, due);
        } catch (error) {
          trouble = error;
        }
      }
      if (trouble) throw trouble;
      const left = ripe.length ? await store.due(call) : all;
      return left.length ? Math.min(...left.map(({ dueAt }) => dueAt)) : undefined;
    },
  };
}
export type Firings = ReturnType<typeof firings>;

const REPLACED = 'the rule was replaced, or disabled for a while, before it was quiet';

/** Whether a burst was heard under the text that the rule has now. */
const isOf = ({ text }: Burst, { createdAt, generation }: Rule): boolean =>
  text === undefined || (text.createdAt === createdAt && text.generation === generation);

const overBudget = ({ maximumPerHour }: Rule) =>
  `more than ${maximumPerHour} starts in this hour (maximumPerHour)`;

/** Might go well later; anything else will not. */
const PASSING: ReadonlySet<ProblemCode> = new Set([
  'unavailable',
  'conflict',
  'exhausted',
  'internal',
]);

const MAX_COUNTED = 100;

/** The last strike from `first` (itself one) up to `now`, and how many came before it. */
function countStrikes(clockwork: NonNullable<Rule['on']['cron']>, first: number, now: number) {
  let last = first;
  let count = 0;
  for (;;) {
    const next = nextStrike(clockwork, last);
    if (next === undefined || next > now) return { last, count, text: String(count) };
    if (count >= MAX_COUNTED) break;
    last = next;
    count += 1;
  }
  // Too many to count: go to the newest by halving the time.
  let low = last;
  let high = now;
  while (high - low > 60_000) {
    const middle = Math.floor((low + high) / 2);
    const next = nextStrike(clockwork, middle);
    if (next !== undefined && next <= now) {
      low = next;
      last = next;
    } else high = middle;
  }
  return { last, count, text: `${count} or more` };
}
