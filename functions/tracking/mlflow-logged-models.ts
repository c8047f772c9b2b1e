import * as z from 'zod';
import type { Call } from '../kernel/call.ts';
import { Problem } from '../kernel/problem.ts';
import { bool, enumeration, int64, repeated, safeInt } from '../kernel/proto.ts';
import type { Incoming, Limits, Route } from '../kernel/route.ts';
import { mlflowMessage, mlflowRoutes } from '../protocols/mlflow.ts';
import { type LoggedModelService, registrations } from './logged-models.service.ts';
import {
  LOGGED_MODEL_STATUS,
  LoggedModelId,
  type MeasuredModel,
  MODEL_LIMITS,
  type ModelMetric,
} from './logged-models.ts';
import { RunId } from './model.ts';

/** Where the files of models lie; the artifacts room gives it. */
export interface ModelFiles {
  /** Names below `path`, relative to the root, folders without a size. Throws `invalid`, `unsupported`. */
  list(
    call: Call,
    rootUri: string,
    path: string | undefined,
    token?: string,
  ): Promise<{
    readonly files: readonly { path: string; isDir: boolean; sizeBytes?: number }[];
    readonly next?: string;
  }>;
  /** The bytes of one file as a download. Throws `missing`. */
  send(call: Call, rootUri: string, path: string, incoming: Incoming): Promise<Response>;
}

const BASE = '/mlflow/logged-models';
const limits: Limits = { bodyBytes: 1_048_576, timeoutSeconds: 10 };
const text = (max: number) => z.string().max(max, `may have at most ${max} characters`);

const Pair = mlflowMessage({ key: text(1_000), value: text(100_000).default('') });
const Pairs = repeated(Pair).refine(
  (pairs) => pairs.length <= 1_000,
  'may have at most 1000 entries',
);
const ByModel = { model_id: LoggedModelId };
const resource = (input: { model_id: string }) => `logged-models/${input.model_id}`;

const CreateModel = mlflowMessage({
  experiment_id: text(32),
  name: text(2_000).optional(),
  model_type: text(MODEL_LIMITS.typeLength).optional(),
  source_run_id: z.union([z.literal(''), RunId]).optional(),
  params: Pairs,
  tags: Pairs,
});
const Search = mlflowMessage({
  experiment_ids: repeated(text(32)).refine((ids) => ids.length > 0, {
    message: "Missing value for required parameter 'experiment_ids'.",
    params: { whole: true },
  }),
  filter: z.string().optional(),
  datasets: repeated(
    mlflowMessage({ dataset_name: text(500), dataset_digest: text(36).optional() }),
  ),
  max_results: safeInt().optional(),
  order_by: repeated(
    mlflowMessage({
      field_name: text(1_000),
      ascending: z.boolean().default(true),
      dataset_name: text(500).optional(),
      dataset_digest: text(36).optional(),
    }),
  ),
  page_token: z.string().optional(),
});

const PairOnWire = z.object({ key: z.string(), value: z.string() });
const ModelOnWire = z.object({
  info: z.object({
    model_id: z.string(),
    experiment_id: z.string(),
    name: z.string(),
    creation_timestamp_ms: int64(),
    last_updated_timestamp_ms: int64(),
    artifact_uri: z.string(),
    status: z.string(),
    model_type: z.string().optional(),
    source_run_id: z.string().optional(),
    tags: z.array(PairOnWire).optional(),
    registrations: z.array(z.object({ name: z.string(), version: z.string() })).optional(),
  }),
  data: z.object({ params: z.array(PairOnWire).optional(), metrics: z.array(z.any()).optional() }),
});
const Answer = z.object({ model: ModelOnWire });
const Nothing = z.object({});

export function loggedModelRoutes(models: LoggedModelService, files: ModelFiles): Route[] {
  return [
    ...mlflowRoutes('POST', BASE, 'tracking:write', {
      input: CreateModel,
      output: Answer,
      resource: ({ experiment_id }) => `experiments/${experiment_id}`,
      limits,
      retry: 'none', // stock makes a second model too: nothing in the request names one
      async run(call, input) {
        const { name, model_type, source_run_id } = input;
        const model = await models.create(call, {
          experimentId: input.experiment_id,
          ...(name ? { name } : {}),
          ...(model_type ? { modelType: model_type } : {}),
          ...(source_run_id ? { sourceRunId: source_run_id } : {}),
          params: input.params,
          tags: input.tags,
        });
        return { model: encodeModel({ ...model, metrics: [] }) };
      },
    }),
    ...mlflowRoutes('POST', `${BASE}/search`, 'tracking:read', {
      input: Search,
      output: z.object({
        models: z.array(ModelOnWire).optional(),
        next_page_token: z.string().optional(),
      }),
      resource: () => 'logged-models',
      limits,
      async run(call, input) {
        const limit = input.max_results ?? MODEL_LIMITS.defaultResults;
        if (limit < 0)
          throw new Problem('invalid', 'max_results may not be negative.', {
            field: 'max_results',
          });
        const page = await models.search(call, {
          experimentIds: input.experiment_ids,
          ...(input.filter ? { filter: input.filter } : {}),
          datasets: input.datasets.map((dataset) => datasetOf(dataset)),
          orders: input.order_by.map((order) => {
            const { field_name, ascending, dataset_name, dataset_digest } = order;
            if (dataset_digest && !dataset_name)
              throw new Problem(
                'invalid',
                '`dataset_digest` can only be specified if `dataset_name` is also specified.',
                { field: 'order_by' },
              );
            return {
              field: field_name.trim(),
              ascending,
              ...(dataset_name ? { dataset: datasetOf({ dataset_name, dataset_digest }) } : {}),
            };
          }),
          limit,
          ...(input.page_token ? { token: input.page_token } : {}),
        });
        return {
          ...(page.items.length ? { models: page.items.map(encodeModel) } : {}),
          ...(page.next ? { next_page_token: page.next } : {}),
        };
      },
    }),
    ...mlflowRoutes('GET', `${BASE}/{model_id}`, 'tracking:read', {
      input: mlflowMessage({ ...ByModel, allow_deleted: bool().default(false) }),
      output: Answer,
      resource,
      limits: { ...limits, bodyBytes: 0 },
      run: async (call, { model_id, allow_deleted }) => ({
        model: encodeModel(await models.getMeasured(call, model_id, { deleted: allow_deleted })),
      }),
    }),
    ...mlflowRoutes('PATCH', `${BASE}/{model_id}`, 'tracking:write', {
      input: mlflowMessage({ ...ByModel, status: enumeration(LOGGED_MODEL_STATUS, 'strict') }),
      output: Answer,
      resource,
      limits,
      retry: 'natural',
      async run(call, { model_id, status }) {
        if (!status || status === 'LOGGED_MODEL_STATUS_UNSPECIFIED')
          throw new Problem('invalid', "The 'status' must be PENDING, READY or UPLOAD_FAILED.", {
            field: 'status',
          });
        await models.finalize(call, model_id, status);
        return { model: encodeModel(await models.getMeasured(call, model_id)) };
      },
    }),
    ...mlflowRoutes('DELETE', `${BASE}/{model_id}`, 'tracking:write', {
      input: mlflowMessage(ByModel),
      output: Nothing,
      resource,
      limits,
      retry: 'natural',
      run: (call, { model_id }) => models.remove(call, model_id),
    }),
    ...mlflowRoutes('PATCH', `${BASE}/{model_id}/tags`, 'tracking:write', {
      input: mlflowMessage({ ...ByModel, tags: Pairs }),
      output: Answer,
      resource,
      limits,
      retry: 'natural',
      async run(call, { model_id, tags }) {
        await models.setTags(call, model_id, tags);
        return { model: encodeModel(await models.getMeasured(call, model_id)) };
      },
    }),
    ...mlflowRoutes('DELETE', `${BASE}/{model_id}/tags/{tag_key}`, 'tracking:write', {
      input: mlflowMessage({ ...ByModel, tag_key: text(1_000) }),
      output: Nothing,
      resource,
      limits,
      retry: 'natural',
      run: (call, { model_id, tag_key }) => models.removeTag(call, model_id, tag_key),
    }),
    ...mlflowRoutes('POST', `${BASE}/{model_id}/params`, 'tracking:write', {
      input: mlflowMessage({ ...ByModel, params: Pairs }),
      output: Nothing,
      resource,
      limits,
      retry: 'natural', // an equal param again is fine
      run: (call, { model_id, params }) => models.addParams(call, model_id, params),
    }),
    ...fileRoutes(models, files),
  ];
}

function fileRoutes(models: LoggedModelService, files: ModelFiles): Route[] {
  return [
    ...mlflowRoutes('GET', `${BASE}/{model_id}/artifacts/directories`, 'tracking:read', {
      input: mlflowMessage({
        ...ByModel,
        artifact_directory_path: z.string().optional(),
        page_token: z.string().optional(),
      }),
      output: z.object({
        root_uri: z.string(),
        files: z.array(z.any()).optional(),
        next_page_token: z.string().optional(),
      }),
      resource,
      limits: { ...limits, bodyBytes: 0 },
      async run(call, { model_id, artifact_directory_path, page_token }) {
        const { artifactUri } = await models.get(call, model_id);
        const page = await files.list(
          call,
          artifactUri,
          artifact_directory_path || undefined,
          page_token || undefined,
        );
        const shown = page.files.map(({ path, isDir, sizeBytes }) => ({
          path,
          is_dir: isDir,
          ...(sizeBytes === undefined ? {} : { file_size: sizeBytes }),
        }));
        return {
          root_uri: artifactUri,
          ...(shown.length ? { files: shown } : {}),
          ...(page.next ? { next_page_token: page.next } : {}),
        };
      },
    }),
    ...mlflowRoutes('GET', `${BASE}/{model_id}/artifacts/files`, 'tracking:read', {
      input: mlflowMessage({ ...ByModel, artifact_file_path: z.string() }),
      output: z.any(),
      resource,
      limits: { bodyBytes: 0, timeoutSeconds: 600 },
      streams: true,
      async run(call, { model_id, artifact_file_path }, incoming) {
        const { artifactUri } = await models.get(call, model_id);
        return files.send(call, artifactUri, artifact_file_path, incoming);
      },
    }),
  ];
}

const datasetOf = (wire: { dataset_name: string; dataset_digest?: string | undefined }) => ({
  name: wire.dataset_name,
  ...(wire.dataset_digest ? { digest: wire.dataset_digest } : {}),
});

const pairs = (map: ReadonlyMap<string, string>) =>
  [...map].map(([key, value]) => ({ key, value }));

/** An infinite value is the largest double, a missing one the word NaN. Source: mlflow.md section 5.3 item 3. */
function encodeValue(value: number): number | string {
  if (Number.isNaN(value)) return 'NaN';
  if (value === Number.POSITIVE_INFINITY) return Number.MAX_VALUE;
  return value === Number.NEGATIVE_INFINITY ? -Number.MAX_VALUE : value;
}

const encodeMetric = (metric: ModelMetric) => ({
  key: metric.key,
  value: encodeValue(metric.value),
  timestamp: metric.timestamp,
  step: metric.step,
  model_id: metric.modelId,
  run_id: metric.runId,
  ...(metric.datasetName ? { dataset_name: metric.datasetName } : {}),
  ...(metric.datasetDigest ? { dataset_digest: metric.datasetDigest } : {}),
});

function encodeModel(model: MeasuredModel) {
  const registered = registrations(model.tags);
  return {
    info: {
      model_id: model.id,
      experiment_id: model.experimentId,
      name: model.name,
      creation_timestamp_ms: model.createdAt,
      last_updated_timestamp_ms: model.updatedAt,
      artifact_uri: model.artifactUri,
      status: model.status,
      ...(model.modelType === undefined ? {} : { model_type: model.modelType }),
      ...(model.sourceRunId === undefined ? {} : { source_run_id: model.sourceRunId }),
      ...(model.tags.size ? { tags: pairs(model.tags) } : {}),
      ...(registered.length ? { registrations: registered } : {}),
    },
    data: {
      ...(model.params.size ? { params: pairs(model.params) } : {}),
      ...(model.metrics.length ? { metrics: model.metrics.map(encodeMetric) } : {}),
    },
  };
}
