import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { type BuildOptions, build } from 'esbuild';
import { bundle } from '../lib/bundle.ts';
import { pageFiles } from '../lib/page.ts';
import { builtName } from '../lib/prebuilt.ts';
import { readRooms } from '../lib/rooms.ts';

/**
 * What is published: the command as plain JavaScript in dist/ (Node strips no types under node_modules), and for other
 * people's CDK apps constructs.js with its types, and the bundles of all functions.
 *
 *     node bin/build.ts              dist/
 *     node bin/build.ts pack FOLDER  and a tarball of it in FOLDER, packed from a copy whose manifest leaves out what
 *                                    only this repository's scripts use: tools, and the pinned Node binaries
 */
const root = resolve(import.meta.dirname, '..');
const [, , step, folder = '.'] = process.argv;

const dist = join(root, 'dist');
const shared: BuildOptions = {
  outdir: dist,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node22',
  mainFields: ['module', 'main'],
  banner: {
    js: "import { createRequire as _require } from 'node:module'; const require = _require(import.meta.url);",
  },
  logLevel: 'warning',
};

rmSync(dist, { recursive: true, force: true });
await build({
  ...shared,
  entryPoints: {
    stillflow: join(root, 'bin/stillflow.ts'),
    // A thread starts from a file of its own.
    document_worker: join(root, 'local/document_worker.ts'),
  },
  external: ['lmdb'],
});
await build({
  ...shared,
  entryPoints: {
    constructs: join(root, 'lib/constructs/index.ts'),
    steps: join(root, 'functions/pipelines/authoring/step.ts'),
    layers: join(root, 'bin/layers.ts'),
  },
  chunkNames: 'constructs-[hash]',
  external: ['aws-cdk-lib', 'constructs'],
  plugins: [
    {
      name: 'prebuilt',
      setup(plugin) {
        plugin.onResolve({ filter: /^\.\/(bundle|page)\.ts$/ }, ({ resolveDir }) =>
          resolveDir === join(root, 'lib') ? { path: join(root, 'lib/prebuilt.ts') } : undefined,
        );
      },
    },
  ],
});
functions();
types();

/** The bundle of each function, where lib/prebuilt.ts looks for it. */
function functions(): void {
  const entries = [
    ...Object.keys(readRooms().rooms).map((room) => `functions/${room}/handler.ts`),
    ...['authorizer', 'relay', 'compactor', 'ended', 'arrived', 'front'].map(
      (name) => `functions/handlers/${name}.ts`,
    ),
  ];
  for (const entry of entries)
    cpSync(bundle(entry).folder, join(dist, 'lambda', builtName(entry)), { recursive: true });
  writeFileSync(join(dist, 'lambda/page.json'), JSON.stringify(pageFiles()));
}

/** The types of both entries, and of those that they name; what else the compiler writes is left behind. */
function types(): void {
  const all = mkdtempSync(join(tmpdir(), 'stillflow-types-'));
  try {
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    const asked = ['--noEmit', 'false', '--incremental', 'false', '--emitDeclarationOnly'];
    execFileSync(
      process.execPath,
      [
        ...[tsc, '--project', join(root, 'tsconfig.constructs.json'), ...asked],
        ...['--declaration', '--stripInternal', '--rootDir', root, '--outDir', all],
      ],
      { stdio: 'inherit' },
    );
    const kept = new Set<string>();
    const keep = (file: string): void => {
      if (kept.has(file) || !existsSync(file)) return;
      kept.add(file);
      const text = readFileSync(file, 'utf8');
      for (const [, path = ''] of text.matchAll(/(?:from |import\()['"](\.[^'"]+)\.ts['"]/g))
        keep(`${resolve(dirname(file), path)}.d.ts`);
    };
    keep(join(all, 'lib/constructs/index.d.ts'));
    keep(join(all, 'functions/pipelines/authoring/step.d.ts'));
    for (const file of kept) cpSync(file, join(dist, 'types', relative(all, file)));
  } finally {
    rmSync(all, { recursive: true, force: true });
  }
}

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
