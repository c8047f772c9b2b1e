import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { endianness } from 'node:os';
import { join } from 'node:path';

const MAGIC = 0xbeefc0de;
const VERSION = 2;
/** Where a meta page holds what; 64 bit. Source: lmdb-js, mdb.c, `MDB_page` (24 bytes of header), `MDB_meta`, `MDB_db`. */
const AT = { magic: 24, version: 28, pageSize: 48, freeRoot: 88, mainRoot: 136, transaction: 152 };
const META_BYTES = 160;
const NO_PAGE = 0xffff_ffff_ffff_ffffn;

/**
 * Looks at a table's file before lmdb maps it: a file that is cut, or no table, would end the process without a word.
 * Reads both meta pages and the numbers of the root pages, nothing else: damage deeper inside is not seen.
 * Throws an error of one line that names the file and what to do. A folder without a file passes.
 */
export function checkTableFile(folder: string): void {
  const path = join(folder, 'data.mdb');
  const file = opened(path);
  if (file === undefined) return;
  try {
    const size = fstatSync(file).size;
    const why = size === 0 || endianness() !== 'LE' ? undefined : damage(file, size);
    if (why)
      throw new Error(
        `${path} is damaged (${why}): the server cannot start; put back a copy of the data folder, or move this file away to begin an empty table`,
      );
  } finally {
    closeSync(file);
  }
}

function opened(path: string): number | undefined {
  try {
    return openSync(path, 'r');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Why it is no whole table; undefined if nothing is wrong. */
function damage(file: number, size: number): string | undefined {
  const first = bytesAt(file, 0);
  const pageSize = first?.readUInt32LE(AT.pageSize) ?? 0;
  if (!first || !isMeta(first)) return 'it does not begin as a table does';
  if (pageSize < 512 || pageSize > 65_536 || (pageSize & (pageSize - 1)) !== 0)
    return `a page size of ${pageSize} bytes`;
  const second = bytesAt(file, pageSize);
  if (!second || size < 2 * pageSize) return `cut off after ${size} bytes`;
  if (!isMeta(second) || second.readUInt32LE(AT.pageSize) !== pageSize)
    return 'its second page is not a head';
  const newer = (meta: Buffer) => meta.readBigUInt64LE(AT.transaction);
  const newest = newer(second) > newer(first) ? second : first;
  for (const at of [AT.freeRoot, AT.mainRoot]) {
    const root = newest.readBigUInt64LE(at);
    if (root === NO_PAGE) continue;
    if ((root + 1n) * BigInt(pageSize) > BigInt(size)) return `cut off after ${size} bytes`;
    if (bytesAt(file, Number(root) * pageSize)?.readBigUInt64LE(0) !== root)
      return `page ${root} is not what it was`;
  }
  return undefined;
}

const isMeta = (page: Buffer): boolean =>
  page.readUInt32LE(AT.magic) === MAGIC && page.readUInt32LE(AT.version) === VERSION;

function bytesAt(file: number, position: number): Buffer | undefined {
  const bytes = Buffer.alloc(META_BYTES);
  return readSync(file, bytes, 0, META_BYTES, position) === META_BYTES ? bytes : undefined;
}
