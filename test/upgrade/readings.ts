/** What is asked of a server on the base, when it is made and by every later release. */
export const READINGS: readonly { name: string; method: string; path: string; body?: unknown }[] = [
  {
    name: 'experiment',
    method: 'GET',
    path: '/api/2.0/mlflow/experiments/get-by-name?experiment_name=upgrade',
  },
  {
    name: 'experiments',
    method: 'POST',
    path: '/api/2.0/mlflow/experiments/search',
    body: { max_results: 100 },
  },
  {
    name: 'runs',
    method: 'POST',
    path: '/api/2.0/mlflow/runs/search',
    body: {
      experiment_ids: ['1'],
      filter: "metrics.loss < 0.5 and tags.kind LIKE '%code'",
      order_by: ['metrics.loss ASC'],
    },
  },
  {
    name: 'model',
    method: 'GET',
    path: '/api/2.0/mlflow/registered-models/get?name=upgrade-model',
  },
  {
    name: 'alias',
    method: 'GET',
    path: '/api/2.0/mlflow/registered-models/alias?name=upgrade-model&alias=champion',
  },
  {
    name: 'versions',
    method: 'GET',
    path: "/api/2.0/mlflow/model-versions/search?filter=name%3D'upgrade-model'",
  },
  { name: 'pipelines', method: 'GET', path: '/apis/v2beta1/pipelines' },
  { name: 'pipeline runs', method: 'GET', path: '/apis/v2beta1/runs' },
  { name: 'rule', method: 'GET', path: '/api/rules/upgrade' },
  { name: 'data', method: 'GET', path: '/api/data/base/points.csv' },
];
