import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { sitePackages } from '../../oracles/model.ts';
import type { HostOptions } from './lambda.ts';

/** What AWS's Python runtime brings along. */
const RUNTIME = ['boto3', 'botocore', 's3transfer', 'jmespath', 'dateutil', 'urllib3', 'six.py'];
const stem = (name: string) =>
  name.replace(/\.(cpython|abi3|so|py|dist-info).*$/, '').replace(/-[\d.]+(\w+)?$/, '');

/**
 * Lambda's Python on this machine: the base interpreter of our venv of steps, boto3 beside it, and of a layer just
 * those packages that it holds, in this machine's builds of them (the layer's own are for arm64).
 */
export function pythonOf(folder: string, bin: string): HostOptions['python'] {
  const venv = join(bin, '..');
  const config = readFileSync(join(venv, 'pyvenv.cfg'), 'utf8');
  const home = /^home\s*=\s*(.+)$/m.exec(config)?.[1]?.trim() ?? '/usr/bin';
  const own = sitePackages(venv);
  const runtime = join(folder, 'runtime');
  linked(runtime, sitePackages(), (name) => RUNTIME.includes(name));
  return {
    program: join(home, 'python3'),
    runtime,
    opt(layer) {
      const to = join(folder, basename(layer));
      const from = join(layer, 'python');
      if (existsSync(from)) {
        const holds = new Set(readdirSync(from).map(stem));
        linked(to, own, (name) => holds.has(stem(name)));
      }
      return to;
    },
  };
}

function linked(to: string, from: string, wanted: (name: string) => boolean): void {
  if (existsSync(to)) return;
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(from))
    if (wanted(name)) symlinkSync(join(from, name), join(to, name));
}
