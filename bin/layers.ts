#!/usr/bin/env node
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import {
  LARGEST_LAYER_BYTES,
  LEFT_OUT,
  layerFolder,
  layerLock,
  normal,
  PYTHON,
  sizeBelow,
} from '../lib/layers.ts';

/** `npm run layers`: the kfp layer of this lock, once. Wheels only, each by its hash; nothing is compiled or run. */
function build(): void {
  const folder = layerFolder();
  if (existsSync(folder)) return;
  mkdirSync(dirname(folder), { recursive: true });
  const making = mkdtempSync(`${folder}.`);
  try {
    const lock = join(making, 'requirements.lock');
    writeFileSync(lock, layerLock());
    install(lock, join(making, 'layer', 'python'));
    trim(join(making, 'layer'));
    checkWhole(join(making, 'layer', 'python'));
    const bytes = sizeBelow(join(making, 'layer'));
    if (bytes > LARGEST_LAYER_BYTES)
      throw new Error(
        `The kfp layer has ${bytes} bytes, at most ${LARGEST_LAYER_BYTES} fit a Lambda`,
      );
    renameSync(join(making, 'layer'), folder);
    process.stderr.write(`stillflow: built ${folder}, ${Math.round(bytes / 1024 / 1024)} MB\n`);
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
}

function install(lock: string, target: string): void {
  // A wheel for an older glibc runs on a newer one; Lambda's Python 3.13 has 2.34.
  const platforms = Array.from(
    { length: 18 },
    (_, at) => `manylinux_2_${34 - at}_${PYTHON.machine}`,
  );
  const done = spawnSync(
    'python3',
    [
      ...[
        '-m',
        'pip',
        'install',
        '--quiet',
        '--disable-pip-version-check',
        '--no-compile',
        '--root-user-action=ignore',
      ],
      ...['--require-hashes', '--no-deps', '--only-binary=:all:', '--target', target],
      '--ignore-requires-python', // the lock's markers were held against the Lambda's Python already,
      ...['--implementation', 'cp', '--python-version', PYTHON.version],
      ...[...platforms, `manylinux2014_${PYTHON.machine}`].flatMap((name) => ['--platform', name]),
      ...['--requirement', lock],
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  if (done.error)
    throw new Error(`Python 3 with pip is needed to build the layer: ${done.error.message}`);
  if (done.status !== 0)
    throw new Error('pip could not install the layer; its own words are above');
}

/** Takes away what no step imports: scripts, byte code, and the packages' own tests. */
function trim(folder: string): void {
  const python = join(folder, 'python');
  rmSync(join(python, 'bin'), { recursive: true, force: true });
  for (const entry of readdirSync(python, { recursive: true, withFileTypes: true }))
    if (entry.isDirectory() && /^(__pycache__|tests)$/.test(entry.name))
      rmSync(join(entry.parentPath, entry.name), { recursive: true, force: true });
}

/** Each package finds what it always needs, but for what was left out on purpose. */
function checkWhole(python: string): void {
  const kept = readdirSync(python).filter((name) => name.endsWith('.dist-info'));
  const have = new Set([
    ...LEFT_OUT,
    ...kept.map((name) => normal(name.replace(/-[^-]+\.dist-info$/, ''))),
  ]);
  for (const name of kept)
    for (const [, needed] of readFileSync(join(python, name, 'METADATA'), 'utf8').matchAll(
      /^Requires-Dist: ([\w.-]+)[^;\n]*$/gm,
    ))
      if (needed && !have.has(normal(needed)))
        throw new Error(`${name} needs ${needed}, which the layer lacks`);
}

try {
  build();
} catch (error) {
  process.stderr.write(`stillflow: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
