import * as z from 'zod';
import type { Pages } from '../kernel/page.ts';
import type { Route } from '../kernel/route.ts';
import { apiRoute } from '../protocols/api.ts';
import type { Drop, DropsService } from './drops.ts';
import { ARTIFACT_LIMITS, Path } from './model.ts';

const DropOnWire = z.object({
  path: z.string(),
  sizeBytes: z.number(),
  etag: z.string(),
  modifiedAt: z.number(),
});
const ByPath = z.object({ path: Path });
const resource = ({ path }: { path?: string | undefined }) => `data/${path ?? ''}`;
const shown = ({ path, sizeBytes, etag, modifiedAt }: Drop) => ({
  path,
  sizeBytes,
  etag,
  modifiedAt,
});

/** Our own face for data that arrives as files. */
export function dataRoutes(drops: DropsService, pages: Pages, bodyBytes: number): Route[] {
  return [
    apiRoute('PUT', '/api/data/{path*}', 'artifacts:write', {
      input: ByPath,
      output: DropOnWire,
      resource,
      limits: { bodyBytes, timeoutSeconds: 600 },
      retry: 'natural', // the same bytes under the same path are told once
      rawBody: true,
      summary: 'Stores a file of data and tells that it arrived.',
      run: async (call, { path }, incoming) =>
        shown(await drops.arrive(call, path, incoming.stream())),
    }),
    apiRoute('GET', '/api/data/{path*}', 'artifacts:read', {
      input: ByPath,
      output: z.any(),
      resource,
      limits: { bodyBytes: 0, timeoutSeconds: 600 },
      streams: true,
      summary: 'The bytes of a file of data.',
      run: (call, { path }, incoming) => drops.send(call, path, incoming),
    }),
    apiRoute('DELETE', '/api/data/{path*}', 'artifacts:write', {
      input: ByPath,
      output: z.undefined(),
      resource,
      limits: { bodyBytes: 0, timeoutSeconds: 30 },
      retry: 'natural',
      summary: 'Removes a file of data.',
      run: (call, { path }) => drops.remove(call, path),
    }),
    apiRoute('GET', '/api/data', 'artifacts:read', {
      input: z.object({
        folder: Path.optional(),
        limit: z.coerce.number().int().min(1).max(ARTIFACT_LIMITS.page).default(100),
        page: z.string().optional(),
      }),
      output: z.object({ data: z.array(DropOnWire), next: z.string().optional() }),
      resource: ({ folder }) => `data/${folder ?? ''}`,
      limits: { bodyBytes: 0, timeoutSeconds: 30 },
      summary: 'The files of data below a folder, in path order.',
      async run(call, { folder, limit, page }) {
        const query = { data: folder ?? '' };
        const after = page === undefined ? undefined : pages.open<string>(call, query, page);
        const found = await drops.list(call, folder, after, limit);
        return {
          data: found.drops.map(shown),
          ...(found.next === undefined ? {} : { next: pages.seal(call, query, found.next) }),
        };
      },
    }),
  ];
}
