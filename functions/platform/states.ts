import type { HistoryEvent } from './ports.ts';

/** A state of the machine as it is drawn: whether it ran, how it ended, and when. */
export interface StateSeen {
  readonly name: string;
  readonly status: 'running' | 'succeeded' | 'failed';
  readonly enteredAt: number;
  readonly exitedAt?: number;
}

/** What is new of a state: without `enteredAt` where that was told before. Laid over what was known, it is whole. */
export type StateChange = Omit<StateSeen, 'enteredAt'> & Partial<Pick<StateSeen, 'enteredAt'>>;

const HOLDS_OTHERS = /^(Parallel|Map)StateEntered$/;

/**
 * The states that these events, the ones after `after`, are about, and where to go on. That is before the first step
 * that was not left yet, since what tells of its failure names it only by the events before; a state that holds others
 * is not waited for. `full`: there are more events, so it moves on in any case.
 */
export function statesSince(
  events: readonly HistoryEvent[],
  after: number,
  full: boolean,
): { states: StateChange[]; next: number } {
  const seen = statesSeen(events);
  const names = new Set(seen.map(({ name }) => name));
  const late: StateChange[] = [];
  const open = new Set(names);
  for (const event of events) {
    const name = nameOf(event);
    if (name === undefined) continue;
    if (event.type.endsWith('StateEntered')) open.add(name);
    else open.delete(name);
    if (!names.has(name)) late.push({ name, status: 'succeeded', exitedAt: event.timestamp });
  }
  const first = events.find(
    (event) =>
      event.type.endsWith('StateEntered') &&
      !HOLDS_OTHERS.test(event.type) &&
      open.has(nameOf(event) ?? ''),
  );
  const last = events.at(-1)?.id ?? after;
  const next = first === undefined ? last : first.id - 1;
  return { states: [...late, ...seen], next: full && next <= after ? last : next };
}

/** Each state once, as it last was, in the order in which they were first entered. */
export function statesSeen(events: readonly HistoryEvent[]): StateSeen[] {
  const byId = new Map(events.map((event) => [event.id, event]));
  const seen = new Map<string, StateSeen>();
  for (const event of events) {
    if (event.type.endsWith('StateEntered')) {
      const name = nameOf(event);
      if (name) seen.set(name, { name, status: 'running', enteredAt: event.timestamp });
      continue;
    }
    const failed = /(Failed|TimedOut|Aborted)$/.test(event.type);
    if (!failed && !event.type.endsWith('StateExited')) continue;
    const name = nameOf(event) ?? enteredBy(event, byId);
    const state = name === undefined ? undefined : seen.get(name);
    if (!state) continue;
    const status = failed || state.status === 'failed' ? 'failed' : 'succeeded';
    seen.set(state.name, { ...state, status, exitedAt: event.timestamp });
  }
  return [...seen.values()];
}

const nameOf = (event: HistoryEvent): string | undefined =>
  /State(Entered|Exited)$/.test(event.type) && typeof event.details['name'] === 'string'
    ? event.details['name']
    : undefined;

/** The state in which something failed: the last one entered before it in its own branch. */
function enteredBy(
  event: HistoryEvent,
  byId: ReadonlyMap<number, HistoryEvent>,
): string | undefined {
  for (
    let before = byId.get(event.previousEventId);
    before;
    before = byId.get(before.previousEventId)
  ) {
    if (before.type.endsWith('StateExited')) return undefined;
    if (before.type.endsWith('StateEntered')) return nameOf(before);
  }
  return undefined;
}
