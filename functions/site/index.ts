import * as z from 'zod';
import { Problem } from '../kernel/problem.ts';
import type { Route } from '../kernel/route.ts';
import { apiRoute } from '../protocols/api.ts';
import { describedBy } from '../protocols/openapi.ts';
import type { Room } from '../room.ts';

/** A file of the dashboard as a browser reads it. */
export interface PageFile {
  readonly text: string;
  readonly type: string;
}

/** Nothing but this server's own files and answers; no inline script or style, no frame, no form. */
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const limits = { bodyBytes: 0, timeoutSeconds: 10 };

/** The dashboard: `/` and the files it is made of. `read` knows files by name, and makes no path of one. */
export function pageRoutes(read: (name: string) => PageFile | undefined): Route[] {
  function answer(name: string): Response {
    const file = read(name);
    if (!file) throw new Problem('missing', `The page has no file ${name}.`);
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

/** What an installation in an account shows of itself; written when the stacks are built, so no other room is loaded. */
export interface Site {
  page(): Readonly<Record<string, PageFile>>;
  openapi(): Record<string, unknown>;
}

export function siteRoom({ page, openapi }: Site): Room {
  const read = (name: string) => {
    const files = page();
    return Object.hasOwn(files, name) ? files[name] : undefined;
  };
  return {
    routes: [...pageRoutes(read), describedBy(openapi)],
    followers: [],
    tasks: {},
    folders: [],
  };
}
