import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PageFile } from '../functions/site/index.ts';
import { ROOT } from './stage.ts';

/**
 * In the published package what bundle.ts and page.ts make was made before: bin/build.ts puts this file in their place.
 * So a synth of somebody else's app needs neither esbuild nor our sources.
 */
const BUILT = join(ROOT, 'dist/lambda');

/** `functions/tracking/handler.ts` lies in `tracking`, `functions/handlers/relay.ts` in `relay`. */
export const builtName = (entry: string): string =>
  entry.replace(/^functions\//, '').replace(/\/handler\.ts$|^handlers\/|\.ts$/g, '');

export const bundle = (entry: string): { folder: string } => ({
  folder: join(BUILT, builtName(entry)),
});

export const pageFiles = (): Record<string, PageFile> =>
  JSON.parse(readFileSync(join(BUILT, 'page.json'), 'utf8'));
