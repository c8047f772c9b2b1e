import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  FILTER_LIMITS,
  holdsNumber,
  holdsText,
  like,
  readFilter,
  readOrder,
} from '../../functions/protocols/mlflow-filter.ts';

const one = (text: string) => {
  const [clause, ...more] = readFilter(text);
  expect(more).toEqual([]);
  if (!clause) throw new Error(`${text} has no clause`);
  return clause;
};

describe('§5.1.1: filters', () => {
  test.each([
    [`a = 'x'`, undefined, 'a', '=', { kind: 'text', text: 'x' }],
    [`a='x'`, undefined, 'a', '=', { kind: 'text', text: 'x' }],
    [`params.a.b != "it's"`, 'params', 'a.b', '!=', { kind: 'text', text: "it's" }],
    ['metrics.`a/b c` >= -1e0', 'metrics', 'a/b c', '>=', { kind: 'number', number: -1 }],
    [
      `tags."mlflow.runName" ilike '%x'`,
      'tags',
      'mlflow.runName',
      'ILIKE',
      { kind: 'text', text: '%x' },
    ],
    [`tags.'k' IS  NOT  null`, 'tags', 'k', 'IS NOT NULL', { kind: 'none' }],
    ['"Run name" = \'n\'', undefined, 'Run name', '=', { kind: 'text', text: 'n' }],
    [
      `run_id NOT IN ('a', "b" ,'c')`,
      undefined,
      'run_id',
      'NOT IN',
      { kind: 'list', items: ['a', 'b', 'c'] },
    ],
    [`run_id IN ('a',)`, undefined, 'run_id', 'IN', { kind: 'list', items: ['a'] }],
    [`metric.x<.5`, 'metric', 'x', '<', { kind: 'number', number: 0.5 }],
    [`a LIKE 'b\\_%'`, undefined, 'a', 'LIKE', { kind: 'text', text: 'b\\_%' }],
  ])('%s', (text, entity, key, op, operand) => {
    expect(one(text)).toMatchObject({ entity, key, op, operand });
  });

  test('clauses are joined by AND in any case; one at either end is tolerated', () => {
    expect(readFilter(`and a = 'x' aNd b > 1 AND`).map(({ key }) => key)).toEqual(['a', 'b']);
    for (const text of ['', '  ', 'AND']) expect(readFilter(text)).toEqual([]);
  });

  test.each([
    [`a = 'x' OR b = 'y'`, `Invalid clause(s) in filter string: 'OR b = 'y''`],
    [`NOT a = 'x'`, 'position'],
    [`(a = 'x')`, 'expected a key'],
    [`a == 'x'`, `'==' is not an operator`],
    [`a <> 'x'`, `'<>' is not an operator`],
    [`a = 'x'; DROP`, 'Invalid clause(s)'],
    [`a = 'x`, 'is not closed'],
    ['a = `x`', 'expected a quoted text or a number'],
    ['a = 1x', 'expected a quoted text or a number'],
    ['a IN ()', 'a list may hold only quoted texts'],
    [`a IN ('b'`, 'the list is not closed'],
    ['a IN (1)', 'a list may hold only quoted texts'],
    [`a = 'x' AND AND b = 'y'`, 'expected an operator'],
    [`a-b = 'x'`, 'expected an operator'],
    [`a. = 'x'`, 'expected a key'],
    ['a', 'expected an operator'],
    [`a = 'x' b = 'y'`, 'Invalid clause(s)'],
    [`‘a’ = 'x'`, 'expected a key'],
    [`a RLIKE '${'x'.repeat(1_001)}'`, 'longer than 1000'],
    [Array.from({ length: 257 }, () => 'a > 1').join(' AND '), 'more than 256 clauses'],
    [`a = '${'x'.repeat(FILTER_LIMITS.characters)}'`, 'longer than 65536'],
  ])('%.60s is refused', (text, message) => {
    expect(() => readFilter(text)).toThrow(message);
    try {
      readFilter(text);
    } catch (error) {
      expect(error).toMatchObject({ code: 'invalid', field: 'filter' });
    }
  });

  test('C13: whatever it is given, it reads the grammar or throws invalid', async () => {
    const words = [
      'a',
      'b.c',
      '`',
      '"',
      "'",
      '=',
      '!=',
      'AND',
      'OR',
      'IN',
      '(',
      ')',
      ',',
      'LIKE',
      '1',
      '-',
      ';',
      ' ',
    ];
    await fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.constantFrom(...words), fc.string()), { maxLength: 12 }),
        (parts) => {
          try {
            for (const { op, operand } of readFilter(parts.join(' ')))
              expect(operand.kind === 'list').toBe(op === 'IN' || op === 'NOT IN');
          } catch (error) {
            expect(error).toMatchObject({ code: 'invalid' });
          }
        },
      ),
    );
  });

  test('any key and value that can be quoted come back as they are', async () => {
    const plain = fc.string({ minLength: 1 }).filter((text) => !/[`']/.test(text));
    await fc.assert(
      fc.property(plain, plain, (key, value) => {
        const clause = one(`tags.\`${key}\` = '${value}'`);
        expect(clause).toMatchObject({ key, operand: { kind: 'text', text: value } });
      }),
    );
  });
});

describe('orders', () => {
  test('ascending unless it says otherwise', () => {
    expect(readOrder('metrics.`a b` desc')).toMatchObject({
      entity: 'metrics',
      key: 'a b',
      ascending: false,
    });
    expect(readOrder(' name  ASC ')).toMatchObject({
      entity: undefined,
      key: 'name',
      ascending: true,
    });
    expect(readOrder('attributes.start_time')).toMatchObject({ ascending: true });
    for (const text of ['name BLAH', 'name DESC x', 'name, version', ''])
      expect(() => readOrder(text)).toThrow();
  });
});

describe('LIKE', () => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', '%', '_', '\\', '.'), maxLength: 8 });

  test('it is SQL’s: % any run, _ any one, nothing escapes', async () => {
    await fc.assert(
      fc.property(letters, letters, (text, pattern) => {
        const escaped = pattern
          .replace(/[\\.]/g, '\\$&')
          .replaceAll('%', '.*')
          .replaceAll('_', '.');
        expect(like(text, pattern)).toBe(new RegExp(`^${escaped}$`, 's').test(text));
      }),
      { numRuns: 2_000 },
    );
  });

  test('case counts in LIKE and not in ILIKE', () => {
    expect([like('Abc', 'a%'), like('Abc', 'a%', true)]).toEqual([false, true]);
  });
});

describe('what holds', () => {
  test('!= asks for a value that differs; NaN satisfies only !=', () => {
    expect(holdsText(undefined, one(`a != 'x'`))).toBe(false);
    expect(holdsText('y', one(`a != 'x'`))).toBe(true);
    expect(holdsText('x', one(`a NOT IN ('x')`))).toBe(false);
    expect(holdsText(undefined, one('a IS NULL'))).toBe(true);
    for (const [op, holds] of [
      ['=', false],
      ['!=', true],
      ['<', false],
      ['>=', false],
    ] as const)
      expect(holdsNumber(Number.NaN, one(`a ${op} 1`))).toBe(holds);
    expect(holdsNumber(undefined, one('a != 1'))).toBe(false);
    expect(holdsNumber(Number.POSITIVE_INFINITY, one('a > 1'))).toBe(true);
  });
});
