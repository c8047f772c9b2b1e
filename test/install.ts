import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { CHROMIUM } from './browser/chromium.ts';
import { clientPython, steps } from './clients/venv.ts';
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

const parts: Record<string, () => Promise<unknown>> = {
  chromium: () => debian(CHROMIUM, 'chromium'),
  strace: () => debian('/usr/bin/strace', 'strace'),
  steps: () => steps.interpreter(),
  layers: () => run('npm', ['run', '-s', 'layers']),
  ...Object.fromEntries(['mlflow', 'kfp'].map((family) => [family, () => clientPython(family)])),
  ...installs,
};
let failed = 0;
/** Two at a time: most of it is waiting for a registry. */
const waiting = Object.entries(parts);
async function lane(): Promise<void> {
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    const [name, install] = next;
    const from = Date.now();
    try {
      await install();
      console.log(`installed ${name} in ${Math.round((Date.now() - from) / 1000)} s`);
    } catch (error) {
      failed += 1;
      console.log(`NOT installed ${name}: ${error instanceof Error ? error.message : error}`);
    }
  }
}
await Promise.all([lane(), lane()]);
process.exitCode = failed > 0 ? 1 : 0;
