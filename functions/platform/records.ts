import type { Call } from '../kernel/call.ts';
import type { Event, Told } from '../kernel/event.ts';
import { Problem } from '../kernel/problem.ts';
import type { World } from '../kernel/world.ts';
import type { Item, Key, Value, Write } from './ports.ts';

/** What both Table adapters enforce, and the records they keep on their own account. Sizes in bytes. */
export const MAX_ITEM_BYTES = 400 * 1024;
export const MAX_PAGE_BYTES = 1024 * 1024;
export const MAX_COMMIT_BYTES = 4 * 1024 * 1024;
export const MAX_WRITES = 97;
export const MAX_GET_KEYS = 1000;
const MAX_PK_BYTES = 1900;
const MAX_SK_BYTES = 1000;
/** Source: the DynamoDB developer guide, "Quotas": nesting up to 32 levels. */
const MAX_DEPTH = 31;
/** Room for the key's workspace and what the adapter adds: change, expiry, names. */
const ADDED_BYTES = 64;
/** A told event carries its event's data and some thousand bytes of who and when. */
const TOLD_BYTES = 4096;
/** EventBridge takes 256 KB an entry; an event that no follower could hear is refused at once, in both worlds. */
const MAX_EVENT_BYTES = 240 * 1024;
const RETRY_KEPT_MS = 48 * 3_600_000;

/** Partitions that only the adapter writes: chains, retry keys, the change counter. */
const OWN = /^[EIK]#/;

export const retryKey = (key: string): Key => ({ pk: `I#${key}`, sk: '-' });
export const headKey = (subject: string): Key => ({ pk: `E#${subject}`, sk: 'HEAD' });
/** Entries sort by their place in the chain, not by their ULID: a clock may go backwards, the chain may not. */
export const ENTRY_PREFIX = '@';
export const entryKey = (told: Pick<Told, 'subject' | 'sequence'>): Key => ({
  pk: `E#${told.subject}`,
  sk: `${ENTRY_PREFIX}${String(told.sequence).padStart(12, '0')}`,
});
export const COUNTER_KEY: Key = { pk: 'K#', sk: 'SEQ' };

/** The entry as text: a map of DynamoDB's keeps no order of names, and the hash covers it. */
export const entryItem = (told: Told): Item => ({ ...entryKey(told), told: JSON.stringify(told) });
export const toldOf = (item: Item): Told => JSON.parse(String(item['told']));

/** What an Idempotency-Key is answered with for 48 hours. */
export const retryItem = (call: Call, event: Event, world: World): Item => ({
  ...retryKey(call.retry?.key ?? ''),
  digest: call.retry?.digest ?? '',
  answer: JSON.stringify(event.answer ?? null),
  expiresAt: world.now() + RETRY_KEPT_MS,
});

/** Throws `invalid` when the key was used for another request. */
export function answerOf(call: Call, kept: Item): { answer: unknown } {
  if (kept['digest'] !== call.retry?.digest)
    throw new Problem('invalid', 'This Idempotency-Key was used for another request.', {
      field: 'Idempotency-Key',
    });
  return { answer: JSON.parse(String(kept['answer'])) };
}

export const keyOf = (write: Write): Key => {
  const { pk, sk } = 'put' in write ? write.put : 'remove' in write ? write.remove : write.check;
  return { pk, sk };
};

/** A key that no item can have is simply absent when it is read. */
export const isKey = ({ pk, sk }: Key): boolean => whyNoKey({ pk, sk }) === undefined;

function whyNoKey({ pk, sk }: Key): string | undefined {
  if (pk === '' || sk === '') return 'it is empty';
  if (pk.includes('\0') || sk.includes('\0')) return 'it holds a NUL character';
  if (!pk.isWellFormed() || !sk.isWellFormed()) return 'it holds half of a surrogate pair';
  if (Buffer.byteLength(pk) > MAX_PK_BYTES) return `it is longer than ${MAX_PK_BYTES} bytes`;
  if (Buffer.byteLength(sk) > MAX_SK_BYTES) return `it is longer than ${MAX_SK_BYTES} bytes`;
  return undefined;
}

/**
 * The writes as they will be stored: undefined attributes dropped, -0 as 0. Throws `invalid` for text or numbers that
 * cannot be stored, `too_large`, and a plain Error for what only a mistake in our code can ask.
 */
export function checkedWrites(
  call: Call,
  writes: readonly Write[],
  event: Event | undefined,
  counted: boolean,
): Write[] {
  // DynamoDB takes 100: beside the writes go the entry and its head, the counter and the retry key.
  const most = Math.min(
    MAX_WRITES,
    100 - (event ? 2 : 0) - (event && call.retry ? 1 : 0) - +counted,
  );
  if (writes.length > most)
    throw new Error(`A commit of ${writes.length} writes; at most ${most}.`);
  if (writes.length === 0 && !event) throw new Error('A commit of nothing.');
  const seen = new Set<string>();
  let total = event ? eventBytes(event) : 0;
  const checked = writes.map((write) => {
    const key = keyOf(write);
    const why = whyNoKey(key);
    if (why) throw new Problem('invalid', `A name cannot be stored: ${why}.`);
    if (OWN.test(key.pk) && !('check' in write))
      throw new Error(`The partition ${key.pk} belongs to the Table adapter.`);
    const name = `${key.pk}\0${key.sk}`;
    if (seen.has(name)) throw new Error(`A commit names ${key.pk} ${key.sk} twice.`);
    seen.add(name);
    if (!('put' in write)) return write;
    const item = settledItem(write.put);
    total += fits(sizeOf(item) + ADDED_BYTES);
    return { ...write, put: item };
  });
  if (total > MAX_COMMIT_BYTES)
    throw new Problem('too_large', `A commit of ${total} bytes; at most ${MAX_COMMIT_BYTES}.`);
  return checked;
}

function fits(size: number): number {
  if (size <= MAX_ITEM_BYTES) return size;
  throw new Problem('too_large', `A record of ${size} bytes; at most ${MAX_ITEM_BYTES}.`);
}

function eventBytes(event: Event): number {
  const why = whyNoKey(headKey(event.subject));
  if (why || event.subject === '')
    throw new Problem('invalid', `A name cannot be stored: ${why ?? 'it is empty'}.`);
  const json = (value: unknown) => Buffer.byteLength(JSON.stringify(value ?? null) ?? 'null');
  // Twice: as the entry, and as what waits for its followers; the answer is one more item.
  const data = json(event.data) + TOLD_BYTES;
  if (data > MAX_EVENT_BYTES)
    throw new Problem('too_large', `An event of ${data} bytes; at most ${MAX_EVENT_BYTES}.`);
  return data + fits(json(event.answer) + TOLD_BYTES);
}

/** Names that start with `_` are the adapters'; `_change` may come back from an item that was read. */
function settledItem(item: Item): Item {
  const settled: Record<string, Value> = {};
  for (const [name, value] of Object.entries(item)) {
    if (value === undefined || (name.startsWith('_') && name !== '_change')) continue;
    settled[checkedName(name)] = settledValue(value, 1);
  }
  return settled as Item;
}

function checkedName(name: string): string {
  // An attribute's name may have 64 KB; nobody needs that. msgpack readers rename `__proto__`.
  if (name === '' || name === '__proto__' || name.length > 1000 || !name.isWellFormed())
    throw new Problem('invalid', 'A name cannot be stored: it is empty, too long or reserved.');
  return name;
}

function settledValue(value: Value, depth: number): Value {
  if (depth > MAX_DEPTH)
    throw new Problem('invalid', `A value nests deeper than ${MAX_DEPTH} levels.`);
  if (value === null || typeof value === 'boolean' || value instanceof Uint8Array) return value;
  if (typeof value === 'number') return settledNumber(value);
  if (typeof value === 'string') {
    if (!value.isWellFormed())
      throw new Problem('invalid', 'A text cannot be stored: it holds half of a surrogate pair.');
    return value;
  }
  if (Array.isArray(value)) return value.map((item) => settledValue(item, depth + 1));
  const prototype: unknown = typeof value === 'object' ? Object.getPrototypeOf(value) : undefined;
  if (prototype !== Object.prototype && prototype !== null)
    throw new Error(`A value of type ${typeof value} cannot be stored.`);
  const settled: Record<string, Value> = {};
  for (const [name, item] of Object.entries(value))
    if (item !== undefined) settled[checkedName(name)] = settledValue(item, depth + 1);
  return settled;
}

function settledNumber(value: number): number {
  const size = Math.abs(value);
  if (!Number.isFinite(value) || size > 9.9e125 || (size > 0 && size < 1e-130))
    throw new Problem('invalid', `The number ${value} cannot be stored: it is out of range.`);
  return value === 0 ? 0 : value;
}

/** Bytes as DynamoDB counts them, never fewer. Source: its developer guide, "item sizes and formats". */
export function sizeOf(value: Value | Item | undefined): number {
  if (value === undefined) return 0;
  if (value === null || typeof value === 'boolean') return 1;
  if (typeof value === 'string') return Buffer.byteLength(value);
  if (typeof value === 'number') return 12;
  if (value instanceof Uint8Array) return value.length;
  let size = 3;
  if (Array.isArray(value)) for (const item of value) size += 1 + sizeOf(item);
  else
    for (const [name, item] of Object.entries(value))
      size += 1 + Buffer.byteLength(name) + sizeOf(item);
  return size;
}
