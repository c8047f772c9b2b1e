import { describe, expect, test } from 'vitest';
import { BAD_PATHS } from '../bad-paths.ts';
import { newRun, openTracking } from '../mlflow.ts';

const RUN = '$run';
const run = { run_id: RUN };
const key250 = 'k'.repeat(251);
const metric = { key: 'a', value: 1, timestamp: 1 };
const dataset = { name: 'n', digest: 'd', source_type: 's', source: '{}' };

/** path, body, and what the message names. `$run` stands for a run that exists. */
const POSTS: [path: string, body: unknown, names: string][] = [
  ['experiments/create', {}, "'name'"],
  ['experiments/create', { name: 49 }, "'name'"],
  ['experiments/create', { name: 'n'.repeat(501) }, "'name'"],
  ['experiments/create', { name: 'ok', tags: 'x' }, "'tags'"],
  ['experiments/create', { name: 'ok', tags: [{ value: 'x' }] }, "'tags[0].key'"],
  ['experiments/create', { name: 'ok', tags: [{ key: 'k', value: 5 }] }, "'tags[0].value'"],
  ['experiments/create', { name: 'ok', tags: [{ key: '../x', value: '' }] }, 'must not resolve'],
  ['experiments/create', '{"name": "ok", "name": "twice"}', 'twice'],
  [
    'experiments/create',
    { name: 'ok', artifact_location: 'mlflow-artifacts:/a#b' },
    'artifact_location',
  ],
  [
    'experiments/create',
    { name: 'ok', artifact_location: 'mlflow-artifacts:/a?x=../..' },
    'artifact_location',
  ],
  [
    'experiments/create',
    { name: 'ok', artifact_location: `mlflow-artifacts:/${'a/'.repeat(300)}a` },
    'length',
  ],
  ['experiments/delete', {}, "'experiment_id'"],
  ['experiments/delete', { experiment_id: 'abc' }, 'valid integer'],
  ['experiments/delete', { experiment_id: 7 }, "'experiment_id'"],
  ['experiments/restore', { experiment_id: '-1' }, 'valid integer'],
  ['experiments/update', { experiment_id: '0' }, "'new_name'"],
  ['experiments/update', { experiment_id: '0', new_name: '' }, "'new_name'"],
  ['experiments/set-experiment-tag', { experiment_id: '0', key: 'a' }, "'value'"],
  ['experiments/set-experiment-tag', { experiment_id: '0', key: key250, value: '' }, '250'],
  [
    'experiments/set-experiment-tag',
    { experiment_id: '0', key: 'a', value: 'v'.repeat(20_001) },
    '20000',
  ],
  ['experiments/delete-experiment-tag', { experiment_id: '0' }, "'key'"],
  ['experiments/search', {}, "'max_results'"],
  ['experiments/search', { max_results: 0 }, "'max_results'"],
  ['experiments/search', { max_results: 50_001 }, '50000'],
  ['experiments/search', { max_results: 5, filter: 'tags.a' }, 'position'],
  ['experiments/search', { max_results: 5, order_by: ['tags.a'] }, 'tags.a'],
  ['experiments/search', { max_results: 5, page_token: 'junk' }, 'Invalid page token'],
  ['experiments/search-datasets', {}, 'experiment_ids'],
  ['runs/create', {}, "'experiment_id'"],
  ['runs/create', { experiment_id: 'abc' }, 'valid integer'],
  ['runs/create', { experiment_id: '0', start_time: 'now' }, "'start_time'"],
  ['runs/create', { experiment_id: '0', start_time: '9223372036854775808' }, "'start_time'"],
  ['runs/create', { experiment_id: '0', tags: [{ key: 'a', value: 1 }] }, "'tags[0].value'"],
  ['runs/create', { experiment_id: '0', run_name: 7 }, "'run_name'"],
  ['runs/create', { experiment_id: '0', experimentId: '0' }, 'snake_case and camelCase'],
  ['runs/update', {}, "'run_id'"],
  ['runs/update', { ...run, end_time: 1.5 }, "'end_time'"],
  ['runs/delete', {}, "'run_id'"],
  ['runs/restore', { run_id: '' }, "'run_id'"],
  ['runs/log-metric', { ...run, value: 1, timestamp: 1 }, "'key'"],
  ['runs/log-metric', { ...run, key: 'a', timestamp: 1 }, "'value'"],
  ['runs/log-metric', { ...run, key: 'a', value: 1 }, "'timestamp'"],
  ['runs/log-metric', { ...run, key: 'a', value: 'high', timestamp: 1 }, "'value'"],
  ['runs/log-metric', { ...run, key: 'a', value: true, timestamp: 1 }, "'value'"],
  ['runs/log-metric', { ...run, key: 'a', value: 1, timestamp: -1 }, 'nonnegative'],
  ['runs/log-metric', { ...run, key: 'a', value: 1, timestamp: 1, step: 'x' }, "'step'"],
  [
    'runs/log-metric',
    { ...run, key: '../x', value: 1, timestamp: 1 },
    'must not resolve to other names',
  ],
  [
    'runs/log-metric',
    { ...run, key: 'a//b', value: 1, timestamp: 1 },
    'must not resolve to other names',
  ],
  ['runs/log-metric', { ...run, key: 'a?b', value: 1, timestamp: 1 }, 'alphanumerics'],
  [
    'runs/log-metric',
    { ...run, key: key250, value: 1, timestamp: 1 },
    "'Metric name' exceeds the maximum length of 250",
  ],
  ['runs/log-parameter', { ...run, value: 'x' }, "'key'"],
  ['runs/log-parameter', { ...run, key: 'a', value: 5 }, "'value'"],
  ['runs/log-parameter', { ...run, key: key250, value: '' }, '250'],
  ['runs/set-tag', { ...run, key: '/a', value: '' }, 'must not resolve'],
  ['runs/set-tag', { ...run, key: '', value: '' }, 'must not resolve'],
  ['runs/delete-tag', run, "'key'"],
  ['runs/log-batch', { metrics: [metric] }, "'run_id'"],
  ['runs/log-batch', { ...run, metrics: {} }, "'metrics'"],
  ['runs/log-batch', { ...run, metrics: [5] }, "'metrics[0]'"],
  [
    'runs/log-batch',
    { ...run, metrics: [metric, { key: 'a', timestamp: 1 }] },
    "Missing value for required parameter 'metrics[1].value'",
  ],
  [
    'runs/log-batch',
    { ...run, metrics: [{ ...metric, timestamp: null }] },
    "Missing value for required parameter 'metrics[0].timestamp'",
  ],
  ['runs/log-batch', { ...run, metrics: [{ ...metric, key: 7 }] }, "'metrics[0].key'"],
  ['runs/log-batch', { ...run, metrics: [{ ...metric, step: 0.5 }] }, "'metrics[0].step'"],
  ['runs/log-batch', { ...run, metrics: [{ ...metric, value: '1,5' }] }, "'metrics[0].value'"],
  ['runs/log-batch', { ...run, metrics: [{ ...metric, model_id: 5 }] }, "'metrics[0].model_id'"],
  ['runs/log-batch', { ...run, metrics: [{ ...metric, timestamp: -5 }] }, 'nonnegative'],
  ['runs/log-batch', { ...run, params: [{ key: 'a', value: ['x'] }] }, "'params[0].value'"],
  ['runs/log-batch', { ...run, tags: [{ key: 'a' }, { value: 'x' }] }, "'tags[1].key'"],
  ['runs/log-batch', { ...run, tags: [{ key: 't', value: 'x'.repeat(1_000_001) }] }, '1000000'],
  ['runs/log-model', run, "'model_json'"],
  ['runs/log-inputs', { ...run, datasets: [{ tags: [] }] }, "'datasets[0].dataset'"],
  [
    'runs/log-inputs',
    { ...run, datasets: [{ dataset: { ...dataset, name: '' } }] },
    'datasets[0].dataset.name',
  ],
  [
    'runs/log-inputs',
    { ...run, datasets: [{ dataset: { ...dataset, digest: 'd'.repeat(37) } }] },
    '36',
  ],
  [
    'runs/log-inputs',
    { ...run, datasets: [{ dataset, tags: [{ key: 'k', value: 'v'.repeat(501) }] }] },
    '500',
  ],
  ['runs/outputs', { ...run, models: [{ step: 0 }] }, "'models[0].model_id'"],
  ['runs/search', { experiment_ids: [0] }, "'experiment_ids[0]'"],
  ['runs/search', { experiment_ids: ['0'], max_results: 0 }, "'max_results'"],
  ['runs/search', { experiment_ids: ['0'], max_results: -1 }, "'max_results'"],
  ['runs/search', { experiment_ids: ['0'], max_results: 1e9 }, '50000'],
  ['runs/search', { experiment_ids: ['0'], max_results: 'ten' }, "'max_results'"],
  [
    'runs/search',
    { experiment_ids: ['0'], filter: "status = 'a' or status = 'b'" },
    "Invalid clause(s) in filter string: 'or",
  ],
  ['runs/search', { experiment_ids: ['0'], filter: 5 }, "'filter'"],
  ['runs/search', { experiment_ids: ['0'], order_by: ['metrics.a sideways'] }, 'sideways'],
];

const GETS: [path: string, query: Record<string, string | string[]>, names: string][] = [
  ['experiments/get', {}, "'experiment_id'"],
  ['experiments/get', { experimentId: '0' }, "'experiment_id'"],
  ['experiments/get', { experiment_id: 'abc' }, 'valid integer'],
  ['experiments/get-by-name', {}, "'experiment_name'"],
  ['experiments/search', {}, "'max_results'"],
  ['experiments/search', { max_results: '5', filter: "name = 'a" }, 'not closed'],
  ['runs/get', {}, "'run_id'"],
  ['metrics/get-history', { metric_key: 'a' }, "'run_id'"],
  ['metrics/get-history', { run_id: 'a' }, "'metric_key'"],
  ['metrics/get-history', { run_id: 'a', metric_key: 'a', max_results: '0' }, "'max_results'"],
  ['metrics/get-history', { run_id: 'a', metric_key: 'a', page_token: 'x' }, 'Invalid page token'],
  ['metrics/get-history-bulk', { metric_key: 'a' }, 'run_id'],
  ['metrics/get-history-bulk', { run_id: 'a', metric_key: 'a', max_results: '0' }, "'max_results'"],
  ['metrics/get-history-bulk-interval', { run_ids: ['a'] }, "'metric_key'"],
  [
    'metrics/get-history-bulk-interval',
    { run_ids: Array(101).fill('a'), metric_key: 'a' },
    'run_ids',
  ],
  [
    'metrics/get-history-bulk-interval',
    { run_ids: ['a'], metric_key: 'a', start_step: 'x', end_step: '1' },
    "'start_step'",
  ],
];

describe('each is 400, names what is wrong, and writes nothing', () => {
  test.each(POSTS)('POST %s %j', async (path, body, names) => {
    const app = openTracking();
    const id = await newRun(app);
    const text = (typeof body === 'string' ? body : JSON.stringify(body)).replaceAll(RUN, id);
    for (const prefix of ['/api', '/ajax-api']) {
      app.counts.reset();
      const answer = await app.ask('POST', `${prefix}/2.0/mlflow/${path}`, text);
      expect([answer.status, answer.body.error_code]).toEqual([400, 'INVALID_PARAMETER_VALUE']);
      expect(answer.body.message).toContain(names);
      expect(app.counts.calls.commit).toBe(0);
    }
  });

  test.each(GETS)('GET %s %j', async (path, query, names) => {
    const app = openTracking();
    await newRun(app);
    app.counts.reset();
    const answer = await app.get(path, query);
    expect([answer.status, answer.body.error_code]).toEqual([400, 'INVALID_PARAMETER_VALUE']);
    expect(answer.body.message).toContain(names);
    expect(app.counts.calls.commit).toBe(0);
  });

  test.each(BAD_PATHS)('$id: $path is no run id', async ({ path }) => {
    const app = openTracking();
    expect(await app.get('runs/get', { run_id: path })).toMatchObject({ status: 400 });
    expect(await app.post('runs/delete', { run_id: path })).toMatchObject({ status: 400 });
    expect(await app.post('runs/log-metric', { run_id: path, ...metric })).toMatchObject({
      status: 400,
    });
  });
});

test.each([
  ['experiments/get', { experiment_id: '99' }],
  ['runs/get', { run_id: 'f'.repeat(32) }],
])('GET %s of nobody is 404', async (path, query) => {
  const app = openTracking();
  expect(await app.get(path, query)).toMatchObject({
    status: 404,
    body: { error_code: 'RESOURCE_DOES_NOT_EXIST' },
  });
});

test('bodies as old and careless clients send them: encoded twice, camelCase, broken', async () => {
  const app = openTracking();
  const twice = JSON.stringify(JSON.stringify({ experimentId: '0', runName: 'x' }));
  const made = await app.ask('POST', '/api/2.0/mlflow/runs/create', twice);
  expect(made.body.run.info.run_name).toBe('x');
  const broken = await app.ask('POST', '/api/2.0/mlflow/runs/create', '{"experiment_id": ');
  expect(broken.body.message).toContain("Missing value for required parameter 'experiment_id'");
});

test('C12: a LIKE made to backtrack is answered', async () => {
  const app = openTracking();
  const id = await newRun(app);
  await app.post('runs/set-tag', { run_id: id, key: 't', value: 'a'.repeat(8000) });
  const filter = `tags.t LIKE '${'%a'.repeat(400)}%b'`;
  expect((await app.post('runs/search', { experiment_ids: ['0'], filter })).body).toEqual({});
});
