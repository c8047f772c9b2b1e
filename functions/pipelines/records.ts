import { createHash } from 'node:crypto';
import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import { Problem } from '../kernel/problem.ts';
import {
  type Item,
  type Key,
  type Platform,
  type Query,
  queryAll,
  Refused,
  type Write,
} from '../platform/ports.ts';
import { settler } from '../platform/settle.ts';

/** A record is one JSON text beside its version, which every change compares. */
interface Versioned<T> {
  readonly record: T;
  readonly version: number;
}

/** A name as a sort key: of one length, whatever is in it. */
export const nameKey = (name: string): string => createHash('sha256').update(name).digest('hex');
export const item = (
  key: Key,
  record: unknown,
  version: number,
  more: Record<string, string> = {},
): Item => ({
  ...key,
  ...more,
  version,
  record: JSON.stringify(record),
});
const read = <T>(found: Item | undefined): Versioned<T> | undefined =>
  found && { record: JSON.parse(String(found['record'])) as T, version: Number(found['version']) };
export const fresh = (key: Key, record: unknown): Write => ({
  put: item(key, record, 1),
  if: 'absent',
});
/** A name that leads to an id. */
export const pointer = (key: Key, target: string): Write => ({
  put: { ...key, target },
  if: 'absent',
});

export type Records = ReturnType<typeof recordsOf>;

/** What both of the room's stores do with records. */
export function recordsOf({ table, world }: Pick<Platform, 'table' | 'world'>) {
  const settle = settler(world);
  const one = async <T>(call: Call, key: Key): Promise<Versioned<T> | undefined> =>
    read<T>(await table.get(call, key));
  const pointed = async (call: Call, key: Key): Promise<string | undefined> => {
    const found = await table.get(call, key);
    return found && String(found['target']);
  };
  async function all<T>(call: Call, query: Query): Promise<T[]> {
    const records: T[] = [];
    for await (const found of queryAll(table, call, query))
      records.push(JSON.parse(String(found['record'])));
    return records;
  }

  /**
   * Reads a record, asks `edit` for what it becomes, and writes it unless another change came first; then again.
   * Undefined from `edit` changes nothing. Answers the record as it then stands. Throws `missing` and what `edit` throws.
   */
  async function change<T extends object>(
    call: Call,
    key: Key,
    absent: string,
    edit: (record: T) => { record: T; event: Event } | undefined,
  ): Promise<T> {
    return settle(call, `${key.pk}/${key.sk}`, async () => {
      const found = await one<T>(call, key);
      if (!found) throw new Problem('missing', absent);
      const edited = edit(found.record);
      if (!edited) return found.record;
      const put = item(key, edited.record, found.version + 1);
      await table.commit(call, [{ put, if: { equal: { version: found.version } } }], edited.event);
      return edited.record;
    });
  }

  /** Commits, and says in the caller's words what a refused write means. */
  async function commit(
    call: Call,
    writes: readonly Write[],
    event: Event,
    refusals: readonly (Problem | undefined)[],
  ): Promise<void> {
    try {
      await table.commit(call, writes, event);
    } catch (error) {
      throw error instanceof Refused ? (refusals[error.index] ?? error) : error;
    }
  }

  return { table, settle, one, pointed, all, change, commit };
}
