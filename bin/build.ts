import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';

/**
 * What is published: the command as plain JavaScript in dist/ (Node strips no types under node_modules).
 *
 *     node bin/build.ts              dist/
 *     node bin/build.ts pack FOLDER  and a tarball of it in FOLDER, packed from a copy whose manifest leaves out what
 *                                    only this repository's scripts use: tools, and the pinned Node binaries
 */
const root = resolve(import.meta.dirname, '..');
const [, , step, folder = '.'] = process.argv;

rmSync(join(root, 'dist'), { recursive: true, force: true });
await build({
  entryPoints: {
    stillflow: join(root, 'bin/stillflow.ts'),
    // A thread starts from a file of its own.
    document_worker: join(root, 'local/document_worker.ts'),
  },
  outdir: join(root, 'dist'),
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node22',
  mainFields: ['module', 'main'],
  external: ['lmdb'],
  banner: {
    js: "import { createRequire as _require } from 'node:module'; const require = _require(import.meta.url);",
  },
  logLevel: 'warning',
});

if (step === 'pack') {
  const copy = mkdtempSync(join(tmpdir(), 'stillflow-pack-'));
  try {
    const text = readFileSync(join(root, 'package.json'), 'utf8');
    const {
      optionalDependencies: _node,
      devDependencies: _tools,
      scripts: _scripts,
      ...published
    } = JSON.parse(text);
    writeFileSync(join(copy, 'package.json'), `${JSON.stringify(published, null, 2)}\n`);
    for (const part of [
      'dist',
      'runtimes',
      'web',
      'statemachines',
      'examples',
      'README.md',
      'LICENSE',
    ])
      cpSync(join(root, part), join(copy, part), { recursive: true });
    execFileSync('npm', ['pack', '--pack-destination', resolve(folder)], {
      cwd: copy,
      stdio: 'inherit',
    });
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}
