import { type Database, open, type RootDatabase } from 'lmdb';
import type { Call } from '../functions/kernel/call.ts';
import { type ChainHead, type Event, type Told, tell } from '../functions/kernel/event.ts';
import { Problem } from '../functions/kernel/problem.ts';
import type { World } from '../functions/kernel/world.ts';
import {
  type CommitOptions,
  type Condition,
  type Found,
  type Item,
  type Key,
  type Query,
  Refused,
  Repeated,
  type Table,
  type Value,
  type Write,
} from '../functions/platform/ports.ts';

const MAX_ITEM_BYTES = 400 * 1024;
const MAX_PAGE_BYTES = 1024 * 1024;
const MAX_COMMIT_BYTES = 4 * 1024 * 1024;
const MAX_WRITES = 97;
const MAX_PK_BYTES = 1900;
const MAX_SK_BYTES = 1000;
const MAX_KEYS = 1000;
const RETRY_KEPT_MS = 48 * 3_600_000;

export interface LocalTableOptions {
  /** Made if absent. One process at a time. */
  readonly folder: string;
  readonly world: World;
  /** Puts whose sort key begins with one of these go to the outbox, for `Folder`s. */
  readonly feeds?: readonly string[];
  /** Tests only: acknowledge before the disk has it. */
  readonly noSync?: boolean;
}

/** What waits for delivery: an event, or an item that a folder wants. Keys are sequence numbers. */
export type Outgoing =
  | { readonly told: Told }
  | { readonly workspace: string; readonly prefix: string; readonly item: Item };

export interface LocalTable extends Table {
  readonly outbox: Database<Outgoing, number>;
  readonly cursors: Database<number, string>;
  readonly root: RootDatabase;
  /** Called after each commit that put something into the outbox. */
  onOutgoing(listener: () => void): void;
  close(): Promise<void>;
}

/** The embedded Table: one lmdb file, group commit off the main thread, DynamoDB's limits. */
export function openTable(options: LocalTableOptions): LocalTable {
  const { world } = options;
  const feeds = options.feeds ?? [];
  const root = open({
    path: options.folder,
    maxDbs: 8,
    pageSize: 8192,
    noSync: options.noSync ?? false,
    overlappingSync: !(options.noSync ?? false),
  });
  const items = root.openDB<Item, Buffer>({ name: 'items', keyEncoding: 'binary' });
  const outbox = root.openDB<Outgoing, number>({ name: 'outbox' });
  const cursors = root.openDB<number, string>({ name: 'cursors' });
  const listeners: (() => void)[] = [];
  let sequence = lastSequence(outbox, cursors);

  const alive = (item: Item | undefined): Item | undefined => {
    const until = item?.['expiresAt'];
    return typeof until === 'number' && until <= world.now() ? undefined : item;
  };
  const read = (call: Call, key: Key) => alive(items.get(keyBytes(call, key)));

  function apply(call: Call, writes: readonly Write[], event: Event | undefined, counted: boolean) {
    writes.forEach((write, index) => {
      if (write.if !== undefined && !holds(write.if, read(call, keyOf(write))))
        throw new Refused(index);
    });
    // Every refusal comes before the first put: an lmdb batch does not undo what a callback wrote before it threw.
    if (event && call.retry && read(call, retryKey(call.retry.key))) throw new Repeated();
    const change = counted ? moveCounter(call) : undefined;
    let told = 0;
    for (const write of writes) {
      if ('put' in write) {
        const item = change === undefined ? write.put : { ...write.put, _change: change };
        void items.put(keyBytes(call, item), item);
        for (const prefix of feeds) {
          if (!item.sk.startsWith(prefix)) continue;
          void outbox.put(++sequence, { workspace: call.workspace, prefix, item });
          told += 1;
        }
      } else if ('remove' in write) void items.remove(keyBytes(call, write.remove));
    }
    if (event) {
      record(call, event);
      told += 1;
    }
    return told;
  }

  function moveCounter(call: Call): number {
    const key = { pk: 'K#', sk: 'SEQ' };
    const next = Number(read(call, key)?.['value'] ?? 0) + 1;
    void items.put(keyBytes(call, key), { ...key, value: next });
    return next;
  }

  function record(call: Call, event: Event) {
    if (call.retry) {
      const key = retryKey(call.retry.key);
      const kept = { digest: call.retry.digest, answer: JSON.stringify(event.answer ?? null) };
      void items.put(keyBytes(call, key), {
        ...key,
        ...kept,
        expiresAt: world.now() + RETRY_KEPT_MS,
      });
    }
    const head = chainKey(event.subject);
    const told = tell(call, event, read(call, head) as ChainHead | undefined, world);
    void items.put(keyBytes(call, head), { ...head, sequence: told.sequence, hash: told.hash });
    const entry = { pk: head.pk, sk: `@${String(told.sequence).padStart(12, '0')}` };
    void items.put(keyBytes(call, entry), { ...entry, told: told as unknown as Value });
    void outbox.put(++sequence, { told });
  }

  return {
    root,
    outbox,
    cursors,
    onOutgoing: (listener) => void listeners.push(listener),
    close: () => root.close(),

    async get(call, key) {
      return read(call, key);
    },

    async getMany(call, keys) {
      if (keys.length > MAX_KEYS) throw new Problem('invalid', `At most ${MAX_KEYS} keys at once.`);
      return keys.map((key) => read(call, key)).filter((item) => item !== undefined);
    },

    async query(call, query) {
      return page(items, call, query, alive);
    },

    async commit(call, writes, event, commitOptions: CommitOptions = {}) {
      checkWrites(call, writes);
      const told = await root.transaction(() => {
        const before = sequence;
        try {
          return { count: apply(call, writes, event, commitOptions.counted ?? false) };
        } catch (error) {
          sequence = before;
          if (error instanceof Refused || error instanceof Repeated) return { error };
          throw error;
        }
      });
      if ('error' in told) throw told.error;
      if (!options.noSync) await root.flushed;
      if (told.count > 0) for (const listener of listeners) listener();
    },

    async entries(call, subject, after) {
      const { pk } = chainKey(subject);
      const found = page(items, call, { pk, prefix: '@', ...(after ? { after } : {}) }, alive);
      const entries = found.items.map((item) => item['told'] as unknown as Told);
      return found.next === undefined ? { entries } : { entries, next: found.next };
    },

    async repeated(call) {
      if (!call.retry) return undefined;
      const kept = read(call, retryKey(call.retry.key));
      if (!kept) return undefined;
      if (kept['digest'] !== call.retry.digest)
        throw new Problem('invalid', 'This Idempotency-Key was used for another request.', {
          field: 'Idempotency-Key',
        });
      return { answer: JSON.parse(String(kept['answer'])) };
    },
  };
}

const retryKey = (key: string): Key => ({ pk: `I#${key}`, sk: '-' });
const chainKey = (subject: string): Key => ({ pk: `E#${subject}`, sk: 'HEAD' });
const keyOf = (write: Write): Key =>
  'put' in write ? write.put : 'remove' in write ? write.remove : write.check;

function keyBytes(call: Call, { pk, sk }: Key): Buffer {
  return Buffer.from(`${call.workspace}\0${pk}\0${sk}`);
}

function lastSequence(
  outbox: Database<Outgoing, number>,
  cursors: Database<number, string>,
): number {
  let last = 0;
  for (const key of outbox.getKeys({ reverse: true, limit: 1 })) last = key;
  for (const { value } of cursors.getRange()) last = Math.max(last, value);
  return last;
}

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
): Found {
  const {
    pk,
    prefix = '',
    after,
    until,
    reverse = false,
    limit = Number.POSITIVE_INFINITY,
  } = query;
  const low = keyBytes(call, { pk, sk: prefix });
  const high = Buffer.concat([low, Buffer.from([0xff])]);
  const from = after === undefined ? undefined : keyBytes(call, { pk, sk: after });
  const range = reverse
    ? { start: from && from.compare(high) < 0 ? from : high, end: low, reverse: true }
    : { start: from && from.compare(low) > 0 ? from : low, end: high };
  const found: Item[] = [];
  let size = 0;
  for (const { key, value } of items.getRange(range)) {
    if (from && key.equals(from)) continue;
    if (
      until !== undefined &&
      !reverse &&
      Buffer.compare(key, keyBytes(call, { pk, sk: until })) > 0
    )
      break;
    const item = alive(value);
    if (!item) continue;
    if (found.length >= limit || size > MAX_PAGE_BYTES)
      return { items: found, next: found.at(-1)?.sk ?? '' };
    found.push(item);
    size += sizeOf(item);
  }
  return { items: found };
}

function checkWrites(call: Call, writes: readonly Write[]) {
  if (writes.length > MAX_WRITES)
    throw new Error(`a commit of ${writes.length} writes; at most ${MAX_WRITES}`);
  const seen = new Set<string>();
  let total = 0;
  for (const write of writes) {
    const key = keyOf(write);
    checkKey(key);
    const name = keyBytes(call, key).toString('latin1');
    if (seen.has(name)) throw new Error(`a commit names ${key.pk} ${key.sk} twice`);
    seen.add(name);
    if ('put' in write) {
      const size = sizeOf(write.put);
      if (size > MAX_ITEM_BYTES)
        throw new Problem('too_large', `A record of ${size} bytes; at most ${MAX_ITEM_BYTES}.`);
      total += size;
    }
  }
  if (total > MAX_COMMIT_BYTES)
    throw new Problem('too_large', `A commit of ${total} bytes; at most ${MAX_COMMIT_BYTES}.`);
}

function checkKey({ pk, sk }: Key) {
  if (pk === '' || sk === '' || pk.includes('\0') || sk.includes('\0'))
    throw new Error('a key is empty or holds NUL');
  if (Buffer.byteLength(pk) > MAX_PK_BYTES || Buffer.byteLength(sk) > MAX_SK_BYTES)
    throw new Problem('invalid', 'A name is too long for a key.');
}

/** Bytes as DynamoDB counts them: names and values. */
function sizeOf(value: Value | Item | undefined): number {
  if (value === undefined) return 0;
  if (value === null || typeof value === 'boolean') return 1;
  if (typeof value === 'string') return Buffer.byteLength(value);
  if (typeof value === 'number') {
    if (
      !Number.isFinite(value) ||
      Math.abs(value) > 9.9e125 ||
      (value !== 0 && Math.abs(value) < 1e-130)
    )
      throw new Error(`the number ${value} cannot be stored; use bytes or text`);
    return 12;
  }
  if (value instanceof Uint8Array) return value.length;
  if (Array.isArray(value)) return value.reduce<number>((sum, item) => sum + 1 + sizeOf(item), 3);
  return Object.entries(value).reduce<number>(
    (sum, [name, item]) => sum + Buffer.byteLength(name) + 1 + sizeOf(item),
    3,
  );
}
