import * as fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Call } from '../../functions/kernel/call.ts';
import { type ChainHead, type Event, firstBroken } from '../../functions/kernel/event.ts';
import {
  type Item,
  queryAll,
  Refused,
  Repeated,
  type Table,
  type Write,
} from '../../functions/platform/ports.ts';
import { callIn, newWorkspace, type TestWorld } from './calls.ts';
import { tableModel } from './table-model.ts';

export interface TableUnderTest {
  readonly table: Table;
  readonly world: TestWorld;
}

export interface TableSuite {
  readonly on: string;
  open(): Promise<TableUnderTest>;
  /** Random sequences the model test runs. */
  readonly runs: number;
}

const event = (subject: string, data: unknown = { a: 1 }): Event => ({
  type: 'test.thing.changed',
  subject,
  data,
});
const bytes = (...values: number[]) => new Uint8Array(values);

/** What every Table keeps, whatever lies beneath. */
export function tableContract({ on, open, runs }: TableSuite) {
  describe(`Table on ${on}`, () => {
    let table: Table;
    let world: TestWorld;
    const fresh = (more: Partial<Call> = {}) => callIn(newWorkspace(), more);

    beforeAll(async () => {
      ({ table, world } = await open());
    });

    test('gives back what was put: text, numbers, bytes, lists and maps', async () => {
      const call = fresh();
      const item = {
        pk: 'M#é漢😀',
        sk: 'META',
        text: '',
        tiny: 1e-130,
        large: -9.9e125,
        pi: Math.PI,
        zero: -0,
        whole: 2 ** 53 - 1,
        yes: true,
        nothing: null,
        raw: bytes(0, 255, 1),
        none: bytes(),
        list: [1, 'a', [bytes(7)], { deep: null }],
        map: { 'a.b': 1, 'with space': { x: false } },
        absent: undefined,
      };
      await table.commit(call, [{ put: item }]);
      const { absent: _, ...kept } = { ...item, zero: 0 };
      expect(seen(await table.get(call, item))).toEqual(seen(kept));
      expect((await table.getMany(call, [item, { pk: 'no', sk: 'no' }])).map(seen)).toEqual([
        seen(kept),
      ]);
    });

    test('bytes stay as they were after later reads and writes', async () => {
      const call = fresh();
      const raw = new Uint8Array(5000).fill(7);
      await table.commit(call, [{ put: { pk: 'a', sk: '1', raw } }]);
      const first = await table.get(call, { pk: 'a', sk: '1' });
      await table.commit(call, [{ put: { pk: 'a', sk: '2', raw: new Uint8Array(5000).fill(9) } }]);
      await table.get(call, { pk: 'a', sk: '2' });
      await table.query(call, { pk: 'a' });
      expect(Buffer.compare(first?.['raw'] as Uint8Array, raw)).toBe(0);
    });

    test('a second put replaces the item whole', async () => {
      const call = fresh();
      const key = { pk: 'a', sk: 'b' };
      await table.commit(call, [{ put: { ...key, old: 1 } }]);
      await table.commit(call, [{ put: { ...key, new: 1 } }]);
      expect(await table.get(call, key)).toEqual({ ...key, new: 1 });
      await table.commit(call, [{ remove: key }]);
      await table.commit(call, [{ remove: key }]);
      expect(await table.get(call, key)).toBeUndefined();
    });

    const there = { pk: 'c', sk: 'there', n: 5, s: 'x', b: true, 'odd.name': 1 };
    const conditions = [
      ['absent', false, true],
      ['present', true, false],
      [{ equal: { n: 5 } }, true, false],
      [{ equal: { n: 5, s: 'x', b: true, 'odd.name': 1 } }, true, false],
      [{ equal: { n: 6 } }, false, false],
      [{ equal: { n: '5' } }, false, false],
      [{ equal: { missing: 1 } }, false, false],
      [{ equal: {} }, true, false],
      [{ newer: { n: 6 } }, true, true],
      [{ newer: { n: 5 } }, false, true],
      [{ newer: { missing: 0 } }, true, true],
      [{ newer: { s: 9 } }, false, true],
      [{ newer: { n: 6, missing: 1 } }, true, true],
    ] as const;
    test.each(conditions)(
      'if %j: %s on the item, %s where none is',
      async (condition, hit, miss) => {
        for (const [key, holds] of [
          [{ pk: 'c', sk: 'there' }, hit],
          [{ pk: 'c', sk: 'gone' }, miss],
        ] as const) {
          for (const form of ['put', 'remove', 'check', 'pair'] as const) {
            const call = fresh();
            await table.commit(call, [{ put: there }]);
            const write: Write =
              form === 'remove'
                ? { remove: key, if: condition }
                : form === 'check'
                  ? { check: key, if: condition }
                  : { put: { ...key, by: 'w' }, if: condition };
            const other: Write = { put: { pk: 'other', sk: '1' } };
            const writes = form === 'put' || form === 'remove' ? [write] : [other, write];
            const done = table.commit(call, writes);
            const outcome = await done.then(
              () => 'held',
              (error) => (error instanceof Refused ? error.index : error),
            );
            expect(outcome).toBe(holds ? 'held' : writes.length - 1);
            const otherThere = (await table.get(call, { pk: 'other', sk: '1' })) !== undefined;
            expect(otherThere).toBe(holds && writes.length > 1);
          }
        }
      },
    );

    test('an item past its time is absent: to reads, pages and conditions', async () => {
      const call = fresh();
      const key = { pk: 'x', sk: '1' };
      await table.commit(call, [{ put: { ...key, v: 1, expiresAt: world.now() + 1000 } }]);
      await table.commit(call, [{ put: { pk: 'x', sk: '2' } }]);
      expect(await table.get(call, key)).toMatchObject({ v: 1 });
      world.advance(1000);
      expect(await table.get(call, key)).toBeUndefined();
      expect(await table.getMany(call, [key])).toEqual([]);
      expect(await all(table, call, 'x')).toEqual(['2']);
      await expect(table.commit(call, [{ check: key, if: 'present' }])).rejects.toThrow(Refused);
      await expect(
        table.commit(call, [{ put: { ...key }, if: { equal: { v: 1 } } }]),
      ).rejects.toThrow(Refused);
      await table.commit(call, [{ put: { ...key, v: 2 }, if: { newer: { v: 0 } } }]);
      await table.commit(call, [{ put: { ...key, v: 0, expiresAt: world.now() - 1 } }]);
      await table.commit(call, [{ put: { ...key, v: 3 }, if: 'absent' }]);
      expect(await table.get(call, key)).toEqual({ ...key, v: 3 });
    });

    test('pages in the order of UTF-8 bytes, both ways, each item once', async () => {
      const call = fresh();
      // UTF-16 order would put the emoji before U+FFEE.
      const names = ['a', 'a#1', 'a#2', 'a#22', 'b', 'é', '\uffee', '😀'];
      await table.commit(
        call,
        [...names].reverse().map((sk) => ({ put: { pk: 'p', sk } })),
      );
      await table.commit(call, [{ put: { pk: 'p2', sk: 'a' } }, { put: { pk: 'o', sk: 'z' } }]);
      expect(await all(table, call, 'p')).toEqual(names);
      for (const limit of [1, 2, 3, 8, 9])
        expect(await walk(table, call, { pk: 'p', limit })).toEqual(names);
      const backwards = [...names].reverse();
      for (const limit of [1, 3, 9])
        expect(await walk(table, call, { pk: 'p', limit, reverse: true })).toEqual(backwards);
      expect(await walk(table, call, { pk: 'p', prefix: 'a#' })).toEqual(['a#1', 'a#2', 'a#22']);
      expect(await walk(table, call, { pk: 'p', prefix: 'a#2', limit: 1, reverse: true })).toEqual([
        'a#22',
        'a#2',
      ]);
      expect(await walk(table, call, { pk: 'p', after: 'a#1', until: 'b' })).toEqual([
        'a#2',
        'a#22',
        'b',
      ]);
      expect(await walk(table, call, { pk: 'p', prefix: 'a', after: 'a#1', until: 'a#2' })).toEqual(
        ['a#2'],
      );
      expect(await walk(table, call, { pk: 'p', after: 'a#2', reverse: true })).toEqual([
        'a#1',
        'a',
      ]);
      expect(await walk(table, call, { pk: 'p', prefix: 'a#', after: 'zzz' })).toEqual([]);
      expect(
        await walk(table, call, { pk: 'p', prefix: 'a#', after: 'zzz', reverse: true }),
      ).toEqual(['a#22', 'a#2', 'a#1']);
      expect(await walk(table, call, { pk: 'none' })).toEqual([]);
    });

    test('a page holds at most 1 MB and the walk still meets each item once', async () => {
      const call = fresh();
      const text = 'x'.repeat(300_000);
      const names = Array.from({ length: 9 }, (_, i) => `i${i}`);
      for (const sk of names) await table.commit(call, [{ put: { pk: 'big', sk, text } }]);
      const first = await table.query(call, { pk: 'big' });
      expect(first.items.length).toBeGreaterThan(0);
      expect(first.items.length).toBeLessThan(5);
      expect(first.next).toBe(first.items.at(-1)?.sk);
      expect(await all(table, call, 'big')).toEqual(names);
    });

    test('refuses what DynamoDB would, and changes nothing', async () => {
      const call = fresh();
      const key = { pk: 'l', sk: '1' };
      const refused: [string, Write[], object][] = [
        [
          'an item over 400 KB',
          [{ put: { ...key, t: 'x'.repeat(410_000) } }],
          { code: 'too_large' },
        ],
        [
          'a commit over 4 MB',
          Array.from({ length: 12 }, (_, i) => ({
            put: { pk: 'l', sk: `${i}`, t: 'x'.repeat(390_000) },
          })),
          { code: 'too_large' },
        ],
        ['NaN', [{ put: { ...key, n: Number.NaN } }], { code: 'invalid' }],
        ['a huge number', [{ put: { ...key, m: { n: [1e126] } } }], { code: 'invalid' }],
        ['a tiny number', [{ put: { ...key, n: 1e-131 } }], { code: 'invalid' }],
        ['an empty key', [{ put: { pk: '', sk: '1' } }], { code: 'invalid' }],
        ['an empty sort key', [{ put: { pk: 'l', sk: '' } }], { code: 'invalid' }],
        ['NUL in a key', [{ put: { pk: 'l', sk: 'a\0b' } }], { code: 'invalid' }],
        ['a long pk', [{ put: { pk: 'é'.repeat(951), sk: '1' } }], { code: 'invalid' }],
        ['a long sk', [{ put: { pk: 'l', sk: 'x'.repeat(1001) } }], { code: 'invalid' }],
        ['half a surrogate pair', [{ put: { ...key, t: 'a\ud800' } }], { code: 'invalid' }],
        ['deep nesting', [{ put: { ...key, t: nested(40) } }], { code: 'invalid' }],
        ['98 writes', many(98), { name: 'Error' }],
        ['one key twice', [{ put: key }, { check: key, if: 'absent' }], { name: 'Error' }],
        ['a partition of the adapter', [{ put: { pk: 'E#runs/1', sk: '1' } }], { name: 'Error' }],
        ['no write at all', [], { name: 'Error' }],
      ];
      for (const [why, writes, error] of refused) {
        const first: Write[] = writes.length === 1 ? [{ put: { pk: 'l', sk: 'first' } }] : [];
        await expect(table.commit(call, [...first, ...writes]), why).rejects.toMatchObject(error);
      }
      expect(await all(table, call, 'l')).toEqual([]);
    });

    test('takes what is just within the limits', async () => {
      const call = fresh();
      const long = { pk: 'x'.repeat(1900), sk: 'y'.repeat(1000) };
      await table.commit(call, many(97));
      expect((await all(table, call, 'many')).length).toBe(97);
      await table.commit(call, [{ put: { ...long, t: 'z'.repeat(400_000) } }]);
      expect((await table.get(call, long))?.['t']).toHaveLength(400_000);
      const half = Array.from({ length: 10 }, (_, i) => ({
        put: { pk: 'half', sk: `${i}`, t: 'x'.repeat(390_000) },
      }));
      await table.commit(call, half);
      expect((await all(table, call, 'half')).length).toBe(10);
    });

    test('reads up to 1,000 keys at once, doubles and impossible ones among them', async () => {
      const call = fresh();
      await table.commit(call, many(97));
      const asked = Array.from({ length: 996 }, (_, i) => ({ pk: 'many', sk: `k${i}` }));
      const odd = [
        { pk: '', sk: '' },
        { pk: 'many', sk: 'k1' },
        { pk: 'x'.repeat(3000), sk: 'k1' },
      ];
      expect(await table.getMany(call, [...asked, ...odd])).toHaveLength(97);
      await expect(table.getMany(call, [...asked, ...asked])).rejects.toThrow();
      expect(await table.get(call, { pk: '', sk: 'a' })).toBeUndefined();
      expect(await table.get(call, { pk: 'a', sk: 'b\0c' })).toBeUndefined();
    });

    test('of many at once exactly one wins an absent key, and none is lost in a counter', async () => {
      const call = fresh();
      const key = { pk: 'race', sk: '1' };
      const racers = Array.from({ length: 12 }, (_, who) =>
        table.commit(call, [{ put: { ...key, who }, if: 'absent' }]).then(
          () => who,
          (error) => {
            if (!(error instanceof Refused)) throw error;
          },
        ),
      );
      const winners = (await Promise.all(racers)).filter((who) => who !== undefined);
      expect(winners).toHaveLength(1);
      expect(await table.get(call, key)).toEqual({ ...key, who: winners[0] });
      const increment = async (): Promise<void> => {
        const n = Number((await table.get(call, { pk: 'n', sk: '1' }))?.['n'] ?? 0);
        const before = n === 0 ? ('absent' as const) : { equal: { n } };
        try {
          await table.commit(call, [{ put: { pk: 'n', sk: '1', n: n + 1 }, if: before }]);
        } catch (error) {
          if (!(error instanceof Refused)) throw error;
          await increment();
        }
      };
      await Promise.all(Array.from({ length: 8 }, increment));
      expect(await table.get(call, { pk: 'n', sk: '1' })).toMatchObject({ n: 8 });
    });

    test('chains the events of a subject in the commits of their changes', async () => {
      const call = fresh();
      const data = { z: 1, a: [{ y: null, b: 2 }], big: 1e300, odd: '\u2028' };
      await table.commit(call, [{ put: { pk: 'a', sk: '1' } }], event('runs/1', data));
      world.advance(-60_000); // a clock that goes backwards does not turn the chain around
      await Promise.all(
        Array.from({ length: 6 }, (_, i) => table.commit(call, [], event('runs/1', { i }))),
      );
      await table.commit(call, [], event('runs/2'));
      await expect(
        table.commit(call, [{ check: { pk: 'no', sk: 'no' }, if: 'present' }], event('runs/1')),
      ).rejects.toThrow(Refused);
      world.advance(60_000);
      const { entries, next } = await table.entries(call, 'runs/1');
      expect(next).toBeUndefined();
      expect(entries.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4, 5, 6, 7]);
      expect(entries[0]).toMatchObject({ data, caller: 'ada', action: 'test:write' });
      const head = (await table.get(call, { pk: 'E#runs/1', sk: 'HEAD' })) as ChainHead | undefined;
      expect(firstBroken(entries, { head })).toBeUndefined();
      expect((await table.entries(call, 'runs/2')).entries).toHaveLength(1);
      expect((await table.entries(callIn(newWorkspace()), 'runs/1')).entries).toEqual([]);
    });

    test('keeps the answer under an Idempotency-Key for 48 hours, and lets no second effect land', async () => {
      const retry = { key: 'k-1', digest: 'd1' };
      const call = fresh({ retry });
      const writes: Write[] = [{ put: { pk: 'r', sk: '1' } }];
      expect(await table.repeated(call)).toBeUndefined();
      await table.commit(call, writes, { ...event('r/1'), answer: { id: 7, list: [null] } });
      expect(await table.repeated(call)).toEqual({ answer: { id: 7, list: [null] } });
      const again: Write[] = [{ put: { pk: 'r', sk: '2' } }];
      await expect(table.commit(call, again, event('r/2'))).rejects.toThrow(Repeated);
      expect(await all(table, call, 'r')).toEqual(['1']);
      expect((await table.entries(call, 'r/2')).entries).toEqual([]);
      await expect(
        table.repeated({ ...call, retry: { ...retry, digest: 'other' } }),
      ).rejects.toMatchObject({ code: 'invalid', field: 'Idempotency-Key' });
      expect(await table.repeated(fresh({ retry }))).toBeUndefined();
      world.advance(47 * 3_600_000);
      expect(await table.repeated(call)).toBeDefined();
      world.advance(3_600_001);
      expect(await table.repeated(call)).toBeUndefined();
      await table.commit(call, again, event('r/2'));
    });

    test('of two requests with one Idempotency-Key at once, one lands', async () => {
      const call = fresh({ retry: { key: 'twice', digest: 'd' } });
      const outcomes = await Promise.allSettled(
        ['a', 'b', 'c'].map((sk) =>
          table.commit(call, [{ put: { pk: 'once', sk } }], { ...event('once'), answer: sk }),
        ),
      );
      const failed = outcomes.filter((outcome) => outcome.status === 'rejected');
      expect(failed).toHaveLength(2);
      for (const { reason } of failed) expect(reason).toBeInstanceOf(Repeated);
      const left = await all(table, call, 'once');
      expect(await table.repeated(call)).toEqual({ answer: left[0] });
      expect(left).toHaveLength(1);
    });

    test('a counted commit moves the change counter once and stamps each put', async () => {
      const call = fresh();
      const puts = ['1', '2'].map((sk) => ({ put: { pk: 'w', sk } }));
      await table.commit(call, puts, undefined, { counted: true });
      await table.commit(call, [{ put: { pk: 'w', sk: '3' } }]);
      await expect(
        table.commit(call, [{ put: { pk: 'w', sk: '1' }, if: 'absent' }], undefined, {
          counted: true,
        }),
      ).rejects.toMatchObject({ index: 0 });
      await Promise.all(
        ['4', '5', '6'].map((sk) =>
          table.commit(call, [{ put: { pk: 'w', sk } }], undefined, { counted: true }),
        ),
      );
      const { items } = await table.query(call, { pk: 'w' });
      expect(items.slice(0, 3).map((item) => item['_change'])).toEqual([1, 1, undefined]);
      const later = items.slice(3).map((item) => Number(item['_change']));
      expect([...later].sort()).toEqual([2, 3, 4]);
      expect(Object.keys(items[2] ?? {}).sort()).toEqual(['pk', 'sk']);
    });

    test('agrees with the model over random commits, reads and clocks in two workspaces', async () => {
      await fc.assert(
        fc.asyncProperty(tableModel.commands, async (commands) => {
          const spaces = [newWorkspace(), newWorkspace()];
          await tableModel.run(table, world, spaces, commands);
        }),
        { numRuns: runs },
      );
    });
  });
}

/** Bytes as lists, so that a Buffer equals a Uint8Array. */
export function seen(value: unknown): unknown {
  if (value instanceof Uint8Array) return ['bytes', ...value];
  if (Array.isArray(value)) return value.map(seen);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, seen(item)]));
}

const many = (count: number): Write[] =>
  Array.from({ length: count }, (_, i) => ({ put: { pk: 'many', sk: `k${i}` } }));

function nested(depth: number): Item[string] {
  let value: Item[string] = 'x';
  for (let i = 0; i < depth; i++) value = [value as string];
  return value;
}

const all = (table: Table, call: Call, pk: string) => walk(table, call, { pk });

async function walk(table: Table, call: Call, query: Parameters<Table['query']>[1]) {
  const names: string[] = [];
  for await (const { sk } of queryAll(table, call, query)) names.push(sk);
  return names;
}
