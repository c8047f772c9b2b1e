import { chmod, lstat, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Removes what somebody else's program left: also folders that it made read-only, as Go's module cache is. Says
 * whether all of it is gone; never throws, since nothing may hang on the tidiness of others.
 */
export async function removeTree(path: string): Promise<boolean> {
  const all = { recursive: true, force: true };
  try {
    await rm(path, all);
    return true;
  } catch {
    await unlock(path).catch(() => {});
  }
  return rm(path, all).then(
    () => true,
    () => false,
  );
}

async function unlock(path: string): Promise<void> {
  if (!(await lstat(path)).isDirectory()) return;
  await chmod(path, 0o700);
  for (const name of await readdir(path)) await unlock(join(path, name)).catch(() => {});
}
