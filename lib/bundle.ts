import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { buildSync, type Metafile } from 'esbuild';
import { ROOT, stage } from './stage.ts';

export interface Bundle {
  /** A folder named by its content, with `index.mjs` in it. */
  readonly folder: string;
  /** What a cold start reads: `index.mjs` and all that it imports statically. */
  readonly startBytes: number;
  readonly startGzipBytes: number;
  /** Every chunk, those that load on first use too. */
  readonly wholeBytes: number;
  readonly metafile: Metafile;
}

// Packages in CommonJS ask for Node's own modules by `require`, which an ES module does not have.
const REQUIRE =
  "import{createRequire as __cr}from'node:module';const require=__cr(import.meta.url);";

/**
 * One Lambda entry, minified, as an ES module. `import()` becomes a chunk of its own, so that a room pays for the S3
 * client on first use only: what NodejsFunction cannot do, since it asks esbuild for one file.
 */
export function bundle(entry: string): Bundle {
  const known = built.get(entry) ?? build(entry);
  built.set(entry, known);
  return known;
}
const built = new Map<string, Bundle>();

function build(entry: string): Bundle {
  const { outputFiles, metafile } = buildSync({
    entryPoints: { index: join(ROOT, entry) },
    absWorkingDir: ROOT,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    mainFields: ['module', 'main'],
    minify: true,
    legalComments: 'none',
    metafile: true,
    write: false,
    outdir: '/out',
    outExtension: { '.js': '.mjs' },
    banner: { js: REQUIRE },
    logLevel: 'error',
  });
  const files = outputFiles.map(({ path, contents }) => ({ name: path.slice(5), contents }));
  const atStart = startChunks(metafile);
  const start = files.filter(({ name }) => atStart.has(name)).map(({ contents }) => contents);
  return {
    folder: stage(files),
    startBytes: start.reduce((sum, { length }) => sum + length, 0),
    startGzipBytes: start.reduce((sum, bytes) => sum + gzipSync(bytes).length, 0),
    wholeBytes: files.reduce((sum, { contents }) => sum + contents.length, 0),
    metafile,
  };
}

/** The entry and whatever it imports at once. */
function startChunks({ outputs }: Metafile): Set<string> {
  const byName = new Map(Object.entries(outputs).map(([path, output]) => [nameOf(path), output]));
  const found = new Set<string>();
  const visit = (name: string) => {
    if (found.has(name)) return;
    found.add(name);
    for (const { path, kind, external } of byName.get(name)?.imports ?? [])
      if (!external && kind === 'import-statement') visit(nameOf(path));
  };
  visit('index.mjs');
  return found;
}
const nameOf = (output: string) => output.replace(/^.*\//, '');
