import * as z from 'zod';
import type { Call } from '../kernel/call.ts';
import type { Incoming, Route } from '../kernel/route.ts';
import { mlflowMessage, mlflowRoute, mlflowRoutes } from '../protocols/mlflow.ts';
import { LIMITS, stageOf } from './model.ts';
import type { RegistryService } from './service.ts';
import {
  asked,
  ByName,
  ByVersion,
  checkTag,
  Description,
  decodeSearch,
  decodeTags,
  encodeVersion,
  large,
  limits,
  Nothing,
  resource,
  Search,
  TagKey,
  TagSet,
  TagsOnWire,
  text,
  VersionAnswer,
  VersionOnWire,
} from './wire.ts';

const BASE = '/mlflow/model-versions';
const OwnerId = z
  .string()
  .regex(/^[\w-]{0,256}$/, 'may hold only letters, digits, _ and -')
  .optional();

/** The bytes of one file below a root, as a download; the artifacts room gives it. */
export type SendFile = (
  call: Call,
  rootUri: string,
  path: string,
  incoming: Incoming,
) => Promise<Response>;

export function versionRoutes(registry: RegistryService, send: SendFile): Route[] {
  return [
    ...mlflowRoutes('POST', `${BASE}/create`, 'registry:write', {
      input: mlflowMessage({
        ...ByName,
        source: z.string(),
        run_id: OwnerId,
        model_id: OwnerId,
        tags: TagsOnWire,
        run_link: text(2_000).optional(),
        description: Description.optional(),
      }),
      output: VersionAnswer,
      resource,
      limits: large,
      retry: 'none', // stock makes another version too: two versions of one source are no mistake
      async run(call, input) {
        const { name, source, run_id, model_id, run_link, description } = input;
        const version = await registry.createVersion(call, {
          name,
          source,
          ...(run_id === undefined ? {} : { runId: run_id }),
          ...(model_id === undefined ? {} : { modelId: model_id }),
          ...(run_link ? { runLink: run_link } : {}),
          ...(description ? { description } : {}),
          tags: decodeTags(input.tags),
        });
        return { model_version: encodeVersion(version) };
      },
    }),
    ...mlflowRoutes('PATCH', `${BASE}/update`, 'registry:write', {
      input: mlflowMessage({ ...ByVersion, description: Description.default('') }),
      output: VersionAnswer,
      resource,
      limits: large,
      retry: 'natural',
      async run(call, { name, version, description }) {
        const described = await registry.describeVersion(call, name, version, description);
        return { model_version: encodeVersion(described) };
      },
    }),
    ...mlflowRoutes('POST', `${BASE}/transition-stage`, 'registry:write', {
      input: mlflowMessage({
        ...ByVersion,
        stage: text(100),
        archive_existing_versions: z.boolean().default(false),
      }),
      output: VersionAnswer,
      resource,
      limits,
      retry: 'natural',
      async run(call, { name, version, stage, archive_existing_versions }) {
        const archive = archive_existing_versions;
        const moved = await registry.moveStage(call, name, version, stageOf(stage), archive);
        return { model_version: encodeVersion(moved) };
      },
    }),
    ...mlflowRoutes('DELETE', `${BASE}/delete`, 'registry:write', {
      input: mlflowMessage(ByVersion),
      output: Nothing,
      resource,
      limits,
      retry: 'natural',
      run: (call, { name, version }) => registry.removeVersion(call, name, version),
    }),
    ...mlflowRoutes('GET', `${BASE}/get`, 'registry:read', {
      input: mlflowMessage(ByVersion),
      output: VersionAnswer,
      resource,
      limits: asked,
      run: async (call, { name, version }) => ({
        model_version: encodeVersion(await registry.getVersion(call, name, version)),
      }),
    }),
    ...mlflowRoutes('GET', `${BASE}/search`, 'registry:read', {
      input: mlflowMessage(Search),
      output: z.object({
        model_versions: z.array(VersionOnWire).optional(),
        next_page_token: z.string().optional(),
      }),
      resource: () => 'models',
      limits: asked,
      async run(call, input) {
        const request = decodeSearch(input, 10_000, LIMITS.searchVersions);
        const page = await registry.searchVersions(call, request);
        return {
          ...(page.items.length ? { model_versions: page.items.map(encodeVersion) } : {}),
          ...(page.next ? { next_page_token: page.next } : {}),
        };
      },
    }),
    ...mlflowRoutes('GET', `${BASE}/get-download-uri`, 'registry:read', {
      input: mlflowMessage(ByVersion),
      output: z.object({ artifact_uri: z.string() }),
      resource,
      limits: asked,
      run: async (call, { name, version }) => ({
        artifact_uri: (await registry.getVersion(call, name, version)).uri,
      }),
    }),
    ...mlflowRoutes('POST', `${BASE}/set-tag`, 'registry:write', {
      input: mlflowMessage({ ...ByVersion, ...TagSet }),
      output: Nothing,
      resource,
      limits: large,
      retry: 'natural',
      run(call, { name, version, key, value }) {
        checkTag(key, value);
        return registry.setVersionTag(call, name, version, key, value);
      },
    }),
    ...mlflowRoutes('DELETE', `${BASE}/delete-tag`, 'registry:write', {
      input: mlflowMessage({ ...ByVersion, ...TagKey }),
      output: Nothing,
      resource,
      limits,
      retry: 'natural',
      run(call, { name, version, key }) {
        checkTag(key, '');
        return registry.removeVersionTag(call, name, version, key);
      },
    }),
    mlflowRoute('GET', '/model-versions/get-artifact', 'registry:read', {
      input: mlflowMessage({ ...ByVersion, path: z.string() }),
      output: z.any(),
      resource,
      limits: { bodyBytes: 0, timeoutSeconds: 600 },
      streams: true,
      async run(call, { name, version, path }, incoming) {
        const { uri } = await registry.getVersion(call, name, version);
        return send(call, uri, path, incoming);
      },
    }),
  ];
}
