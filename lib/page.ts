import { readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { transformSync } from 'esbuild';
import type { PageFile } from '../functions/site/index.ts';
import { ROOT } from './stage.ts';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.ts': 'text/javascript; charset=utf-8',
};

/** The files of web/ as a browser reads them; a module keeps the name that the others import. */
export function pageFiles(): Record<string, PageFile> {
  const folder = join(ROOT, 'web');
  const names = readdirSync(folder).filter((name) => Object.hasOwn(TYPES, extname(name)));
  return Object.fromEntries(
    names.sort().map((name) => {
      const text = readFileSync(join(folder, name), 'utf8');
      const ext = extname(name);
      const loader = ext === '.ts' || ext === '.css' ? (ext.slice(1) as 'ts' | 'css') : undefined;
      const small = loader && transformSync(text, { loader, minify: true, target: 'es2024' }).code;
      return [name, { text: small ?? text, type: TYPES[ext] ?? '' }];
    }),
  );
}
