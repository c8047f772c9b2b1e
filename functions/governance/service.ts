import type { Call } from '../kernel/call.ts';
import { type ChainHead, firstBroken, type Told } from '../kernel/event.ts';
import type { Table } from '../platform/ports.ts';
import { headKey } from '../platform/records.ts';
import type { GovernanceStore } from './store.ts';
import { type Verification, verification } from './verification.ts';

/**
 * The audit is the events themselves: each was committed with its change and is chained to its subject's last. The
 * newest hash also stands in the subject's own item, so a lost tail is found as well as a lost, edited or moved entry.
 */
export function governanceService(table: Table, store: GovernanceStore) {
  const whole: Verification = verification(store);
  return {
    /** All subjects of the workspace against their anchors, a page at a time. */
    whole,

    /** One page, oldest first. */
    entries: (
      call: Call,
      subject: string,
      after?: string,
    ): Promise<{ entries: Told[]; next?: string }> => table.entries(call, subject, after),

    /** Walks the whole chain of a subject. `broken` is the first entry that does not follow from the one before. */
    async verify(call: Call, subject: string): Promise<{ checked: number; broken?: string }> {
      const kept = await table.get(call, headKey(subject));
      const newest = kept && { sequence: Number(kept['sequence']), hash: String(kept['hash']) };
      let after: ChainHead | undefined;
      let position: string | undefined;
      do {
        const page = await table.entries(call, subject, position);
        // What was committed after the head was read is no part of this walk.
        const entries = page.entries.filter(({ sequence }) => sequence <= (newest?.sequence ?? 0));
        position = entries.length < page.entries.length ? undefined : page.next;
        const ends = position === undefined ? { head: newest } : {};
        const broken = firstBroken(entries, { after, ...ends });
        if (broken !== undefined) return { checked: after?.sequence ?? 0, broken };
        after = entries.at(-1) ?? after;
      } while (position !== undefined);
      return { checked: after?.sequence ?? 0 };
    },
  };
}
export type GovernanceService = ReturnType<typeof governanceService>;
