import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import type { Item, Table } from '../platform/ports.ts';
import { RetrainingRecord } from './model.ts';

/** The ULID that ends an id comes first in the key, so that they lie by time. */
const keyOf = (id: string) => ({ pk: 'L#retrainings', sk: `${id.slice(-26)}#${id}` });

export function retrainingStore(table: Table) {
  return {
    async find(call: Call, id: string): Promise<RetrainingRecord | undefined> {
      const item = await table.get(call, keyOf(id));
      return item && RetrainingRecord.parse(item);
    },
    /** Throws `Refused` when it has changed since `before` was read. */
    async change(
      call: Call,
      before: RetrainingRecord | undefined,
      after: RetrainingRecord,
      event: Event,
    ): Promise<void> {
      const put: Item = { ...keyOf(after.id), ...(after as unknown as Item) };
      const condition = before ? { equal: { generation: before.generation } } : 'absent';
      await table.commit(call, [{ put, if: condition }], event);
    },
    /** Newest first. */
    async page(call: Call, limit: number, after?: string) {
      const found = await table.query(call, {
        pk: 'L#retrainings',
        reverse: true,
        limit,
        ...(after === undefined ? {} : { after }),
      });
      const records = found.items.map((item) => RetrainingRecord.parse(item));
      return found.next === undefined ? { records } : { records, next: found.next };
    },
  };
}
export type RetrainingStore = ReturnType<typeof retrainingStore>;
