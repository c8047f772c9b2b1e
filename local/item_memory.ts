import { randomUUID } from 'node:crypto';
import type { Found, Item, Query } from '../functions/platform/ports.ts';
import { MAX_PAGE_BYTES, sizeOf } from '../functions/platform/records.ts';

/**
 * Items as decoded, so that a read of what has not changed decodes nothing: single items by key, and ranges in order.
 * What is remembered must never change (`frozen`), and is what the file holds in the snapshot that reads see, whoever wrote it: each
 * transaction that changes items counts one row of the file up, and says there who wrote and since when nobody else
 * has. The row is read before the memory is asked, in the same snapshot. Changes of our own since the last look forget
 * their keys; anybody else's forget all.
 */
export interface ItemMemory {
  /** Inside a transaction, before it puts or removes what bears these names (`partition NUL sort key`). */
  changed(names: readonly string[]): void;
  /** Brings the memory to the snapshot. False: the snapshot is an older one, so neither recall nor keep this turn. */
  current(): boolean;
  recall(name: string): Item | undefined;
  /** Takes what was read, frozen, in the snapshot that `current` looked at, and gives it back. */
  keep(name: string, item: Item): Item;
  /** A page as `scan` would give it, or a shorter one with `next`. Calls `current` itself. */
  page(partition: string, query: Query, scan: (query: Query) => Scan, read: Reading): Found;
  /** What is held now, in bytes as the table counts them. */
  bytes(): { readonly items: number; readonly ranges: number };
}
export interface Scan {
  readonly found: Found;
  /** No item that was met, shown or not, ever expires. */
  readonly lasting: boolean;
}
type Reading = (sk: string) => Item | undefined;

export interface MemoryCaps {
  readonly itemBytes: number;
  readonly rangeBytes: number;
}
/** Decoded, an item takes about three times its bytes: some 70 MB of heap at most, for 40,000 runs of a few keys. */
export const MEMORY_CAPS: MemoryCaps = { itemBytes: 16 * 1024 * 1024, rangeBytes: 8 * 1024 * 1024 };

/** A shorter page costs as much to keep as to read again; a longer list of changes, as much as a new scan. */
const LEAST_ITEMS = 32;
const MOST_STALE = 1000;
/** Names of changes that no read has looked at yet; beyond, everything is forgotten at the next one. */
const MOST_PENDING = 20_000;
/** A change is held against each range of its partition. */
const MOST_RANGES = 64;

/** The row: how many transactions changed items, who wrote the last, and the first of his row of them. */
type Changes = readonly [count: number, writer: string, since: number];
const CHANGES = 'changes';
/** The file's row of counts. In a transaction it gives what that has put. */
type Row = { get(name: string): unknown; put(name: string, changes: Changes): unknown };

interface Entry {
  readonly item: Item;
  readonly bytes: number;
}
/** The items of a partition whose sort keys begin with `prefix`, from the first up to the last held, or all of them. */
interface Range {
  readonly prefix: string;
  readonly items: Item[];
  readonly sizes: number[];
  readonly stale: Set<string>;
  bytes: number;
  whole: boolean;
}

export function itemMemory(counters: Row, caps: MemoryCaps = MEMORY_CAPS): ItemMemory {
  const writer = randomUUID();
  let pending: { readonly at: number; readonly names: readonly string[] }[] = [];
  let pendingNames = 0;
  /** What is remembered holds as of this count. */
  let known = -1;
  /** Changes up to this count were too many to name. */
  let unnamed = -1;

  // Two generations: what is asked for moves to the young one, and the old one goes when the young is half of all.
  let young = new Map<string, Entry>();
  let old = new Map<string, Entry>();
  let youngBytes = 0;
  let oldBytes = 0;
  const ranges = new Map<string, Map<string, Range>>();
  let rangeBytes = 0;

  const row = (): Changes => (counters.get(CHANGES) as Changes | undefined) ?? [0, '', 0];

  function forgetAll(): void {
    young = new Map();
    old = new Map();
    youngBytes = oldBytes = rangeBytes = 0;
    ranges.clear();
  }

  function forget(name: string): void {
    const inYoung = young.get(name);
    if (inYoung && young.delete(name)) youngBytes -= inYoung.bytes;
    const inOld = old.get(name);
    if (inOld && old.delete(name)) oldBytes -= inOld.bytes;
    const cut = name.lastIndexOf('\0');
    const sk = name.slice(cut + 1);
    for (const range of ranges.get(name.slice(0, cut))?.values() ?? [])
      if (sk.startsWith(range.prefix)) range.stale.add(sk);
  }

  /** Brings the memory to the snapshot that reads see now. False if that is an older one: then it is of no use. */
  function current(): boolean {
    const [count, by, since] = row();
    if (count === known) return true;
    if (count < known) return false;
    const ours = by === writer && since <= known + 1;
    if (!ours || unnamed > known) forgetAll();
    // One that did not land bears a number that another takes later; forgetting its names then does no harm.
    pending = pending.filter((change) => {
      if (change.at > count) return true;
      pendingNames -= change.names.length;
      change.names.forEach(forget);
      return false;
    });
    known = count;
    return true;
  }

  function remember(name: string, item: Item, bytes: number): void {
    if (bytes > caps.itemBytes / 2) return;
    if (youngBytes + bytes > caps.itemBytes / 2) {
      old = young;
      oldBytes = youngBytes;
      young = new Map();
      youngBytes = 0;
    }
    young.set(name, { item, bytes });
    youngBytes += bytes;
  }

  function recall(name: string): Item | undefined {
    const held = young.get(name);
    if (held) return held.item;
    const older = old.get(name);
    if (!older) return undefined;
    old.delete(name);
    oldBytes -= older.bytes;
    remember(name, older.item, older.bytes);
    return older.item;
  }

  // -------------------------------------------------------------- ranges

  function drop(partition: string, range: Range): void {
    const held = ranges.get(partition);
    if (!held?.delete(range.prefix)) return;
    if (held.size === 0) ranges.delete(partition);
    rangeBytes -= range.bytes;
  }

  /** The newest last; the oldest go first. */
  function hold(partition: string, range: Range): void {
    const held = ranges.get(partition) ?? new Map<string, Range>();
    ranges.delete(partition);
    ranges.set(partition, held);
    held.delete(range.prefix);
    held.set(range.prefix, range);
    const [eldest] = held.values();
    if (held.size > MOST_RANGES && eldest) drop(partition, eldest);
    while (rangeBytes > caps.rangeBytes) {
      const [where, first] = ranges.entries().next().value ?? [];
      const least = first?.values().next().value;
      if (where === undefined || !least) return;
      drop(where, least);
    }
  }

  function resize(range: Range, by: number): void {
    range.bytes += by;
    rangeBytes += by;
  }

  /** Reads again what changed. False if the range is no longer worth keeping. */
  function refresh(range: Range, read: Reading): boolean {
    if (range.stale.size > MOST_STALE) return false;
    for (const sk of range.stale) {
      const at = placeIn(range.items, sk);
      const there = range.items[at]?.sk === sk;
      if (!range.whole && at === range.items.length) continue; // beyond what is held
      const found = read(sk);
      if (found && expires(found)) return false;
      const size = found ? sizeOf(found) : 0;
      resize(range, size - (there ? (range.sizes[at] ?? 0) : 0));
      range.items.splice(at, there ? 1 : 0, ...(found ? [found] : []));
      range.sizes.splice(at, there ? 1 : 0, ...(found ? [size] : []));
    }
    range.stale.clear();
    return true;
  }

  /** The page behind `after` as far as the range is held; undefined where it has nothing to say. */
  function cutPage(range: Range, after: string | undefined): Found | undefined {
    const { items, sizes, whole } = range;
    let from = after === undefined ? 0 : placeIn(items, after);
    if (after !== undefined && items[from]?.sk === after) from += 1;
    let end = from;
    let size = 0;
    while (end < items.length) {
      size += sizes[end] ?? 0;
      if (size > MAX_PAGE_BYTES && end > from) break;
      end += 1;
    }
    if (end === from && !whole) return undefined;
    const last = items[end - 1];
    const more = end < items.length || !whole;
    return { items: items.slice(from, end), ...(more && last ? { next: last.sk } : {}) };
  }

  function extend(
    partition: string,
    { prefix = '', after }: Query,
    range: Range | undefined,
    page: Found,
  ): void {
    if (range ? after !== range.items.at(-1)?.sk : after !== undefined) return;
    if (!range && page.items.length < LEAST_ITEMS) return;
    const kept = range ?? {
      prefix,
      items: [],
      sizes: [],
      stale: new Set<string>(),
      bytes: 0,
      whole: false,
    };
    for (const found of page.items) {
      const size = sizeOf(found);
      kept.items.push(found);
      kept.sizes.push(size);
      resize(kept, size);
    }
    kept.whole = page.next === undefined;
    hold(partition, kept);
  }

  return {
    changed(names) {
      const [count, by, since] = row();
      const at = count + 1;
      const next: Changes = [at, writer, by === writer ? since : at];
      void counters.put(CHANGES, next);
      pending.push({ at, names });
      pendingNames += names.length;
      if (pendingNames <= MOST_PENDING) return;
      pending = [];
      pendingNames = 0;
      unnamed = at;
    },

    current,
    recall,

    keep(name, item) {
      remember(name, item, sizeOf(item));
      return item;
    },

    page(partition, query, scan, read) {
      const { prefix = '', after, until, limit, reverse } = query;
      const plain = limit === undefined && until === undefined && !reverse;
      // Half a surrogate pair is another text in the file than here.
      const asked = plain && partition.isWellFormed() && prefix.isWellFormed();
      if (!asked || !current()) return scan(query).found;
      let range = ranges.get(partition)?.get(prefix);
      if (range && !refresh(range, read)) {
        drop(partition, range);
        range = undefined;
      }
      const held = range && cutPage(range, after);
      if (range && held) {
        hold(partition, range);
        return held;
      }
      const { found, lasting } = scan(query);
      if (lasting) extend(partition, query, range, found);
      return found;
    },

    bytes: () => ({ items: youngBytes + oldBytes, ranges: rangeBytes }),
  };
}

const expires = (item: Item) => item['expiresAt'] !== undefined;

/** Deeply, but for bytes, which cannot be. */
export function frozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value;
  for (const part of Object.values(value)) frozen(part);
  return Object.freeze(value);
}

/** Where the sort key is, or would be, in UTF-8 order. */
function placeIn(items: readonly Item[], sk: string): number {
  const wanted = Buffer.from(sk);
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (Buffer.compare(Buffer.from(items[middle]?.sk ?? ''), wanted) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
