import type { Call } from '../kernel/call.ts';
import type { ChainHead, Told } from '../kernel/event.ts';
import { ulid } from '../kernel/ids.ts';
import { newUlid, type World } from '../kernel/world.ts';
import { type Item, queryAll, removeAll, type Table } from '../platform/ports.ts';
import { ENTRY_PREFIX, entryKey, headKey, toldOf } from '../platform/records.ts';
import { ANCHORS, type AnchorData, digestOf, type Leaf, packed, unpacked } from './anchor.ts';

const NOTES = 'AN#NOTES';
const noteKey = (id: string) => ({ pk: NOTES, sk: `NOTE#${id}` });
const pieceKey = (anchor: string, piece: number) => ({
  pk: `AN#${anchor}`,
  sk: `P#${String(piece).padStart(4, '0')}`,
});

/** Heads of chains that were heard and stand in no anchor yet. */
export interface Note {
  readonly sk: string;
  readonly text: string;
  readonly digest: string;
}

/** One place of a chain as it is stored; without `told` it holds no entry that can be read. */
export interface Link {
  readonly sequence: number;
  readonly told: Told | undefined;
}

/**
 * Notes are a log, as a run's metrics are: what lies there stands in no anchor yet. An anchor is an entry in a chain of
 * its own, and its leaves lie beside it in pieces.
 */
export function governanceStore(table: Table, world: World) {
  return {
    /** One item for all that was heard at once, whatever the number of subjects. */
    async note(call: Call, leaves: readonly Leaf[]): Promise<void> {
      for (const text of packed(leaves))
        await table.commit(call, [
          { put: { ...noteKey(newUlid(world)), text, digest: digestOf(text) } },
        ]);
    },

    /** The oldest notes that were written before a time, up to so many bytes of text. */
    async notesBefore(call: Call, time: number, bytes: number): Promise<Note[]> {
      const until = noteKey(ulid(time, new Uint8Array(10))).sk;
      const notes: Note[] = [];
      let size = 0;
      for await (const item of queryAll(table, call, { pk: NOTES, until })) {
        notes.push(noteOf(item));
        size += Buffer.byteLength(String(item['text']));
        if (size >= bytes) break;
      }
      return notes;
    },

    async notesAfter(call: Call, after: string | undefined): Promise<Note[]> {
      const query = { pk: NOTES, limit: 10, ...(after === undefined ? {} : { after }) };
      return (await table.query(call, query)).items.map(noteOf);
    },

    /** A crash before `forget` anchors the same notes again, which says the same twice. */
    async anchor(call: Call, pieces: readonly string[], data: AnchorData): Promise<void> {
      const puts = pieces.map((text, at) => ({ put: { ...pieceKey(data.id, at), text } }));
      await table.commit(call, puts, { type: 'governance.anchor.folded', subject: ANCHORS, data });
    },

    forget: (call: Call, notes: readonly Note[]): Promise<void> =>
      removeAll(
        table,
        call,
        notes.map(({ sk }) => ({ pk: NOTES, sk })),
      ),

    async piece(call: Call, anchor: string, at: number): Promise<string | undefined> {
      const item = await table.get(call, pieceKey(anchor, at));
      return item && String(item['text']);
    },

    async head(call: Call, subject: string): Promise<ChainHead | undefined> {
      const item = await table.get(call, headKey(subject));
      return item && { sequence: Number(item['sequence']), hash: String(item['hash']) };
    },

    /** Entries after place `after` up to place `until`, as many as a page holds; `whole` when these are all. */
    async links(
      call: Call,
      subject: string,
      { after, until, limit }: { after: number; until?: number; limit?: number },
    ): Promise<{ links: Link[]; whole: boolean }> {
      const place = (sequence: number) => entryKey({ subject, sequence }).sk;
      const { items, next } = await table.query(call, {
        pk: headKey(subject).pk,
        prefix: ENTRY_PREFIX,
        after: place(after),
        ...(until === undefined ? {} : { until: place(until) }),
        ...(limit === undefined ? {} : { limit }),
      });
      return { links: items.map(linkOf), whole: next === undefined };
    },
  };
}
export type GovernanceStore = ReturnType<typeof governanceStore>;

const noteOf = (item: Item): Note => ({
  sk: item.sk,
  text: String(item['text']),
  digest: String(item['digest']),
});

/** Undefined for a note that somebody has changed. */
export const leavesIn = ({ text, digest }: Note): Leaf[] | undefined =>
  digestOf(text) === digest ? unpacked(text) : undefined;

function linkOf(item: Item): Link {
  const sequence = Number(item.sk.slice(ENTRY_PREFIX.length));
  try {
    const told = toldOf(item);
    return { sequence, told: asTold(told) === item['told'] ? told : undefined };
  } catch {
    return { sequence, told: undefined };
  }
}

/** The one text of an entry. Its hash covers values: a name that is no longer what it was may leave those as they are. */
function asTold(told: Told): string {
  const { id, type, subject, data, workspace, caller, action, requestId, at } = told;
  const { sequence, previous, hash } = told;
  const who = { workspace, caller, action, requestId, at };
  return JSON.stringify({ id, type, subject, data, ...who, sequence, previous, hash });
}
