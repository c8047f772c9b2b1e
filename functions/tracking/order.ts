import { createHash } from 'node:crypto';
import { compareText } from '../kernel/text.ts';
import { cut, type Long } from './model.ts';

/** Values come first, then NaN, then what is missing, in both directions. */
export type SortKey = readonly [rank: 0, value: string | Long] | readonly [rank: 1 | 2];

/** What rows are sorted by, the tie-breaks last: of these the very last is the row's id. */
export interface Order<Row> {
  sortKeys(row: Row): SortKey[];
  /** The one at `index` of them. */
  sortKey(row: Row, index: number): SortKey;
  readonly ascending: readonly boolean[];
}

/** Of all texts in a position together, as JSON: beside the numbers and signed it stays within a page token. */
const MAX_POSITION_BYTES = 1500;

/** How a row stands to these keys, of which `keyAt` gives its own; what begins as a prefix does comes after. */
function compareKeys<Row>(
  { ascending }: Order<Row>,
  keyAt: (index: number) => SortKey | undefined,
  keys: readonly (SortKey | Prefix)[],
): number {
  for (let i = 0; i < ascending.length; i++) {
    const [rankA, valueA] = keyAt(i) ?? [2];
    const key = keys[i] ?? [2];
    const [rankB, valueB] = key;
    if (rankA !== rankB) return rankA - rankB;
    if (valueA === undefined || valueB === undefined) continue;
    if (key.length === 3 && String(valueA).startsWith(key[1])) return 1;
    const sign = compareValues(valueA, valueB);
    if (sign !== 0) return sign < 0 === ascending[i] ? -1 : 1;
  }
  return 0;
}

function compareValues(a: string | Long, b: string | Long): number {
  if (typeof a === 'string' && typeof b === 'string') return compareText(a, b);
  return a < b ? -1 : a > b ? 1 : 0; // numbers and bigints
}

interface Keyed<Row> {
  readonly row: Row;
  readonly keys: readonly SortKey[];
}

/** The first rows in order, and where the page ends if there are more. */
export function pageOf<Row, Found extends Row>(
  order: Order<Row>,
  rows: readonly Found[],
  limit: number,
): { items: Found[]; last?: PageEnd } {
  const inOrder = (a: Keyed<Found>, b: Keyed<Found>) =>
    compareKeys(order, (i) => a.keys[i], b.keys);
  const first = firstOf(order, rows, limit + 1, inOrder).sort(inOrder);
  const items = first.slice(0, limit).map(({ row }) => row);
  const last = first.length > limit ? first[limit - 1] : undefined;
  return last ? { items, last: pageEnd(last.keys) } : { items };
}

/** The first `count` rows, in no order: a heap with the last of them on top, which most rows are only compared with. */
function firstOf<Row>(
  order: Order<Row>,
  rows: readonly Row[],
  count: number,
  inOrder: (a: Keyed<Row>, b: Keyed<Row>) => number,
): Keyed<Row>[] {
  const keyed = (row: Row): Keyed<Row> => ({ row, keys: order.sortKeys(row) });
  if (rows.length <= count) return rows.map(keyed);
  // Sorted backwards, an array is a heap.
  const heap = rows
    .slice(0, count)
    .map(keyed)
    .sort((a, b) => inOrder(b, a));
  for (const row of rows.slice(count)) {
    const top = heap[0];
    if (top && compareKeys(order, (i) => order.sortKey(row, i), top.keys) >= 0) continue;
    sink(heap, keyed(row), inOrder);
  }
  return heap;
}

/** Puts `one` in place of the top, then below each child that comes later. */
function sink<T>(heap: T[], one: T, inOrder: (a: T, b: T) => number): void {
  let at = 0;
  for (;;) {
    const left = heap[2 * at + 1];
    const right = heap[2 * at + 2];
    if (left === undefined) break;
    const later = right === undefined || inOrder(left, right) >= 0 ? left : right;
    if (inOrder(one, later) >= 0) break;
    heap[at] = later;
    at = later === left ? 2 * at + 1 : 2 * at + 2;
  }
  heap[at] = one;
}

/**
 * What a page token holds of the row that a page ends with: its sort keys as plain JSON, long texts only in their
 * beginning, with a digest of all of these.
 */
export interface PageEnd {
  readonly keys: readonly unknown[];
  readonly digest?: string;
}

/** The id of the row that the page ended with. */
export const idOf = ({ keys }: PageEnd): string => String(decodeKey(keys.at(-1))[1]);

/** What is known of a text that lay in a token in part and has changed since. */
type Prefix = readonly [rank: 0, value: string, whole: false];
export type Position = readonly (SortKey | Prefix)[];

function pageEnd(keys: readonly SortKey[]): PageEnd {
  const share = Math.floor(MAX_POSITION_BYTES / keys.length);
  const long: string[] = [];
  const encoded = keys.map((key, i) => {
    const [rank, value] = key;
    const short =
      typeof value !== 'string' ||
      i === keys.length - 1 ||
      (value.length <= share && Buffer.byteLength(JSON.stringify(value)) <= share);
    if (short) return encodeKey(key);
    long.push(value);
    return [rank, cut(value, Math.floor(share / 6)), 'prefix'];
  });
  return long.length ? { keys: encoded, digest: digestOf(long) } : { keys: encoded };
}

const digestOf = (texts: readonly string[]) =>
  createHash('sha256').update(JSON.stringify(texts)).digest('base64url').slice(0, 22);

/**
 * Where the next page begins. `last` is the row that `idOf` names, if it is still there: texts that the token holds in
 * part are read from it. If it has changed them since, rows that begin alike come again rather than never.
 */
export function positionOf<Row>(order: Order<Row>, end: PageEnd, last: Row | undefined): Position {
  const keys = end.keys.map(decodeKey);
  if (end.digest === undefined || last === undefined) return keys;
  const now = keys.map((key, i) => (key.length === 3 ? order.sortKey(last, i) : key));
  const long = now.flatMap(([, value], i) => (keys[i]?.length === 3 ? String(value) : []));
  return digestOf(long) === end.digest ? now : keys;
}

/** Whether the row comes after what the page before ended with: stable, whatever else was written since. */
export function afterPosition<Row>(
  order: Order<Row>,
  row: Row,
  position: Position | undefined,
): boolean {
  return !position || compareKeys(order, (i) => order.sortKey(row, i), position) > 0;
}

/** As JSON: the infinities and what is beyond 2^53 as text. */
const encodeKey = ([rank, value]: SortKey): unknown[] => {
  if (value === undefined) return [rank];
  if (typeof value === 'string') return [rank, value];
  return [rank, String(value), typeof value === 'bigint' ? 'int64' : 'double'];
};

function decodeKey(key: unknown): SortKey | Prefix {
  const [rank, text, kind] = key as [0 | 1 | 2, string | undefined, string | undefined];
  if (rank !== 0 || text === undefined) return [rank === 1 ? 1 : 2];
  if (kind === undefined) return [0, text];
  if (kind === 'prefix') return [0, text, false];
  return [0, kind === 'int64' ? BigInt(text) : Number(text)];
}
