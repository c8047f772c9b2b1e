import type { Call } from '../kernel/call.ts';
import { readJson } from '../kernel/json.ts';
import type { Pages } from '../kernel/page.ts';
import { Problem } from '../kernel/problem.ts';
import { LIMITS } from './model.ts';

/** How one kind of record is listed: what may be filtered and sorted by, under KFP's names. */
export interface Listable<T> {
  readonly kind: string;
  readonly id: (record: T) => string;
  /** Texts compare as texts, times as ms since the epoch. */
  readonly fields: Readonly<Record<string, (record: T) => string | number | undefined>>;
  /** `tags.<key>`. */
  readonly tags?: (record: T) => Readonly<Record<string, string>>;
}

export interface ListQuery {
  readonly pageSize: number;
  readonly pageToken: string;
  readonly sortBy: string;
  readonly filter: string;
}

export interface Listed<T> {
  readonly items: T[];
  readonly total: number;
  readonly next?: string;
}

const DEFAULT_PAGE = 20;
const MAX_PREDICATES = 20;
const MAX_FILTER = 16_384;
const invalid = (field: string, why: string) =>
  new Problem('invalid', `Invalid input error: ${field}: ${why}`, { field });

interface Position {
  readonly sortBy: string;
  readonly filter: string;
  readonly value: string | number | null;
  readonly id: string;
}

/**
 * One page of records, filtered, sorted by one field and then by id. A token carries its sort and filter; another one
 * beside it is refused, none at all means the token's own. Throws `invalid`. Source: kfp.md section 1.4.
 */
export function listed<T>(
  call: Call,
  pages: Pages,
  listable: Listable<T>,
  scope: string,
  query: ListQuery,
  records: readonly T[],
): Listed<T> {
  if (query.pageSize < 0) throw invalid('page_size', 'must not be negative.');
  const size = Math.min(query.pageSize || DEFAULT_PAGE, LIMITS.pageSize);
  const bound = [listable.kind, scope];
  const from = query.pageToken ? pages.open<Position>(call, bound, query.pageToken) : undefined;
  if (from && query.sortBy && query.sortBy !== from.sortBy)
    throw invalid('sort_by', 'differs from the one that the page token was given for.');
  if (from && query.filter && query.filter !== from.filter)
    throw invalid('filter', 'differs from the one that the page token was given for.');
  const sortBy = from?.sortBy ?? query.sortBy;
  const filter = from?.filter ?? query.filter;
  const { field, descending } = order(listable, sortBy);
  const sign = descending ? -1 : 1;
  const matches = predicates(listable, filter);
  const rows = records
    .filter((record) => matches.every((match) => match(record)))
    .map((record) => ({ record, value: field(record) ?? null, id: listable.id(record) }))
    .sort((a, b) => sign * compared(a, b));
  const start = from ? rows.findIndex((row) => sign * compared(row, from) > 0) : 0;
  const page = start < 0 ? [] : rows.slice(start, start + size);
  const last = page.at(-1);
  const more = last !== undefined && start + size < rows.length;
  return {
    items: page.map(({ record }) => record),
    total: rows.length,
    ...(more
      ? { next: pages.seal(call, bound, { sortBy, filter, value: last.value, id: last.id }) }
      : {}),
  };
}

interface Placed {
  readonly value: string | number | null;
  readonly id: string;
}
/** Absent values come first; ids settle what is equal. */
function compared(a: Placed, b: Placed): number {
  if (a.value === b.value) return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
  if (a.value === null) return -1;
  if (b.value === null) return 1;
  return a.value < b.value ? -1 : 1;
}

function fieldOf<T>(listable: Listable<T>, key: string, where: string) {
  const plain = key.trim();
  if (Object.hasOwn(listable.fields, plain))
    return listable.fields[plain] as (record: T) => string | number | undefined;
  const { tags } = listable;
  if (tags && plain.startsWith('tags.')) return (record: T) => tags(record)[plain.slice(5)];
  const known = Object.keys(listable.fields).join(', ');
  throw invalid(where, `'${plain.slice(0, 100)}' is not one of ${known}.`);
}

function order<T>(listable: Listable<T>, sortBy: string) {
  const [name = '', direction = 'asc', ...more] = sortBy.trim().toLowerCase().split(/\s+/);
  if (more.length || !['asc', 'desc'].includes(direction))
    throw invalid('sort_by', "must be a field, then nothing, 'asc' or 'desc'.");
  return {
    field: fieldOf(listable, name || 'created_at', 'sort_by'),
    descending: direction === 'desc',
  };
}

const OPERATIONS = {
  EQUALS: 1,
  NOT_EQUALS: 2,
  GREATER_THAN: 3,
  GREATER_THAN_EQUALS: 5,
  LESS_THAN: 6,
  LESS_THAN_EQUALS: 7,
  IN: 8,
  IS_SUBSTRING: 9,
} as const;
type Operation = keyof typeof OPERATIONS;
type Operand = string | number | readonly (string | number)[];

/** Each of them must hold. Source: backend/src/apiserver/filter; kfp.md section 1.4. */
function predicates<T>(listable: Listable<T>, text: string): ((record: T) => boolean)[] {
  if (text === '') return [];
  if (text.length > MAX_FILTER) throw invalid('filter', `is longer than ${MAX_FILTER} characters.`);
  const tree = parsed(text);
  const list = isObject(tree) ? tree['predicates'] : undefined;
  if (list === undefined && isObject(tree) && !Object.keys(tree).length) return [];
  if (!Array.isArray(list)) throw invalid('filter', "must be an object with a list 'predicates'.");
  if (list.length > MAX_PREDICATES)
    throw invalid('filter', `has more than ${MAX_PREDICATES} predicates.`);
  return list.map((predicate, index) => {
    const where = `filter.predicates[${index}]`;
    if (!isObject(predicate)) throw invalid(where, 'must be an object.');
    const operation = operationOf(predicate['operation'] ?? predicate['op'], where);
    if (typeof predicate['key'] !== 'string')
      throw invalid(`${where}.key`, 'must be a field name.');
    const field = fieldOf(listable, predicate['key'], `${where}.key`);
    const operand = operandOf(predicate, where);
    if ((operation === 'IN') !== Array.isArray(operand))
      throw invalid(where, `IN takes a list of values, ${operation} was given something else.`);
    if (operation === 'IS_SUBSTRING' && typeof operand !== 'string')
      throw invalid(where, 'IS_SUBSTRING takes a string_value.');
    return (record: T) => holds(operation, field(record), operand);
  });
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Clients send it as it is, or URL-encoded once more. */
function parsed(text: string): unknown {
  try {
    return readJson(text.trimStart().startsWith('%') ? decodeURIComponent(text) : text);
  } catch (cause) {
    throw new Problem('invalid', 'Invalid input error: filter: is not JSON.', {
      field: 'filter',
      cause,
    });
  }
}

function operationOf(given: unknown, where: string): Operation {
  const found = (Object.entries(OPERATIONS) as [Operation, number][]).find(
    ([name, number]) => given === name || given === number || given === String(number),
  );
  if (!found)
    throw invalid(`${where}.operation`, `must be one of ${Object.keys(OPERATIONS).join(', ')}.`);
  return found[0];
}

const camel = (name: string) =>
  name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

function operandOf(predicate: Record<string, unknown>, where: string): Operand {
  const given = [
    'int_value',
    'long_value',
    'string_value',
    'timestamp_value',
    'int_values',
    'long_values',
    'string_values',
  ].flatMap((name) => {
    const value = predicate[name] ?? predicate[camel(name)];
    return value === undefined ? [] : [{ name, value }];
  });
  const [only, ...more] = given;
  if (!only || more.length) throw invalid(where, 'needs exactly one value, such as string_value.');
  const at = `${where}.${only.name}`;
  if (only.name.endsWith('_values')) {
    const values = isObject(only.value) ? only.value['values'] : only.value;
    if (!Array.isArray(values) || values.length > LIMITS.pageSize)
      throw invalid(at, `must be {values: [..]} of at most ${LIMITS.pageSize}.`);
    return values.map((value) =>
      only.name === 'string_values' ? word(value, at) : whole(value, at),
    );
  }
  if (only.name === 'string_value') return word(only.value, at);
  if (only.name === 'timestamp_value') return instant(only.value, at);
  return whole(only.value, at);
}

function word(value: unknown, at: string): string {
  if (typeof value !== 'string') throw invalid(at, 'must be a string.');
  return value;
}
function whole(value: unknown, at: string): number {
  const number = typeof value === 'string' && /^-?\d+$/.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isInteger(number))
    throw invalid(at, 'must be an integer.');
  return number;
}
function instant(value: unknown, at: string): number {
  const time = typeof value === 'string' ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(time)) throw invalid(at, 'must be a time such as 2026-11-24T12:00:00Z.');
  return time;
}

function holds(
  operation: Operation,
  value: string | number | undefined,
  operand: Operand,
): boolean {
  if (operation === 'IN') return (operand as readonly unknown[]).includes(value);
  const other = operand as string | number;
  if (operation === 'EQUALS') return value === other;
  if (operation === 'NOT_EQUALS') return value !== other;
  if (value === undefined) return false;
  if (operation === 'IS_SUBSTRING')
    return String(value).toLowerCase().includes(String(other).toLowerCase());
  if (typeof value !== typeof other) return false;
  if (operation === 'GREATER_THAN') return value > other;
  if (operation === 'GREATER_THAN_EQUALS') return value >= other;
  if (operation === 'LESS_THAN') return value < other;
  return value <= other;
}
