import type { Call } from '../../functions/kernel/call.ts';
import type { Event } from '../../functions/kernel/event.ts';
import type { Json } from '../../functions/kernel/json.ts';
import {
  type HistoryEvent,
  type Item,
  Refused,
  type Table,
  type Write,
} from '../../functions/platform/ports.ts';
import { charactersOf, historyRecords } from './journal.ts';

/** An event that has no number yet. */
export interface Staged {
  readonly type: string;
  readonly timestamp: number;
  readonly details: { readonly [name: string]: Json | undefined };
}

/** One transition of one strand: lands whole or not at all. */
interface Block {
  readonly events: readonly HistoryEvent[];
  readonly puts: readonly Item[];
  readonly removes: readonly string[];
}

const MAX_WRITES = 80;
/** Of the last commit's 97 writes, beside 60 that sweep and 5 that end. */
const MAX_ALONG = 30;
const MAX_CHARACTERS = 1_000_000; // at most 3 MB of UTF-8, and a commit takes 4

export interface Ledger {
  lastEventId(): number;
  /** Numbers the events and queues the transition; what it numbered last is the strand's latest event. */
  settle(
    staged: readonly Staged[],
    previousEventId: number,
    finish: (eventId: number) => { puts: Item[]; removes: string[] },
  ): void;
  /** Resolves once all that was settled before is durable. Several transitions share a commit. */
  flush(): Promise<void>;
  /**
   * The last commit: what is left in the queue if it fits, the writes made then, this event. What is settled from now
   * on is dropped. False if the execution had ended before.
   */
  end(call: Call, last: () => readonly Write[], event: Event): Promise<boolean>;
  /** True once `end` was called. */
  closed(): boolean;
  /** Keys of all position items that are in the table. */
  readonly present: Set<string>;
}

export interface LedgerOptions {
  readonly table: Table;
  readonly pk: string;
  readonly lastEventId: number;
  readonly present: Iterable<string>;
  call(): Call;
  /** Waits before a failed commit is tried again; throws when nobody should try any more. */
  again(error: unknown, failures: number): Promise<void>;
}

/** The queue of transitions of one execution, committed in their order. */
export function createLedger(options: LedgerOptions): Ledger {
  const { table, pk } = options;
  const present = new Set(options.present);
  let last = options.lastEventId;
  let queue: Block[] = [];
  let closed = false;
  let tail: Promise<void> = Promise.resolve();

  async function commit(call: () => Call, writes: readonly Write[], event?: Event) {
    for (let failures = 0; ; failures++) {
      try {
        return await table.commit(call(), writes, event);
      } catch (error) {
        if (error instanceof Refused) throw error;
        await options.again(error, failures);
      }
    }
  }

  /** As many transitions from the front as one commit takes; at least one. */
  function pack(blocks: readonly Block[]) {
    const writes = new Map<string, Write>();
    const events: HistoryEvent[] = [];
    let characters = 0;
    let count = 0;
    for (const block of blocks) {
      const size = sizeOf(block);
      const more = writes.size + block.puts.length + block.removes.length + events.length / 20;
      if (count > 0 && (characters + size > MAX_CHARACTERS || more > MAX_WRITES)) break;
      for (const put of block.puts) writes.set(put.sk, { put });
      for (const sk of block.removes) writes.set(sk, { remove: { pk, sk } });
      events.push(...block.events);
      characters += size;
      count += 1;
    }
    for (const put of historyRecords(pk, events)) writes.set(put.sk, { put });
    return { writes: [...writes.values()], count, characters };
  }

  function landed(writes: readonly Write[]) {
    for (const write of writes) {
      if ('put' in write && write.put.sk.startsWith('N#')) present.add(write.put.sk);
      if ('remove' in write) present.delete(write.remove.sk);
    }
  }

  async function drain() {
    while (queue.length) {
      const { writes, count } = pack(queue);
      await commit(options.call, writes);
      landed(writes);
      queue = queue.slice(count);
    }
  }

  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = tail.then(work);
    tail = turn.then(
      () => undefined,
      () => undefined,
    );
    return turn;
  }

  return {
    present,
    lastEventId: () => last,
    closed: () => closed,

    settle(staged, previousEventId, finish) {
      if (closed) return;
      let previous = previousEventId;
      const events = staged.map(({ type, timestamp, details }) => {
        const event = { id: ++last, previousEventId: previous, type, timestamp, details };
        previous = event.id;
        return event;
      });
      queue.push({ events, ...finish(previous) });
    },

    flush: () => inTurn(() => drain()),

    end(call, lastWrites, event) {
      closed = true;
      return inTurn(async () => {
        const whole = pack(queue);
        // What is left goes along if it is little; its positions are dropped, for nothing stands anywhere any more.
        const along = whole.count === queue.length && whole.characters < MAX_CHARACTERS / 3;
        if (!along) await drain();
        const rest = along ? whole.writes.filter((write) => !isPosition(write)) : [];
        if (rest.length > MAX_ALONG) await commit(options.call, rest);
        queue = [];
        const kept = rest.length > MAX_ALONG ? [] : rest;
        try {
          await commit(() => call, [...kept, ...lastWrites()], event);
        } catch (error) {
          if (error instanceof Refused) return false;
          throw error;
        }
        return true;
      });
    },
  };
}

const isPosition = (write: Write) =>
  'remove' in write || ('put' in write && write.put.sk.startsWith('N#'));

function sizeOf(block: Block): number {
  let size = 0;
  for (const { details } of block.events) size += charactersOf(details);
  for (const put of block.puts)
    for (const value of Object.values(put)) if (typeof value === 'string') size += value.length;
  return size;
}
