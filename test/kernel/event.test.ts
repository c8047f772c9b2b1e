import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  type ChainHead,
  type Event,
  firstBroken,
  hears,
  type Told,
  tell,
} from '../../functions/kernel/event.ts';
import { testCall, testWorld } from '../world.ts';

function chain(length: number): { entries: Told[]; head: ChainHead } {
  const world = testWorld();
  const entries: Told[] = [];
  for (let i = 0; i < length; i++) {
    const event: Event = { type: 'a.b.c', subject: 's', data: { i } };
    entries.push(tell(testCall(), event, entries.at(-1), world));
  }
  const last = entries.at(-1) as Told;
  return { entries, head: { sequence: last.sequence, hash: last.hash } };
}

test('a whole chain is whole', () => {
  const { entries, head } = chain(5);
  expect(firstBroken(entries, { head })).toBeUndefined();
});

test('a chain in two pieces is as whole as in one', () => {
  const { entries, head } = chain(5);
  const [first, second] = [entries.slice(0, 2), entries.slice(2)];
  expect(firstBroken(first, {})).toBeUndefined();
  expect(firstBroken(second, { after: first.at(-1), head })).toBeUndefined();
  expect(firstBroken(second, { head })).toBe(second[0]?.id);
  expect(firstBroken(second.slice(0, 1), { after: first.at(-1), head })).toBe(second[0]?.id);
});

test('F14 any change, loss or reordering of an entry is found', () => {
  const { entries, head } = chain(6);
  fc.assert(
    fc.property(fc.nat(5), fc.constantFrom('edit', 'drop', 'swap', 'caller'), (at, how) => {
      const copy = structuredClone(entries);
      const entry = copy[at] as Told;
      if (how === 'edit') copy[at] = { ...entry, data: { i: 99 } };
      if (how === 'caller') copy[at] = { ...entry, caller: 'mallory' };
      if (how === 'drop') copy.splice(at, 1);
      if (how === 'swap') [copy[at], copy[(at + 1) % 6]] = [copy[(at + 1) % 6] as Told, entry];
      return firstBroken(copy, { head }) !== undefined;
    }),
  );
});

test('a follower hears types and prefixes', () => {
  expect(hears(['registry.alias.set'], 'registry.alias.set')).toBe(true);
  expect(hears(['pipelines.run.*'], 'pipelines.run.ended')).toBe(true);
  expect(hears(['*'], 'a.b.c')).toBe(true);
  expect(hears(['registry.alias.set'], 'registry.alias.removed')).toBe(false);
});
