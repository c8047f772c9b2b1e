import { readdirSync, readFileSync, statSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { extname, join } from 'node:path';
import * as z from 'zod';
import { Problem } from '../functions/kernel/problem.ts';
import type { Route } from '../functions/kernel/route.ts';
import { apiRoute } from '../functions/protocols/api.ts';
import { compactMarkup, compactScript, compactStyle } from './compact.ts';

const FOLDER = join(import.meta.dirname, '..', 'web');
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.ts': 'text/javascript; charset=utf-8',
};
/** Nothing but this server's own files and answers; no inline script or style, no frame, no form. */
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const limits = { bodyBytes: 0, timeoutSeconds: 10 };

/** The dashboard: `/` and the files it is made of. A file is read again only when it has changed. */
export function webRoutes(folder = FOLDER): Route[] {
  const kept = new Map<string, { text: string; type: string; changedAt: number }>();
  // Asked names are only compared with what the folder holds; none becomes a path.
  const listed = () => readdirSync(folder).filter((name) => Object.hasOwn(TYPES, extname(name)));

  function answer(name: string): Response {
    if (!listed().includes(name)) throw new Problem('missing', `The page has no file ${name}.`);
    const changedAt = statSync(join(folder, name)).mtimeMs;
    let file = kept.get(name);
    if (file?.changedAt !== changedAt) {
      const text = readFileSync(join(folder, name), 'utf8');
      const ext = extname(name);
      const type = TYPES[ext] ?? 'application/octet-stream';
      file = { text: WRITERS[ext]?.(text) ?? text, type, changedAt };
      kept.set(name, file);
    }
    return new Response(file.text, {
      headers: {
        'Content-Type': file.type,
        'Content-Security-Policy': CSP,
        'Cross-Origin-Opener-Policy': 'same-origin',
      },
    });
  }

  return [
    apiRoute('GET', '/', 'web:read', {
      input: z.object({}),
      output: z.string(),
      resource: () => 'web/index.html',
      limits,
      summary: 'The dashboard.',
      run: () => answer('index.html'),
    }),
    apiRoute('GET', '/web/{file}', 'web:read', {
      input: z.object({ file: z.string().max(100) }),
      output: z.string(),
      resource: ({ file }) => `web/${file}`,
      limits,
      summary: 'A file of the dashboard; its modules as plain JavaScript.',
      run: (_, { file }) => answer(file),
    }),
  ];
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
