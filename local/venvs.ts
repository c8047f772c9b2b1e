import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { link, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Problem } from '../functions/kernel/problem.ts';
import type { Interpreter } from './job_env.ts';
import { startTimeOf } from './process.ts';
import { isAlive, type ProcessId, passedOn } from './processes.ts';

export interface VenvsOptions {
  /** Where venvs lie; `venvsFolder` chooses it. */
  readonly dir: string;
  /** runtimes/python: requirements.lock and uv.lock. */
  readonly locks: string;
  readonly env: NodeJS.ProcessEnv;
  /** What the new environment's Python runs once, in the background, to have it ready: a file and its arguments. */
  readonly warm?: readonly string[];
  /** One line for people each time something has come further. */
  readonly progress: (line: string) => void;
}

/** `STILLFLOW_VENVS` lets test runs and data folders share what takes a while to build. */
export const venvsFolder = (data: string, env: NodeJS.ProcessEnv): string =>
  env['STILLFLOW_VENVS'] || join(data, 'venvs');

const OLDEST = [3, 10] as const;
const BUILD_TIMEOUT_MS = 900_000;
/** A build that installs by uv and then by pip takes so long at most. */
const LONGEST_WAIT_MS = 2 * BUILD_TIMEOUT_MS;
const NAMES = ['python3', 'python3.13', 'python3.12', 'python3.11', 'python3.10', 'python'];

/**
 * The pinned Python environment, built when first asked for and shared by all who ask: `<dir>/<hash of the Python and
 * of the lock>`, made beside its place and moved there whole. A lock file keeps two servers from building it twice;
 * should both build after all, one result stays. A failed build is tried again by the next who asks.
 *
 * uv installs (8 s against pip's 17 on two cores, measured) and pip is the way out where uv cannot be had. Both ask
 * the index that the user's pip is set to. Nothing is compiled while people wait; `warm` then imports what most need.
 */
export function pythonVenvs(options: VenvsOptions): { interpreter(): Promise<Interpreter> } {
  let building: Promise<Interpreter> | undefined;
  return {
    interpreter() {
      building ??= findOrBuild(options).catch((error: unknown) => {
        building = undefined;
        throw error;
      });
      return building;
    },
  };
}

interface Python {
  readonly program: string;
  /** `3.11.7 CPython linux x86_64`. */
  readonly version: string;
}

/** runtimes/python, which lies beside the code in the repository as in the published package. */
export const LOCKS = resolve(import.meta.dirname, '../runtimes/python');

/** What a build would use and find, for who only looks. Throws `unavailable` without a Python that will do. */
export async function environmentOf(data: string, env: NodeJS.ProcessEnv) {
  const python = await findPython(env);
  const { code } = await call(python.program, ['-m', 'pip', '--version'], quiet(env));
  const folder = await folderOf(venvsFolder(data, env), LOCKS, python);
  const holder = await holderOf(`${folder}.lock`);
  return {
    ...{ python, folder, pip: code === 0, ready: existsSync(join(folder, 'bin/python3')) },
    builder: holder && isAlive(holder) ? holder.pid : undefined,
  };
}

async function folderOf(dir: string, locks: string, { version }: Python): Promise<string> {
  const lock = await readFile(join(locks, 'requirements.lock'));
  const key = createHash('sha256').update(`${version}\n`).update(lock).digest('hex');
  return join(dir, key.slice(0, 20));
}

async function findOrBuild(options: VenvsOptions): Promise<Interpreter> {
  const python = await findPython(options.env);
  const folder = await folderOf(options.dir, options.locks, python);
  await mkdir(options.dir, { recursive: true });
  // A Python that was removed since leaves a link to nothing.
  if (!existsSync(join(folder, 'bin/python3'))) await buildLocked(folder, python, options);
  return {
    bin: join(folder, 'bin'),
    env: { VIRTUAL_ENV: folder, STILLFLOW_VENVS: options.dir },
  };
}

async function findPython(env: NodeJS.ProcessEnv): Promise<Python> {
  const ask =
    'import sys,platform;print(*sys.version_info[:2],platform.python_version(),platform.python_implementation(),sys.platform,platform.machine())';
  const seen: string[] = [];
  for (const program of NAMES) {
    const { code, out } = await call(program, ['-c', ask], env).catch(() => ({ code: 1, out: '' }));
    const [major, minor, ...version] = out.trim().split(' ');
    if (code !== 0 || version.length === 0) continue;
    if (Number(major) === OLDEST[0] && Number(minor) >= OLDEST[1])
      return { program, version: version.join(' ') };
    seen.push(`${program} is ${version[0]}`);
  }
  const found = seen.length ? ` (${seen.join(', ')})` : '';
  throw new Problem(
    'unavailable',
    `Steps in Python need Python 3.10 or later on the PATH${found}.`,
  );
}

async function buildLocked(folder: string, python: Python, options: VenvsOptions): Promise<void> {
  const lock = `${folder}.lock`;
  const began = performance.now();
  let told = false;
  for (;;) {
    if (existsSync(join(folder, 'bin/python3'))) return;
    if (await taken(lock)) break;
    const holder = await holderOf(lock);
    if (holder && !isAlive(holder)) await rm(lock, { force: true });
    else {
      if (!told) options.progress('Waiting for another server to make the Python environment.');
      told = true;
      if (performance.now() - began > LONGEST_WAIT_MS)
        throw new Problem('unavailable', `Another server holds ${lock}; remove it if none runs.`);
      await delay(250);
    }
  }
  try {
    await build(folder, python, options);
  } finally {
    await rm(lock, { force: true });
  }
}

/** Puts the lock there whole, with our name in it. False if there is one; what else keeps us from it is thrown. */
async function taken(lock: string): Promise<boolean> {
  const own: ProcessId = { pid: process.pid, startTime: startTimeOf(process.pid) ?? '' };
  const draft = `${lock}.${process.pid}`;
  await writeFile(draft, JSON.stringify(own));
  try {
    await link(draft, lock);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(draft, { force: true });
  }
}

/** Undefined if there is no lock; a lock that says nothing is held by nobody. */
async function holderOf(lock: string): Promise<ProcessId | undefined> {
  const text = await readFile(lock, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as ProcessId;
  } catch {
    return NOBODY;
  }
}
const NOBODY: ProcessId = { pid: 0, startTime: '' };

async function build(folder: string, python: Python, options: VenvsOptions): Promise<void> {
  const began = performance.now();
  const part = `${folder}.part`;
  await rm(part, { recursive: true, force: true });
  options.progress(`Making the Python environment, once: ${python.version}, kfp, mlflow, sklearn.`);
  try {
    const failure = await installByUv(part, python, options);
    if (failure !== undefined) {
      options.progress(`uv cannot be used here (${failure}); pip takes longer.`);
      await installByPip(part, python, options);
    }
    await renameInside(part, folder);
    await rm(folder, { recursive: true, force: true });
    await rename(part, folder);
    warmUp(folder, options);
  } finally {
    await rm(part, { recursive: true, force: true });
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  options.progress(`The Python environment is ready after ${seconds} s.`);
}

/** It ends by itself, gives way to all others, and nobody waits for it or misses it. */
function warmUp(folder: string, { warm, env }: VenvsOptions): void {
  if (!warm) return;
  const child = spawn(join(folder, 'bin/python3'), warm, {
    env: { ...passedOn(env), PATH: env['PATH'], HOME: folder, VIRTUAL_ENV: folder },
    stdio: 'ignore',
    detached: true,
  });
  child.on('error', () => {});
  child.unref();
}

/** Why not, or undefined when it is done. */
async function installByUv(
  part: string,
  { program }: Python,
  options: VenvsOptions,
): Promise<string | undefined> {
  const { dir, locks, env } = options;
  const lock = await readFile(join(locks, 'uv.lock'));
  const tools = join(dir, `uv-${createHash('sha256').update(lock).digest('hex').slice(0, 12)}`);
  const uv = join(tools, 'bin/uv');
  if (!existsSync(uv)) {
    const making = `${tools}.${process.pid}.part`;
    const args = [
      '--target',
      making,
      '--no-deps',
      '--require-hashes',
      '-r',
      join(locks, 'uv.lock'),
    ];
    const got = await call(program, ['-m', 'pip', 'install', '-q', ...args], quiet(env));
    if (got.code === 0) await rename(making, tools).catch(() => {});
    await rm(making, { recursive: true, force: true });
    if (got.code !== 0 || !existsSync(uv)) return lastLine(got.out);
  }
  const venv = await call(program, ['-m', 'venv', '--without-pip', part], env);
  if (venv.code !== 0) return lastLine(venv.out);
  const cache = `${part}.cache`;
  const place = ['-p', join(part, 'bin/python3'), '--require-hashes', '--cache-dir', cache];
  const synced = await call(
    uv,
    ['pip', 'sync', ...place, join(locks, 'requirements.lock')],
    { ...passedOn(env), PATH: env['PATH'], HOME: env['HOME'], ...(await uvIndex(program, env)) },
    options.progress,
  );
  await rm(cache, { recursive: true, force: true });
  return synced.code === 0 ? undefined : lastLine(synced.out);
}

async function installByPip(part: string, { program }: Python, options: VenvsOptions) {
  const { locks, env } = options;
  await rm(part, { recursive: true, force: true });
  const made = await call(program, ['-m', 'venv', part], env);
  const args = ['--no-compile', '--no-deps', '--require-hashes', '-r', 'requirements.lock'];
  const done =
    made.code === 0
      ? await call(
          join(part, 'bin/python3'),
          ['-m', 'pip', 'install', '-q', ...args.slice(0, -1), join(locks, 'requirements.lock')],
          quiet(env),
          options.progress,
        )
      : made;
  if (done.code !== 0)
    throw new Problem(
      'unavailable',
      `The Python environment could not be made: ${lastLine(done.out)}`,
    );
}

const quiet = (env: NodeJS.ProcessEnv) => ({ ...env, PIP_DISABLE_PIP_VERSION_CHECK: '1' });
const lastLine = (out: string) => out.trim().split('\n').at(-1)?.slice(0, 500) || 'it said nothing';

/** pip's own settings, as uv spells them. Source: pip.pypa.io, "Configuration"; docs.astral.sh/uv, "Environment variables". */
async function uvIndex(program: string, env: NodeJS.ProcessEnv): Promise<Record<string, string>> {
  const { out } = await call(program, ['-m', 'pip', 'config', 'list'], quiet(env));
  const names: Record<string, string> = {
    'index-url': 'UV_DEFAULT_INDEX',
    'extra-index-url': 'UV_INDEX',
    'find-links': 'UV_FIND_LINKS',
    'trusted-host': 'UV_INSECURE_HOST',
    cert: 'SSL_CERT_FILE',
    proxy: 'ALL_PROXY',
  };
  const found: Record<string, string> = {};
  for (const line of out.split('\n')) {
    const [, option = '', value = ''] = /\.([a-z-]+)=['"](.*)['"]$/.exec(line) ?? [];
    const name = names[option];
    const words = value.replaceAll('\\n', ' ').trim().split(/\s+/).filter(Boolean);
    if (name && words.length) found[name] = words.join(name === 'UV_FIND_LINKS' ? ',' : ' ');
  }
  return found;
}

/** Programs name their Python by its path: what was installed beside its place is made to fit the place. */
async function renameInside(part: string, folder: string): Promise<void> {
  const bin = join(part, 'bin');
  for (const entry of await readdir(bin, { withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(bin, entry.name);
    const bytes = await readFile(path);
    if (bytes.length < 1_000_000 && bytes.includes(part))
      await writeFile(path, bytes.toString('latin1').replaceAll(part, folder), 'latin1');
  }
}

/** Runs a program to its end, without a shell. `out` is the end of both its outputs. */
function call(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  progress?: (line: string) => void,
): Promise<{ code: number; out: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: BUILD_TIMEOUT_MS,
    });
    let out = '';
    let line = '';
    const take = (bytes: Buffer) => {
      const text = bytes.toString();
      out = (out + text).slice(-8000);
      const lines = (line + text).split('\n');
      line = lines.pop() ?? '';
      for (const one of lines) if (/^(Resolved|Prepared|Installed) /.test(one)) progress?.(one);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.once('error', reject);
    child.once('close', (code) => resolve({ code: code ?? 1, out }));
  });
}
