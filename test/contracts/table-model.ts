import * as fc from 'fast-check';
import { expect } from 'vitest';
import { firstBroken } from '../../functions/kernel/event.ts';
import {
  type Condition,
  type Item,
  queryAll,
  Refused,
  type Table,
  type Write,
} from '../../functions/platform/ports.ts';
import { callIn, type TestWorld } from './calls.ts';

/** The Table in thirty lines: what any adapter must answer. Items by workspace, pk and sk. */
class Model {
  readonly items = new Map<string, Item>();
  readonly told = new Map<string, number>();
  change = 0;
  readonly now: () => number;
  constructor(now: () => number) {
    this.now = now;
  }

  get(key: { pk: string; sk: string }): Item | undefined {
    const item = this.items.get(`${key.pk}|${key.sk}`);
    return item && typeof item['expiresAt'] === 'number' && item['expiresAt'] <= this.now()
      ? undefined
      : item;
  }

  holds(condition: Condition, item: Item | undefined): boolean {
    if (condition === 'absent') return !item;
    if (condition === 'present') return !!item;
    if ('equal' in condition)
      return !!item && Object.entries(condition.equal).every(([n, v]) => item[n] === v);
    return (
      !item ||
      Object.entries(condition.newer).every(
        ([n, v]) => item[n] === undefined || (typeof item[n] === 'number' && item[n] < v),
      )
    );
  }

  /** The index of the first write that is refused; undefined when all landed. */
  commit(writes: readonly Write[], subject: string | undefined, counted: boolean) {
    const refused = writes.findIndex(
      (write) => write.if !== undefined && !this.holds(write.if, this.get(keyOf(write))),
    );
    if (refused >= 0) return refused;
    if (counted) this.change += 1;
    for (const write of writes) {
      if ('put' in write)
        this.items.set(
          `${write.put.pk}|${write.put.sk}`,
          counted ? { ...write.put, _change: this.change } : write.put,
        );
      if ('remove' in write) this.items.delete(`${write.remove.pk}|${write.remove.sk}`);
    }
    if (subject) this.told.set(subject, (this.told.get(subject) ?? 0) + 1);
    return undefined;
  }

  page(pk: string, prefix: string): Item[] {
    return [...this.items.values()]
      .filter((item) => item.pk === pk && item.sk.startsWith(prefix) && this.get(item))
      .sort((a, b) => Buffer.compare(Buffer.from(a.sk), Buffer.from(b.sk)));
  }
}

const keyOf = (write: Write) =>
  'put' in write ? write.put : 'remove' in write ? write.remove : write.check;

const PKS = ['a', 'a#', 'é'];
const SKS = ['1', '10', '2', '\uffee', '😀', 'LOG#1', 'LOG#2'];
const key = fc.record({ pk: fc.constantFrom(...PKS), sk: fc.constantFrom(...SKS) });
const number = fc.integer({ min: -1, max: 3 });
const condition: fc.Arbitrary<Condition | undefined> = fc.oneof(
  { weight: 4, arbitrary: fc.constant(undefined) },
  fc.constantFrom<Condition>('absent', 'present'),
  number.map((n) => ({ equal: { n } })),
  number.map((n) => ({ newer: { n } })),
);
type Step =
  | { do: 'commit'; in: number; writes: Write[]; subject: string | undefined; counted: boolean }
  | { do: 'read'; in: number; pk: string; prefix: string; limit: number; reverse: boolean }
  | { do: 'clock'; ms: number };

const write = fc
  .tuple(fc.constantFrom('put', 'put', 'put', 'remove', 'check'), key, number, condition, number)
  .map(([kind, at, n, when, life]): Write & { life?: number } => {
    const given = when === undefined ? {} : { if: when };
    if (kind === 'remove') return { remove: at, ...given };
    if (kind === 'check') return { check: at, if: when ?? 'present' };
    return { put: { ...at, n }, ...given, ...(life > 1 ? { life } : {}) };
  });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('commit' as const),
      in: fc.nat(1),
      writes: fc.uniqueArray(write, {
        minLength: 1,
        maxLength: 4,
        selector: (one) => `${keyOf(one).pk}|${keyOf(one).sk}`,
      }),
      subject: fc.option(fc.constantFrom('runs/1', 'runs/2'), { nil: undefined }),
      counted: fc.boolean(),
    }),
  },
  fc.record({
    do: fc.constant('read' as const),
    in: fc.nat(1),
    pk: fc.constantFrom(...PKS),
    prefix: fc.constantFrom('', '1', 'LOG#'),
    limit: fc.integer({ min: 1, max: 4 }),
    reverse: fc.boolean(),
  }),
  fc.record({ do: fc.constant('clock' as const), ms: fc.integer({ min: -500, max: 2000 }) }),
);

async function run(table: Table, world: TestWorld, spaces: string[], steps: readonly Step[]) {
  const models = spaces.map(() => new Model(world.now));
  for (const one of steps) {
    if (one.do === 'clock') {
      world.advance(one.ms);
      continue;
    }
    const call = callIn(spaces[one.in] ?? '');
    const model = models[one.in] ?? new Model(world.now);
    if (one.do === 'read') {
      const found: Item[] = [];
      for await (const item of queryAll(table, call, one)) found.push(item);
      const expected = model.page(one.pk, one.prefix);
      expect(found).toEqual(one.reverse ? expected.reverse() : expected);
      continue;
    }
    const writes = one.writes.map((each): Write => {
      const { life, ...rest } = each as Write & { life?: number };
      return 'put' in rest && life
        ? { ...rest, put: { ...rest.put, expiresAt: world.now() + life * 500 } }
        : rest;
    });
    const event = one.subject && {
      type: 'test.thing.changed' as const,
      subject: one.subject,
      data: {},
    };
    const got = await table.commit(call, writes, event || undefined, { counted: one.counted }).then(
      () => undefined,
      (error) => {
        if (error instanceof Refused) return error.index;
        throw error;
      },
    );
    const expected = model.commit(writes, one.subject, one.counted);
    expect(got).toBe(expected);
  }
  for (const [index, model] of models.entries()) {
    const call = callIn(spaces[index] ?? '');
    const keys = PKS.flatMap((pk) => SKS.map((sk) => ({ pk, sk })));
    const sorted = (items: Item[]) =>
      [...items].sort((a, b) => `${a.pk}|${a.sk}`.localeCompare(`${b.pk}|${b.sk}`));
    const expected = keys.map((at) => model.get(at)).filter((item) => item !== undefined);
    expect(sorted(await table.getMany(call, keys))).toEqual(sorted(expected));
    for (const [subject, count] of model.told) {
      const { entries } = await table.entries(call, subject);
      expect(entries).toHaveLength(count);
      expect(firstBroken(entries, {})).toBeUndefined();
    }
  }
}

export const tableModel = { commands: fc.array(step, { minLength: 1, maxLength: 30 }), run };
