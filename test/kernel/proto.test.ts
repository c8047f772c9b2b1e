import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import {
  bool,
  double,
  enumeration,
  int32,
  int64,
  message,
  repeated,
} from '../../functions/kernel/proto.ts';

const lenient = message(
  { run_id: z.string(), step: int64().optional() },
  { unknown: 'ignore', camel: true },
);
const strict = message({ run_id: z.string() }, { unknown: 'refuse', camel: true });

describe('messages', () => {
  test('camelCase is read as snake_case', () => {
    expect(lenient.parse({ runId: 'a', step: '12' })).toEqual({ run_id: 'a', step: 12 });
  });
  test('both spellings at once are refused', () => {
    expect(lenient.safeParse({ runId: 'a', run_id: 'a' }).success).toBe(false);
  });
  test('unknown fields are ignored or refused by rule', () => {
    expect(lenient.parse({ run_id: 'a', more: 1 })).toEqual({ run_id: 'a' });
    expect(strict.safeParse({ run_id: 'a', more: 1 }).success).toBe(false);
  });
  test('null counts as unset', () => {
    expect(lenient.parse({ run_id: 'a', step: null })).toEqual({ run_id: 'a' });
  });
});

describe('numbers', () => {
  test('C05 every int64 reads the same as text, number or bigint', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
        expect(BigInt(int64().parse(String(value)))).toBe(value);
        expect(BigInt(int64().parse(value))).toBe(value);
      }),
    );
  });
  test.each(['9223372036854775808', 2n ** 63n, 1.5, '1e3', '1.0', '', true, 2 ** 60])(
    'C05 %s is no int64',
    (value) => {
      expect(int64().safeParse(value).success).toBe(false);
    },
  );
  test('-0 is 0', () => expect(Object.is(int64().parse(-0), 0)).toBe(true));
  test('int32 has its range', () => {
    expect(int32().safeParse(2 ** 31).success).toBe(false);
    expect(int32().parse('7')).toBe(7);
  });
  test.each([
    ['NaN', Number.NaN],
    ['Infinity', Number.POSITIVE_INFINITY],
    ['-Infinity', Number.NEGATIVE_INFINITY],
    ['1e308', 1e308],
    ['5e-324', 5e-324],
    ['.5', 0.5],
  ])('C06 %s is a double', (text, value) => expect(double().parse(text)).toBe(value));
  test.each(['', 'x', '0x10', '1_000', 'infinity', null])('%s is no double', (value) => {
    expect(double().safeParse(value).success).toBe(false);
  });
});

test('enums by name or number, strict or lenient', () => {
  const names = { RUNNING: 1, FINISHED: 3 };
  expect(enumeration(names, 'strict').parse('FINISHED')).toBe('FINISHED');
  expect(enumeration(names, 'strict').parse(3)).toBe('FINISHED');
  expect(enumeration(names, 'lenient').parse('WHAT')).toBeUndefined();
  expect(enumeration(names, 'strict').safeParse('toString').success).toBe(false);
});

test('repeated fields and bools of a query string', () => {
  expect(repeated(z.string()).parse('a')).toEqual(['a']);
  expect(repeated(z.string()).parse(undefined)).toEqual([]);
  expect(bool().parse('true')).toBe(true);
  expect(bool().safeParse('yes').success).toBe(false);
});
