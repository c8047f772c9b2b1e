import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readJson } from '../../functions/kernel/json.ts';
import { compareText } from '../../functions/kernel/text.ts';

const unit = fc.constantFrom('a', 'b', 'é', '\ud7ff', '\ue000', '\uffff', '\u{1f600}', '\u{10000}');
const text = fc.array(unit, { maxLength: 6 }).map((units) => units.join(''));

test('texts are ordered as their UTF-8 bytes are', () => {
  fc.assert(
    fc.property(text, text, (a, b) => {
      const bytes = Buffer.compare(Buffer.from(a), Buffer.from(b));
      expect(Math.sign(compareText(a, b))).toBe(bytes);
    }),
    { numRuns: 2000 },
  );
});

describe('half of a surrogate pair was stored and given back', () => {
  test.each([
    ['{"value":"a\\ud83db"}', 'value'],
    ['{"value":"\\uDE00"}', 'value'],
    ['{"tags":[{"key":"a"},{"key":"b","value":"\\ud83d\\ud83d\\ude00"}]}', 'tags.1.value'],
    ['{"a":{"b\\ud83d":1}}', 'a.b\ufffd'],
    ['["\\ud83d"]', '0'],
  ])('%s is refused', (body, field) => {
    expect(() => readJson(body)).toThrow(
      expect.objectContaining({ code: 'invalid', field, message: expect.stringContaining(field) }),
    );
  });
  test('a whole pair is a character, escaped or not', () => {
    expect(readJson('["\\ud83d\\ude00","\u{1f600}","\\\\ud83d"]')).toEqual([
      '\u{1f600}',
      '\u{1f600}',
      '\\ud83d',
    ]);
  });
});

describe("Python's bare NaN and Infinity", () => {
  const read = (body: string) => readJson(body, { bare: true, exact: true });
  test('are numbers where asked for, and nothing inside a text is touched', () => {
    const body = '{"NaN":[NaN,Infinity,-Infinity,9223372036854775807,0e-5],"b":"NaN \\" Infinity"}';
    expect(read(body)).toEqual({
      NaN: [Number.NaN, Infinity, -Infinity, 2n ** 63n - 1n, 0],
      b: 'NaN " Infinity',
    });
    expect(() => readJson(body)).toThrow('not valid JSON');
  });
  test.each([
    '[-NaN]',
    '[NaNs]',
    '[xNaN]',
    '[--Infinity]',
    '[NaN',
    '["NaN]',
    '[+Infinity]',
    'NaN"',
  ])('%s is no JSON', (body) => {
    expect(() => read(body)).toThrow('not valid JSON');
  });
  test('what JSON can say reads the same with and without', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 4 }), (body) => {
        fc.pre(!body.includes('__proto__'));
        expect(read(body)).toEqual(readJson(body, { exact: true }));
      }),
    );
  });
});
