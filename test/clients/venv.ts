import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { pythonVenvs } from '../../local/venvs.ts';

const run = promisify(execFile);
const root = resolve(import.meta.dirname, '../..');
const ENOUGH = 64 * 1024 * 1024;

/** The pinned Python of steps, which holds both clients: for scripts that speak to us in both. */
export const steps = pythonVenvs({
  dir: join(root, '.venvs/steps'),
  locks: join(root, 'runtimes/python'),
  env: process.env,
  progress: () => {},
});

/** The Python of one client family, `test/clients/<family>/requirements.lock` installed. */
export const clientPython = async (family: string): Promise<string> =>
  family === 'thread'
    ? join((await steps.interpreter()).bin, 'python3')
    : lockedPython(family, join(root, 'test/clients', family, 'requirements.lock'));

/**
 * A Python with a lock installed with its hashes. Made once under `.venvs`, named by the Python and the lock, and
 * moved into place whole.
 */
export async function lockedPython(name: string, lock: string): Promise<string> {
  const { stdout: version } = await run('python3', ['--version']);
  const key = createHash('sha256')
    .update(version)
    .update(await readFile(lock))
    .digest('hex');
  const folder = join(root, '.venvs', `${name}-${key.slice(0, 12)}`);
  const python = join(folder, 'bin/python3');
  if (existsSync(python)) return python;
  await mkdir(join(root, '.venvs'), { recursive: true });
  const half = `${folder}.${process.pid}.part`;
  await run('python3', ['-m', 'venv', half]);
  const pip = ['-m', 'pip', 'install', '-q', '--no-compile', '--require-hashes', '-r', lock];
  await run(join(half, 'bin/python3'), pip, { maxBuffer: ENOUGH });
  await rename(half, folder).catch((error) => {
    if (!existsSync(python)) throw error; // else another process was faster
  });
  await rm(half, { recursive: true, force: true });
  return python;
}

/** Runs a script of a family to its end; what it printed, or an error with its last lines. */
export async function runClient(
  family: string,
  script: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  timeout = 240_000,
): Promise<string> {
  const python = await clientPython(family);
  const scratch = await mkdtemp(join(tmpdir(), 'client-'));
  try {
    const { stdout } = await run(python, [resolve(root, 'test/clients', family, script), ...args], {
      cwd: scratch,
      env: { ...process.env, PYTHONWARNINGS: 'ignore', ...env },
      maxBuffer: ENOUGH,
      timeout,
    });
    return stdout;
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(`${script} failed:\n${(stdout + stderr).slice(-4_000)}`, { cause: error });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
