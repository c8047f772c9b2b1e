import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkedPath, checkedSegment } from '../../functions/kernel/path.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import { BAD_PATHS } from '../bad-paths.ts';

describe('artifact paths', () => {
  test.each(BAD_PATHS)('$id refuses $path', ({ path }) => {
    expect(() => checkedPath(path, 'path')).toThrow(Problem);
  });

  test.each([
    'a',
    'a/b.txt',
    'model/MLmodel',
    'plots/über uns.png',
    'a..b',
    '..a',
    '.hidden',
    'x'.repeat(255),
  ])('takes %s as it is', (path) => expect(checkedPath(path, 'path')).toBe(path));

  test('what passes stays below its root, whatever the text', () => {
    const pieces = fc.constantFrom(
      '..',
      '.',
      '/',
      '\\',
      '%2e',
      '%2f',
      'a',
      '\0',
      '．',
      ' ',
      ':',
      '#',
      'é',
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 12 }), (parts) => {
        const text = parts.join('');
        let kept: string;
        try {
          kept = checkedPath(text, 'path');
        } catch (error) {
          return error instanceof Problem && error.code === 'invalid' && error.field === 'path';
        }
        const resolved = new URL(kept, 'http://host/root/').pathname;
        return resolved.startsWith('/root/') && kept === text;
      }),
      { numRuns: 2000 },
    );
  });

  test('a segment holds no slash', () => {
    expect(() => checkedSegment('a/b', 'name')).toThrow("Invalid value for 'name'");
  });
});
