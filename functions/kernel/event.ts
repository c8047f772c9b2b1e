import { hash } from 'node:crypto';
import type { Call } from './call.ts';
import { newUlid, type World } from './world.ts';

/** What a service hands to the commit of its change. */
export interface Event {
  /** `room.noun.verb-in-the-past`. */
  readonly type: `${string}.${string}.${string}`;
  /** `models/churn`, `runs/4f..`: what the change was about, and whose chain it joins. */
  readonly subject: string;
  /** Plain JSON, without secrets. */
  readonly data: unknown;
  /** With a route whose retry key is `header`: what `run` returns, kept 48 hours for a repeat. Plain JSON. */
  readonly answer?: unknown;
}

/** The event as it stands in the table, and as followers hear it: the audit entry. */
export interface Told {
  /** A ULID; followers are idempotent by it. */
  readonly id: string;
  readonly type: string;
  readonly subject: string;
  readonly data: unknown;
  readonly workspace: string;
  readonly caller: string;
  readonly action: string;
  readonly requestId: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** Place in the subject's chain, from 1. */
  readonly sequence: number;
  /** Hash of the subject's entry before this one; empty for the first. */
  readonly previous: string;
  /** SHA-256 over all fields above, in this order. */
  readonly hash: string;
}

/** The subject's newest entry, kept in the subject's own item. */
export interface ChainHead {
  readonly sequence: number;
  readonly hash: string;
}

export function hashOf(entry: Omit<Told, 'hash'>): string {
  const { id, type, subject, data, workspace, caller, action, requestId, at, sequence, previous } =
    entry;
  const parts = [
    id,
    type,
    subject,
    data,
    workspace,
    caller,
    action,
    requestId,
    at,
    sequence,
    previous,
  ];
  return hash('sha256', JSON.stringify(parts), 'hex');
}

/** The entry that follows `head` in its subject's chain. Both Table adapters make it here. */
export function tell(call: Call, event: Event, head: ChainHead | undefined, world: World): Told {
  const entry = {
    id: newUlid(world),
    type: event.type,
    subject: event.subject,
    data: event.data ?? null,
    workspace: call.workspace,
    caller: call.caller.name,
    action: call.action,
    requestId: call.requestId,
    at: world.now(),
    sequence: (head?.sequence ?? 0) + 1,
    previous: head?.hash ?? '',
  };
  return { ...entry, hash: hashOf(entry) };
}

/**
 * The first entry of a piece of a chain that does not follow from the one before it, or undefined. `after` is where the
 * piece before it ended; `head`, given with the last piece, is what the subject's own item says the newest entry is.
 */
export function firstBroken(
  chain: readonly Told[],
  { after, head }: { after?: ChainHead | undefined; head?: ChainHead | undefined },
): string | undefined {
  let previous = after?.hash ?? '';
  let sequence = after?.sequence ?? 0;
  for (const entry of chain) {
    sequence += 1;
    if (entry.sequence !== sequence || entry.previous !== previous || hashOf(entry) !== entry.hash)
      return entry.id;
    previous = entry.hash;
  }
  if (head && (head.sequence !== sequence || head.hash !== previous))
    return chain.at(-1)?.id ?? 'the newest entry';
  return undefined;
}

/** Whether a follower that hears `patterns` hears this type: `registry.alias.set`, `pipelines.run.*`, `*`. */
export function hears(patterns: readonly string[], type: string): boolean {
  return patterns.some((pattern) =>
    pattern.endsWith('*') ? type.startsWith(pattern.slice(0, -1)) : pattern === type,
  );
}
