import { readdirSync, readFileSync, statSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { extname, join } from 'node:path';
import type { Route } from '../functions/kernel/route.ts';
import { type PageFile, pageRoutes } from '../functions/site/index.ts';
import { compactMarkup, compactScript, compactStyle } from './compact.ts';

const FOLDER = join(import.meta.dirname, '..', 'web');
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.ts': 'text/javascript; charset=utf-8',
};

/** The dashboard: `/` and the files it is made of. A file is read again only when it has changed. */
export function webRoutes(folder = FOLDER): Route[] {
  const kept = new Map<string, PageFile & { changedAt: number }>();
  // Asked names are only compared with what the folder holds; none becomes a path.
  const listed = () => readdirSync(folder).filter((name) => Object.hasOwn(TYPES, extname(name)));

  return pageRoutes((name) => {
    if (!listed().includes(name)) return undefined;
    const changedAt = statSync(join(folder, name)).mtimeMs;
    let file = kept.get(name);
    if (file?.changedAt !== changedAt) {
      const text = readFileSync(join(folder, name), 'utf8');
      const ext = extname(name);
      const type = TYPES[ext] ?? 'application/octet-stream';
      file = { text: WRITERS[ext]?.(text) ?? text, type, changedAt };
      kept.set(name, file);
    }
    return file;
  });
}

/** A module as a browser reads it: plain JavaScript. */
function browserScript(text: string): string {
  // Node says once that stripping is experimental; whoever started a server can do nothing about it.
  const warn = process.emitWarning;
  process.emitWarning = () => undefined;
  try {
    return compactScript(stripTypeScriptTypes(text));
  } finally {
    process.emitWarning = warn;
  }
}

const WRITERS: Readonly<Record<string, (text: string) => string>> = {
  '.html': compactMarkup,
  '.css': compactStyle,
  '.ts': browserScript,
};
