import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type Call, systemCall } from '../../functions/kernel/call.ts';
import { DEFAULT_WORKSPACE, type WorkspaceId } from '../../functions/kernel/ids.ts';
import type { World } from '../../functions/kernel/world.ts';
import type { LocalJobsOptions } from '../../local/jobs.ts';

export const realWorld: World = {
  now: () => Date.now(),
  randomBytes: (count) => randomBytes(count),
};
export const call: Call = systemCall(DEFAULT_WORKSPACE, 'test', 'r1', Number.MAX_SAFE_INTEGER);
export const stranger: Call = { ...call, workspace: 'other000' as WorkspaceId };

/** A data folder of its own, with the folder of blobs that jobs read and write. */
export async function dataFolder() {
  const data = await mkdtemp(join(tmpdir(), 'stillflow-jobs-'));
  const blobs = join(data, 'blobs');
  return {
    data,
    /** As the folder's Blobs do it: an absolute folder a workspace. */
    uri: (prefix: string) => join(blobs, call.workspace, prefix),
    pathOf(of: Call, uri: string) {
      const root = `${join(blobs, of.workspace)}/`;
      return uri.startsWith(root) && !uri.includes('..') ? uri.slice(root.length) : undefined;
    },
    async put(path: string, text: string) {
      const place = join(blobs, call.workspace, path);
      await mkdir(dirname(place), { recursive: true });
      await writeFile(place, text);
    },
    read: (path: string): Promise<string | undefined> =>
      readFile(join(blobs, call.workspace, path), 'utf8').catch(() => undefined),
    remove: () => rm(data, { recursive: true, force: true }),
  };
}

/** Options for a runner whose Python is whatever this machine has: the commands under test are sh. */
export function jobOptions(data: string, more: Partial<LocalJobsOptions> = {}): LocalJobsOptions {
  return {
    world: realWorld,
    dir: join(data, 'jobs'),
    blobs: { pathOf: () => 'x' },
    interpreter: async () => ({ bin: '/usr/bin', env: {} }),
    launcher: '/nowhere',
    log: () => {},
    graceMs: 300,
    ...more,
  };
}
