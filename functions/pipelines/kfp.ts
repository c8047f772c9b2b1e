import * as z from 'zod';
import type { Call } from '../kernel/call.ts';
import type { Pages } from '../kernel/page.ts';
import { Problem } from '../kernel/problem.ts';
import { bool } from '../kernel/proto.ts';
import type { Incoming, Route } from '../kernel/route.ts';
import { kfpMessage, kfpRoute } from '../protocols/kfp.ts';
import { specText } from './archive.ts';
import type { PipelineDocument, ReadDocument } from './document.ts';
import {
  ExperimentIn,
  experimentOut,
  ListOn,
  listOut,
  listQuery,
  PipelineIn,
  PipelinePatch,
  pipelineOut,
  UploadOn,
  UploadVersionOn,
  VersionIn,
  VersionPatch,
  versionOut,
} from './kfp-wire.ts';
import { EXPERIMENTS, PIPELINES, VERSIONS } from './listables.ts';
import { type Listable, listed } from './listing.ts';
import {
  ExperimentRef,
  LIMITS,
  PipelineName,
  PipelineRef,
  type StorageState,
  VersionName,
  VersionRef,
} from './model.ts';
import { formFile } from './multipart.ts';
import type { PipelinesService } from './service.ts';

const BASE = '/apis/v2beta1';
const small = { bodyBytes: 64 * 1024, timeoutSeconds: 30 };
const none = { bodyBytes: 0, timeoutSeconds: 30 };
const spec = { bodyBytes: 16 * 2 ** 20, timeoutSeconds: 60 };
const upload = { bodyBytes: LIMITS.uploadBytes + 2 ** 20, timeoutSeconds: 120 };
const output = z.record(z.string(), z.unknown());
const nothing = z.object({});
const done = () => ({});
const SPECS_A_PAGE = 20;

/** Experiments, pipelines and versions. Source: kfp.md section 1.2; backend/api/v2beta1/*.proto. */
export function catalogRoutes(
  { catalog }: PipelinesService,
  pages: Pages,
  read: ReadDocument,
): Route[] {
  return [
    kfpRoute('GET', `${BASE}/healthz`, 'pipelines:read', {
      input: kfpMessage({}),
      output,
      resource: () => 'pipelines/health',
      limits: none,
      open: true,
      run: () => ({ multi_user: false, pipeline_store: 'database' }),
    }),
    ...experimentRoutes(),
    ...pipelineRoutes(),
    ...versionRoutes(),
    ...uploadRoutes(),
  ];

  /** All of a kind, a page at a time. `name`: on the path, and of the list in the answer. */
  function listRoute<T>(
    listable: Listable<T>,
    name: 'experiments' | 'pipelines',
    all: (call: Call) => Promise<readonly T[]>,
    out: (record: T) => unknown,
  ): Route {
    return kfpRoute('GET', `${BASE}/${name}`, 'pipelines:read', {
      input: kfpMessage(ListOn),
      output,
      resource: () => (name === 'pipelines' ? name : `pipelines/${name}`),
      limits: none,
      run: async (call, asked) => {
        const page = listed(call, pages, listable, '', listQuery(asked), await all(call));
        return listOut(name, page, out);
      },
    });
  }

  function experimentRoutes(): Route[] {
    const input = kfpMessage({ experiment_id: ExperimentRef });
    const resource = ({ experiment_id }: { experiment_id: string }) =>
      `pipelines/experiments/${experiment_id}`;
    const one = `${BASE}/experiments/{experiment_id}`;
    return [
      listRoute(EXPERIMENTS, 'experiments', catalog.listExperiments, experimentOut),
      kfpRoute('POST', `${BASE}/experiments`, 'pipelines:write', {
        input: ExperimentIn,
        output,
        resource: () => 'pipelines/experiments',
        limits: small,
        retry: 'natural', // the name is taken once
        run: async (call, { display_name, description }) =>
          experimentOut(await catalog.createExperiment(call, display_name, description)),
      }),
      kfpRoute('GET', one, 'pipelines:read', {
        input,
        output,
        resource,
        limits: none,
        run: async (call, { experiment_id }) =>
          experimentOut(await catalog.getExperiment(call, experiment_id)),
      }),
      kfpRoute('DELETE', one, 'pipelines:write', {
        input,
        output: nothing,
        resource,
        limits: none,
        retry: 'natural',
        run: (call, { experiment_id }) => catalog.deleteExperiment(call, experiment_id).then(done),
      }),
      stored('archive', 'ARCHIVED'),
      stored('unarchive', 'AVAILABLE'),
    ];

    function stored(verb: string, storage: StorageState): Route {
      return kfpRoute('POST', `${one}:${verb}`, 'pipelines:write', {
        input,
        output: nothing,
        resource,
        limits: small,
        retry: 'natural',
        run: (call, { experiment_id }) =>
          catalog.storeExperiment(call, experiment_id, storage).then(done),
      });
    }
  }

  function pipelineRoutes(): Route[] {
    const one = `${BASE}/pipelines/{pipeline_id}`;
    const input = kfpMessage({ pipeline_id: PipelineRef });
    const resource = ({ pipeline_id }: { pipeline_id: string }) => `pipelines/${pipeline_id}`;
    return [
      listRoute(PIPELINES, 'pipelines', catalog.listPipelines, pipelineOut),
      kfpRoute('POST', `${BASE}/pipelines`, 'pipelines:write', {
        input: PipelineIn,
        output,
        resource: () => 'pipelines',
        limits: small,
        retry: 'natural',
        run: async (call, asked) =>
          pipelineOut(await catalog.createPipeline(call, named(asked, ''))),
      }),
      kfpRoute('GET', `${BASE}/pipelines/names/{name}`, 'pipelines:read', {
        input: kfpMessage({ name: PipelineName, namespace: z.string().optional() }),
        output,
        resource: () => 'pipelines',
        limits: none,
        run: async (call, { name }) => pipelineOut(await catalog.findPipeline(call, name)),
      }),
      kfpRoute('GET', one, 'pipelines:read', {
        input,
        output,
        resource,
        limits: none,
        run: async (call, { pipeline_id }) =>
          pipelineOut(await catalog.getPipeline(call, pipeline_id)),
      }),
      kfpRoute('PATCH', one, 'pipelines:write', {
        input: PipelinePatch,
        output,
        resource,
        limits: small,
        retry: 'natural',
        run: async (call, asked) =>
          pipelineOut(await catalog.changePipeline(call, asked.pipeline_id, changed(asked))),
      }),
      kfpRoute('DELETE', one, 'pipelines:write', {
        input: kfpMessage({ pipeline_id: PipelineRef, cascade: bool().default(false) }),
        output: nothing,
        resource,
        limits: none,
        retry: 'natural',
        run: (call, { pipeline_id, cascade }) =>
          catalog.deletePipeline(call, pipeline_id, cascade).then(done),
      }),
    ];
  }

  function versionRoutes(): Route[] {
    const all = `${BASE}/pipelines/{pipeline_id}/versions`;
    const one = `${all}/{pipeline_version_id}`;
    const input = kfpMessage({ pipeline_id: PipelineRef, pipeline_version_id: VersionRef });
    const resource = ({ pipeline_id }: { pipeline_id: string }) => `pipelines/${pipeline_id}`;
    return [
      kfpRoute('GET', all, 'pipelines:read', {
        input: kfpMessage({ ...ListOn, pipeline_id: PipelineRef }),
        output,
        resource,
        limits: none,
        run: async (call, { pipeline_id, ...asked }) => {
          await catalog.getPipeline(call, pipeline_id);
          const found = await catalog.listVersions(call, pipeline_id);
          const page = listed(call, pages, VERSIONS, pipeline_id, listQuery(asked), found);
          const shown: unknown[] = [];
          const read = new Map<string, PipelineDocument>();
          for (const version of page.items) {
            // Versions of one spec share it; beyond so many different ones, ask for one version.
            const document =
              read.get(version.spec) ??
              (read.size < SPECS_A_PAGE ? await catalog.document(call, version) : undefined);
            if (document) read.set(version.spec, document);
            shown.push(versionOut(version, document));
          }
          return listOut('pipeline_versions', { ...page, items: shown }, (version) => version);
        },
      }),
      kfpRoute('POST', all, 'pipelines:write', {
        input: VersionIn,
        output,
        resource,
        limits: spec,
        retry: 'natural',
        run: async (call, asked) => {
          if (!asked.pipeline_spec)
            throw new Problem(
              asked.package_url ? 'unsupported' : 'invalid',
              asked.package_url
                ? 'package_url is not fetched: upload the file to /apis/v2beta1/pipelines/upload_version.'
                : 'Invalid input error: pipeline_spec: is required; or upload a file to pipelines/upload_version.',
              { field: 'pipeline_spec' },
            );
          const wanted = named(asked, '');
          const document = { pipeline: asked.pipeline_spec };
          const version = await catalog.createVersion(call, asked.pipeline_id, wanted, document);
          return versionOut(version, document);
        },
      }),
      kfpRoute('GET', one, 'pipelines:read', {
        input,
        output,
        resource,
        limits: none,
        run: async (call, { pipeline_id, pipeline_version_id }) => {
          const version = await catalog.getVersion(call, pipeline_id, pipeline_version_id);
          return versionOut(version, await catalog.document(call, version));
        },
      }),
      kfpRoute('PATCH', one, 'pipelines:write', {
        input: VersionPatch,
        output,
        resource,
        limits: small,
        retry: 'natural',
        run: async (call, { pipeline_id, pipeline_version_id, ...asked }) => {
          const change = changed(asked);
          const version = await catalog.changeVersion(
            call,
            pipeline_id,
            pipeline_version_id,
            change,
          );
          return versionOut(version, await catalog.document(call, version));
        },
      }),
      kfpRoute('DELETE', one, 'pipelines:write', {
        input,
        output: nothing,
        resource,
        limits: none,
        retry: 'natural',
        run: (call, { pipeline_id, pipeline_version_id }) =>
          catalog.deleteVersion(call, pipeline_id, pipeline_version_id).then(done),
      }),
    ];
  }

  function uploadRoutes(): Route[] {
    return [
      kfpRoute('POST', `${BASE}/pipelines/upload`, 'pipelines:write', {
        input: UploadOn,
        output,
        resource: () => 'pipelines',
        limits: upload,
        retry: 'natural',
        rawBody: true,
        run: async (call, asked, incoming) => {
          const { file, document } = await uploaded(incoming, read);
          const wanted = named(asked, file, PipelineName);
          return pipelineOut(await catalog.createPipeline(call, wanted, document));
        },
      }),
      kfpRoute('POST', `${BASE}/pipelines/upload_version`, 'pipelines:write', {
        input: UploadVersionOn,
        output,
        resource: ({ pipelineid }) => `pipelines/${pipelineid}`,
        limits: upload,
        retry: 'natural',
        rawBody: true,
        run: async (call, asked, incoming) => {
          await catalog.getPipeline(call, asked.pipelineid);
          const { file, document } = await uploaded(incoming, read);
          const wanted = named(asked, file, VersionName);
          return versionOut(
            await catalog.createVersion(call, asked.pipelineid, wanted, document),
            document,
          );
        },
      }),
    ];
  }
}

async function uploaded(
  incoming: Incoming,
  read: ReadDocument,
): Promise<{ file: string; document: PipelineDocument }> {
  const { name, bytes } = await formFile(
    incoming.headers.get('content-type'),
    incoming.stream(),
    'uploadfile',
    { fileBytes: LIMITS.uploadBytes, parts: LIMITS.formParts },
  );
  return { file: name, document: await read(await specText(bytes)) };
}

/** Of a PATCH. */
const changed = (
  asked: Pick<z.output<typeof PipelinePatch>, 'display_name' | 'description' | 'tags'>,
) => ({
  displayName: asked.display_name,
  description: asked.description,
  tags: asked.tags,
});

/** `name`, else `display_name`, else the file's name. Source: kfp.md section 1.5, upload. */
function named(
  asked: {
    name?: string | undefined;
    display_name?: string | undefined;
    description: string;
    tags: Record<string, string>;
    code_source_url?: string | undefined;
  },
  file: string,
  schema: z.ZodType<string> = PipelineName,
) {
  const name = asked.name ?? asked.display_name ?? file;
  const read = schema.safeParse(name);
  if (!read.success)
    throw new Problem(
      'invalid',
      `Invalid input error: name: ${read.error.issues[0]?.message ?? 'is missing'}.`,
      { field: 'name' },
    );
  const { description, tags, code_source_url: codeSourceUrl } = asked;
  return {
    name,
    displayName: asked.display_name ?? name,
    description,
    tags,
    ...(codeSourceUrl ? { codeSourceUrl } : {}),
  };
}
