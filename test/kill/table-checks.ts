import { expect } from 'vitest';
import { type ChainHead, firstBroken, type Told } from '../../functions/kernel/event.ts';
import { queryAll } from '../../functions/platform/ports.ts';
import { type LocalTable, openTable } from '../../local/table.ts';
import { callIn, testWorld } from '../contracts/calls.ts';

/**
 * Opens what a dead writer left. Every acknowledged number must be there whole, and what is there beyond (sent, not
 * answered) must be whole too: both puts, its event in an unbroken chain, both entries of the outbox. Says how many.
 */
export async function checkLeft(
  folder: string,
  acknowledged: ReadonlySet<number>,
): Promise<number> {
  const table = openTable({ folder, world: testWorld() });
  try {
    return await check(table, acknowledged);
  } finally {
    await table.close();
  }
}

async function check(table: LocalTable, acknowledged: ReadonlySet<number>): Promise<number> {
  const call = callIn('killed00');
  const there = new Set<number>();
  for (let i = 0; i < 50; i++)
    for await (const { n, text } of queryAll(table, call, { pk: `A#${i}` })) {
      expect(text).toBe(String(n).repeat(200));
      there.add(Number(n));
    }
  const lost = [...acknowledged].filter((n) => !there.has(n));
  expect(lost, 'acknowledged and lost').toEqual([]);
  const second = new Set<number>();
  for await (const { n, text } of queryAll(table, call, { pk: 'B', prefix: 'LOG#' })) {
    expect(text).toBe(String(n).repeat(200));
    second.add(Number(n));
  }
  expect(second, 'a commit torn in two').toEqual(there);
  const told: Told[] = [];
  let after: string | undefined;
  do {
    const page = await table.entries(call, 'writes', after);
    told.push(...page.entries);
    after = page.next;
  } while (after !== undefined);
  expect(new Set(told.map(({ data }) => (data as { n: number }).n))).toEqual(there);
  const head = (await table.get(call, { pk: 'E#writes', sk: 'HEAD' })) as ChainHead | undefined;
  expect(firstBroken(told, { head })).toBeUndefined();
  const waiting = [...table.outbox.getRange()].map(({ value }) => value);
  expect(waiting.filter((one) => 'told' in one)).toHaveLength(there.size);
  expect(waiting.filter((one) => 'item' in one)).toHaveLength(there.size);
  return there.size;
}
