import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { governanceRoom } from '../../functions/governance/index.ts';
import { type LocalTable, openTable } from '../../local/table.ts';
import { testCall, testWorld } from '../world.ts';

const folder = mkdtempSync(join(tmpdir(), 'audit-'));
let table: LocalTable;
beforeAll(() => {
  table = openTable({ folder, world: testWorld(), noSync: true });
});
afterAll(async () => {
  await table.close();
  rmSync(folder, { recursive: true });
});

const call = testCall();
const room = () => governanceRoom({ table, world: testWorld(), secret: new Uint8Array(32) });
const change = (subject: string, n: number) =>
  table.commit(call, [{ put: { pk: `T#${subject}`, sk: '-', n } }], {
    type: 'test.thing.changed',
    subject,
    data: { n },
  });
/** What somebody with the file in hand could do. */
const items = () =>
  table.root.openDB<Record<string, unknown>, Buffer>({ name: 'items', keyEncoding: 'binary' });
const keysOf = (subject: string) =>
  [...items().getKeys()].filter((key) =>
    key.toString('latin1').startsWith(`${call.workspace}\0E#${subject}\0@`),
  );

test('a whole chain is whole, however long', async () => {
  for (let n = 0; n < 30; n++) await change('whole', n);
  expect(await room().service.verify(call, 'whole')).toEqual({ checked: 30 });
});

test('a subject that nothing happened to is whole', async () => {
  expect(await room().service.verify(call, 'nothing')).toEqual({ checked: 0 });
});

test.each([
  [
    'edited',
    (keys: Buffer[]) => {
      const key = keys[1] as Buffer;
      const item = items().get(key) as { told: string };
      return items().put(key, { ...item, told: item.told.replace('"n":1', '"n":7') });
    },
  ],
  ['lost', (keys: Buffer[]) => items().remove(keys[1] as Buffer)],
  ['cut off', (keys: Buffer[]) => items().remove(keys.at(-1) as Buffer)],
])('F14 an entry that was %s is found', async (how, tamper) => {
  const subject = `things-${how}`;
  for (let n = 0; n < 4; n++) await change(subject, n);
  await tamper(keysOf(subject));
  expect((await room().service.verify(call, subject)).broken).toBeTruthy();
});
