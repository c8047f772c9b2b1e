import { expect, test } from 'vitest';
import { BAD_PATHS } from '../bad-paths.ts';
import { newRun, openTracking } from '../mlflow.ts';

test('item 15: experiment 0 named Default is there from the start, in every workspace', async () => {
  const app = openTracking();
  for (const who of ['default0', 'tenant00']) {
    const { status, body } = await app.get('experiments/get', { experiment_id: '0' }, who);
    expect([status, body.experiment]).toMatchObject([
      200,
      { experiment_id: '0', name: 'Default', lifecycle_stage: 'active' },
    ]);
  }
  const listed = await app.post('experiments/search', { max_results: 5 }, 'tenant01');
  expect(listed.body.experiments.map((e: { name: string }) => e.name)).toEqual(['Default']);
  const named = await app.get(
    'experiments/get-by-name',
    { experiment_name: 'Default' },
    'tenant02',
  );
  expect(named.body.experiment).toMatchObject({ experiment_id: '0', workspace: 'tenant02' });
  expect((await app.get('experiments/get', { experiment_id: '0' })).body.experiment.workspace).toBe(
    'default',
  );
});

test('item 15: ids grow and are never given twice, also with many creators at once', async () => {
  const app = openTracking();
  const made = await Promise.all(
    Array.from({ length: 20 }, (_, i) => app.post('experiments/create', { name: `e${i}` })),
  );
  const ids = made.map(({ body }) => body.experiment_id).sort((a, b) => a - b);
  expect(ids).toEqual(Array.from({ length: 20 }, (_, i) => String(i + 1)));
  await app.post('experiments/delete', { experiment_id: '20' });
  const next = await app.post('experiments/create', { name: 'after' });
  expect(next.body).toEqual({ experiment_id: '21' });
});

test('of twenty who create one name, one wins and the others are told that it exists', async () => {
  const app = openTracking();
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => app.post('experiments/create', { name: 'same' })),
  );
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
  for (const { status, body } of answers.filter((answer) => answer.status !== 200))
    expect([status, body.error_code]).toEqual([400, 'RESOURCE_ALREADY_EXISTS']);
});

test('items 13, 14: a deleted experiment answers, keeps its name, takes no run, tag or new name, and comes back', async () => {
  const app = openTracking();
  await app.post('experiments/create', { name: 'churn' });
  const runId = await newRun(app, { experiment_id: '1' });
  expect(await app.post('experiments/delete', { experiment_id: '1' })).toMatchObject({
    status: 200,
    body: {},
  });
  expect(await app.post('experiments/delete', { experiment_id: '1' })).toMatchObject({
    status: 404,
  });
  const byName = await app.get('experiments/get-by-name', { experiment_name: 'churn' });
  expect(byName.body.experiment.lifecycle_stage).toBe('deleted');
  const refusals: [string, object, string][] = [
    ['experiments/create', { name: 'churn' }, 'RESOURCE_ALREADY_EXISTS'],
    ['runs/create', { experiment_id: '1' }, 'INVALID_PARAMETER_VALUE'],
    [
      'experiments/set-experiment-tag',
      { experiment_id: '1', key: 'a', value: 'b' },
      'INVALID_PARAMETER_VALUE',
    ],
    ['experiments/update', { experiment_id: '1', new_name: 'x' }, 'INVALID_STATE'],
    [
      'runs/log-metric',
      { run_id: runId, key: 'a', value: 1, timestamp: 1 },
      'INVALID_PARAMETER_VALUE',
    ],
  ];
  for (const [path, body, code] of refusals)
    expect(await app.post(path, body)).toMatchObject({ status: 400, body: { error_code: code } });
  const run = await app.get('runs/get', { run_id: runId });
  expect(run.body.run.info.lifecycle_stage).toBe('deleted');
  await app.post('experiments/restore', { experiment_id: '1' });
  expect(await app.post('experiments/restore', { experiment_id: '1' })).toMatchObject({
    status: 404,
  });
  expect((await app.get('runs/get', { run_id: runId })).body.run.info.lifecycle_stage).toBe(
    'active',
  );
  const absent = await app.get('experiments/get-by-name', { experiment_name: 'nobody' });
  expect([absent.status, absent.body.error_code]).toEqual([404, 'RESOURCE_DOES_NOT_EXIST']);
});

test('a rename moves the name: the old one is free, a taken one is refused', async () => {
  const app = openTracking();
  await app.post('experiments/create', { name: 'one' });
  await app.post('experiments/create', { name: 'two' });
  expect(
    await app.post('experiments/update', { experiment_id: '1', new_name: 'two' }),
  ).toMatchObject({
    status: 400,
    body: { error_code: 'RESOURCE_ALREADY_EXISTS' },
  });
  await app.post('experiments/update', { experiment_id: '1', new_name: 'three' });
  expect(await app.post('experiments/create', { name: 'one' })).toMatchObject({ status: 200 });
  const found = await app.get('experiments/get-by-name', { experiment_name: 'three' });
  expect(found.body.experiment.experiment_id).toBe('1');
});

test('item 17: tags of an experiment come and go, an absent one is 404', async () => {
  const app = openTracking();
  await app.post('experiments/create', { name: 'a', tags: [{ key: '__proto__', value: 'kept' }] });
  await app.post('experiments/set-experiment-tag', {
    experiment_id: '1',
    key: 'k',
    value: '\u{1f600}\u0000x',
  });
  const { body } = await app.get('experiments/get', { experiment_id: '1' });
  expect(body.experiment.tags).toEqual([
    { key: '__proto__', value: 'kept' },
    { key: 'k', value: '\u{1f600}\u0000x' },
  ]);
  const gone = { experiment_id: '1', key: 'k' };
  expect(await app.post('experiments/delete-experiment-tag', gone)).toMatchObject({ status: 200 });
  expect(await app.post('experiments/delete-experiment-tag', gone)).toMatchObject({ status: 404 });
});

test('search: newest first, pages, views, GET and POST alike', async () => {
  const app = openTracking();
  await newRun(app);
  for (let i = 1; i <= 5; i++) {
    app.world.pass(1000);
    await app.post('experiments/create', { name: `e${i}`, tags: [{ key: 'n', value: String(i) }] });
  }
  await app.post('experiments/delete', { experiment_id: '3' });
  await app.post('experiments/set-experiment-tag', { experiment_id: '1', key: 'z', value: '1' });
  const first = await app.post('experiments/search', { max_results: 3 });
  const names = (answer: typeof first) =>
    (answer.body.experiments ?? []).map((e: { name: string }) => e.name);
  expect(names(first)).toEqual(['e5', 'e4', 'e2']);
  const rest = await app.get('experiments/search', {
    max_results: '3',
    page_token: first.body.next_page_token,
  });
  expect(names(rest)).toEqual(['e1', 'Default']);
  expect(rest.body.next_page_token).toBeUndefined();
  const deleted = await app.get('experiments/search', {
    max_results: '10',
    view_type: 'DELETED_ONLY',
  });
  expect(names(deleted)).toEqual(['e3']);
  const bogus = await app.get('experiments/search', {
    max_results: '10',
    view_type: 'BOGUS',
    order_by: ['name ASC'],
  });
  expect(names(bogus)).toEqual(['Default', 'e1', 'e2', 'e4', 'e5']);
  const gateway = await app.get('experiments/search', {
    max_results: '25',
    order_by: ['last_update_time DESC'],
    filter: 'tags.`mlflow.experiment.isGateway` IS NULL',
  });
  expect(names(gateway)[0]).toBe('e1');
  expect(
    await app.post('experiments/search', { max_results: 10, filter: "name = 'x'" }),
  ).toMatchObject({ body: {} });
});

test('the default root is proxied or located, and a run lies under it', async () => {
  const proxied = openTracking();
  const direct = openTracking({ artifacts: 'direct', bucket: 'bucket' });
  await newRun(proxied);
  const one = await proxied.get('experiments/get', { experiment_id: '0' });
  expect(one.body.experiment.artifact_location).toBe('mlflow-artifacts:/0');
  const two = await direct.get('experiments/get', { experiment_id: '0' });
  expect(two.body.experiment.artifact_location).toBe('s3://bucket/default0/artifacts/0');
  await direct.post('experiments/create', {
    name: 'a',
    artifact_location: 's3://bucket/default0/artifacts/mine/',
  });
  expect((await direct.get('experiments/get', { experiment_id: '1' })).status).toBe(200);
});

test.each(['kfp', 'artifacts', 'artifactsx/a', 'pipelines/x', 'data/x', 'jobs'])(
  'artifact_location among what the workspace keeps for itself is refused: %s',
  async (prefix) => {
    const app = openTracking({ artifacts: 'direct', bucket: 'bucket' });
    const artifact_location = `s3://bucket/default0/${prefix}`;
    expect(await app.post('experiments/create', { name: 'x', artifact_location })).toMatchObject({
      status: 400,
      body: { message: expect.stringContaining('lie below s3://bucket/default0/artifacts') },
    });
    expect((await app.get('experiments/get-by-name', { experiment_name: 'x' })).status).toBe(404);
  },
);

test.each(BAD_PATHS)(
  '$id: $path is refused as artifact_location, nothing written',
  async ({ path }) => {
    const app = openTracking();
    for (const location of [path, `mlflow-artifacts:/${path}`]) {
      const answer = await app.post('experiments/create', {
        name: 'x',
        artifact_location: location,
      });
      expect([answer.status, answer.body.error_code]).toEqual([400, 'INVALID_PARAMETER_VALUE']);
    }
    expect((await app.get('experiments/get-by-name', { experiment_name: 'x' })).status).toBe(404);
  },
);

test.each([
  '../../etc/passwd',
  'a/../../b',
  '..%2fx',
  '..\\x',
  'a\u0000b',
  'a\u202eb',
  '．．／x',
  '.',
  ' ',
  '',
])('A14: %j is no name of an experiment', async (name) => {
  const app = openTracking();
  expect(await app.post('experiments/create', { name })).toMatchObject({
    status: 400,
    body: { error_code: 'INVALID_PARAMETER_VALUE' },
  });
});

test.each(['/Users/ada/churn', 'Demand forecast: v2', 'a//b', 'why?', '日本語 #1'])(
  '%s is a name of an experiment',
  async (name) => {
    const app = openTracking();
    expect(await app.post('experiments/create', { name })).toMatchObject({ status: 200 });
    const found = await app.get('experiments/get-by-name', { experiment_name: name });
    expect(found.body.experiment.name).toBe(name);
  },
);

test('datasets that runs read are summed up by experiment', async () => {
  const app = openTracking();
  const id = await newRun(app);
  const dataset = { name: 'iris', digest: 'd1', source_type: 'http', source: '{}' };
  const tags = [{ key: 'mlflow.data.context', value: 'train' }];
  await app.post('runs/log-inputs', { run_id: id, datasets: [{ dataset, tags }] });
  await app.post('runs/log-inputs', { run_id: await newRun(app), datasets: [{ dataset, tags }] });
  const asked = await app.ask('POST', '/ajax-api/2.0/mlflow/experiments/search-datasets', {
    experiment_ids: ['0'],
  });
  expect(asked.body).toEqual({
    dataset_summaries: [{ experiment_id: '0', name: 'iris', digest: 'd1', context: 'train' }],
  });
  for (const ids of [[], Array.from({ length: 21 }, (_, i) => String(i))])
    expect(await app.post('experiments/search-datasets', { experiment_ids: ids })).toMatchObject({
      status: 400,
    });
});

test('what a server says of itself', async () => {
  const app = openTracking();
  expect((await app.ask('GET', '/health')).text).toBe('OK');
  expect((await app.ask('GET', '/version')).text).toBe('3.17.2');
  for (const prefix of ['/api', '/ajax-api'])
    expect((await app.ask('GET', `${prefix}/3.0/mlflow/server-info`)).body).toMatchObject({
      store_type: 'SqlStore',
      workspaces_enabled: false,
      multipart_uploads_enabled: true,
    });
});
