import { readFileSync } from 'node:fs';
import { lambdas } from '../handlers/lambdas.ts';
import { awsPlatform } from '../platform/aws/platform.ts';
import { siteRoom } from './index.ts';

/** Beside the bundle: lib/site.ts. */
const beside = (name: string) =>
  JSON.parse(readFileSync(new URL(`./${name}.json`, import.meta.url), 'utf8'));

const site = siteRoom({ page: () => beside('page'), openapi: () => beside('openapi') });
export const { http } = lambdas(site, await awsPlatform({}));
