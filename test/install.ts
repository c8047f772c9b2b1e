import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pythonVenvs } from '../local/venvs.ts';
import { CHROMIUM } from './browser/chromium.ts';
import { clientPython } from './clients/venv.ts';
import { installs } from './oracles/oracle.ts';

/**
 * Installs what the suites of `.ci/run` need beside `npm ci`: oracles, a locked Python venv a client family, the pinned
 * Python of steps, the layer of the zip runner, and Debian's Chromium. What is there already is kept.
 */
const root = resolve(import.meta.dirname, '..');

function run(command: string, args: readonly string[]): Promise<void> {
  return new Promise((done, failed) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
    child.on('error', failed);
    child.on('exit', (code) =>
      code === 0 ? done() : failed(new Error(`${command} ${args[0]} ended with ${code}`)),
    );
  });
}

/** Debian's packages, by its own package manager: as root, or by sudo. */
async function debian(program: string, name: string): Promise<void> {
  if (existsSync(program)) return;
  const root = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
  const apt = (...args: string[]) => {
    const [command = 'apt-get', ...rest] = [...root, 'apt-get', ...args];
    return run(command, rest);
  };
  await apt('update', '-qq');
  await apt('install', '-y', '-qq', '--no-install-recommends', name);
}

const python = pythonVenvs({
  dir: join(root, '.venvs/steps'),
  locks: join(root, 'runtimes/python'),
  env: process.env,
  progress: (line) => console.log(line),
});

const parts: Record<string, () => Promise<unknown>> = {
  chromium: () => debian(CHROMIUM, 'chromium'),
  strace: () => debian('/usr/bin/strace', 'strace'),
  steps: () => python.interpreter(),
  layers: () => run('npm', ['run', '-s', 'layers']),
  ...Object.fromEntries(
    ['mlflow', 'kfp', 'thread'].map((family) => [family, () => clientPython(family)]),
  ),
  ...installs,
};
let failed = 0;
for (const [name, install] of Object.entries(parts)) {
  const from = Date.now();
  try {
    await install();
    console.log(`installed ${name} in ${Math.round((Date.now() - from) / 1000)} s`);
  } catch (error) {
    failed += 1;
    console.log(`NOT installed ${name}: ${error instanceof Error ? error.message : error}`);
  }
}
process.exitCode = failed > 0 ? 1 : 0;
