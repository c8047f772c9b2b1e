import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { expect, onTestFinished, test } from 'vitest';
import type { Item, Query, Write } from '../../functions/platform/ports.ts';
import { MAX_PAGE_BYTES, sizeOf } from '../../functions/platform/records.ts';
import { itemMemory, type MemoryCaps } from '../../local/item_memory.ts';
import { type LocalTable, openTable } from '../../local/table.ts';
import { callIn, newWorkspace, type TestWorld, testWorld } from './calls.ts';

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'stillflow-memory-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A table that says what it decodes, and the items in its file as they are in the snapshot it reads now. */
function opened(folder: string, world: TestWorld = testWorld(), memory?: MemoryCaps) {
  const decoded: Item[] = [];
  const onDecode = (item: Item) => void decoded.push(item);
  const table = openTable({ folder, world, noSync: true, onDecode, ...(memory ? { memory } : {}) });
  onTestFinished(() => table.close());
  const file = table.root.openDB<Item, Buffer>({ name: 'items', keyEncoding: 'binary' });
  const stored = (workspace: string, pk: string, prefix: string, after: string): Item[] => {
    const head = `${workspace}\0${pk}\0`;
    return [...file.getRange({ start: Buffer.from(`${head}${prefix}`) })]
      .filter(({ key }) => key.toString().startsWith(`${head}${prefix}`))
      .map(({ value }) => value)
      .filter(({ expiresAt }) => typeof expiresAt !== 'number' || expiresAt > world.now())
      .filter(({ sk }) => Buffer.compare(Buffer.from(sk), Buffer.from(after)) > 0);
  };
  return { table, world, stored, decoded: () => decoded.splice(0) };
}

/** As another turn of the event loop would: lmdb reads one snapshot a turn. */
const nextTurn = ({ table }: { table: LocalTable }) => table.root.resetReadTxn();

// -------------------------------------------------------------- coherence

const SKS = Array.from(
  { length: 70 },
  (_, i) => `LOG#${i % 7 === 0 ? '\uffee' : i % 5 ? 'é' : '😀'}${i}`,
);
/** Seventy of these do not go into one page. */
const LONG = 'x'.repeat(20_000);
const sk = fc.constantFrom(...SKS);
const pk = fc.constantFrom('short', 'long');
const handle = fc.constantFrom(0, 1);
const steps = fc.array(
  fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('put' as const),
        on: handle,
        pk,
        sk,
        v: fc.nat(),
        life: fc.constantFrom(undefined, undefined, undefined, 5),
        wait: fc.boolean(),
      }),
    },
    fc.record({ do: fc.constant('remove' as const), on: handle, pk, sk, wait: fc.boolean() }),
    { weight: 2, arbitrary: fc.record({ do: fc.constant('get' as const), on: handle, pk, sk }) },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('query' as const),
        on: handle,
        pk,
        prefix: fc.constantFrom('', 'LOG#', 'LOG#é'),
        after: fc.option(sk, { nil: undefined }),
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('turn' as const), on: handle }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('breathe' as const), on: handle }) },
    fc.record({ do: fc.constant('sweep' as const), on: handle }),
    fc.record({ do: fc.constant('clock' as const), ms: fc.constantFrom(-5, 5) }),
  ),
  { minLength: 5, maxLength: 60 },
);

const itemOf = (at: { pk: string; sk: string }, v: number, expiresAt?: number): Item => ({
  ...at,
  v,
  list: [{ v }],
  ...(at.pk === 'long' ? { text: LONG } : {}),
  ...(expiresAt === undefined ? {} : { expiresAt }),
});

test('two handles on one file answer what the file holds in the snapshot they read, whatever each remembers and whatever is still landing', async () => {
  const folder = await newFolder();
  const world = testWorld();
  const caps = { itemBytes: 600_000, rangeBytes: 2_000_000 };
  const handles = [opened(folder, world), opened(folder, world, caps)] as const;
  const check = (on: number, workspace: string, query: Query) => {
    const asked = handles[on as 0 | 1];
    const answer = asked.table.query(callIn(workspace), query);
    // In the same turn, so in the same snapshot.
    const held = asked.stored(workspace, query.pk, query.prefix ?? '', query.after ?? '');
    return answer.then(({ items, next }) => {
      expect(items).toEqual(held.slice(0, items.length));
      if (next === undefined) expect(items).toHaveLength(held.length);
      else expect(next).toBe(items.at(-1)?.sk);
      if (items.length > 1)
        expect(items.reduce((sum, item) => sum + sizeOf(item), 0)).toBeLessThanOrEqual(
          MAX_PAGE_BYTES,
        );
      return next;
    });
  };
  await fc.assert(
    fc.asyncProperty(steps, async (program) => {
      const workspace = newWorkspace();
      const call = callIn(workspace);
      const landing: Promise<unknown>[] = [];
      const puts = ['short', 'long'].flatMap((pk) =>
        SKS.map((sk): Write => ({ put: itemOf({ pk, sk }, 0) })),
      );
      for (let at = 0; at < puts.length; at += 70)
        await handles[0].table.commit(call, puts.slice(at, at + 70));
      for (const step of program) {
        if (step.do === 'clock') {
          world.advance(step.ms);
          continue;
        }
        const { table, stored } = handles[step.on as 0 | 1];
        if (step.do === 'turn') table.root.resetReadTxn();
        if (step.do === 'breathe') await new Promise(setImmediate); // transactions go on, and land
        if (step.do === 'sweep') landing.push(table.sweep());
        if (step.do === 'put' || step.do === 'remove') {
          const at = { pk: step.pk, sk: step.sk };
          const until = step.do === 'put' && step.life ? world.now() + step.life : undefined;
          const write: Write =
            step.do === 'put' ? { put: itemOf(at, step.v, until) } : { remove: at };
          const commit = table.commit(call, [write]);
          landing.push(commit);
          if (step.wait) await commit;
        }
        if (step.do === 'get') {
          const answer = table.get(call, step);
          const held = stored(workspace, step.pk, step.sk, '').find((one) => one.sk === step.sk);
          expect(await answer).toEqual(held);
        }
        if (step.do === 'query') {
          const { pk, prefix, after } = step;
          let next = await check(step.on, workspace, { pk, prefix, ...(after ? { after } : {}) });
          while (next !== undefined)
            next = await check(step.on, workspace, { pk, prefix, after: next });
        }
        const { items, ranges } = handles[1].table.remembered();
        expect(items).toBeLessThanOrEqual(caps.itemBytes);
        expect(ranges).toBeLessThanOrEqual(caps.rangeBytes);
      }
      await Promise.all(landing);
      for (const on of [0, 1]) {
        nextTurn(handles[on as 0 | 1]);
        for (const pk of ['short', 'long']) await check(on, workspace, { pk, prefix: 'LOG#' });
      }
    }),
    { numRuns: Number(process.env['STILLFLOW_RUNS'] ?? 25) },
  );
}, 60_000);

test('what another process commits is seen by the next read of what was remembered', async () => {
  const folder = await newFolder();
  const one = opened(folder);
  const call = callIn('outsider');
  const puts = SKS.map((sk): Write => ({ put: { pk: 'a', sk, v: 1 } }));
  await one.table.commit(call, puts);
  const [sk = ''] = SKS;
  await one.table.get(call, { pk: 'a', sk });
  await one.table.query(call, { pk: 'a' });
  const writer = join(import.meta.dirname, 'table-memory-writer.ts');
  await promisify(execFile)(process.execPath, [writer, folder, 'outsider', 'a', sk]);
  nextTurn(one);
  expect(await one.table.get(call, { pk: 'a', sk })).toEqual({ pk: 'a', sk, v: 2 });
  const { items } = await one.table.query(call, { pk: 'a' });
  expect(items.find((item) => item.sk === sk)).toEqual({ pk: 'a', sk, v: 2 });
});

// -------------------------------------------------------------- counted work

test('what has not changed is decoded once, what has is decoded once again', async () => {
  const { table, decoded } = opened(await newFolder());
  const call = callIn('counting');
  const keys = SKS.map((sk) => ({ pk: 'a', sk }));
  await table.commit(
    call,
    keys.map((key): Write => ({ put: { ...key, v: 1 } })),
  );
  const read = async () => {
    decoded();
    await table.getMany(call, keys);
    const gets = decoded().length;
    await table.query(call, { pk: 'a', prefix: 'LOG#' });
    return [gets, decoded().length];
  };
  expect(await read()).toEqual([70, 70]);
  expect(await read()).toEqual([0, 0]);
  await table.commit(call, [{ put: { pk: 'a', sk: 'LOG#new', v: 1 } }]);
  expect(await read()).toEqual([0, 1]);
  await table.commit(call, [{ put: { pk: 'a', sk: String(SKS[3]), v: 2 } }]);
  expect(await read()).toEqual([1, 1]);
  await table.commit(call, [{ remove: { pk: 'a', sk: String(SKS[4]) } }]);
  expect(await read()).toEqual([0, 0]);
  await table.commit(call, [{ put: { pk: 'b', sk: 'LOG#b' } }]);
  expect(await read()).toEqual([0, 0]);
});

test('of a partition longer than a page, an item that comes in or grows costs that item', async () => {
  const { table, decoded } = opened(await newFolder());
  const call = callIn('longpage');
  const all = Array.from({ length: 120 }, (_, i) => `LOG#${String(i).padStart(3, '0')}`);
  for (let at = 0; at < all.length; at += 60)
    await table.commit(
      call,
      all.slice(at, at + 60).map((sk): Write => ({ put: itemOf({ pk: 'long', sk }, 1) })),
    );
  const walk = async () => {
    decoded();
    let pages = 0;
    let seen = 0;
    let after: string | undefined;
    do {
      const page = await table.query(call, { pk: 'long', ...(after ? { after } : {}) });
      pages += 1;
      seen += page.items.length;
      after = page.next;
    } while (after !== undefined);
    return { pages, seen, decoded: decoded().length };
  };
  await walk();
  expect(await walk()).toEqual({ pages: 3, seen: 120, decoded: 0 });
  await table.commit(call, [{ put: itemOf({ pk: 'long', sk: 'LOG#0005' }, 1) }]);
  expect(await walk()).toEqual({ pages: 3, seen: 121, decoded: 1 });
  await table.commit(call, [{ put: { ...itemOf({ pk: 'long', sk: 'LOG#003' }, 1), more: LONG } }]);
  await table.commit(call, [{ remove: { pk: 'long', sk: 'LOG#004' } }]);
  expect(await walk()).toEqual({ pages: 3, seen: 120, decoded: 1 });
  const sizes = all.map((sk) => (sk === 'LOG#004' ? 'LOG#0005' : sk));
  const items = await table.getMany(
    call,
    sizes.map((sk) => ({ pk: 'long', sk })),
  );
  expect(items).toHaveLength(120);
  expect(table.remembered().ranges).toBe(items.reduce((sum, item) => sum + sizeOf(item), 0));
});

test('the memory holds no more than its caps, and what is asked for again stays', async () => {
  const caps = { itemBytes: 20_000, rangeBytes: 20_000 };
  const { table, decoded } = opened(await newFolder(), testWorld(), caps);
  const call = callIn('capacity');
  const text = 'x'.repeat(900);
  for (let part = 0; part < 10; part++)
    await table.commit(
      call,
      SKS.map((sk): Write => ({ put: { pk: `p${part}`, sk, text } })),
    );
  const favourite = { pk: 'p0', sk: String(SKS[0]) };
  await table.get(call, favourite);
  decoded();
  for (let part = 0; part < 10; part++)
    for (const sk of SKS) {
      await table.get(call, { pk: `p${part}`, sk });
      await table.get(call, favourite);
      await table.query(call, { pk: `p${part}` });
      expect(table.remembered().items).toBeLessThanOrEqual(caps.itemBytes);
      expect(table.remembered().ranges).toBeLessThanOrEqual(caps.rangeBytes);
    }
  const again = decoded().filter((item) => item.pk === 'p0' && item.sk === favourite.sk);
  expect(again.length).toBeLessThanOrEqual(71); // the queries of p0 alone, whose range is beyond its cap
});

test('an item that was given out cannot be changed, by whichever way it was read', async () => {
  const { table } = opened(await newFolder());
  const call = callIn('changing');
  await table.commit(call, [{ put: { pk: 'a', sk: '1', list: [{ v: 1 }] } }]);
  const read = [
    await table.get(call, { pk: 'a', sk: '1' }),
    (await table.getMany(call, [{ pk: 'a', sk: '1' }]))[0],
    (await table.query(call, { pk: 'a' })).items[0],
  ] as unknown as { v?: number; list: { v: number }[] }[];
  for (const item of read) {
    expect(() => Object.assign(item, { v: 2 })).toThrow(TypeError);
    expect(() => item.list.push({ v: 2 })).toThrow(TypeError);
    expect(() => Object.assign(item.list[0] ?? {}, { v: 2 })).toThrow(TypeError);
  }
});

/** The file's row, as a transaction sees it and, once that has landed, as readers do. */
function fakeRow() {
  let landed: unknown;
  let waiting: unknown[] = [];
  let writing = false;
  return {
    get: () => (writing ? (waiting.at(-1) ?? landed) : landed),
    put: (_name: string, next: unknown) => waiting.push(next),
    /** Runs in a transaction that has not landed yet. */
    within(change: () => void) {
      writing = true;
      change();
      writing = false;
    },
    /** The oldest that has not; or none ever does. */
    land() {
      landed = waiting.shift() ?? landed;
    },
    fail() {
      waiting = [];
    },
  };
}

test('what is read while its change is still landing is forgotten once that has landed', () => {
  const row = fakeRow();
  const memory = itemMemory(row);
  row.within(() => memory.changed(['w\0a\x001']));
  row.within(() => memory.changed(['w\0a\x002']));
  row.land();
  expect(memory.current()).toBe(true);
  memory.keep('w\0a\x002', { pk: 'a', sk: '2', v: 'before' });
  expect(memory.recall('w\0a\x002')).toMatchObject({ v: 'before' });
  row.land();
  expect(memory.current()).toBe(true);
  expect(memory.recall('w\0a\x002')).toBeUndefined();
});

test('a commit that the disk refused, whose number another process then took, leaves nothing stale', () => {
  const row = fakeRow();
  const [one, other] = [itemMemory(row), itemMemory(row)];
  row.within(() => one.changed(['w\0a\x001']));
  row.land();
  expect(one.current()).toBe(true);
  one.keep('w\0a\x002', { pk: 'a', sk: '2', v: 1 });
  row.within(() => one.changed(['w\0a\x001']));
  row.fail();
  row.within(() => other.changed(['w\0a\x002']));
  row.within(() => one.changed(['w\0a\x003'])); // the row now names us again
  row.land();
  row.land();
  expect(one.current()).toBe(true);
  expect(one.recall('w\0a\x002')).toBeUndefined();
});

test('an older snapshot than was seen is served without the memory', () => {
  const row = fakeRow();
  let older = false;
  const memory = itemMemory({ ...row, get: () => (older ? undefined : row.get()) });
  row.within(() => memory.changed(['w\0a\x001']));
  row.land();
  expect(memory.current()).toBe(true);
  older = true;
  expect(memory.current()).toBe(false);
});

test('more changes than are named forget everything once they are visible, and no sooner than needed', () => {
  const row = fakeRow();
  const memory = itemMemory(row);
  const changed = (name: string) => {
    row.within(() => memory.changed([name]));
    row.land();
  };
  changed('w\0a\x000');
  memory.current();
  memory.keep('w\0a\x000', { pk: 'a', sk: '0' });
  for (let i = 1; i <= 20_000; i++) changed(`w\0a\0${i}`);
  expect(memory.current()).toBe(true);
  expect(memory.recall('w\0a\x000')).toEqual({ pk: 'a', sk: '0' });
  for (let i = 1; i <= 20_001; i++) changed(`w\0a\0${i}`);
  expect(memory.current()).toBe(true);
  expect(memory.recall('w\0a\x000')).toBeUndefined();
});
