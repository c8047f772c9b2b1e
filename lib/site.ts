import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Route } from '../functions/kernel/route.ts';
import { openapi, VERSION } from '../functions/protocols/openapi.ts';
import { bundle } from './bundle.ts';
import { pageFiles } from './page.ts';
import { stage } from './stage.ts';

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
