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
import { historyRecords } from './journal.ts';

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
  /** The last commit: what is left in the queue if it fits, these writes, this event. False if it had ended before. */
  end(call: Call, writes: readonly Write[], event: Event): Promise<boolean>;
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

  async function drain(leave = 0) {
    while (queue.length > leave) {
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

    settle(staged, previousEventId, finish) {
      let previous = previousEventId;
      const events = staged.map(({ type, timestamp, details }) => {
        const event = { id: ++last, previousEventId: previous, type, timestamp, details };
        previous = event.id;
        return event;
      });
      queue.push({ events, ...finish(previous) });
    },

    flush: () => inTurn(() => drain()),

    end: (call, writes, event) =>
      inTurn(async () => {
        for (;;) {
          const { writes: rest, count, characters } = pack(queue);
          const whole = count === queue.length && characters < MAX_CHARACTERS / 3;
          if (whole && rest.length + writes.length < 95) {
            queue = [];
            try {
              const clean = rest.filter((write) => !('put' in write && isNow(write.put.sk)));
              await commit(() => call, [...withoutRemoved(clean, writes), ...writes], event);
            } catch (error) {
              if (error instanceof Refused) return false;
              throw error;
            }
            return true;
          }
          await drain(Math.max(0, queue.length - count));
        }
      }),
  };
}

const isNow = (sk: string) => sk.startsWith('N#');

/** The last writes may remove what the queue removes as well, and a commit names no key twice. */
function withoutRemoved(rest: readonly Write[], writes: readonly Write[]): Write[] {
  const removed = new Set(writes.flatMap((write) => ('remove' in write ? [write.remove.sk] : [])));
  return rest.filter((write) => !('remove' in write && removed.has(write.remove.sk)));
}

function sizeOf(block: Block): number {
  let size = 0;
  for (const { details } of block.events)
    for (const value of Object.values(details))
      size += typeof value === 'string' ? value.length + 60 : 100;
  for (const put of block.puts)
    for (const value of Object.values(put)) if (typeof value === 'string') size += value.length;
  return size;
}
