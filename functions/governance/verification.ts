import type { Call } from '../kernel/call.ts';
import { type ChainHead, firstBroken, hashOf, type Told } from '../kernel/event.ts';
import { ANCHORS, AnchorData, digestOf, type Leaf, unpacked } from './anchor.ts';
import { type GovernanceStore, type Link, leavesIn } from './store.ts';

const HOUR = 3_600_000;
/** A page ends after so many entries, leaves or pieces were read, or so many findings. */
const MOST_READ = 1000;
const MOST_FINDINGS = 100;

/** Something that is not as it was written. */
export interface Finding {
  readonly subject: string;
  /** The entry from which on the chain is not to be trusted. */
  readonly sequence?: number;
  /** The anchor that says otherwise. */
  readonly anchor?: number;
  readonly why: string;
}

/** Where a verification goes on: plain JSON, for a page token. */
export interface Position {
  /** Up to here the anchors' own chain was walked. */
  readonly anchors: ChainHead;
  readonly piece?: number;
  /** Past the anchors: the last note that was looked at whole. */
  readonly note?: string;
  /** The note that `leaf` is of; it may be folded before the walk goes on. */
  readonly within?: string;
  readonly leaf?: number;
  /** Up to here the chain of that leaf's subject was walked. */
  readonly inside?: ChainHead;
}
const START: Position = { anchors: { sequence: 0, hash: '' } };

interface Step {
  /** Where to go on after it. */
  readonly next: Position;
  /** What it read anew; nothing where a page goes on, or pages that read little would never end. */
  readonly read: number;
  readonly finding?: Finding | undefined;
  readonly anchor?: true;
  readonly subject?: true;
  readonly entries?: number;
}

export interface Verified {
  readonly anchors: number;
  /** Subjects, once for each anchor that holds them. */
  readonly subjects: number;
  readonly entries: number;
  readonly findings: readonly Finding[];
  readonly next?: Position;
}

/**
 * Walks the anchors' chain, and for each leaf the piece of its subject's chain that was new then, so each entry is read
 * about once however long the history. The heads that stand in no anchor yet come last.
 */
export function verification(store: GovernanceStore) {
  async function* walk(call: Call, from: Position): AsyncGenerator<Step> {
    const genesis = (await nextAnchor(call, START.anchors))?.told?.at;
    let at = from;
    while (at.note === undefined) {
      const { anchors } = at;
      const link = await nextAnchor(call, anchors);
      if (!link) {
        const head = await store.head(call, ANCHORS);
        const ahead = (head?.sequence ?? 0) > anchors.sequence;
        if (ahead && (await nextAnchor(call, anchors))) continue; // folded just now
        at = { anchors, note: '' };
        yield { next: at, read: 1, finding: wrongHead(head, anchors) };
        break;
      }
      const resumed = at.piece !== undefined;
      const finding = resumed ? undefined : wrongAnchor(link, anchors);
      yield { next: { ...at, piece: at.piece ?? 0 }, read: resumed ? 0 : 1, finding };
      const data = AnchorData.safeParse(link.told?.data).data;
      if (data) yield* pieces({ call, anchor: link.sequence, genesis }, data, at);
      at = { anchors: { sequence: link.sequence, hash: link.told?.hash ?? '' } };
      yield { next: at, read: 0, anchor: true };
    }
    yield* notes({ call, genesis }, at);
    // What was folded meanwhile may have been among the notes that were still to come.
    const { anchors } = at;
    if (await nextAnchor(call, anchors)) yield* walk(call, { anchors });
  }

  async function nextAnchor(call: Call, { sequence }: ChainHead): Promise<Link | undefined> {
    return (await store.links(call, ANCHORS, { after: sequence, limit: 1 })).links[0];
  }

  async function* pieces(where: Where, data: AnchorData, from: Position): AsyncGenerator<Step> {
    const { anchors } = from;
    const anchor = { subject: ANCHORS, sequence: where.anchor ?? 0 };
    for (let at = from.piece ?? 0; at < data.pieces.length; at++) {
      const text = await store.piece(where.call, data.id, at);
      const leaves = text === undefined ? undefined : unpacked(text);
      const resumed = at === from.piece;
      const told = resumed && from.leaf !== undefined;
      const whole = text !== undefined && digestOf(text) === data.pieces[at];
      const why = `its piece ${at} is not as it was folded`;
      const finding = whole || told ? undefined : { ...anchor, why };
      const first = (resumed && from.leaf) || 0;
      yield { next: { anchors, piece: at, leaf: first }, read: told ? 0 : 1, finding };
      const inside = resumed ? from.inside : undefined;
      for (let leaf = first; leaf < (leaves?.length ?? 0); leaf++)
        yield* branch(where, leaves?.[leaf], leaf === first ? inside : undefined, (more) =>
          more
            ? { anchors, piece: at, leaf, inside: more }
            : { anchors, piece: at, leaf: leaf + 1 },
        );
    }
  }

  async function* notes(where: Where, from: Position): AsyncGenerator<Step> {
    const { anchors } = from;
    let after = from.note ?? '';
    for (;;) {
      const page = await store.notesAfter(where.call, after || undefined);
      for (const note of page) {
        const leaves = leavesIn(note);
        const before = after;
        const resumed = note.sk === from.within;
        const first = (resumed && from.leaf) || 0;
        const inside = resumed ? from.inside : undefined;
        const within = note.sk;
        const why = 'a note that waits for its anchor is not as it was written';
        const finding = leaves ? undefined : { subject: ANCHORS, why };
        for (let leaf = first; leaf < (leaves?.length ?? 0); leaf++)
          yield* branch(where, leaves?.[leaf], leaf === first ? inside : undefined, (more) =>
            more
              ? { anchors, note: before, within, leaf, inside: more }
              : { anchors, note: before, within, leaf: leaf + 1 },
          );
        after = note.sk;
        yield { next: { anchors, note: after }, read: 1, finding };
      }
      if (page.length === 0) return;
    }
  }

  /** The entries of one leaf's subject that its leaf before does not cover. */
  async function* branch(
    { call, anchor, genesis }: Where,
    leaf: Leaf | undefined,
    inside: ChainHead | undefined,
    next: (inside?: ChainHead) => Position,
  ): AsyncGenerator<Step> {
    if (!leaf) return;
    const { subject, to } = leaf;
    const found = (why: string, sequence: number): Finding => ({
      subject,
      sequence,
      ...(anchor === undefined ? {} : { anchor }),
      why,
    });
    let after = inside ?? (await beginning(call, leaf, genesis));
    for (;;) {
      const { links, whole } = await store.links(call, subject, {
        after: after.sequence,
        until: to,
      });
      const broken = firstWrong(subject, links, after);
      const entries = links.length;
      if (broken) {
        yield {
          next: next(),
          read: entries + 1,
          subject: true,
          entries,
          finding: found(...broken),
        };
        return;
      }
      after = headOf(links) ?? after;
      if (whole) {
        const wrong = wrongEnd(leaf, after, await store.head(call, subject));
        const finding = wrong && found(...wrong);
        yield { next: next(), read: entries + 1, subject: true, entries, finding };
        return;
      }
      yield { next: next(after), read: entries, entries };
    }
  }

  /**
   * A leaf goes on where the subject's leaf before it ended, so the last entry from there is read again. An entry from
   * before there were anchors stands in none: then the walk begins at the first.
   */
  async function beginning(call: Call, { subject, from }: Leaf, genesis: number | undefined) {
    const none = { sequence: 0, hash: '' };
    if (from < 2 || genesis === undefined) return none;
    const { links } = await store.links(call, subject, { after: from - 2, until: from - 1 });
    const told = links[0]?.told;
    return told && told.at > genesis + HOUR ? { sequence: from - 2, hash: told.previous } : none;
  }

  return {
    /** One page of the verification of a whole workspace: it ends when `most` were read. */
    async page(call: Call, from: Position = START, most = MOST_READ): Promise<Verified> {
      const sum = { anchors: 0, subjects: 0, entries: 0 };
      const findings: Finding[] = [];
      let read = 0;
      for await (const step of walk(call, from)) {
        read += step.read;
        sum.anchors += step.anchor ? 1 : 0;
        sum.subjects += step.subject ? 1 : 0;
        sum.entries += step.entries ?? 0;
        if (step.finding) findings.push(step.finding);
        if (read >= most || findings.length >= MOST_FINDINGS)
          return { ...sum, findings, next: step.next };
      }
      return { ...sum, findings };
    },

    /** The newest anchor: what to keep somewhere else. */
    newest: (call: Call): Promise<ChainHead | undefined> => store.head(call, ANCHORS),

    /** Whether an anchor that was kept somewhere else is still what it was. */
    async kept(call: Call, { sequence, hash }: ChainHead): Promise<Finding | undefined> {
      const { links } = await store.links(call, ANCHORS, { after: sequence - 1, until: sequence });
      const told = links[0]?.told;
      if (told && told.hash === hash && hashOf(told) === hash) return undefined;
      return { subject: ANCHORS, sequence, why: 'it is not the anchor that you kept' };
    },
  };
}
export type Verification = ReturnType<typeof verification>;

interface Where {
  readonly call: Call;
  readonly anchor?: number;
  readonly genesis: number | undefined;
}

type Wrong = readonly [why: string, sequence: number];

function wrongAnchor(link: Link, after: ChainHead): Finding | undefined {
  const wrong = firstWrong(ANCHORS, [link], after);
  const [why, sequence] = wrong ?? [];
  if (why !== undefined && sequence !== undefined) return { subject: ANCHORS, sequence, why };
  const data = AnchorData.safeParse(link.told?.data).data;
  const why2 = data
    ? data.unreadable > 0 && `${data.unreadable} notes were not as written when it was folded`
    : 'it is no anchor';
  return why2 ? { subject: ANCHORS, sequence: link.sequence, why: why2 } : undefined;
}

function wrongHead(head: ChainHead | undefined, last: ChainHead): Finding | undefined {
  if ((head?.hash ?? '') === last.hash) return undefined;
  return {
    subject: ANCHORS,
    sequence: last.sequence,
    why: 'its own item says another newest anchor: anchors were removed or written anew',
  };
}

const headOf = (links: readonly Link[]): ChainHead | undefined => {
  const told = links.at(-1)?.told;
  return told && { sequence: told.sequence, hash: told.hash };
};

/** The first place of a piece of a chain that does not follow. */
function firstWrong(subject: string, links: readonly Link[], after: ChainHead): Wrong | undefined {
  let expected = after.sequence;
  const chain: Told[] = [];
  for (const { sequence, told } of links) {
    expected += 1;
    if (sequence !== expected) return ['this entry is missing', expected];
    if (!told || told.subject !== subject) {
      const broken = brokenAt(chain, after);
      return broken ?? ['this entry is not one of this chain', sequence];
    }
    chain.push(told);
  }
  return brokenAt(chain, after);
}

function brokenAt(chain: readonly Told[], after: ChainHead): Wrong | undefined {
  const id = firstBroken(chain, { after });
  const at = id === undefined ? -1 : chain.findIndex((told) => told.id === id);
  return at < 0
    ? undefined
    : ['this entry was changed, or the one before it', after.sequence + at + 1];
}

function wrongEnd(leaf: Leaf, last: ChainHead, head: ChainHead | undefined): Wrong | undefined {
  const { to, hash } = leaf;
  if (last.sequence < to) return ['this entry is missing', last.sequence + 1];
  if (last.hash !== hash) return ['the chain up to this entry was written anew', to];
  if (!head || head.sequence < to || (head.sequence === to && head.hash !== hash))
    return ["the subject's own item says another newest entry", to];
  return undefined;
}
