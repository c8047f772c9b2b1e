import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { costPage } from '../../lib/cost_page.ts';
import { unpriced } from '../../lib/estimate.ts';
import { synthesize } from './templates.ts';

const { templates } = synthesize();
const PAGE = join(import.meta.dirname, '../../docs/guides/cost.md');

test('every resource of the stacks has a price, or is known to be billed by use alone', () => {
  expect(Object.keys(templates).length).toBeGreaterThan(4);
  expect(unpriced(templates)).toEqual([]);
});

test('docs/guides/cost.md is what npm run estimate prints now (STILLFLOW_GOLDEN=1 writes it)', () => {
  const page = costPage(templates);
  if (process.env['STILLFLOW_GOLDEN']) writeFileSync(PAGE, page);
  expect(readFileSync(PAGE, 'utf8')).toBe(page);
});
