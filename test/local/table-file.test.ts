import { copyFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type LocalTable, openTable } from '../../local/table.ts';
import { checkTableFile } from '../../local/table_file.ts';

let folder: string;
let file: string;
const world = { now: () => 1, randomBytes: (count: number) => new Uint8Array(count) };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillflow-table-file-'));
  file = join(folder, 'data.mdb');
  const table: LocalTable = openTable({ folder, world });
  for (let n = 0; n < 20; n++)
    await table.write(() => {
      for (let i = 0; i < 50; i++) void table.cursors.put(`${n}/${i}${'x'.repeat(300)}`, i);
    });
  await table.close();
  copyFileSync(file, `${file}.whole`);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('a damaged table is named in one line before it is opened', () => {
  const noise = (from: number, count: number) => () => {
    const bytes = readFileSync(file);
    bytes.fill(0xa7, from, Math.min(from + count, bytes.length));
    writeFileSync(file, bytes);
  };
  test.each<[string, () => void, RegExp]>([
    ['cut within its first page', () => truncateSync(file, 100), /does not begin/],
    ['cut after 5000 bytes', () => truncateSync(file, 5000), /cut off after 5000 bytes/],
    ['cut after its heads', () => truncateSync(file, 16_384), /cut off after 16384 bytes/],
    ['noise at its beginning', noise(0, 4096), /does not begin/],
    ['noise in its second head', noise(8192, 4096), /second page/],
    ['noise all after its heads', noise(16_384, 2 ** 30), /is not what it was/],
    ['another file', () => writeFileSync(file, 'x'.repeat(50_000)), /does not begin/],
  ])('%s', (_name, harm, why) => {
    copyFileSync(`${file}.whole`, file);
    harm();
    const open = () => openTable({ folder, world });
    expect(open).toThrow(why);
    expect(open).toThrow(/^[^\n]*data\.mdb is damaged [^\n]*copy of the data folder[^\n]*$/);
  });

  test('a whole one, an empty one and none pass', () => {
    copyFileSync(`${file}.whole`, file);
    checkTableFile(folder);
    writeFileSync(file, '');
    checkTableFile(folder);
    checkTableFile(join(folder, 'absent'));
  });
});
