import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { pages } from '../../functions/kernel/page.ts';
import {
  afterPosition,
  idOf,
  type Order,
  type PageEnd,
  pageOf,
  positionOf,
  type SortKey,
} from '../../functions/tracking/order.ts';
import { newRun, openMlflow } from '../mlflow.ts';
import { testCall } from '../world.ts';

interface Row {
  readonly id: string;
  readonly texts: readonly (string | undefined)[];
}

function orderOf(ascending: readonly boolean[]): Order<Row> {
  const sortKey = ({ id, texts }: Row, index: number): SortKey => {
    const value = index === ascending.length ? id : texts[index];
    return value === undefined ? [2] : [0, value];
  };
  const all = [...ascending, true];
  return {
    ascending: all,
    sortKey,
    sortKeys: (row) => all.map((_, index) => sortKey(row, index)),
  };
}

/** By UTF-8 bytes, which is by code points. */
function plainly(ascending: readonly boolean[]) {
  return (a: Row, b: Row): number => {
    for (const [i, up] of ascending.entries()) {
      const [x, y] = [a.texts[i], b.texts[i]];
      if (x === y) continue;
      if (x === undefined || y === undefined) return x === undefined ? 1 : -1;
      return Buffer.compare(Buffer.from(x), Buffer.from(y)) * (up ? 1 : -1);
    }
    return a.id < b.id ? -1 : 1;
  };
}

/** Every row met on a walk by pages, the tokens sealed as they go to clients; `between` changes what stands. */
function walk(
  order: Order<Row>,
  rows: readonly Row[],
  size: number,
  between: (rows: readonly Row[], end: PageEnd) => readonly Row[] = (held) => held,
): Row[] {
  const tokens = pages(new Uint8Array(32));
  const met: Row[] = [];
  let held = rows;
  let end: PageEnd | undefined;
  for (let count = 0; count <= 3 * rows.length + 3; count += 1) {
    const last = end && held.find(({ id }) => end && id === idOf(end));
    const position = end && positionOf(order, end, last);
    const rest = held.filter((row) => afterPosition(order, row, position));
    const page = pageOf(order, rest, size);
    met.push(...page.items);
    if (!page.last) return met;
    const token = tokens.seal(testCall(), 'rows', page.last);
    end = tokens.open<PageEnd>(testCall(), 'rows', token);
    held = between(held, end);
  }
  throw new Error('the walk does not end');
}

const PREFIXES = [
  '',
  'a'.repeat(40),
  'a'.repeat(700),
  '\u0001'.repeat(6000),
  '\u4e2d'.repeat(8000),
];
const text = fc
  .tuple(fc.constantFrom(...PREFIXES), fc.constantFrom('', 'b', '\u00e9', '\uff5e', '\u{1f600}'))
  .map(([prefix, end]) => prefix + end);
const rowsArb = fc
  .array(fc.array(fc.option(text, { nil: undefined }), { minLength: 3, maxLength: 3 }), {
    maxLength: 14,
  })
  .map((list) => list.map((texts, i): Row => ({ id: `r${String(i).padStart(2, '0')}`, texts })));
const upsArb = fc.array(fc.boolean(), { minLength: 1, maxLength: 3 });
const sizeArb = fc.integer({ min: 1, max: 4 });

describe('order_by on texts longer than a page token', () => {
  test('a walk by pages of any size is the plain sort of whole texts, nothing twice, nothing skipped', () => {
    fc.assert(
      fc.property(rowsArb, upsArb, sizeArb, (rows, ups, size) => {
        expect(walk(orderOf(ups), rows, size)).toEqual(rows.toSorted(plainly(ups)));
      }),
      { numRuns: 300 },
    );
  });

  test('when the text that a page ended with is rewritten or its row goes, others may come again and none is skipped', () => {
    fc.assert(
      fc.property(rowsArb, upsArb, sizeArb, fc.boolean(), (rows, ups, size, goes) => {
        let left = 2; // so that the walk ends
        const met = walk(orderOf(ups), rows, size, (held, end) => {
          if (left-- <= 0) return held;
          if (goes) return held.filter(({ id }) => id !== idOf(end));
          return held.map((row) =>
            row.id === idOf(end) ? { ...row, texts: row.texts.map((t) => t && `${t}!`) } : row,
          );
        });
        const ids = new Set(met.map(({ id }) => id));
        for (const { id } of rows) expect(ids).toContain(id);
      }),
      { numRuns: 300 },
    );
  });

  test('33 sort keys of the longest texts still fit in a page token', () => {
    const ups = Array.from({ length: 33 }, (_, i) => i % 2 === 0);
    const rows = Array.from(
      { length: 3 },
      (_, i): Row => ({ id: `${i}`.padEnd(256, 'x'), texts: ups.map(() => '\u0001'.repeat(8000)) }),
    );
    expect(walk(orderOf(ups), rows, 1)).toEqual(rows);
  });

  test.each(['ASC', 'DESC'])(
    'runs with notes alike in their first thousand characters, %s',
    async (way) => {
      const home = openMlflow();
      const names = ['m', 'c', 'x', 'a', 'k'];
      const byId = new Map<string, string>();
      for (const name of names) {
        const id = await newRun(home, {});
        await home.post('runs/set-tag', {
          run_id: id,
          key: 'note',
          value: 'n'.repeat(1000) + name,
        });
        byId.set(id, name);
      }
      const seen: (string | undefined)[] = [];
      let token: string | undefined;
      for (let page = 0; page < 4; page += 1) {
        const { status, body } = await home.post('runs/search', {
          experiment_ids: ['0'],
          order_by: [`tags.note ${way}`],
          max_results: 2,
          run_view_type: 'ACTIVE_ONLY',
          ...(token ? { page_token: token } : {}),
        });
        expect(status).toBe(200);
        seen.push(
          ...body.runs.map((run: { info: { run_id: string } }) => byId.get(run.info.run_id)),
        );
        token = body.next_page_token;
        if (!token) break;
        // The run that this page ended with is deleted: its text is still known.
        await home.post('runs/delete', { run_id: body.runs.at(-1).info.run_id });
      }
      expect(token).toBeUndefined();
      const sorted = names.toSorted();
      expect(seen).toEqual(way === 'ASC' ? sorted : sorted.reverse());
    },
  );
});

test('experiments whose names of 500 characters differ in the last one only are paged in order', async () => {
  const home = openMlflow();
  const names = ['c', 'a', 'b'].map((end) => `${'\u0416'.repeat(499)}${end}`);
  for (const name of names) await home.post('experiments/create', { name });
  const seen: string[] = [];
  let token: string | undefined;
  for (let page = 0; page < 4; page += 1) {
    const { body } = await home.post('experiments/search', {
      max_results: 1,
      order_by: ['name DESC'],
      filter: "name LIKE '%\u0416%'",
      ...(token ? { page_token: token } : {}),
    });
    seen.push(...body.experiments.map(({ name }: { name: string }) => name.slice(-1)));
    token = body.next_page_token;
    if (!token) break;
  }
  expect(seen).toEqual(['c', 'b', 'a']);
});
