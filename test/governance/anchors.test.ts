import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  ANCHORS,
  AnchorData,
  LIMITS,
  merged,
  packed,
  unpacked,
} from '../../functions/governance/anchor.ts';
import { governanceRoom } from '../../functions/governance/index.ts';
import { hashOf, type Told } from '../../functions/kernel/event.ts';
import type { Key } from '../../functions/platform/ports.ts';
import { entryKey, headKey } from '../../functions/platform/records.ts';
import { type LocalTable, openTable } from '../../local/table.ts';
import { type TestWorld, testCall, testWorld } from '../world.ts';

const HOUR = 3_600_000;
const call = testCall();

/** A table, and the room hearing what its outbox holds as the bus would let it; the clock is turned by hand. */
function openHouse() {
  const folder = mkdtempSync(join(tmpdir(), 'anchors-'));
  const world: TestWorld = testWorld();
  const table: LocalTable = openTable({
    ...{ folder, world, noSync: true },
    memory: { itemBytes: 0, rangeBytes: 0 }, // what is tampered with is seen at once
  });
  const room = governanceRoom({ table, world, secret: new Uint8Array(32) });
  const [follower] = room.followers;
  let cursor = 0;
  async function settled() {
    const waiting = [...table.outbox.getRange({ start: cursor + 1 })];
    const heard = waiting.flatMap(({ value }) => ('told' in value ? [value.told] : []));
    if (heard.length > 0) await follower?.runMany?.(call, heard);
    cursor = waiting.at(-1)?.key ?? cursor;
  }
  const items = table.root.openDB<Record<string, unknown>, Buffer>({
    name: 'items',
    keyEncoding: 'binary',
  });
  const keyOf = ({ pk, sk }: Key) => Buffer.from(`${call.workspace}\0${pk}\0${sk}`);
  return {
    world,
    room,
    table,
    async change(subject: string, data: unknown = {}) {
      await table.commit(call, [], { type: 'test.thing.changed', subject, data });
    },
    /** The hour ends, and its anchor is folded. */
    async hour() {
      await settled();
      world.pass(HOUR);
      await room.tick(call);
      await settled();
    },
    settled,
    /** The whole verification, in pages that read `most`. */
    async verify(most?: number) {
      await settled();
      const sum = { anchors: 0, subjects: 0, entries: 0, pages: 0 };
      const findings: { subject: string; sequence?: number; anchor?: number; why: string }[] = [];
      let from: Parameters<typeof room.service.whole.page>[1];
      do {
        const page = await room.service.whole.page(call, from, most);
        sum.anchors += page.anchors;
        sum.subjects += page.subjects;
        sum.entries += page.entries;
        sum.pages += 1;
        findings.push(...page.findings);
        from = page.next;
      } while (from);
      return { ...sum, findings };
    },
    // What somebody could do who has the file in hand.
    async put(key: Key, item: Record<string, unknown>) {
      await items.put(keyOf(key), { ...key, ...item });
      await items.flushed;
    },
    stored: (key: Key) => items.get(keyOf(key)),
    async lose(key: Key) {
      await items.remove(keyOf(key));
    },
    async chain(subject: string): Promise<Told[]> {
      const chain: Told[] = [];
      let after: string | undefined;
      do {
        const page = await table.entries(call, subject, after);
        chain.push(...page.entries);
        after = page.next;
      } while (after);
      return chain;
    },
    async close() {
      await table.close();
      rmSync(folder, { recursive: true });
    },
  };
}
type House = ReturnType<typeof openHouse>;

/** Changes entry `from` (undefined: only takes the later ones away) and writes a chain that is whole by itself. */
async function writeAnew(
  house: House,
  subject: string,
  from: number,
  kept: (told: Told) => Told[],
): Promise<void> {
  const chain = await house.chain(subject);
  let previous = chain[from - 2]?.hash ?? '';
  let sequence = from - 1;
  const anew: Told[] = [];
  for (const told of chain
    .slice(from - 1)
    .flatMap((each, at) => (at === 0 ? kept(each) : [each]))) {
    sequence += 1;
    const { hash: _, ...rest } = { ...told, sequence, previous };
    const next = { ...rest, hash: hashOf(rest) };
    previous = next.hash;
    anew.push(next);
  }
  for (const told of chain.slice(from - 1)) await house.lose(entryKey(told));
  for (const told of anew) await house.put(entryKey(told), { told: JSON.stringify(told) });
  if (sequence === 0) await house.lose(headKey(subject));
  else await house.put(headKey(subject), { sequence, hash: previous });
}

/** Each way leaves another lie behind. */
const TAMPERINGS: Record<string, (house: House, subject: string, at: number) => Promise<void>> = {
  'an entry was edited': async (house, subject, at) => {
    const key = entryKey({ subject, sequence: at });
    const told = JSON.parse(String(house.stored(key)?.['told']));
    await house.put(key, { told: JSON.stringify({ ...told, caller: 'mallory' }) });
  },
  'an entry is no longer readable': (house, subject, at) =>
    house.put(entryKey({ subject, sequence: at }), { told: '{"id' }),
  'an entry changed places with its neighbour': async (house, subject, at) => {
    const other = at === 1 ? 2 : at - 1;
    const [a, b] = [at, other].map((sequence) => entryKey({ subject, sequence }));
    const [left, right] = [a && house.stored(a), b && house.stored(b)];
    if (!a || !b || !left || !right) return house.lose(entryKey({ subject, sequence: at }));
    await house.put(a, { told: right['told'] });
    await house.put(b, { told: left['told'] });
  },
  'an entry was removed': (house, subject, at) => house.lose(entryKey({ subject, sequence: at })),
  'an entry was edited and its chain hashed anew': (house, subject, at) =>
    writeAnew(house, subject, at, (told) => [{ ...told, caller: 'mallory' }]),
  'an entry was taken out and its chain hashed anew': (house, subject, at) =>
    writeAnew(house, subject, at, () => []),
  'an entry was slipped in and its chain hashed anew': (house, subject, at) =>
    writeAnew(house, subject, at, (told) => [{ ...told, caller: 'mallory' }, told]),
  'the chain was cut off, its head too': async (house, subject, at) => {
    const chain = await house.chain(subject);
    for (const told of chain.slice(at - 1)) await house.lose(entryKey(told));
    const last = chain[at - 2];
    if (last) await house.put(headKey(subject), { sequence: last.sequence, hash: last.hash });
    else await house.lose(headKey(subject));
  },
};

async function firstPiece(house: House): Promise<Key> {
  const [told] = await house.chain(ANCHORS);
  return { pk: `AN#${AnchorData.parse(told?.data).id}`, sk: 'P#0000' };
}

let house: House;
beforeEach(() => {
  house = openHouse();
});
afterEach(() => house.close());

test('an hour is folded into one anchor, and each anchor follows from the one before', async () => {
  for (let n = 0; n < 5; n++) await house.change('models/churn', { n });
  await house.change('runs/1');
  await house.hour();
  await house.change('models/churn');
  await house.hour();
  const chain = await house.chain(ANCHORS);
  expect(chain.map(({ type, data }) => [type, (data as { subjects: number }).subjects])).toEqual([
    ['governance.anchor.folded', 2],
    ['governance.anchor.folded', 1],
  ]);
  expect(await house.verify()).toMatchObject({ anchors: 2, subjects: 3, findings: [] });
});

test('an hour in which nothing happened has no anchor, and an anchor alone makes no other', async () => {
  await house.change('runs/1');
  await house.hour();
  for (let n = 0; n < 3; n++) await house.hour();
  expect(await house.chain(ANCHORS)).toHaveLength(1);
});

test('what happens in the hour that runs is verified too', async () => {
  await house.change('runs/1');
  await house.change('runs/1');
  expect(await house.verify()).toMatchObject({ anchors: 0, entries: 2, findings: [] });
  await TAMPERINGS['an entry was edited and its chain hashed anew']?.(house, 'runs/1', 1);
  expect((await house.verify()).findings).toMatchObject([{ subject: 'runs/1' }]);
});

test('each entry is read about once, however many hours its subject has moved in', async () => {
  for (let hour = 0; hour < 20; hour++) {
    for (let n = 0; n < 5; n++) await house.change('models/churn', { hour, n });
    await house.hour();
  }
  const { entries } = await house.verify();
  expect(entries).toBeGreaterThanOrEqual(100);
  expect(entries).toBeLessThan(150); // the first two hours are walked from their beginning
});

test('a chain that began before there were anchors is verified from its first entry', async () => {
  const told = { type: 'test.thing.changed', subject: 'old', data: {} } as const;
  await house.settled();
  for (let n = 0; n < 6; n++) await house.table.commit(call, [], told);
  await house.settled();
  // As if nobody had heard these: the notes of an older release, which had none.
  for (const { sk } of (await house.table.query(call, { pk: 'AN#NOTES' })).items)
    await house.lose({ pk: 'AN#NOTES', sk });
  house.world.pass(5 * HOUR);
  await house.change('other');
  await house.hour();
  house.world.pass(5 * HOUR);
  await house.change('old');
  await house.hour();
  await TAMPERINGS['an entry was edited']?.(house, 'old', 2);
  expect((await house.verify()).findings).toMatchObject([{ subject: 'old', sequence: 2 }]);
});

test.each(Object.entries(TAMPERINGS))('F14 %s: the subject is named', async (_, tamper) => {
  for (const subject of ['models/churn', 'models/other', 'runs/1'])
    for (let n = 0; n < 4; n++) await house.change(subject, { n });
  await house.hour();
  await house.change('models/churn');
  await house.hour();
  await tamper(house, 'models/churn', 3);
  const { findings } = await house.verify();
  expect(findings.length).toBeGreaterThan(0);
  expect(new Set(findings.map(({ subject }) => subject))).toEqual(new Set(['models/churn']));
  expect(Math.min(...findings.map(({ sequence = 0 }) => sequence))).toBeGreaterThanOrEqual(2);
});

test.each<[string, (house: House) => Promise<void>]>([
  [
    'an anchor was edited',
    (on) => TAMPERINGS['an entry was edited']?.(on, ANCHORS, 1) ?? Promise.reject(),
  ],
  ['an anchor was removed', (on) => on.lose(entryKey({ subject: ANCHORS, sequence: 1 }))],
  ['the newest anchor was removed', (on) => on.lose(entryKey({ subject: ANCHORS, sequence: 2 }))],
  [
    'all anchors were removed',
    async (on) => {
      for (const sequence of [1, 2]) await on.lose(entryKey({ subject: ANCHORS, sequence }));
    },
  ],
  [
    'what an anchor holds was edited',
    async (on) => {
      const key = await firstPiece(on);
      const text = String(on.stored(key)?.['text']);
      await on.put(key, { text: text.replace('runs/1', 'runs/2') });
    },
  ],
  [
    'what an anchor holds was removed',
    async (on) => {
      await on.lose(await firstPiece(on));
    },
  ],
])('F14 %s: the anchors are named', async (_, tamper) => {
  await house.change('runs/1');
  await house.hour();
  await house.change('runs/1');
  await house.hour();
  await tamper(house);
  expect((await house.verify()).findings.map(({ subject }) => subject)).toContain(ANCHORS);
});

test('a note that is edited before its hour ends is told of by the anchor that should hold it', async () => {
  await house.change('runs/1');
  await house.settled();
  const [note] = (await house.table.query(call, { pk: 'AN#NOTES' })).items;
  const key = { pk: 'AN#NOTES', sk: note?.sk ?? '' };
  await house.put(key, { text: 'x' });
  expect((await house.verify()).findings).toMatchObject([{ subject: ANCHORS }]);
  await house.hour();
  expect((await house.verify()).findings).toMatchObject([{ subject: ANCHORS, sequence: 1 }]);
});

test('who writes anchors and chains anew is found by an anchor that was kept elsewhere', async () => {
  await house.change('runs/1');
  await house.hour();
  const kept = await house.room.service.whole.newest(call);
  expect(kept && (await house.room.service.whole.kept(call, kept))).toBeUndefined();
  await writeAnew(house, ANCHORS, 1, (told) => [{ ...told, caller: 'mallory' }]);
  expect((await house.verify()).findings).toEqual([]);
  expect(kept && (await house.room.service.whole.kept(call, kept))).toMatchObject({
    subject: ANCHORS,
    sequence: 1,
  });
});

test('a crash between an anchor and the end of its notes only says the same twice', async () => {
  await house.change('runs/1');
  await house.settled();
  const [note] = (await house.table.query(call, { pk: 'AN#NOTES' })).items;
  await house.hour();
  await house.put({ pk: 'AN#NOTES', sk: note?.sk ?? '' }, { ...note });
  await house.hour();
  expect(await house.verify()).toMatchObject({ anchors: 2, findings: [] });
});

test('more heads than one item holds lie in pieces, and more than a commit holds in several anchors', async () => {
  const long = 'x'.repeat(700);
  const told = (n: number): Told => ({
    ...{ id: '', type: 'a.b.c', data: null, workspace: call.workspace, caller: '', action: '' },
    ...{ requestId: '', at: 0, previous: '', hash: 'f'.repeat(64) },
    subject: `${long}${n}`,
    sequence: 1,
  });
  const [follower] = house.room.followers;
  for (let at = 0; at < 30; at++)
    await follower?.runMany?.(
      call,
      Array.from({ length: 100 }, (_, n) => told(at * 100 + n)),
    );
  await house.hour();
  const anchors = (await house.chain(ANCHORS)).map(
    ({ data }) => data as { subjects: number; pieces: string[] },
  );
  expect(anchors.length).toBeGreaterThan(1);
  expect(anchors.reduce((sum, { subjects }) => sum + subjects, 0)).toBe(3000);
  expect(Math.max(...anchors.map(({ pieces }) => pieces.length))).toBeGreaterThan(2);
  expect((await house.table.query(call, { pk: 'AN#NOTES' })).items).toEqual([]);
});

const leaf = fc.record({
  subject: fc.string({ unit: 'grapheme', maxLength: 300 }),
  from: fc.nat(),
  to: fc.nat(),
  hash: fc.constantFrom('a'.repeat(64), 'b'.repeat(64)),
});
test('leaves come back from their pieces, each piece within its bounds', () => {
  fc.assert(
    fc.property(fc.array(leaf, { maxLength: 3000 }), (leaves) => {
      const pieces = packed(leaves);
      for (const piece of pieces)
        expect(Buffer.byteLength(piece)).toBeLessThanOrEqual(LIMITS.pieceBytes);
      expect(pieces.flatMap((piece) => unpacked(piece) ?? [])).toEqual(leaves);
    }),
    { numRuns: 20 },
  );
});

test('merging knows no order, and keeps two hashes of one entry apart', () => {
  fc.assert(
    fc.property(fc.array(leaf, { maxLength: 30 }), fc.integer(), (leaves, seed) => {
      const shuffled = [...leaves].sort(
        (a, b) => ((a.to * seed) % 7) - ((b.to * seed) % 7) || (a.hash < b.hash ? 1 : -1),
      );
      expect(merged(shuffled)).toEqual(merged(leaves));
      for (const { subject, to, hash } of leaves) {
        const kept = merged(leaves).filter((each) => each.subject === subject);
        const newest = Math.max(...leaves.filter((l) => l.subject === subject).map((l) => l.to));
        expect(kept.length).toBeGreaterThan(0);
        if (to === newest) expect(kept.map((each) => each.hash)).toContain(hash);
      }
    }),
  );
});

/** The model: whatever happened is whole; whatever one place of it was made into is found. */
test('any history is whole, in pages of any size, and any tampering with it is found', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof({ weight: 5, arbitrary: fc.nat(3) }, fc.constant('hour' as const)), {
        minLength: 1,
        maxLength: 40,
      }),
      fc.constantFrom(...Object.keys(TAMPERINGS)),
      fc.nat(),
      fc.nat(),
      fc.integer({ min: 1, max: 9 }),
      async (steps, how, which, where, most) => {
        const own = openHouse();
        try {
          for (const step of steps)
            if (step === 'hour') await own.hour();
            else await own.change(`things/${step}`);
          const whole = await own.verify();
          expect(whole.findings).toEqual([]);
          const { pages: _, ...paged } = await own.verify(most);
          expect({ ...paged, pages: whole.pages }).toEqual(whole);
          const moved = [...new Set(steps.filter((step) => step !== 'hour'))];
          if (moved.length === 0) return;
          const subject = `things/${moved[which % moved.length]}`;
          const { length } = await own.chain(subject);
          await TAMPERINGS[how]?.(own, subject, 1 + (where % length));
          const found = await own.verify(most);
          expect(found.findings.map((each) => each.subject)).toContain(subject);
          expect(found.findings.filter((each) => each.subject !== subject)).toEqual([]);
        } finally {
          await own.close();
        }
      },
    ),
    { numRuns: 40 },
  );
});

test('N9 any bit of an entry, a head, an anchor or a note that is another is found', async () => {
  for (const n of [1, 2]) await house.change('things/1', { n, text: 'é "quoted"', none: null });
  await house.change('things/2', null);
  await house.hour();
  await house.change('things/1');
  await house.settled();
  const [note] = (await house.table.query(call, { pk: 'AN#NOTES' })).items;
  const places: [Key, string][] = [
    [entryKey({ subject: 'things/1', sequence: 1 }), 'told'],
    [entryKey({ subject: 'things/1', sequence: 3 }), 'told'],
    [entryKey({ subject: 'things/2', sequence: 1 }), 'told'],
    [entryKey({ subject: ANCHORS, sequence: 1 }), 'told'],
    [headKey('things/1'), 'hash'],
    [headKey(ANCHORS), 'hash'],
    [await firstPiece(house), 'text'],
    [{ pk: 'AN#NOTES', sk: note?.sk ?? '' }, 'text'],
  ];
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...places), fc.nat(), async ([key, name], which) => {
      const item = house.stored(key);
      const bytes = Buffer.from(String(item?.[name]));
      const bit = which % (bytes.length * 8);
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      await house.put(key, { ...item, [name]: bytes.toString() });
      try {
        expect((await house.verify()).findings, `${key.pk} bit ${bit}`).not.toEqual([]);
      } finally {
        await house.put(key, { ...item });
      }
    }),
    { numRuns: 1500 },
  );
  expect((await house.verify()).findings).toEqual([]);
});
