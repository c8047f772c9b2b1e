import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, stage } from './stage.ts';

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

/**
 * The lock's entries that go into the layer, with their hashes and without their markers: pip would hold those against
 * the Python that runs it. Throws for an entry that is not pinned and hashed.
 */
export function layerLock(lock = readFileSync(LOCK, 'utf8')): string {
  const entries = lock
    .replace(/\\\n/g, ' ')
    .split('\n')
    .map((line) => line.replace(/(^|\s)#.*$/, '').trim())
    .filter((line) => line !== '');
  const kept = entries.flatMap((entry) => {
    const [, name, version, marker, hashes] =
      /^([\w.-]+)==([\w.+!-]+)\s*(?:;(.*?))?((?:\s+--hash=sha256:[0-9a-f]{64})+)$/.exec(entry) ??
      [];
    if (!name || !hashes)
      throw new Error(`requirements.lock does not pin and hash '${entry.slice(0, 60)}'`);
    if (LEFT_OUT.includes(normal(name)) || !holds(marker?.trim() ?? '')) return [];
    return [`${name}==${version}${hashes.replace(/\s+/g, ' ')}`];
  });
  return `${kept.join('\n')}\n`;
}

/** As PyPI compares names. Source: PEP 503. */
export const normal = (name: string): string => name.toLowerCase().replace(/[-_.]+/g, '-');

const number = (version: string) =>
  version.split('.').reduce((sum, part, at) => sum + Number(part) * 1000 ** (2 - at), 0);
const COMPARE: Readonly<Record<string, (left: number, right: number) => boolean>> = {
  '<': (left, right) => left < right,
  '<=': (left, right) => left <= right,
  '>': (left, right) => left > right,
  '>=': (left, right) => left >= right,
  '==': (left, right) => left === right,
  '!=': (left, right) => left !== right,
};
/** What the lock's markers ask, on Lambda. */
const ON_LAMBDA: Readonly<Record<string, string>> = {
  platform_python_implementation: 'CPython',
  implementation_name: 'cpython',
  sys_platform: 'linux',
  platform_system: 'Linux',
  os_name: 'posix',
};

/** Whether a marker without brackets holds for the Lambda's Python. Throws for one that it cannot read. */
function holds(marker: string): boolean {
  if (marker === '') return true;
  return marker.split(' or ').some((all) =>
    all.split(' and ').every((term) => {
      const [, left = '', operator = '', right = ''] =
        /^\s*(\w+)\s*([<>=!]+)\s*'([^']*)'\s*$/.exec(term) ?? [];
      const compare = COMPARE[operator];
      if (compare && /^python_(full_)?version$/.test(left))
        return compare(number(`${PYTHON.version}.0`), number(`${right.replace('.*', '')}.0.0`));
      const here = ON_LAMBDA[left];
      if (here === undefined || !/^[=!]=$/.test(operator))
        throw new Error(`requirements.lock has a marker that lib/layers.ts cannot read: ${marker}`);
      return (here === right) === (operator === '==');
    }),
  );
}

/** Where the layer of this lock lies: `<hash>` in .layers or what STILLFLOW_LAYERS names, whole or not there. */
export function layerFolder(): string {
  const hash = createHash('sha256').update(JSON.stringify(PYTHON)).update(layerLock());
  const folder = process.env['STILLFLOW_LAYERS'] ?? join(ROOT, '.layers');
  return join(folder, hash.digest('hex').slice(0, 16));
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
    throw new Error(
      `The kfp layer ${folder} is missing or stale: run \`npm run layers\`, in an app of your own \`npx stillflow-layers\`.`,
    );
  return folder;
}

const pythonOf = (folder: string) =>
  readdirSync(join(ROOT, folder))
    .filter((name) => name.endsWith('.py'))
    .map((name) => ({ name, contents: readFileSync(join(ROOT, folder, name)) }));

/** What every SageMaker job reads from the bucket. */
export const launcherFolder = (): string => stage(pythonOf('runtimes/launcher'));

/** The code of `stillflow-run-step`: its handler, and the launcher that runs in every job. */
export function runStepFolder(): string {
  const files = ['runtimes/run_step_lambda', 'runtimes/launcher'].flatMap(pythonOf);
  if (!files.some(({ name }) => name === 'handler.py'))
    throw new Error('runtimes/run_step_lambda/handler.py is missing');
  return stage(files);
}
