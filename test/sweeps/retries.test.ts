import { readFileSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { byName, openGround } from './ground.ts';

const table = openGround();
afterAll(() => table.close());

const ROW = /^\| `(?<name>[A-Z]+ \S+)` \| (?<key>none|`Idempotency-Key`)/gm;

test('docs/compat.md names each write that may not simply be repeated, and what makes it repeatable', () => {
  const declared = [...byName(table.app.routes)]
    .filter(([, { route }]) => route.retry !== 'natural' && !/:(read|invoke)$/.test(route.action))
    .map(([name, { route }]) => `${name} ${route.retry}`);
  const [, section = ''] =
    /^## Calls that may not simply be repeated$([\s\S]*?)^## /m.exec(
      readFileSync('docs/compat.md', 'utf8'),
    ) ?? [];
  const said = [...section.matchAll(ROW)].map(
    ({ groups }) => `${groups?.['name']} ${groups?.['key'] === 'none' ? 'none' : 'header'}`,
  );
  expect(said.sort()).toEqual(declared.sort());
});
