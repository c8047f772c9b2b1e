import { type Database, open, type RootDatabase } from 'lmdb';
import type { Call } from '../functions/kernel/call.ts';
import { type ChainHead, type Event, type Told, tell } from '../functions/kernel/event.ts';
import { Problem } from '../functions/kernel/problem.ts';
import type { World } from '../functions/kernel/world.ts';
import {
  type CommitOptions,
  type Condition,
  type Item,
  type Key,
  type Query,
  Refused,
  Repeated,
  type Table,
  type Write,
} from '../functions/platform/ports.ts';
import {
  answerOf,
  COUNTER_KEY,
  checkedWrites,
  ENTRY_PREFIX,
  entryItem,
  headKey,
  isKey,
  keyOf,
  MAX_GET_KEYS,
  MAX_PAGE_BYTES,
  retryItem,
  retryKey,
  sizeOf,
  toldOf,
} from '../functions/platform/records.ts';
import { frozen, itemMemory, type MemoryCaps, type Scan } from './item_memory.ts';
import { checkTableFile } from './table_file.ts';

export interface LocalTableOptions {
  /** Made if absent. Several processes may open it; only one of them should run followers. */
  readonly folder: string;
  readonly world: World;
  /** Puts whose sort key begins with one of these go to the outbox, for `Folder`s. */
  readonly feeds?: readonly string[];
  /** Tests only: acknowledge before the disk has it. */
  readonly noSync?: boolean;
  /** How much of what was decoded is remembered. */
  readonly memory?: MemoryCaps;
  /** Tests only: told of each item that is decoded. */
  readonly onDecode?: (item: Item) => void;
}

/** What waits for delivery: an event, or an item that a folder wants. Keys are sequence numbers. */
export type Outgoing =
  | { readonly told: Told }
  | { readonly workspace: string; readonly prefix: string; readonly item: Item };

export interface LocalTable extends Table {
  /** For `openBus`: what waits, how far each follower is, and what was set aside. */
  readonly outbox: Database<Outgoing, number>;
  readonly cursors: Database<number, string>;
  readonly letters: Database<unknown, string>;
  readonly root: RootDatabase;
  /** One transaction, durable when it resolves. Throws `unavailable`, having changed nothing, when the disk takes no more. */
  write<T>(work: () => T): Promise<T>;
  /** Puts events that no commit of ours carries (a machine ended) into the outbox; durable when it resolves. */
  append(entries: readonly Told[]): Promise<void>;
  /** Called after each commit that put something into the outbox. */
  onOutgoing(listener: () => void): void;
  /** Bytes of items remembered as decoded. */
  remembered(): { readonly items: number; readonly ranges: number };
  /** Removes up to `limit` expired items, going on where the last call stopped; says how many. */
  sweep(limit?: number): Promise<number>;
  close(): Promise<void>;
}

const SWEEP_EVERY_COMMITS = 1000;
const SEQUENCE = 'sequence';
/**
 * lmdb groups what one turn asks for either way; with `eventTurnBatching` it makes a promise of its own for each turn,
 * which nobody can handle and a full disk rejects. The threshold is how many writes start a commit before the turn ends.
 */
const BATCHING = { eventTurnBatching: false, txnStartThreshold: 1000 };

/**
 * The embedded Table: one lmdb file, group commit off the main thread, DynamoDB's limits.
 * lmdb's overlappingSync is off: a commit then becomes visible only once its pages and its root are on the disk, and
 * `transaction` resolves after that. It measured no slower than with `db.flushed` (test/kill/ checks the order of syncs).
 */
export function openTable(options: LocalTableOptions): LocalTable {
  const { world } = options;
  const feeds = options.feeds ?? [];
  checkTableFile(options.folder);
  const root = open({
    path: options.folder,
    maxDbs: 8,
    pageSize: 8192,
    noSync: options.noSync ?? false,
    overlappingSync: false,
    ...BATCHING,
  });
  const items = root.openDB<Item, Buffer>({ name: 'items', keyEncoding: 'binary' });
  const outbox = root.openDB<Outgoing, number>({ name: 'outbox' });
  const cursors = root.openDB<number, string>({ name: 'cursors' });
  const letters = root.openDB<unknown, string>({ name: 'letters' });
  const counters = root.openDB<number, string>({ name: 'counters' });
  const listeners: (() => void)[] = [];
  let commits = 0;
  let sweptTo: Buffer | undefined;

  const alive = (item: Item | undefined): Item | undefined => {
    const until = item?.['expiresAt'];
    return typeof until === 'number' && until <= world.now() ? undefined : item;
  };
  const memory = itemMemory(root.openDB<unknown, string>({ name: 'counters' }), options.memory);
  /** Every item is frozen from the first read on, so that no room can come to change one that others are given too. */
  const decoded = (item: Item): Item => {
    options.onDecode?.(item);
    return frozen(item);
  };
  const stored = (call: Call, key: Key): Item | undefined => {
    const item = isKey(key) ? items.get(keyBytes(call, key)) : undefined;
    return item && decoded(item);
  };
  /** As it stands in the file, also inside a transaction. */
  const read = (call: Call, key: Key) => alive(stored(call, key));
  /** What `read` gives, after `memory.current`. */
  const recalled = (call: Call, key: Key, name: string): Item | undefined => {
    const known = memory.recall(name);
    if (known) return alive(known);
    const found = stored(call, key);
    return found && alive(memory.keep(name, found));
  };

  async function write<T>(work: () => T): Promise<T> {
    try {
      return await root.transaction(work);
    } catch (cause) {
      // lmdb rejects a second promise with the reason; unheard it would end the process.
      if (cause instanceof Error && 'commitError' in cause)
        void Promise.resolve(cause.commitError).catch(() => undefined);
      throw new Problem('unavailable', 'The store cannot be written now.', {
        cause,
        retryAfterSeconds: 5,
      });
    }
  }

  /** Inside a transaction only, so that two processes cannot take one number. */
  function enqueue(entries: readonly Outgoing[]): number {
    if (entries.length === 0) return 0;
    let sequence = counters.get(SEQUENCE) ?? 0;
    for (const entry of entries) void outbox.put(++sequence, entry);
    void counters.put(SEQUENCE, sequence);
    return entries.length;
  }

  /** Every refusal comes before the first put: a batch of lmdb does not undo what a callback wrote before it threw. */
  function apply(call: Call, writes: readonly Write[], event: Event | undefined, counted: boolean) {
    writes.forEach((write, index) => {
      if (write.if !== undefined && !holds(write.if, read(call, keyOf(write))))
        throw new Refused(index);
    });
    if (event && call.retry && read(call, retryKey(call.retry.key))) throw new Repeated();
    const head = event && (read(call, headKey(event.subject)) as ChainHead | undefined);
    const told = event && tell(call, plain(event), head, world);
    const change = counted ? Number(read(call, COUNTER_KEY)?.['value'] ?? 0) + 1 : undefined;

    const outgoing: Outgoing[] = [];
    const removes: Key[] = [];
    const puts: Item[] = change === undefined ? [] : [{ ...COUNTER_KEY, value: change }];
    for (const write of writes) {
      if ('remove' in write) removes.push(write.remove);
      if (!('put' in write)) continue;
      const item = change === undefined ? write.put : { ...write.put, _change: change };
      puts.push(item);
      for (const prefix of feeds)
        if (item.sk.startsWith(prefix)) outgoing.push({ workspace: call.workspace, prefix, item });
    }
    if (event && told) {
      if (call.retry) puts.push(retryItem(call, event, world));
      puts.push({ ...headKey(told.subject), sequence: told.sequence, hash: told.hash });
      puts.push(entryItem(told));
      outgoing.push({ told });
    }
    const changed = [...removes, ...puts];
    if (changed.length > 0) memory.changed(changed.map((key) => nameOf(call, key)));
    for (const key of removes) void items.remove(keyBytes(call, key));
    for (const item of puts) void items.put(keyBytes(call, item), item);
    return enqueue(outgoing);
  }

  async function sweep(limit = 2000): Promise<number> {
    const expired: Buffer[] = [];
    let seen = 0;
    let last: Buffer | undefined;
    for (const { key, value } of items.getRange(sweptTo ? { start: sweptTo } : {})) {
      if (seen++ >= limit) break;
      last = key;
      if (!alive(value)) expired.push(key);
    }
    sweptTo = seen > limit ? last : undefined;
    if (expired.length > 0)
      await write(() => {
        const gone = expired.filter((key) => !alive(items.get(key)));
        if (gone.length > 0) memory.changed(gone.map((key) => key.toString()));
        for (const key of gone) void items.remove(key);
      });
    return expired.length;
  }

  const notify = () => {
    for (const listener of listeners) listener();
  };

  return {
    root,
    write,
    outbox,
    cursors,
    letters,
    onOutgoing: (listener) => void listeners.push(listener),
    remembered: memory.bytes,
    sweep,
    close: () => root.close(),

    async append(entries) {
      await write(() => enqueue(entries.map((told) => ({ told }))));
      notify();
    },

    async get(call, key) {
      return memory.current() ? recalled(call, key, nameOf(call, key)) : read(call, key);
    },

    async getMany(call, keys) {
      if (keys.length > MAX_GET_KEYS) throw new Error(`At most ${MAX_GET_KEYS} keys at once.`);
      const look = memory.current() ? recalled : read;
      const once = new Set<string>();
      const found: Item[] = [];
      for (const key of keys) {
        const name = nameOf(call, key);
        if (once.size === once.add(name).size) continue;
        const item = look(call, key, name);
        if (item) found.push(item);
      }
      return found;
    },

    async query(call, query) {
      const scan = (asked: Query) => page(items, call, asked, alive, decoded);
      const look = (sk: string) => stored(call, { pk: query.pk, sk });
      return memory.page(partitionOf(call, query.pk), query, scan, look);
    },

    async commit(call, writes, event, commitOptions: CommitOptions = {}) {
      const counted = commitOptions.counted ?? false;
      const checked = checkedWrites(call, writes, event, counted);
      const outcome = await write(() => {
        try {
          return { told: apply(call, checked, event, counted) };
        } catch (error) {
          return { error };
        }
      });
      if ('error' in outcome) throw outcome.error;
      if (outcome.told > 0) notify();
      if (++commits % SWEEP_EVERY_COMMITS === 0) await sweep().catch(() => 0); // the next finds them
    },

    async entries(call, subject, after) {
      const { pk } = headKey(subject);
      const range = { pk, prefix: ENTRY_PREFIX, ...(after === undefined ? {} : { after }) };
      const { found } = page(items, call, range, alive, decoded);
      const entries = found.items.map(toldOf);
      return found.next === undefined ? { entries } : { entries, next: found.next };
    },

    async repeated(call) {
      const kept = call.retry && read(call, retryKey(call.retry.key));
      return kept && answerOf(call, kept);
    },
  };
}

/** As JSON will give it back, so that the hash holds for what is read later. */
const plain = (event: Event): Event => ({
  ...event,
  data: JSON.parse(JSON.stringify(event.data ?? null)),
});

const partitionOf = (call: Call, pk: string): string => `${call.workspace}\0${pk}`;
const nameOf = (call: Call, { pk, sk }: Key): string => `${call.workspace}\0${pk}\0${sk}`;
const keyBytes = (call: Call, key: Key): Buffer => Buffer.from(nameOf(call, key));

function holds(condition: Condition, item: Item | undefined): boolean {
  if (condition === 'absent') return item === undefined;
  if (condition === 'present') return item !== undefined;
  if ('equal' in condition)
    return (
      item !== undefined &&
      Object.entries(condition.equal).every(([name, value]) => item[name] === value)
    );
  return Object.entries(condition.newer).every(([name, value]) => {
    const stored = item?.[name];
    return stored === undefined || (typeof stored === 'number' && stored < value);
  });
}

function page(
  items: Database<Item, Buffer>,
  call: Call,
  query: Query,
  alive: (item: Item | undefined) => Item | undefined,
  decoded: (item: Item) => Item,
): Scan {
  const { pk, prefix = '', after, until, reverse = false } = query;
  const limit = query.limit ?? Number.POSITIVE_INFINITY;
  if (!(limit >= 1)) throw new Error('A query asks for at least one item.');
  const low = keyBytes(call, { pk, sk: prefix });
  const high = Buffer.concat([low, Buffer.from([0xff])]);
  const from = after === undefined ? undefined : keyBytes(call, { pk, sk: after });
  const to = until === undefined || reverse ? undefined : keyBytes(call, { pk, sk: until });
  const range = reverse
    ? { start: from && from.compare(high) < 0 ? from : high, reverse: true }
    : { start: from && from.compare(low) > 0 ? from : low, end: high };
  const found: Item[] = [];
  let size = 0;
  let lasting = true;
  for (const { key, value } of items.getRange(range)) {
    if (from?.equals(key)) continue;
    if ((to && key.compare(to) > 0) || key.compare(low) < 0) break;
    lasting &&= value['expiresAt'] === undefined;
    const item = alive(decoded(value));
    if (!item) continue;
    const bytes = sizeOf(item);
    const last = found.at(-1);
    if (last && (found.length >= limit || size + bytes > MAX_PAGE_BYTES))
      return { found: { items: found, next: last.sk }, lasting };
    found.push(item);
    size += bytes;
  }
  return { found: { items: found }, lasting };
}
