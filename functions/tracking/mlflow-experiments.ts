import * as z from 'zod';
import type { Call } from '../kernel/call.ts';
import { repeated, safeInt } from '../kernel/proto.ts';
import type { Route } from '../kernel/route.ts';
import { mlflowMessage, mlflowRoutes } from '../protocols/mlflow.ts';
import { ExperimentId } from './model.ts';
import type { TrackingService } from './service.ts';
import {
  ByExperiment,
  ExperimentOnWire,
  experimentOnWire,
  experimentResource,
  Nothing,
  Pairs,
  pageSize,
  text,
  ViewType,
  viewOf,
} from './wire.ts';

const BASE = '/mlflow/experiments';
const limits = { bodyBytes: 1_048_576, timeoutSeconds: 10 };
const nothing = () => ({});

const Create = mlflowMessage({ name: text, artifact_location: text.optional(), tags: Pairs });
const Search = mlflowMessage({
  max_results: safeInt(),
  page_token: text.optional(),
  filter: text.optional(),
  order_by: repeated(text),
  view_type: ViewType,
});
const Summary = z.object({
  experiment_id: z.string(),
  name: z.string(),
  digest: z.string(),
  context: z.string(),
});

/** Experiments as MLflow's client and web UI ask for them. Source: mlflow.md section 2.1. */
export function experimentRoutes(tracking: TrackingService): Route[] {
  return [
    ...mlflowRoutes('POST', `${BASE}/create`, 'tracking:write', {
      input: Create,
      output: z.object({ experiment_id: z.string() }),
      resource: () => 'experiments',
      limits,
      retry: 'natural', // the name
      async run(call, { name, artifact_location, tags }) {
        const artifactRoot = artifact_location ? { artifactRoot: artifact_location } : {};
        const { id } = await tracking.createExperiment(call, { name, ...artifactRoot, tags });
        return { experiment_id: id };
      },
    }),
    ...mlflowRoutes('GET', `${BASE}/get`, 'tracking:read', {
      input: mlflowMessage(ByExperiment),
      output: z.object({ experiment: ExperimentOnWire }),
      resource: experimentResource,
      limits,
      run: async (call, { experiment_id }) => ({
        experiment: experimentOnWire(
          await tracking.getExperiment(call, experiment_id),
          call.workspace,
        ),
      }),
    }),
    ...mlflowRoutes('GET', `${BASE}/get-by-name`, 'tracking:read', {
      input: mlflowMessage({ experiment_name: text }),
      output: z.object({ experiment: ExperimentOnWire }),
      resource: () => 'experiments',
      limits,
      run: async (call, { experiment_name }) => ({
        experiment: experimentOnWire(
          await tracking.getExperimentByName(call, experiment_name),
          call.workspace,
        ),
      }),
    }),
    ...searchRoutes(tracking),
    ...changeRoutes(tracking),
    ...mlflowRoutes('POST', `${BASE}/search-datasets`, 'tracking:read', {
      input: mlflowMessage({
        experiment_ids: repeated(ExperimentId).refine(
          (ids) => ids.length >= 1 && ids.length <= 20,
          'SearchDatasets request must specify 1 to 20 experiment_ids',
        ),
      }),
      output: z.object({ dataset_summaries: z.array(Summary).optional() }),
      resource: () => 'experiments',
      limits,
      async run(call, { experiment_ids }) {
        const found = await tracking.datasetSummaries(call, experiment_ids);
        const dataset_summaries = found.map(({ experimentId, name, digest, context }) => ({
          experiment_id: experimentId,
          name,
          digest,
          context,
        }));
        return dataset_summaries.length ? { dataset_summaries } : {};
      },
    }),
  ];
}

function searchRoutes(tracking: TrackingService): Route[] {
  async function run(call: Call, input: z.output<typeof Search>) {
    const { items, next } = await tracking.searchExperiments(call, {
      filter: input.filter ?? '',
      orderBy: input.order_by,
      view: viewOf(input.view_type),
      maxResults: pageSize(input.max_results),
      ...(input.page_token ? { pageToken: input.page_token } : {}),
    });
    return {
      ...(items.length
        ? { experiments: items.map((item) => experimentOnWire(item, call.workspace)) }
        : {}),
      ...(next === undefined ? {} : { next_page_token: next }),
    };
  }
  const parts = {
    input: Search,
    output: z.object({
      experiments: z.array(ExperimentOnWire).optional(),
      next_page_token: z.string().optional(),
    }),
    resource: () => 'experiments',
    limits,
    run,
  };
  return (['GET', 'POST'] as const).flatMap((method) =>
    mlflowRoutes(method, `${BASE}/search`, 'tracking:read', parts),
  );
}

function changeRoutes(tracking: TrackingService): Route[] {
  const change = <Shape extends z.ZodRawShape>(
    path: string,
    shape: Shape,
    run: (
      call: Call,
      input: z.output<ReturnType<typeof mlflowMessage<Shape & typeof ByExperiment>>>,
    ) => Promise<unknown>,
  ) =>
    mlflowRoutes('POST', `${BASE}/${path}`, 'tracking:write', {
      input: mlflowMessage<Shape & typeof ByExperiment>({ ...ByExperiment, ...shape }),
      output: Nothing,
      resource: (input) => experimentResource(input as { experiment_id: string }),
      limits,
      retry: 'natural', // the experiment's id
      run: (call, input) => run(call, input).then(nothing),
    });
  return [
    ...change('delete', {}, (call, { experiment_id }) =>
      tracking.setExperimentLifecycle(call, experiment_id, 'deleted'),
    ),
    ...change('restore', {}, (call, { experiment_id }) =>
      tracking.setExperimentLifecycle(call, experiment_id, 'active'),
    ),
    ...change('update', { new_name: text }, (call, { experiment_id, new_name }) =>
      tracking.updateExperiment(call, experiment_id, new_name),
    ),
    ...change(
      'set-experiment-tag',
      { key: text, value: text },
      (call, { experiment_id, key, value }) =>
        tracking.setExperimentTag(call, experiment_id, { key, value }),
    ),
    ...change('delete-experiment-tag', { key: text }, (call, { experiment_id, key }) =>
      tracking.deleteExperimentTag(call, experiment_id, key),
    ),
  ];
}
