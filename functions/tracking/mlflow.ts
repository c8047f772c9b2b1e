import * as z from 'zod';
import type { Call } from '../kernel/call.ts';
import { double, enumeration, int32, int64, repeated } from '../kernel/proto.ts';
import type { Route } from '../kernel/route.ts';
import { mlflowMessage, mlflowRoutes } from '../protocols/mlflow.ts';
import { ExperimentId, RUN_STATUS, type RunId } from './model.ts';
import type { TrackingService } from './service.ts';
import {
  Dataset,
  InputTag,
  Metrics,
  Nothing,
  origin,
  Pairs,
  pageSize,
  RunInfoOnWire,
  RunOnWire,
  RunRef,
  runInfoOnWire,
  runOf,
  runOnWire,
  runResource,
  text,
  ViewType,
  viewOf,
} from './wire.ts';

const BASE = '/mlflow/runs';
/** A batch's limit is stock's. Source: mlflow/utils/validation.py, MAX_BATCH_LOG_REQUEST_SIZE. */
const limits = { bodyBytes: 1_000_000, timeoutSeconds: 10 };
/** A dataset's profile alone may have 16 MB. */
const inputLimits = { bodyBytes: 20_000_000, timeoutSeconds: 30 };

/** What names a logged model; it lies in the run's document, which has room for many such and for none of a megabyte. */
const modelRef = text.max(500, 'may have at most 500 characters');

const Create = mlflowMessage({
  experiment_id: ExperimentId,
  user_id: text.optional(),
  run_name: text.optional(),
  start_time: int64().optional(),
  tags: Pairs,
});
const Update = {
  status: enumeration(RUN_STATUS, 'lenient').optional(),
  end_time: int64().optional(),
  run_name: text.optional(),
};
const Metric = {
  key: text,
  value: double(),
  timestamp: int64(),
  step: int64().optional(),
  model_id: modelRef.optional(),
  dataset_name: text.optional(),
  dataset_digest: text.optional(),
};
const Search = mlflowMessage({
  experiment_ids: repeated(text),
  filter: text.optional(),
  run_view_type: ViewType,
  max_results: int32().default(1000),
  order_by: repeated(text),
  page_token: text.optional(),
});

/** Runs as MLflow's clients ask for them. Source: mlflow.md section 2.2. */
export function runRoutes(tracking: TrackingService): Route[] {
  return [...lifeRoutes(tracking), ...logRoutes(tracking), ...readRoutes(tracking)];
}

function lifeRoutes(tracking: TrackingService): Route[] {
  return [
    ...mlflowRoutes('POST', `${BASE}/create`, 'tracking:write', {
      input: Create,
      output: z.object({ run: RunOnWire }),
      resource: ({ experiment_id }) => `experiments/${experiment_id}`,
      limits,
      retry: 'none', // a lost answer may leave a second run, as in stock
      async run(call, { experiment_id, user_id, run_name, start_time, tags }) {
        const run = await tracking.createRun(call, {
          experimentId: experiment_id,
          tags,
          ...(user_id ? { userId: user_id } : {}),
          ...(run_name ? { runName: run_name } : {}),
          ...(start_time === undefined ? {} : { startTime: start_time }),
        });
        return { run: runOnWire(run) };
      },
    }),
    ...mlflowRoutes('POST', `${BASE}/update`, 'tracking:write', {
      input: mlflowMessage({ ...RunRef, ...Update }),
      output: z.object({ run_info: RunInfoOnWire }),
      resource: runResource,
      limits,
      retry: 'natural',
      async run(call, { status, end_time, run_name, ...ref }) {
        const run = await tracking.updateRun(call, runOf(ref), {
          ...(status === undefined ? {} : { status }),
          ...(end_time === undefined ? {} : { endTime: end_time }),
          ...(run_name ? { runName: run_name } : {}),
        });
        return { run_info: runInfoOnWire(run) };
      },
    }),
    ...change('delete', {}, (call, runId) => tracking.deleteRun(call, runId)),
    ...change('restore', {}, (call, runId) => tracking.restoreRun(call, runId)),
  ];
}

function logRoutes(tracking: TrackingService): Route[] {
  return [
    ...change(
      'log-batch',
      { metrics: Metrics, params: Pairs, tags: Pairs },
      (call, runId, { metrics, params, tags }) =>
        tracking.logBatch(call, { runId, metrics, params, tags }),
    ),
    ...change('log-metric', Metric, (call, runId, input) => {
      const { key, value, timestamp, step = 0 } = input;
      const from = origin(input.model_id, input.dataset_name, input.dataset_digest);
      return tracking.logMetric(call, runId, { key, value, timestamp, step, ...from });
    }),
    ...change('log-parameter', { key: text, value: text.optional() }, (call, runId, input) =>
      tracking.logParam(call, runId, { key: input.key, value: input.value ?? '' }),
    ),
    ...change('set-tag', { key: text, value: text.optional() }, (call, runId, input) =>
      tracking.setTag(call, runId, { key: input.key, value: input.value ?? '' }),
    ),
    ...change('delete-tag', { key: text }, (call, runId, { key }) =>
      tracking.deleteTag(call, runId, key),
    ),
    ...change('log-model', { model_json: text }, (call, runId, { model_json }) =>
      tracking.noteModel(call, runId, model_json),
    ),
    ...change(
      'log-inputs',
      {
        datasets: repeated(mlflowMessage({ tags: repeated(InputTag), dataset: Dataset })),
        models: repeated(mlflowMessage({ model_id: modelRef })),
      },
      (call, runId, { datasets, models }) =>
        tracking.logInputs(
          call,
          runId,
          datasets.map(({ tags, dataset: { source_type, schema, profile, ...dataset } }) => ({
            tags,
            dataset: {
              ...dataset,
              sourceType: source_type,
              ...(schema === undefined ? {} : { schema }),
              ...(profile === undefined ? {} : { profile }),
            },
          })),
          models.map(({ model_id }) => model_id),
        ),
      inputLimits,
    ),
    ...change(
      'outputs',
      { models: repeated(mlflowMessage({ model_id: modelRef, step: int64().optional() })) },
      (call, runId, { models }) =>
        tracking.logOutputs(
          call,
          runId,
          models.map(({ model_id, step = 0 }) => ({ modelId: model_id, step })),
        ),
    ),
  ];
}

function readRoutes(tracking: TrackingService): Route[] {
  return [
    ...mlflowRoutes('GET', `${BASE}/get`, 'tracking:read', {
      input: mlflowMessage(RunRef),
      output: z.object({ run: RunOnWire }),
      resource: runResource,
      limits,
      run: async (call, ref) => ({ run: runOnWire(await tracking.getRun(call, runOf(ref))) }),
    }),
    ...mlflowRoutes('POST', `${BASE}/search`, 'tracking:read', {
      input: Search,
      output: z.object({
        runs: z.array(RunOnWire).optional(),
        next_page_token: z.string().optional(),
      }),
      resource: () => 'runs',
      limits: { ...limits, timeoutSeconds: 25 },
      async run(call, input) {
        const { items, next } = await tracking.searchRuns(call, {
          // What is no id names no experiment.
          experimentIds: input.experiment_ids.flatMap(
            (id) => ExperimentId.safeParse(id).data ?? [],
          ),
          filter: input.filter ?? '',
          view: viewOf(input.run_view_type),
          orderBy: input.order_by,
          maxResults: pageSize(input.max_results),
          ...(input.page_token ? { pageToken: input.page_token } : {}),
        });
        return {
          ...(items.length ? { runs: items.map(runOnWire) } : {}),
          ...(next === undefined ? {} : { next_page_token: next }),
        };
      },
    }),
  ];
}

/** A change of one run that answers nothing. */
function change<Shape extends z.ZodRawShape>(
  path: string,
  shape: Shape,
  run: (
    call: Call,
    runId: RunId,
    input: z.output<ReturnType<typeof mlflowMessage<Shape & typeof RunRef>>>,
  ) => Promise<unknown>,
  bounds = limits,
): Route[] {
  type Ref = { run_id?: string | undefined; run_uuid?: string | undefined };
  return mlflowRoutes('POST', `${BASE}/${path}`, 'tracking:write', {
    input: mlflowMessage<Shape & typeof RunRef>({ ...RunRef, ...shape }),
    output: Nothing,
    resource: (input) => runResource(input as Ref),
    limits: bounds,
    retry: 'natural', // the run's id: equal params, tags and points again change nothing
    async run(call, input) {
      await run(call, runOf(input as Ref), input);
      return {};
    },
  });
}
