import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';

/**
 * What `npm pack` publishes: the command as plain JavaScript in dist/ (Node strips no types under node_modules), and a
 * manifest without the Node binaries that only this repository's scripts use.
 *
 *     node bin/build.ts            dist/ alone
 *     node bin/build.ts pack       dist/, and package.json as it is published
 *     node bin/build.ts unpack     package.json as it was
 */
const root = resolve(import.meta.dirname, '..');
const manifest = join(root, 'package.json');
const kept = join(root, 'dist/package.json.kept');
const [, , step] = process.argv;

if (step === 'unpack') {
  writeFileSync(manifest, readFileSync(kept));
  rmSync(kept);
} else {
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  await build({
    entryPoints: [join(root, 'bin/stillflow.ts')],
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
}
if (step === 'pack') {
  const text = readFileSync(manifest, 'utf8');
  writeFileSync(kept, text);
  const {
    optionalDependencies: _node,
    devDependencies: _tools,
    scripts: _scripts,
    ...published
  } = JSON.parse(text);
  writeFileSync(manifest, `${JSON.stringify(published, null, 2)}\n`);
}
