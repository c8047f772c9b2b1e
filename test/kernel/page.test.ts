import fc from 'fast-check';
import { expect, test } from 'vitest';
import { pages } from '../../functions/kernel/page.ts';
import { testCall, testWorld } from '../world.ts';

const tokens = pages(testWorld().randomBytes(32));
const query = { filter: 'a = 1' };

test('opens what it sealed', () => {
  const token = tokens.seal(testCall(), query, ['2026', 'run']);
  expect(tokens.open(testCall(), query, token)).toEqual(['2026', 'run']);
});

type Changed = readonly [ReturnType<typeof testCall>, unknown, string];
const CHANGES: [how: string, changed: (token: string) => Changed][] = [
  ['edited', (token: string) => [testCall(), query, `${token.slice(0, -2)}AA`] as const],
  ['of another query', (token: string) => [testCall(), { filter: 'b' }, token] as const],
  [
    "another tenant's",
    (token: string) => [testCall({ workspace: 'tenant02' }), query, token] as const,
  ],
  ['huge', (token: string) => [testCall(), query, token.repeat(1e5)] as const],
  ['empty', () => [testCall(), query, ''] as const],
];

test.each(CHANGES)('C14 a token that is %s is invalid', (_how, changed) => {
  const token = tokens.seal(testCall(), query, { after: 'x'.repeat(20) });
  expect(() => tokens.open(...changed(token))).toThrow('Invalid page token');
});

test('C14 junk never opens', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 200 }), (junk) => {
      expect(() => tokens.open(testCall(), query, junk)).toThrow('Invalid page token');
    }),
  );
});
