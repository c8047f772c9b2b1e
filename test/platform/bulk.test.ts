import { beforeEach, expect, test } from 'vitest';
import { countUpTo, queryAll, removeAll } from '../../functions/platform/ports.ts';
import { call, type House, openHouse } from '../house.ts';

let home: House;
const ROWS = 181;

beforeEach(async () => {
  home = openHouse(() => ({}));
  const puts = Array.from({ length: ROWS }, (_, i) => ({
    put: { pk: 'rows', sk: `a${String(i).padStart(3, '0')}`, filling: 'x'.repeat(20_000) },
  }));
  for (let at = 0; at < ROWS; at += 90) await home.table.commit(call, puts.slice(at, at + 90));
  await home.table.commit(call, [{ put: { pk: 'rows', sk: 'b' } }]);
});

test('what a query finds is counted over its pages of 1 MB, and no further than asked', async () => {
  const count = (limit: number) => countUpTo(home.table, call, { pk: 'rows' }, limit);
  expect([await count(10), await count(150), await count(1000)]).toEqual([10, 150, ROWS + 1]);
});

test('all that a query finds is removed in bounded commits, each with the event, and nothing else', async () => {
  const { table } = home;
  const event = { type: 'test.rows.removed', subject: 'rows', data: {} } as const;
  const found = () => queryAll(table, call, { pk: 'rows', prefix: 'a' });
  await removeAll(table, call, found(), event);
  expect(await home.told('rows')).toHaveLength(3);
  expect((await table.query(call, { pk: 'rows' })).items).toEqual([{ pk: 'rows', sk: 'b' }]);
  await removeAll(table, call, found(), event);
  expect(await home.told('rows')).toHaveLength(3);
});

test('keys of a list are removed; those that are gone already are no trouble', async () => {
  const { table } = home;
  const keys = ['a000', 'never', 'b'].map((sk) => ({ pk: 'rows', sk }));
  await removeAll(table, call, keys);
  expect(await countUpTo(table, call, { pk: 'rows' }, 1000)).toBe(ROWS - 1);
});
