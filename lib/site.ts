import { readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { transformSync } from 'esbuild';
import type { Route } from '../functions/kernel/route.ts';
import { openapi, VERSION } from '../functions/protocols/openapi.ts';
import type { PageFile } from '../functions/site/index.ts';
import { bundle, ROOT, stage } from './bundle.ts';

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

/** The code of the room `site`: its bundle, and beside it what it shows. */
export function siteFolder(routes: readonly Route[]): string {
  const { folder } = bundle('functions/site/handler.ts');
  const code = readdirSync(folder).map((name) => ({
    name,
    contents: readFileSync(join(folder, name)),
  }));
  const shown = { page: pageFiles(), openapi: openapi(routes, VERSION) };
  const beside = Object.entries(shown).map(([name, value]) => ({
    name: `${name}.json`,
    contents: Buffer.from(JSON.stringify(value)),
  }));
  return stage([...code, ...beside]);
}
