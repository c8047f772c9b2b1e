import type { Call } from '../kernel/call.ts';
import type { Told } from '../kernel/event.ts';
import { newUlid, type World } from '../kernel/world.ts';
import { type AnchorData, digestOf, LIMITS, leavesOf, merged, packed } from './anchor.ts';
import { type GovernanceStore, leavesIn } from './store.ts';

const HOUR = 3_600_000;

/**
 * Each hour what the chains of a workspace end in is folded into an anchor, and the anchors are a chain. Whoever edits
 * an entry and writes its chain anew from there on has another hash than the anchor says. No history is read for it: a
 * follower notes the heads as it hears the events, the clock folds the notes.
 */
export function anchors(store: GovernanceStore, world: World) {
  /** An hour with more heads than a commit takes has several anchors. False when there was nothing to fold. */
  async function fold(call: Call, until: number): Promise<boolean> {
    const notes = await store.notesBefore(call, until, LIMITS.anchorBytes);
    if (notes.length === 0) return false;
    const read = notes.map(leavesIn);
    const leaves = merged(read.flatMap((found) => found ?? []));
    const pieces = packed(leaves);
    const data: AnchorData = {
      id: newUlid(world),
      until,
      subjects: leaves.length,
      unreadable: read.filter((found) => found === undefined).length,
      pieces: pieces.map(digestOf),
    };
    await store.anchor(call, pieces, data);
    await store.forget(call, notes);
    return true;
  }

  return {
    /** The follower: what is heard twice, late or out of order says nothing that is not so. */
    async hear(call: Call, heard: readonly Told[]): Promise<void> {
      await store.note(call, leavesOf(heard));
    },

    /** Folds the hours that are over; when the next one is. */
    async tick(call: Call): Promise<number> {
      const hour = Math.floor(world.now() / HOUR) * HOUR;
      while (world.now() < call.deadline && (await fold(call, hour)));
      return hour + HOUR;
    },
  };
}
