import { describe, expect, test } from 'vitest';
import { call } from '../house.ts';
import { blobsOf, dataOf, newRun, openTracking } from '../mlflow.ts';

const batch = (metrics: unknown[], params: unknown[] = [], tags: unknown[] = []) => ({
  metrics,
  params,
  tags,
});

test('item 18: a run as created: run_uuid beside run_id, user_id, start_time 0 if absent, names as words', async () => {
  const app = openTracking();
  const { body } = await app.post('runs/create', {
    experiment_id: '0',
    tags: [{ key: 'a', value: 'b' }],
  });
  const { info } = body.run;
  expect(info).toEqual({
    run_id: info.run_id,
    run_uuid: info.run_id,
    run_name: expect.stringMatching(/^[a-z]+-[a-z]+-\d+$/),
    experiment_id: '0',
    user_id: '',
    status: 'RUNNING',
    start_time: 0,
    artifact_uri: `mlflow-artifacts:/0/${info.run_id}/artifacts`,
    lifecycle_stage: 'active',
  });
  expect(body.run.data.tags).toContainEqual({ key: 'mlflow.runName', value: info.run_name });
  const again = await app.get('runs/get', { run_uuid: info.run_id });
  expect(again.body).toEqual(body);
});

test('item 9: a param again is 200 if equal and 400 if not, in the single and the batch form', async () => {
  const app = openTracking();
  const id = await newRun(app);
  const param = (value: string) => app.post('runs/log-parameter', { run_id: id, key: 'a', value });
  expect((await param('1')).status).toBe(200);
  expect((await param('1')).status).toBe(200);
  expect((await param('2')).body.message).toBe(
    `Changing param values is not allowed. Param with key='a' was already logged with value='1' for run ID='${id}'. Attempted logging new value '2'.`,
  );
  const many = await app.post('runs/log-batch', { run_id: id, params: [{ key: 'a', value: '3' }] });
  expect([many.status, many.body.message]).toEqual([
    400,
    `Changing param values is not allowed. Params were already logged=[{'key': 'a', 'old_value': '1', 'new_value': '3'}] for run ID='${id}'.`,
  ]);
});

test('item 10: a batch with one param that clashes leaves nothing of itself', async () => {
  const app = openTracking();
  const id = await newRun(app);
  await app.post('runs/log-parameter', { run_id: id, key: 'a', value: '1' });
  const before = await dataOf(app, id);
  const refused = await app.post('runs/log-batch', {
    run_id: id,
    ...batch(
      [{ key: 'm', value: 1, timestamp: 1 }],
      [
        { key: 'b', value: '1' },
        { key: 'a', value: '2' },
      ],
      [{ key: 't', value: '1' }],
    ),
  });
  expect(refused.status).toBe(400);
  expect(await dataOf(app, id)).toEqual(before);
});

test('item 11: the name and the tag are one thing, in both directions', async () => {
  const app = openTracking();
  const id = await newRun(app, { run_name: 'first' });
  await app.post('runs/set-tag', { run_id: id, key: 'mlflow.runName', value: 'second' });
  expect((await dataOf(app, id)).info.run_name).toBe('second');
  await app.post('runs/update', { run_id: id, run_name: 'third' });
  expect((await dataOf(app, id)).tags['mlflow.runName']).toBe('third');
  const tag = [{ key: 'mlflow.runName', value: 'x' }];
  const both = await app.post('runs/create', { experiment_id: '0', run_name: 'y', tags: tag });
  expect([both.status, both.body.message]).toEqual([
    400,
    expect.stringContaining("Both 'run_name' argument"),
  ]);
  expect(
    (await app.post('runs/create', { experiment_id: '0', run_name: 'x', tags: tag })).status,
  ).toBe(200);
});

test('item 12: a deleted run refuses every change; delete and restore are idempotent', async () => {
  const app = openTracking();
  const id = await newRun(app);
  for (let i = 0; i < 2; i++)
    expect((await app.post('runs/delete', { run_id: id })).status).toBe(200);
  const changes: [string, object][] = [
    ['runs/set-tag', { key: 'a', value: 'b' }],
    ['runs/log-metric', { key: 'a', value: 1, timestamp: 1 }],
    ['runs/log-parameter', { key: 'a', value: '1' }],
    ['runs/log-batch', batch([{ key: 'a', value: 1, timestamp: 1 }])],
    ['runs/update', { status: 'FINISHED' }],
    ['runs/log-inputs', { models: [{ model_id: 'm-1' }] }],
    ['runs/outputs', { models: [{ model_id: 'm-1', step: 0 }] }],
  ];
  for (const [path, body] of changes)
    expect((await app.post(path, { run_id: id, ...body })).body).toEqual({
      error_code: 'INVALID_PARAMETER_VALUE',
      message: `The run ${id} must be in the 'active' state. Current state is deleted.`,
    });
  const search = (view: string) =>
    app.post('runs/search', { experiment_ids: ['0'], run_view_type: view });
  expect((await search('ACTIVE_ONLY')).body).toEqual({});
  expect((await search('DELETED_ONLY')).body.runs).toHaveLength(1);
  for (let i = 0; i < 2; i++)
    expect((await app.post('runs/restore', { run_id: id })).status).toBe(200);
  expect((await search('ALL')).body.runs[0].info.lifecycle_stage).toBe('active');
});

test('item 16: update answers run_info, passes over unknown statuses, and RUNNING clears nothing', async () => {
  const app = openTracking();
  const id = await newRun(app);
  const done = await app.post('runs/update', { run_id: id, status: 'FINISHED', end_time: '17' });
  expect(done.body.run_info).toMatchObject({ status: 'FINISHED', end_time: 17 });
  const what = await app.post('runs/update', { run_id: id, status: 'WHAT' });
  expect(what.body.run_info.status).toBe('FINISHED');
  const again = await app.post('runs/update', { run_id: id, status: 'RUNNING' });
  expect(again.body.run_info).toMatchObject({ status: 'RUNNING', end_time: 17 });
  expect((await app.post('runs/update', { run_id: id, status: 4 })).body.run_info.status).toBe(
    'FAILED',
  );
});

test('item 17: an absent tag is 404, an absent run too', async () => {
  const app = openTracking();
  const id = await newRun(app);
  expect(await app.post('runs/delete-tag', { run_id: id, key: 'no' })).toMatchObject({
    status: 404,
    body: { error_code: 'RESOURCE_DOES_NOT_EXIST' },
  });
  for (const path of ['runs/delete', 'runs/restore', 'runs/log-batch'])
    expect(await app.post(path, { run_id: 'f'.repeat(32) })).toMatchObject({ status: 404 });
  expect(await app.get('runs/get', { run_id: 'abc' })).toMatchObject({ status: 404 });
});

test('item 20: a dataset logged twice keeps its first tags; outputs carry model and step', async () => {
  const app = openTracking();
  const id = await newRun(app);
  const dataset = {
    name: 'n',
    digest: 'd',
    source_type: 's',
    source: '{}',
    schema: 'x'.repeat(400_000),
  };
  const input = (value: string) => ({ dataset, tags: [{ key: 'mlflow.data.context', value }] });
  await app.post('runs/log-inputs', {
    run_id: id,
    datasets: [input('one')],
    models: [{ model_id: 'm-1' }],
  });
  await app.post('runs/log-inputs', {
    run_id: id,
    datasets: [input('two')],
    models: [{ model_id: 'm-1' }],
  });
  for (let i = 0; i < 2; i++)
    await app.post('runs/outputs', { run_id: id, models: [{ model_id: 'm-2', step: 3 }] });
  const { inputs, outputs } = await dataOf(app, id);
  expect(inputs).toEqual({
    dataset_inputs: [{ dataset, tags: [{ key: 'mlflow.data.context', value: 'one' }] }],
    model_inputs: [{ model_id: 'm-1' }],
  });
  expect(outputs).toEqual({ model_outputs: [{ model_id: 'm-2', step: 3 }] });
  expect((await blobsOf(app)).length).toBe(1); // the schema is too large for the table
});

test('log-model appends to the tag that old clients read', async () => {
  const app = openTracking();
  const id = await newRun(app);
  const model = (path: string) =>
    JSON.stringify({ artifact_path: path, flavors: {}, utc_time_created: 't', run_id: id });
  await app.post('runs/log-model', { run_id: id, model_json: model('a') });
  await app.post('runs/log-model', { run_id: id, model_json: model('b') });
  const tag = JSON.parse((await dataOf(app, id)).tags['mlflow.log-model.history'] as string);
  expect(tag.map((entry: { artifact_path: string }) => entry.artifact_path)).toEqual(['a', 'b']);
  for (const bad of ['{', '{}', '[]', '3'])
    expect((await app.post('runs/log-model', { run_id: id, model_json: bad })).status).toBe(400);
});

describe('limits', () => {
  test('a param value is cut at 6000 and a tag at 8000 characters, never inside a pair', async () => {
    const app = openTracking();
    const id = await newRun(app);
    await app.post('runs/log-parameter', { run_id: id, key: 'p', value: 'x'.repeat(7000) });
    await app.post('runs/set-tag', { run_id: id, key: 't', value: `${'y'.repeat(7999)}😀` });
    const { params, tags } = await dataOf(app, id);
    expect(params['p']).toHaveLength(6000);
    expect(tags['t']).toBe('y'.repeat(7999));
  });

  const many = (count: number, make: (i: number) => object) =>
    Array.from({ length: count }, (_, i) => make(i));
  test.each([
    [
      '1000 metrics. Got 1001',
      batch(many(1001, (i) => ({ key: `m${i}`, value: 1, timestamp: 1 }))),
    ],
    [
      '100 params. Got 101',
      batch(
        [],
        many(101, (i) => ({ key: `p${i}`, value: '1' })),
      ),
    ],
    [
      '100 tags. Got 101',
      batch(
        [],
        [],
        many(101, (i) => ({ key: `t${i}`, value: '1' })),
      ),
    ],
    [
      '1000 metrics, params, and tags. Got 1050',
      batch(
        many(1000, (i) => ({ key: `m${i}`, value: 1, timestamp: 1 })),
        many(50, (i) => ({ key: `p${i}`, value: '1' })),
      ),
    ],
    [
      "Duplicate parameter keys have been submitted: ['z']",
      batch(
        [],
        [
          { key: 'z', value: '1' },
          { key: 'z', value: '1' },
        ],
      ),
    ],
  ])('a batch is refused: %s', async (message, body) => {
    const app = openTracking();
    const id = await newRun(app);
    const answer = await app.post('runs/log-batch', { run_id: id, ...body });
    expect([answer.status, answer.body.message]).toEqual([400, expect.stringContaining(message)]);
  });

  test('two thousand params of 6000 characters outgrow one record, and all come back', async () => {
    const app = openTracking();
    const id = await newRun(app);
    for (let at = 0; at < 2000; at += 100) {
      const params = many(100, (i) => ({
        key: `p${at + i}`,
        value: `${at + i}:${'é'.repeat(4000)}`,
      }));
      expect((await app.post('runs/log-batch', { run_id: id, params })).status).toBe(200);
    }
    const { params } = await dataOf(app, id);
    expect(Object.keys(params)).toHaveLength(2000);
    expect(params['p1234']).toBe(`1234:${'é'.repeat(4000)}`);
    const clash = await app.post('runs/log-parameter', {
      run_id: id,
      key: 'p1999',
      value: 'other',
    });
    expect(clash.status).toBe(400);
    await app.post('runs/set-tag', { run_id: id, key: 't', value: '1' });
    const found = await app.post('runs/search', {
      experiment_ids: ['0'],
      filter: "params.p7 LIKE '7:%' AND tags.t = '1'",
    });
    expect(found.body.runs[0].data.params).toHaveLength(2000);
  });
});

test('C01, C04: keys and values that JavaScript or JSON stumble over come back as they were', async () => {
  const app = openTracking();
  const id = await newRun(app);
  const tags = [
    { key: '__proto__', value: 'p' },
    { key: 'constructor', value: 'c' },
    { key: 'pair', value: 'a\u{1f600}b' },
    { key: 'nul', value: 'a\u0000b' },
    { key: 'ключ/κλειδί', value: '\u2028"\\' },
  ];
  expect((await app.post('runs/log-batch', { run_id: id, tags })).status).toBe(200);
  const { body } = await app.get('runs/get', { run_id: id });
  for (const tag of tags) expect(body.run.data.tags).toContainEqual(tag);
  expect(({} as Record<string, unknown>)['p']).toBeUndefined();
});

test('a repeated runs/create of a part of the product makes one run', async () => {
  const app = openTracking();
  const runId = 'a'.repeat(32) as never;
  const asked = { experimentId: '0' as never, runId, runName: 'step' };
  const [first, second] = await Promise.all([
    app.rooms.tracking.service.createRun(call, asked),
    app.rooms.tracking.service.createRun(call, asked),
  ]);
  expect(second).toEqual(first);
});

test('workspaces see nothing of each other', async () => {
  const app = openTracking();
  const id = await newRun(app);
  await app.post('runs/log-metric', { run_id: id, key: 'a', value: 1, timestamp: 1 });
  const who = 'tenant00';
  expect((await app.get('runs/get', { run_id: id }, who)).status).toBe(404);
  expect((await app.post('runs/set-tag', { run_id: id, key: 'a', value: 'b' }, who)).status).toBe(
    404,
  );
  expect((await app.post('runs/search', { experiment_ids: ['0'] }, who)).body).toEqual({});
  expect((await app.get('metrics/get-history', { run_id: id, metric_key: 'a' }, who)).body).toEqual(
    {},
  );
  const mine = await app.post('runs/search', { experiment_ids: ['0'], max_results: 1 });
  expect(mine.body.runs).toHaveLength(1);
});

test('C14: a page token that was edited, or is another query’s or another tenant’s, shows nothing', async () => {
  const app = openTracking();
  for (let i = 0; i < 3; i++) await newRun(app, { start_time: i });
  const query = { experiment_ids: ['0'], max_results: 1, order_by: ['metrics.a DESC'] };
  const token = (await app.post('runs/search', query)).body.next_page_token;
  expect(
    (await app.post('runs/search', { ...query, page_token: token, max_results: 2 })).body.runs,
  ).toHaveLength(2);
  const bad: [object, string?][] = [
    [{ ...query, page_token: 'junk' }],
    [{ ...query, page_token: `A${token.slice(1)}` }],
    [{ ...query, page_token: 'x'.repeat(500_000) }],
    [{ ...query, page_token: token, filter: 'metrics.a > 0' }],
    [{ ...query, page_token: token, order_by: [] }],
    [{ ...query, page_token: token }, 'tenant00'],
  ];
  for (const [body, who] of bad)
    expect(await app.post('runs/search', body, who)).toMatchObject({
      status: 400,
      body: { message: expect.stringContaining('Invalid page token') },
    });
});
