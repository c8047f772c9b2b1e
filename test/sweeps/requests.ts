import type { Route } from '../../functions/kernel/route.ts';
import { CANARY, type Entities, form, pipelineSpec } from './entities.ts';
import type { Asked } from './ground.ts';

/** What a good request says: its fields wherever the route reads them from, or a body as it is. */
export interface Good {
  readonly fields?: Readonly<Record<string, unknown>>;
  readonly raw?: string;
  readonly type?: string;
}

const key = `${CANARY}-tag`;
const M = '/api/2.0/mlflow';
const K = '/apis/v2beta1';
const tensor = { name: 'age', shape: [1, 1], datatype: 'FP64', data: [1] };
const rule = {
  on: { event: { type: `custom.${CANARY}.told` } },
  start: { pipeline: `${CANARY}-pipeline`, parameters: { word: 'x' }, experiment: 'sweep' },
  debounceSeconds: 1,
};
const nothing = () => ({});

/** One good request of each route, by the route's name. A route that is not here fails the sweeps. */
export const GOOD: Readonly<Record<string, (e: Entities) => Good>> = {
  'GET /api/tokens': nothing,
  'POST /api/tokens': () => ({ fields: { name: 'sweep', role: 'read', expiresSeconds: 60 } }),
  'DELETE /api/tokens/{id}': (e) => ({ fields: { id: e.token } }),
  'GET /openapi.json': nothing,
  'GET /api/audit': () => ({ fields: { subject: `models/${CANARY}-model` } }),
  'GET /api/audit/verify': nothing,
  'GET /api/dead-letters': nothing,
  'POST /api/dead-letters/{id}/replay': (e) => ({ fields: { id: e.letter } }),
  'GET /health': nothing,
  'GET /version': nothing,
  'GET /api/3.0/mlflow/server-info': nothing,

  'GET /api/2.0/mlflow-artifacts/artifacts/{artifact_path*}': (e) => ({
    fields: { artifact_path: e.file },
  }),
  'PUT /api/2.0/mlflow-artifacts/artifacts/{artifact_path*}': (e) => ({
    fields: { artifact_path: `${e.folder}/new.txt` },
    raw: 'bytes',
  }),
  'DELETE /api/2.0/mlflow-artifacts/artifacts/{artifact_path*}': (e) => ({
    fields: { artifact_path: e.file },
  }),
  'GET /api/2.0/mlflow-artifacts/artifacts': (e) => ({ fields: { path: e.folder } }),
  'GET /api/2.0/mlflow-artifacts/presigned/{artifact_path*}': (e) => ({
    fields: { artifact_path: e.file },
  }),
  'POST /api/2.0/mlflow-artifacts/mpu/create/{artifact_path*}': (e) => ({
    fields: { artifact_path: e.folder, path: 'big.bin', num_parts: 2 },
  }),
  'POST /api/2.0/mlflow-artifacts/mpu/complete/{artifact_path*}': (e) => ({
    fields: {
      artifact_path: e.folder,
      path: `${CANARY}.part`,
      upload_id: e.upload,
      parts: [{ part_number: 1, etag: e.etag, url: 'x' }],
    },
  }),
  'POST /api/2.0/mlflow-artifacts/mpu/abort/{artifact_path*}': (e) => ({
    fields: { artifact_path: e.folder, path: `${CANARY}.part`, upload_id: e.upload },
  }),
  [`GET ${M}/artifacts/list`]: (e) => ({ fields: { run_id: e.run, path: 'model' } }),
  'GET /get-artifact': (e) => ({ fields: { run_id: e.run, path: `${CANARY}.txt` } }),
  [`POST ${M}/upload-artifact`]: (e) => ({
    fields: { run_id: e.run, path: 'ui.txt' },
    raw: 'bytes',
  }),
  'PUT /api/data/{path*}': () => ({ fields: { path: 'sweep/new.csv' }, raw: 'a,b' }),
  'GET /api/data/{path*}': () => ({ fields: { path: `${CANARY}/drop.csv` } }),
  'DELETE /api/data/{path*}': () => ({ fields: { path: `${CANARY}/drop.csv` } }),
  'GET /api/data': () => ({ fields: { folder: CANARY, limit: 5 } }),

  [`POST ${M}/experiments/create`]: () => ({
    fields: {
      name: 'sweep',
      artifact_location: 'mlflow-artifacts:/sweep',
      tags: [{ key, value: 'x' }],
    },
  }),
  [`GET ${M}/experiments/get`]: (e) => ({ fields: { experiment_id: e.experiment } }),
  [`GET ${M}/experiments/get-by-name`]: () => ({
    fields: { experiment_name: `${CANARY}-experiment` },
  }),
  [`GET ${M}/experiments/search`]: () => ({ fields: { max_results: 5, order_by: ['name ASC'] } }),
  [`POST ${M}/experiments/search`]: () => ({
    fields: { max_results: 5, filter: "name LIKE '%x%'", order_by: ['name ASC'], view_type: 'ALL' },
  }),
  [`POST ${M}/experiments/delete`]: (e) => ({ fields: { experiment_id: e.experiment } }),
  [`POST ${M}/experiments/restore`]: (e) => ({ fields: { experiment_id: e.deletedExperiment } }),
  [`POST ${M}/experiments/update`]: (e) => ({
    fields: { experiment_id: e.experiment, new_name: 'sweep' },
  }),
  [`POST ${M}/experiments/set-experiment-tag`]: (e) => ({
    fields: { experiment_id: e.experiment, key, value: 'x' },
  }),
  [`POST ${M}/experiments/delete-experiment-tag`]: (e) => ({
    fields: { experiment_id: e.experiment, key },
  }),
  [`POST ${M}/experiments/search-datasets`]: (e) => ({
    fields: { experiment_ids: [e.experiment] },
  }),

  'GET /api/experiments/{experimentId}/metric-rules': (e) => ({
    fields: { experimentId: e.experiment, limit: 5 },
  }),
  'PUT /api/experiments/{experimentId}/metric-rules/{id}': (e) => ({
    fields: {
      experimentId: e.experiment,
      id: e.metricRule,
      metric: 'm',
      comparison: '>',
      threshold: 1,
      runId: e.run,
    },
  }),
  'GET /api/experiments/{experimentId}/metric-rules/{id}': (e) => ({
    fields: { experimentId: e.experiment, id: e.metricRule },
  }),
  'DELETE /api/experiments/{experimentId}/metric-rules/{id}': (e) => ({
    fields: { experimentId: e.experiment, id: e.metricRule },
  }),

  [`POST ${M}/runs/create`]: (e) => ({
    fields: {
      experiment_id: e.experiment,
      user_id: 'u',
      run_name: 'sweep',
      start_time: 1,
      tags: [{ key, value: 'x' }],
    },
  }),
  [`POST ${M}/runs/update`]: (e) => ({
    fields: { run_id: e.run, status: 'FINISHED', end_time: 2, run_name: 'sweep' },
  }),
  [`POST ${M}/runs/delete`]: (e) => ({ fields: { run_id: e.run } }),
  [`POST ${M}/runs/restore`]: (e) => ({ fields: { run_id: e.deletedRun } }),
  [`POST ${M}/runs/log-batch`]: (e) => ({
    fields: {
      run_id: e.run,
      metrics: [{ key: 'm', value: 1, timestamp: 1, step: 1 }],
      params: [{ key: 'p', value: '1' }],
      tags: [{ key, value: 'x' }],
    },
  }),
  [`POST ${M}/runs/log-metric`]: (e) => ({
    fields: { run_id: e.run, key: 'm', value: 1, timestamp: 1, step: 1 },
  }),
  [`POST ${M}/runs/log-parameter`]: (e) => ({ fields: { run_id: e.run, key: 'p', value: '1' } }),
  [`POST ${M}/runs/set-tag`]: (e) => ({ fields: { run_id: e.run, key, value: 'x' } }),
  [`POST ${M}/runs/delete-tag`]: (e) => ({ fields: { run_id: e.run, key } }),
  [`POST ${M}/runs/log-model`]: (e) => ({
    fields: {
      run_id: e.run,
      model_json: '{"run_id":"x","artifact_path":"m","utc_time_created":"t","flavors":{}}',
    },
  }),
  [`POST ${M}/runs/log-inputs`]: (e) => ({
    fields: {
      run_id: e.run,
      datasets: [
        {
          tags: [{ key: 'k', value: 'v' }],
          dataset: { name: 'd', digest: 'e', source_type: 's', source: '{}' },
        },
      ],
      models: [{ model_id: e.loggedModel }],
    },
  }),
  [`POST ${M}/runs/outputs`]: (e) => ({
    fields: { run_id: e.run, models: [{ model_id: e.loggedModel, step: 1 }] },
  }),
  [`GET ${M}/runs/get`]: (e) => ({ fields: { run_id: e.run } }),
  [`POST ${M}/runs/search`]: (e) => ({
    fields: {
      experiment_ids: [e.experiment],
      filter: `params.x = 'y'`,
      run_view_type: 'ALL',
      max_results: 5,
      order_by: ['metrics.m DESC'],
    },
  }),
  [`GET ${M}/metrics/get-history`]: (e) => ({
    fields: { run_id: e.run, metric_key: `${CANARY}-metric`, max_results: 2 },
  }),
  [`GET ${M}/metrics/get-history-bulk`]: (e) => ({
    fields: { run_id: [e.run], metric_key: `${CANARY}-metric`, max_results: 2 },
  }),
  [`GET ${M}/metrics/get-history-bulk-interval`]: (e) => ({
    fields: {
      run_ids: [e.run],
      metric_key: `${CANARY}-metric`,
      start_step: 0,
      end_step: 5,
      max_results: 5,
    },
  }),

  [`POST ${M}/logged-models`]: (e) => ({
    fields: {
      experiment_id: e.experiment,
      name: 'sweep',
      model_type: 't',
      source_run_id: e.run,
      params: [{ key: 'p', value: 'x' }],
      tags: [{ key, value: 'x' }],
    },
  }),
  [`POST ${M}/logged-models/search`]: (e) => ({
    fields: {
      experiment_ids: [e.experiment],
      filter: `params.x = 'y'`,
      datasets: [{ dataset_name: 'd', dataset_digest: 'e' }],
      max_results: 5,
      order_by: [{ field_name: 'name', ascending: true }],
    },
  }),
  [`GET ${M}/logged-models/{model_id}`]: (e) => ({
    fields: { model_id: e.loggedModel, allow_deleted: 'true' },
  }),
  [`PATCH ${M}/logged-models/{model_id}`]: (e) => ({
    fields: { model_id: e.loggedModel, status: 'LOGGED_MODEL_READY' },
  }),
  [`DELETE ${M}/logged-models/{model_id}`]: (e) => ({ fields: { model_id: e.loggedModel } }),
  [`PATCH ${M}/logged-models/{model_id}/tags`]: (e) => ({
    fields: { model_id: e.loggedModel, tags: [{ key, value: 'x' }] },
  }),
  [`DELETE ${M}/logged-models/{model_id}/tags/{tag_key}`]: (e) => ({
    fields: { model_id: e.loggedModel, tag_key: key },
  }),
  [`POST ${M}/logged-models/{model_id}/params`]: (e) => ({
    fields: { model_id: e.loggedModel, params: [{ key: 'new', value: 'x' }] },
  }),
  [`GET ${M}/logged-models/{model_id}/artifacts/directories`]: (e) => ({
    fields: { model_id: e.loggedModel },
  }),
  [`GET ${M}/logged-models/{model_id}/artifacts/files`]: (e) => ({
    fields: { model_id: e.loggedModel, artifact_file_path: `${CANARY}.txt` },
  }),

  [`POST ${M}/registered-models/create`]: () => ({
    fields: { name: 'sweep', tags: [{ key, value: 'x' }], description: 'words' },
  }),
  [`POST ${M}/registered-models/rename`]: (e) => ({
    fields: { name: e.registered, new_name: 'sweep' },
  }),
  [`PATCH ${M}/registered-models/update`]: (e) => ({
    fields: { name: e.registered, description: 'x' },
  }),
  [`DELETE ${M}/registered-models/delete`]: (e) => ({ fields: { name: e.registered } }),
  [`GET ${M}/registered-models/get`]: (e) => ({ fields: { name: e.registered } }),
  [`GET ${M}/registered-models/search`]: () => ({
    fields: { max_results: 5, order_by: ['name ASC'] },
  }),
  [`GET ${M}/registered-models/get-latest-versions`]: (e) => ({
    fields: { name: e.registered, stages: ['None'] },
  }),
  [`POST ${M}/registered-models/get-latest-versions`]: (e) => ({
    fields: { name: e.registered, stages: ['None'] },
  }),
  [`POST ${M}/registered-models/set-tag`]: (e) => ({
    fields: { name: e.registered, key, value: 'x' },
  }),
  [`DELETE ${M}/registered-models/delete-tag`]: (e) => ({ fields: { name: e.registered, key } }),
  [`POST ${M}/registered-models/alias`]: (e) => ({
    fields: { name: e.registered, alias: 'sweep', version: '1' },
  }),
  [`DELETE ${M}/registered-models/alias`]: (e) => ({
    fields: { name: e.registered, alias: 'champion' },
  }),
  [`GET ${M}/registered-models/alias`]: (e) => ({
    fields: { name: e.registered, alias: 'champion' },
  }),
  [`POST ${M}/model-versions/create`]: (e) => ({
    fields: {
      name: e.registered,
      source: `${e.root}/model`,
      run_id: e.run,
      model_id: '',
      tags: [{ key, value: 'x' }],
      run_link: 'x',
      description: 'x',
    },
  }),
  [`PATCH ${M}/model-versions/update`]: (e) => ({
    fields: { name: e.registered, version: '1', description: 'x' },
  }),
  [`POST ${M}/model-versions/transition-stage`]: (e) => ({
    fields: { name: e.registered, version: '1', stage: 'Staging', archive_existing_versions: true },
  }),
  [`DELETE ${M}/model-versions/delete`]: (e) => ({ fields: { name: e.registered, version: '3' } }),
  [`GET ${M}/model-versions/get`]: (e) => ({ fields: { name: e.registered, version: '1' } }),
  [`GET ${M}/model-versions/search`]: () => ({
    fields: { max_results: 5, order_by: ['name ASC'] },
  }),
  [`GET ${M}/model-versions/get-download-uri`]: (e) => ({
    fields: { name: e.registered, version: '1' },
  }),
  [`POST ${M}/model-versions/set-tag`]: (e) => ({
    fields: { name: e.registered, version: '1', key, value: 'x' },
  }),
  [`DELETE ${M}/model-versions/delete-tag`]: (e) => ({
    fields: { name: e.registered, version: '1', key },
  }),
  'GET /model-versions/get-artifact': (e) => ({
    fields: { name: e.registered, version: '1', path: 'MLmodel' },
  }),
  'GET /api/models': () => ({ fields: { limit: 5 } }),
  'GET /api/models/{name}': (e) => ({ fields: { name: e.registered, limit: 5 } }),

  [`GET ${K}/healthz`]: nothing,
  [`GET ${K}/experiments`]: () => ({ fields: { page_size: 5, sort_by: 'created_at desc' } }),
  [`POST ${K}/experiments`]: () => ({ fields: { display_name: 'sweep', description: 'x' } }),
  [`GET ${K}/experiments/{experiment_id}`]: (e) => ({ fields: { experiment_id: e.kfpExperiment } }),
  [`DELETE ${K}/experiments/{experiment_id}`]: (e) => ({
    fields: { experiment_id: e.kfpExperiment },
  }),
  [`POST ${K}/experiments/{experiment_id}:archive`]: (e) => ({
    fields: { experiment_id: e.kfpExperiment },
  }),
  [`POST ${K}/experiments/{experiment_id}:unarchive`]: (e) => ({
    fields: { experiment_id: e.kfpExperiment },
  }),
  [`GET ${K}/pipelines`]: () => ({ fields: { page_size: 5 } }),
  [`POST ${K}/pipelines`]: () => ({ fields: { display_name: 'sweep', tags: { a: 'b' } } }),
  [`GET ${K}/pipelines/names/{name}`]: () => ({ fields: { name: `${CANARY}-pipeline` } }),
  [`GET ${K}/pipelines/{pipeline_id}`]: (e) => ({ fields: { pipeline_id: e.pipeline } }),
  [`PATCH ${K}/pipelines/{pipeline_id}`]: (e) => ({
    fields: { pipeline_id: e.pipeline, display_name: 'sweep' },
  }),
  [`DELETE ${K}/pipelines/{pipeline_id}`]: (e) => ({
    fields: { pipeline_id: e.pipeline, cascade: 'true' },
  }),
  [`GET ${K}/pipelines/{pipeline_id}/versions`]: (e) => ({
    fields: { pipeline_id: e.pipeline, page_size: 5 },
  }),
  [`POST ${K}/pipelines/{pipeline_id}/versions`]: (e) => ({
    fields: { pipeline_id: e.pipeline, display_name: 'sweep', pipeline_spec: pipelineSpec },
  }),
  [`GET ${K}/pipelines/{pipeline_id}/versions/{pipeline_version_id}`]: (e) => ({
    fields: { pipeline_id: e.pipeline, pipeline_version_id: e.version },
  }),
  [`PATCH ${K}/pipelines/{pipeline_id}/versions/{pipeline_version_id}`]: (e) => ({
    fields: { pipeline_id: e.pipeline, pipeline_version_id: e.version, display_name: 'sweep' },
  }),
  [`DELETE ${K}/pipelines/{pipeline_id}/versions/{pipeline_version_id}`]: (e) => ({
    fields: { pipeline_id: e.pipeline, pipeline_version_id: e.spareVersion },
  }),
  [`POST ${K}/pipelines/upload`]: () => ({
    fields: { name: 'sweep' },
    raw: form(JSON.stringify(pipelineSpec)).body,
    type: form('').type,
  }),
  [`POST ${K}/pipelines/upload_version`]: (e) => ({
    fields: { pipelineid: e.pipeline, name: 'sweep' },
    raw: form(JSON.stringify(pipelineSpec)).body,
    type: form('').type,
  }),
  [`POST ${K}/runs`]: (e) => ({
    fields: {
      display_name: 'sweep',
      experiment_id: e.kfpExperiment,
      pipeline_version_reference: { pipeline_id: e.pipeline, pipeline_version_id: e.version },
      runtime_config: { parameters: { word: 'x' } },
    },
  }),
  [`GET ${K}/runs`]: (e) => ({ fields: { page_size: 5, experiment_id: e.kfpExperiment } }),
  [`GET ${K}/runs/{run_id}`]: (e) => ({ fields: { run_id: e.failedRun } }),
  [`DELETE ${K}/runs/{run_id}`]: (e) => ({ fields: { run_id: e.failedRun } }),
  [`POST ${K}/runs/{run_id}:archive`]: (e) => ({ fields: { run_id: e.failedRun } }),
  [`POST ${K}/runs/{run_id}:unarchive`]: (e) => ({ fields: { run_id: e.archivedRun } }),
  [`POST ${K}/runs/{run_id}:terminate`]: (e) => ({ fields: { run_id: e.openRun } }),
  [`POST ${K}/runs/{run_id}:retry`]: (e) => ({ fields: { run_id: e.failedRun } }),
  'GET /apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log': (e) => ({
    fields: { run_id: e.failedRun, node_id: 'say' },
  }),
  'GET /api/runs/{run_id}/machine': (e) => ({ fields: { run_id: e.failedRun } }),

  'GET /api/endpoints': () => ({ fields: { limit: 5 } }),
  'PUT /api/endpoints/{name}': (e) => ({
    fields: {
      name: e.endpoint,
      model: `models:/${e.registered}/2`,
      scale: { maximum: 2 },
    },
  }),
  'GET /api/endpoints/{name}': (e) => ({ fields: { name: e.endpoint } }),
  'DELETE /api/endpoints/{name}': (e) => ({ fields: { name: e.endpoint } }),
  'POST /api/endpoints/{name}/rollback': (e) => ({ fields: { name: e.endpoint, to: e.revision } }),
  'GET /api/endpoints/{name}/revisions': (e) => ({ fields: { name: e.endpoint, limit: 5 } }),
  'GET /api/endpoints/{name}/logs': (e) => ({ fields: { name: e.endpoint } }),
  'POST /endpoints/{name}/invocations': (e) => ({
    fields: { name: e.endpoint },
    raw: '{"inputs":[[1]]}',
    type: 'application/json',
  }),
  'GET /endpoints/{name}/ping': (e) => ({ fields: { name: e.endpoint } }),
  'POST /invocations': () => ({ raw: '{"inputs":[[1]]}', type: 'application/json' }),
  'GET /ping': nothing,
  'GET /v1/models': nothing,
  'GET /v1/models/{model}': (e) => ({ fields: { model: e.endpoint } }),
  'POST /v1/models/{model}:predict': (e) => ({ fields: { model: e.endpoint, instances: [[1]] } }),
  'GET /v2': nothing,
  'GET /v2/health/live': nothing,
  'GET /v2/health/ready': nothing,
  'GET /v2/models': nothing,
  'GET /v2/models/{model}': (e) => ({ fields: { model: e.endpoint } }),
  'GET /v2/models/{model}/versions/{version}': (e) => ({
    fields: { model: e.endpoint, version: '1' },
  }),
  'GET /v2/models/{model}/ready': (e) => ({ fields: { model: e.endpoint } }),
  'GET /v2/models/{model}/versions/{version}/ready': (e) => ({
    fields: { model: e.endpoint, version: '1' },
  }),
  'POST /v2/models/{model}/infer': (e) => ({ fields: { model: e.endpoint, inputs: [tensor] } }),
  'POST /v2/models/{model}/versions/{version}/infer': (e) => ({
    fields: { model: e.endpoint, version: '1', inputs: [tensor] },
  }),

  'GET /api/rules': () => ({ fields: { limit: 5 } }),
  'PUT /api/rules/{name}': (e) => ({ fields: { name: e.rule, ...rule } }),
  'GET /api/rules/{name}': (e) => ({ fields: { name: e.rule } }),
  'DELETE /api/rules/{name}': (e) => ({ fields: { name: e.rule } }),
  'POST /api/rules/{name}/enable': (e) => ({ fields: { name: e.rule } }),
  'POST /api/rules/{name}/disable': (e) => ({ fields: { name: e.rule } }),
  'GET /api/rules/{name}/firings': (e) => ({ fields: { name: e.rule, limit: 5 } }),
  'POST /api/events': () => ({
    fields: {
      type: `custom.${CANARY}.told`,
      id: 'sweep',
      subject: 'things/1',
      data: { word: 'x' },
    },
  }),
  'GET /api/retrainings': () => ({ fields: { limit: 5 } }),
  'GET /api/retrainings/{id}': (e) => ({ fields: { id: e.retraining } }),
  'GET /api/retrainings/{id}/machine': (e) => ({ fields: { id: e.retraining } }),
  'POST /api/retrainings': (e) => ({
    fields: {
      pipeline: e.pipeline,
      version: e.version,
      parameters: { word: 'x' },
      experiment: 'sweep',
      gate: e.gate,
    },
  }),
};

export const inPath = (route: Route): string[] =>
  [...route.path.matchAll(/\{(\w+)\*?\}/g)].map(([, name]) => name ?? '');

/** Whether the fields that are not in the path stand in the query. */
export function readsQuery(route: Route): boolean {
  const { name } = route.protocol;
  if (route.method === 'GET' || route.rawBody) return true;
  return route.method === 'DELETE' && name !== 'mlflow';
}

/** A route's request of these fields; the path's are percent-encoded, those of `{rest*}` segment by segment. */
export function requestOf(route: Route, { fields = {}, raw, type }: Good): Asked {
  const names = inPath(route);
  const path = route.path.replace(/\{(\w+)(\*?)\}/g, (_, name: string, rest: string) => {
    const value = String(fields[name] ?? '');
    return rest ? value.split('/').map(encodeURIComponent).join('/') : encodeURIComponent(value);
  });
  const others = Object.fromEntries(
    Object.entries(fields).filter(([name]) => !names.includes(name)),
  );
  const { method } = route;
  if (raw !== undefined)
    return {
      method,
      path,
      query: others,
      body: raw,
      headers: { 'content-type': type ?? 'application/octet-stream' },
    };
  if (readsQuery(route)) return { method, path, query: others };
  if (route.limits.bodyBytes === 0) return { method, path };
  return { method, path, body: JSON.stringify(others) };
}
