import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readJson, writeJson } from '../../functions/kernel/json.ts';

describe('readJson', () => {
  test('reads what JSON.parse reads', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 6 }), (text) => {
        fc.pre(!text.includes('__proto__'));
        expect(readJson(text)).toEqual(JSON.parse(text));
      }),
    );
  });

  test.each([
    '{"a":1,"a":2}',
    '{"a":{"b":1,"c":2,"b":3}}',
    '[{"x":1},{"y":1,"y":1}]',
    '{"a":1,"\\u0061":2}',
    '{"a:":1,"a:":1}',
  ])('C02 refuses the duplicate in %s', (text) => {
    expect(() => readJson(text)).toThrow('twice');
  });

  test.each(['{"__proto__":{"polluted":1}}', '{"a":[{"__proto__":1}]}', '{"\\u005f_proto__":1}'])(
    'C01 refuses %s',
    (text) => {
      expect(() => readJson(text)).toThrow('__proto__');
      expect(({} as { polluted?: number }).polluted).toBeUndefined();
    },
  );

  test('C03 stops at the depth limit before building anything', () => {
    expect(() => readJson('['.repeat(100_000))).toThrow('nests deeper');
    expect(() => readJson('{"a":'.repeat(100_000))).toThrow('nests deeper');
  });

  test('C03 stops at the member limit', () => {
    const text = `{${Array.from({ length: 11 }, (_, i) => `"k${i}":1`).join(',')}}`;
    expect(() => readJson(text, { limits: { depth: 4, members: 10 } })).toThrow(
      'more than 10 fields',
    );
  });

  test('strings with quotes, backslashes and colons are not counted', () => {
    const value = { 'a"b\\': 'c:d\\"e:{[', e: ['\\\\', '"', ':'] };
    expect(readJson(JSON.stringify(value))).toEqual(value);
  });

  test('C05 keeps every digit of an int64', () => {
    expect(readJson('[9223372036854775807,-9223372036854775808,12]', { exact: true })).toEqual([
      2n ** 63n - 1n,
      -(2n ** 63n),
      12,
    ]);
    expect(writeJson({ a: 2n ** 63n - 1n, b: 'x' })).toBe('{"a":9223372036854775807,"b":"x"}');
  });

  test('a long decimal stays a number', () => {
    expect(readJson('[0.12345678901234567890]')).toEqual([0.12345678901234568]);
  });
});
