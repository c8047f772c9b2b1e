import type { BigIntStats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pathSegments } from '../functions/kernel/path.ts';
import type { BlobHead, BlobPage } from '../functions/platform/ports.ts';
import { enter } from './blob_files.ts';

const MAX_PAGE = 1000;

/** One page in the order of UTF-8 bytes: a folder sorts as its name with `/`, so that a walk in depth is in order. */
export async function listFolder(
  data: string,
  workspace: string,
  prefix: string,
  options: { folders?: boolean; after?: string; limit?: number },
  headOf: (path: string, stats: BigIntStats) => BlobHead,
): Promise<BlobPage> {
  const segments = prefix === '' ? [] : pathSegments(prefix.replace(/\/$/, ''), 'prefix');
  const limit = Math.max(1, Math.min(options.limit ?? MAX_PAGE, MAX_PAGE));
  const blobs: BlobHead[] = [];
  const folders: string[] = [];
  let last = '';
  const walk = options.folders
    ? children(data, [workspace, ...segments])
    : files(data, [workspace, ...segments], options.after);
  for await (const found of walk) {
    if (options.after !== undefined && !isAfter(found.path, options.after)) continue;
    if (found.folder && !(await holdsAny(data, [workspace, ...found.path.slice(0, -1).split('/')])))
      continue;
    if (blobs.length + folders.length >= limit) return { blobs, folders, next: last };
    if (found.stats) blobs.push(headOf(found.path, found.stats));
    else folders.push(found.path.slice(segments.join('/').length + (segments.length ? 1 : 0)));
    last = found.path;
  }
  return { blobs, folders };
}

interface Found {
  readonly path: string;
  readonly folder: boolean;
  readonly stats?: BigIntStats;
}

const isAfter = (path: string, after: string) =>
  Buffer.compare(Buffer.from(path), Buffer.from(after)) > 0;

/** What lies directly in a folder: files, and folders ending in `/`. Links, pipes and names no path can have are left out. */
async function* children(data: string, segments: readonly string[]): AsyncGenerator<Found> {
  const place = await enter(data, segments, false).catch(() => undefined);
  if (!place) return;
  try {
    const names = (await readdir(place.path, { withFileTypes: true }))
      .filter((entry) => (entry.isFile() || entry.isDirectory()) && isName(entry.name))
      .map((entry) => ({ name: entry.isDirectory() ? `${entry.name}/` : entry.name, entry }))
      .sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
    const above = segments.slice(1);
    for (const { name, entry } of names) {
      const path = [...above, name].join('/');
      if (entry.isDirectory()) {
        yield { path, folder: true };
        continue;
      }
      const stats = await lstat(join(place.path, name), { bigint: true }).catch(() => undefined);
      if (stats?.isFile()) yield { path, folder: false, stats };
    }
  } finally {
    await place.close();
  }
}

async function* files(
  data: string,
  segments: readonly string[],
  after?: string,
): AsyncGenerator<Found> {
  for await (const found of children(data, segments)) {
    if (!found.folder) yield found;
    // A folder all of whose blobs come before `after` is not opened.
    else if (after === undefined || after.startsWith(found.path) || isAfter(found.path, after))
      yield* files(data, [...segments, found.path.split('/').at(-2) ?? ''], after);
  }
}

async function holdsAny(data: string, segments: readonly string[]): Promise<boolean> {
  for await (const _ of files(data, segments)) return true;
  return false;
}

function isName(name: string): boolean {
  try {
    return pathSegments(name, 'name').length === 1;
  } catch {
    return false;
  }
}
