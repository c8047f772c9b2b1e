import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Of this package: lib/ and dist/ are both right below it. */
export const ROOT = join(import.meta.dirname, '..');
const CACHE = join(ROOT, '.cache', 'assets');

/** Puts files into a folder named by what is in it; a folder that is there is whole, since it is moved into place. */
export function stage(files: readonly { name: string; contents: Uint8Array }[]): string {
  const hash = createHash('sha256');
  const sorted = [...files].sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const { name, contents } of sorted)
    hash.update(`${name}\0${contents.length}\0`).update(contents);
  const folder = join(CACHE, hash.digest('hex').slice(0, 32));
  if (existsSync(folder)) return folder;
  const making = `${folder}.${process.pid}`;
  for (const { name, contents } of sorted) {
    mkdirSync(dirname(join(making, name)), { recursive: true });
    writeFileSync(join(making, name), contents);
  }
  try {
    renameSync(making, folder);
  } catch (error) {
    rmSync(making, { recursive: true, force: true });
    if (!existsSync(folder)) throw error; // else another synth was first
  }
  return folder;
}
