import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, stage } from './bundle.ts';

/** The Lambda's Python; wheels are chosen for it, whatever Python this machine has. */
export const PYTHON = { version: '3.13', machine: 'aarch64' } as const;

/** Lambda unpacks function and layers into at most 250 MB. Source: Lambda quotas, "Deployment package size". */
export const LARGEST_LAYER_BYTES = 245 * 1024 * 1024;

const LOCK = join(ROOT, 'runtimes/python/requirements.lock');

/**
 * What of the lock stays out of the layer. Too large for it: a step that imports one of these runs as a SageMaker
 * job. Or asked for by kfp's client only, which no step imports (`_KFP_RUNTIME=true`, as kfp's own steps set it).
 */
export const LEFT_OUT: readonly string[] = [
  ...['scikit-learn', 'scipy', 'skops', 'joblib', 'threadpoolctl'],
  ...['kfp-server-api', 'kubernetes', 'google-cloud-storage', 'requests-toolbelt'],
];

/** The lock's entries that go into the layer, with their hashes. Throws if the lock lacks what is to stay out. */
export function layerLock(lock = readFileSync(LOCK, 'utf8')): string {
  const entries = lock
    .replace(/\\\n/g, ' ')
    .split('\n')
    .map((line) => line.replace(/(^|\s)#.*$/, '').trim())
    .filter((line) => line !== '');
  const nameOf = (entry: string) =>
    (/^[A-Za-z0-9._-]+/.exec(entry)?.[0] ?? '').toLowerCase().replace(/[._]/g, '-');
  const loose = entries.find((entry) => !entry.includes('==') || !entry.includes('--hash='));
  if (loose) throw new Error(`requirements.lock does not pin and hash '${loose.slice(0, 60)}'`);
  return `${entries.filter((entry) => !LEFT_OUT.includes(nameOf(entry))).join('\n')}\n`;
}

/** Where the layer of this lock lies: `.layers/<hash>`, whole or not there. */
export function layerFolder(): string {
  const hash = createHash('sha256').update(JSON.stringify(PYTHON)).update(layerLock());
  return join(ROOT, '.layers', hash.digest('hex').slice(0, 16));
}

/** All files below a folder, in bytes. */
export const sizeBelow = (folder: string): number =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0);

/** Throws the one line that says what to do where the layer is not built. */
export function builtLayer(): string {
  const folder = layerFolder();
  if (!existsSync(folder))
    throw new Error(`The kfp layer ${folder} is missing or stale: run \`npm run layers\`.`);
  return folder;
}

/** The code of `stillflow-run-step`: its handler, and the launcher that runs in every job. */
export function runStepFolder(): string {
  const files = ['runtimes/run_step_lambda', 'runtimes/launcher'].flatMap((folder) =>
    readdirSync(join(ROOT, folder))
      .filter((name) => name.endsWith('.py'))
      .map((name) => ({ name, contents: readFileSync(join(ROOT, folder, name)) })),
  );
  if (!files.some(({ name }) => name === 'handler.py'))
    throw new Error('runtimes/run_step_lambda/handler.py is missing');
  return stage(files);
}
