import { hash } from 'node:crypto';
import * as z from 'zod';
import type { Told } from '../kernel/event.ts';

/** The chain that the anchors themselves are: entry n is anchor n. */
export const ANCHORS = 'anchors';

/** Text of one stored piece, and of all pieces of one anchor: a commit takes 4 MB, an item 400 KB. */
export const LIMITS = { pieceBytes: 200_000, anchorBytes: 1_500_000 };

/**
 * What an anchor holds of one subject: entries `from` to `to` were heard since the anchor before, and the hash of the
 * last of them.
 */
export interface Leaf {
  readonly subject: string;
  readonly from: number;
  readonly to: number;
  readonly hash: string;
}

/** The event by which an anchor is put; its entry's `sequence`, `previous` and `hash` chain the anchors. */
export const AnchorData = z.object({
  id: z.string(),
  /** What was heard before this time, and stands in no anchor before; milliseconds since the epoch. */
  until: z.number(),
  subjects: z.number(),
  /** Notes that were no longer what had been noted, and could not be folded. */
  unreadable: z.number(),
  /** SHA-256 of each piece of its leaves. */
  pieces: z.array(z.string()).max(64),
});
export type AnchorData = z.infer<typeof AnchorData>;

const Pieces = z.array(z.tuple([z.string(), z.int(), z.int(), z.string()]));

/** What a follower heard. What joined no chain has no place in one, and anchors are not anchored again. */
export const leavesOf = (heard: readonly Told[]): Leaf[] =>
  merged(
    heard
      .filter(({ sequence, subject }) => sequence > 0 && subject !== ANCHORS)
      .map((told) => ({
        subject: told.subject,
        from: told.sequence,
        to: told.sequence,
        hash: told.hash,
      })),
  );

/**
 * One leaf a subject, sorted. Two hashes that were told of one entry are both kept: one of them is of a chain that
 * somebody has written anew.
 */
export function merged(leaves: readonly Leaf[]): Leaf[] {
  const kept: Leaf[] = [];
  for (const leaf of [...leaves].sort(inOrder)) {
    const last = kept.at(-1);
    const same = last?.subject === leaf.subject;
    if (!last || !same || (last.to === leaf.to && last.hash !== leaf.hash)) kept.push(leaf);
    else kept[kept.length - 1] = { ...leaf, from: Math.min(last.from, leaf.from) };
  }
  return kept;
}

const inOrder = (a: Leaf, b: Leaf): number => {
  if (a.subject !== b.subject) return a.subject < b.subject ? -1 : 1;
  return a.to - b.to || (a.hash < b.hash ? -1 : 1);
};

/** As text, in pieces that an item holds. */
export function packed(leaves: readonly Leaf[]): string[] {
  const pieces: string[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const { subject, from, to, hash: head } of leaves) {
    const text = JSON.stringify([subject, from, to, head]);
    const size = Buffer.byteLength(text) + 1;
    if (bytes + size > LIMITS.pieceBytes) {
      pieces.push([]);
      bytes = 2;
    }
    pieces.at(-1)?.push(text);
    bytes += size;
  }
  return pieces.map((texts) => `[${texts.join(',')}]`);
}

/** Undefined for a text that no `packed` has written. */
export function unpacked(text: string): Leaf[] | undefined {
  try {
    const rows = Pieces.parse(JSON.parse(text));
    return rows.map(([subject, from, to, head]) => ({ subject, from, to, hash: head }));
  } catch {
    return undefined;
  }
}

export const digestOf = (piece: string): string => hash('sha256', piece, 'hex');
