import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ModelMetric, mergeLatest } from '../../functions/tracking/logged-models.ts';
import { isLater } from '../../functions/tracking/model.ts';
import { BAD_PATHS } from '../bad-paths.ts';
import { type MlflowHouse, openMlflow } from '../mlflow.ts';

async function make(house: MlflowHouse, body: object = {}, who?: string) {
  house.world.pass(1000);
  const answer = await house.post('logged-models', { experiment_id: '0', ...body }, who);
  expect([answer.status, answer.text]).toEqual([200, expect.anything()]);
  return answer.body.model.info as { model_id: string; artifact_uri: string; name: string };
}
const search = async (house: MlflowHouse, body: object = {}) => {
  const answer = await house.post('logged-models/search', { experiment_ids: ['0'], ...body });
  return {
    ...answer,
    names: (answer.body.models ?? []).map((m: { info: { name: string } }) => m.info.name),
  };
};

describe('logged models', () => {
  test('item 37: what log_model does, from PENDING to READY', async () => {
    const house = openMlflow();
    const run = await house.run();
    const made = await house.post('logged-models', {
      experiment_id: '0',
      name: 'forest',
      model_type: 'regressor',
      source_run_id: run.id,
      params: [{ key: 'depth', value: '3' }],
      tags: [{ key: 'team', value: 'blue' }],
    });
    const { info, data } = made.body.model;
    expect(info).toMatchObject({
      model_id: expect.stringMatching(/^m-[0-9a-f]{32}$/),
      experiment_id: '0',
      name: 'forest',
      model_type: 'regressor',
      source_run_id: run.id,
      status: 'LOGGED_MODEL_PENDING',
      artifact_uri: `mlflow-artifacts:/0/models/${info.model_id}/artifacts`, // item 21
      tags: [{ key: 'team', value: 'blue' }],
    });
    expect(data).toEqual({ params: [{ key: 'depth', value: '3' }] });
    const at = `logged-models/${info.model_id}`;
    const file = info.artifact_uri.replace(
      'mlflow-artifacts:',
      '/api/2.0/mlflow-artifacts/artifacts',
    );
    await house.ask('PUT', `${file}/MLmodel`, Buffer.from('flavors'));
    await house.ask('PUT', `${file}/data/x`, Buffer.from('xx'));
    await house.send('PATCH', `${at}/tags`, { tags: [{ key: 'more', value: 'm' }] });
    await house.post(`${at}/params`, { params: [{ key: 'trees', value: '9' }] });
    house.world.pass(1000);
    const ready = await house.send('PATCH', at, {
      model_id: info.model_id,
      status: 'LOGGED_MODEL_READY',
    });
    const now = house.world.now();
    expect(ready.body.model.info.status).toBe('LOGGED_MODEL_READY');
    const { body } = await house.get(at);
    expect(body).toEqual(ready.body);
    expect(body.model.info.last_updated_timestamp_ms).toBe(now);
    expect(body.model.data.params).toHaveLength(2);
    expect((await house.get(`${at}/artifacts/directories`)).body).toEqual({
      root_uri: info.artifact_uri,
      files: [
        { path: 'MLmodel', is_dir: false, file_size: 7 },
        { path: 'data', is_dir: true },
      ],
    });
    const below = await house.get(`${at}/artifacts/directories`, {
      artifact_directory_path: 'data',
    });
    expect(below.body.files).toEqual([{ path: 'data/x', is_dir: false, file_size: 2 }]);
    const sent = await house.ask(
      'GET',
      `/ajax-api/2.0/mlflow/${at}/artifacts/files?artifact_file_path=MLmodel`,
    );
    expect(sent.text).toBe('flavors');
  });

  test('a model without a name gets one', async () => {
    const house = openMlflow();
    expect((await make(house)).name).toMatch(/^\S+$/);
  });

  test('item 38: a deletion hides and keeps', async () => {
    const house = openMlflow();
    const { model_id } = await make(house, { name: 'gone' });
    const at = `logged-models/${model_id}`;
    expect((await house.send('DELETE', at, {})).body).toEqual({});
    expect((await house.get(at)).body).toEqual({
      error_code: 'RESOURCE_DOES_NOT_EXIST',
      message: `Logged model with ID '${model_id}' not found.`,
    });
    expect((await house.get(at, { allow_deleted: 'true' })).status).toBe(200);
    expect((await search(house)).body).toEqual({});
    expect((await house.send('PATCH', at, { status: 'LOGGED_MODEL_READY' })).status).toBe(404);
    expect(
      (await house.send('PATCH', `${at}/tags`, { tags: [{ key: 'a', value: 'b' }] })).status,
    ).toBe(404);
  });

  test('tags: the last of two wins, an absent one deleted is 404', async () => {
    const house = openMlflow();
    const { model_id } = await make(house);
    const at = `logged-models/${model_id}/tags`;
    const { body } = await house.send('PATCH', at, {
      tags: [
        { key: 'k', value: '1' },
        { key: 'k', value: '2' },
        { key: 'a/b', value: '3' },
      ],
    });
    expect(body.model.info.tags).toEqual([
      { key: 'k', value: '2' },
      { key: 'a/b', value: '3' },
    ]);
    expect((await house.send('DELETE', `${at}/a%2Fb`, {})).status).toBe(200);
    expect((await house.send('DELETE', `${at}/a%2Fb`, {})).body).toMatchObject({
      error_code: 'RESOURCE_DOES_NOT_EXIST',
    });
  });

  test('twenty clients tag one model at once, and every tag is there', async () => {
    const house = openMlflow();
    const { model_id } = await make(house);
    await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        house.send('PATCH', `logged-models/${model_id}/tags`, {
          tags: [{ key: `k${i}`, value: 'v' }],
        }),
      ),
    );
    expect((await house.get(`logged-models/${model_id}`)).body.model.info.tags).toHaveLength(20);
  });

  test('a param may be sent again, and not changed', async () => {
    const house = openMlflow();
    const { model_id } = await make(house, { params: [{ key: 'a', value: '1' }] });
    const add = (value: string) =>
      house.post(`logged-models/${model_id}/params`, {
        params: [
          { key: 'a', value },
          { key: 'b', value },
        ],
      });
    expect((await add('1')).status).toBe(200);
    const refused = await add('2');
    expect(refused.status).toBe(400);
    expect(refused.body.message).toContain(
      "Changing param values is not allowed. Param with key='a'",
    );
    expect((await house.get(`logged-models/${model_id}`)).body.model.data.params).toEqual([
      { key: 'a', value: '1' },
      { key: 'b', value: '1' },
    ]);
  });
});

describe('metrics of models', () => {
  const log = (house: MlflowHouse, run: string, body: object) =>
    house.post('runs/log-metric', { run_id: run, key: 'rmse', value: 1, timestamp: 1, ...body });

  test('item 7: a metric that names a model reaches run and model in one commit', async () => {
    const house = openMlflow();
    const run = await house.run();
    const { model_id } = await make(house);
    await log(house, run.id, { value: 3, step: 0, model_id });
    await log(house, run.id, {
      value: 2,
      step: 5,
      model_id,
      dataset_name: 'train',
      dataset_digest: 'd1',
    });
    await house.post('runs/log-batch', {
      run_id: run.id,
      metrics: [
        { key: 'rmse', value: 9, timestamp: 0, step: 1, model_id },
        { key: 'rmse', value: 8, timestamp: 0, step: 0, model_id },
        { key: 'r2', value: 'NaN', timestamp: 1, step: 0, model_id },
        { key: 'plain', value: 1, timestamp: 1, step: 0 },
      ],
    });
    const { metrics } = (await house.get(`logged-models/${model_id}`)).body.model.data;
    expect(metrics).toEqual([
      { key: 'rmse', value: 9, timestamp: 0, step: 1, model_id, run_id: run.id },
      {
        key: 'rmse',
        value: 2,
        timestamp: 1,
        step: 5,
        model_id,
        run_id: run.id,
        dataset_name: 'train',
        dataset_digest: 'd1',
      },
      { key: 'r2', value: 'NaN', timestamp: 1, step: 0, model_id, run_id: run.id },
    ]);
    const { body } = await house.get('runs/get', { run_id: run.id });
    expect(body.run.data.metrics).toHaveLength(3);
  });

  test('a batch that names an unknown model changes nothing', async () => {
    const house = openMlflow();
    const run = await house.run();
    const model_id = `m-${'0'.repeat(32)}`;
    const answer = await log(house, run.id, { model_id });
    expect([answer.status, answer.body.error_code]).toEqual([404, 'RESOURCE_DOES_NOT_EXIST']);
    expect((await house.get('runs/get', { run_id: run.id })).body.run.data.metrics).toBeUndefined();
  });

  test('batches of many clients lose no metric of the model', async () => {
    const house = openMlflow();
    const run = await house.run();
    const { model_id } = await make(house);
    const answers = await Promise.all(
      Array.from({ length: 24 }, (_, i) => log(house, run.id, { key: `k${i}`, model_id })),
    );
    for (const { status } of answers) expect(status).toBe(200);
    const { metrics } = (await house.get(`logged-models/${model_id}`)).body.model.data;
    expect(metrics).toHaveLength(24);
  });

  const point = fc.record({
    key: fc.constantFrom('a', 'b'),
    value: fc.oneof(fc.integer({ min: 0, max: 3 }), fc.constant(Number.NaN)),
    timestamp: fc.integer({ min: 0, max: 3 }),
    step: fc.integer({ min: 0, max: 3 }),
    runId: fc.constantFrom('r', 's'),
    datasetName: fc.constantFrom('d', 'e'),
  }) as unknown as fc.Arbitrary<ModelMetric>;

  test('the latest points are the same in whatever order and portions they come', () => {
    void fc.assert(
      fc.property(fc.array(point), fc.array(point), (first, second) => {
        const once = mergeLatest([], [...first, ...second]);
        const twice = mergeLatest(mergeLatest(mergeLatest([], second), first), second);
        const plain = (list: ModelMetric[]) =>
          list.map((m) => JSON.stringify([m, String(m.value)])).sort();
        expect(plain(twice)).toEqual(plain(once));
        for (const one of once)
          for (const other of [...first, ...second])
            if (
              other.key === one.key &&
              other.runId === one.runId &&
              other.datasetName === one.datasetName
            )
              expect(isLater(other, one)).toBe(false);
      }),
    );
  });
});

describe('§5.1.6: searches', () => {
  async function stocked() {
    const house = openMlflow();
    const run = await house.run();
    const models: Record<string, string> = {};
    for (const [name, value, dataset] of [
      ['a', 3, 'train'],
      ['b', 1, 'test'],
      ['c', undefined, undefined],
      ['d', 'NaN', 'train'],
    ] as const) {
      const made = await make(house, {
        name,
        ...(name === 'a' ? { model_type: 'Forest', source_run_id: run.id } : {}),
        params: [{ key: 'p', value: name.toUpperCase() }],
        tags: [{ key: 't x', value: `tag-${name}` }],
      });
      models[name] = made.model_id;
      if (value !== undefined)
        await house.post('runs/log-metric', {
          run_id: run.id,
          key: 'rmse',
          value,
          timestamp: 1,
          model_id: made.model_id,
          dataset_name: dataset,
          dataset_digest: 'x',
        });
    }
    await house.send('PATCH', `logged-models/${models['b']}`, { status: 'LOGGED_MODEL_READY' });
    return { house, run, models };
  }

  test('every attribute, entity and operator', async () => {
    const { house, run, models } = await stocked();
    const cases: [string, string[]][] = [
      ['', ['d', 'c', 'b', 'a']],
      [`name = 'a'`, ['a']],
      [`name != 'a'`, ['d', 'c', 'b']],
      [`name IN ('a', 'c')`, ['c', 'a']],
      [`name NOT IN ('a', 'c')`, ['d', 'b']],
      [`name LIKE '_'`, ['d', 'c', 'b', 'a']],
      [`attributes.name ILIKE 'A'`, ['a']],
      [`model_id = '${models['c']}'`, ['c']],
      [`model_type LIKE 'For%'`, ['a']],
      [`status = 'READY'`, ['b']],
      [`status != 'LOGGED_MODEL_READY'`, ['d', 'c', 'a']],
      [`status IN ('READY', 'PENDING')`, ['d', 'c', 'b', 'a']],
      [`source_run_id = '${run.id}'`, ['a']],
      ['creation_timestamp > 0', ['d', 'c', 'b', 'a']],
      ['creation_time < 0', []],
      ['metrics.rmse > 1', ['a']],
      ['metrics.rmse <= 3', ['b', 'a']],
      ['metrics.rmse != 3', ['d', 'b']],
      [`params.p = 'B'`, ['b']],
      ["tags.`t x` LIKE '%-c'", ['c']],
      [`params.p LIKE '%' AND metrics.rmse = 3 AND`, ['a']],
    ];
    for (const [filter, names] of cases)
      expect([filter, (await search(house, { filter })).names]).toEqual([filter, names]);
  });

  test('datasets narrow the metrics, or ask for any', async () => {
    const { house } = await stocked();
    const datasets = [{ dataset_name: 'train' }];
    expect((await search(house, { datasets })).names).toEqual(['d', 'a']);
    expect((await search(house, { datasets, filter: 'metrics.rmse < 9' })).names).toEqual(['a']);
    const none = [{ dataset_name: 'train', dataset_digest: 'y' }];
    expect((await search(house, { datasets: none })).names).toEqual([]);
  });

  test('orders: a metric that is missing comes last either way', async () => {
    const { house } = await stocked();
    const by = async (field_name: string, ascending?: boolean, more: object = {}) =>
      (
        await search(house, {
          order_by: [{ field_name, ...(ascending === undefined ? {} : { ascending }), ...more }],
        })
      ).names;
    expect(await by('metrics.rmse')).toEqual(['b', 'a', 'd', 'c']);
    expect((await by('metrics.rmse', false)).at(-1)).toBe('c');
    expect((await by('metrics.rmse', false)).slice(0, 3).filter((n: string) => n !== 'd')).toEqual([
      'a',
      'b',
    ]);
    expect(await by('metrics.rmse', true, { dataset_name: 'test' })).toEqual(['b', 'd', 'c', 'a']);
    expect(await by('name', false)).toEqual(['d', 'c', 'b', 'a']);
    expect(await by('creation_timestamp')).toEqual(['a', 'b', 'c', 'd']);
    // The empty text is a text: stock keeps it where there is none.
    expect(await by('model_type')).toEqual(['d', 'c', 'b', 'a']);
  });

  test('a page walk meets each model once; a token of another query is refused', async () => {
    const { house } = await stocked();
    const walked: string[] = [];
    let page_token: string | undefined;
    do {
      const page = await search(house, { max_results: 1, ...(page_token ? { page_token } : {}) });
      walked.push(...page.names);
      page_token = page.body.next_page_token;
      if (walked.length === 2) {
        await make(house, { name: 'new' });
        const other = await search(house, { page_token, filter: `name = 'a'` });
        expect(other.status).toBe(400);
      }
    } while (page_token);
    expect(walked).toEqual(['d', 'c', 'b', 'a']);
  });

  test.each([
    [{ filter: `name = 'a' OR name = 'b'` }],
    [{ filter: `bogus = 'a'` }],
    [{ filter: `runs.a = 'a'` }],
    [{ filter: 'name = 5' }],
    [{ filter: `name > 'a'` }],
    [{ filter: `metrics.a = 'x'` }],
    [{ filter: 'metrics.a IS NULL' }],
    [{ filter: `creation_time LIKE 'x'` }],
    [{ filter: `attributes.__proto__ = 'x'` }],
    [{ order_by: [{ field_name: 'params.p' }] }],
    [{ order_by: [{ field_name: 'bogus' }] }],
    [{ order_by: [{}] }],
    [{ order_by: [{ field_name: 'name', dataset_digest: 'x' }] }],
    [{ order_by: [{ field_name: 'name', ascending: 'maybe' }] }],
    [{ datasets: [{}] }],
    [{ max_results: -1 }],
    [{ max_results: 'x' }],
    [{ page_token: 'junk' }],
    [{ experiment_ids: [] }],
    [{ experiment_ids: [7] }],
  ])('%j is refused', async (body) => {
    const house = openMlflow();
    const answer = await house.post('logged-models/search', { experiment_ids: ['0'], ...body });
    expect([answer.status, answer.body.error_code]).toEqual([400, 'INVALID_PARAMETER_VALUE']);
  });
});

describe('bad input', () => {
  test.each([
    [{}, 400, "parameter 'experiment_id'"],
    [{ experiment_id: 0 }, 400, "parameter 'experiment_id'"],
    [{ experiment_id: '999' }, 404, 'No Experiment with id=999 exists'],
    [{ experiment_id: '../0' }, 0, ''],
    [{ experiment_id: '0', name: 'a/b' }, 400, 'Invalid model name'],
    [{ experiment_id: '0', name: 'a.b' }, 400, 'Invalid model name'],
    [{ experiment_id: '0', name: 'a．b' }, 400, 'Invalid model name'],
    [{ experiment_id: '0', name: 'n'.repeat(501) }, 400, 'maximum length of 500'],
    [{ experiment_id: '0', name: 5 }, 400, "parameter 'name'"],
    [{ experiment_id: '0', source_run_id: '../x' }, 400, 'source_run_id'],
    [{ experiment_id: '0', tags: [{ value: 'x' }] }, 400, "parameter 'tags[0].key'"],
    [{ experiment_id: '0', tags: [{ key: '/x', value: 'x' }] }, 400, 'must not resolve'],
    [
      { experiment_id: '0', params: [{ key: 'a', value: 'v'.repeat(100_001) }] },
      400,
      'at most 100000',
    ],
    [{ experiment_id: '0', params: 'x' }, 400, 'params'],
  ])('create with %j: %i %s', async (body, status, message) => {
    const house = openMlflow();
    const answer = await house.post('logged-models', body);
    if (status) expect(answer.status).toBe(status);
    else expect([400, 404]).toContain(answer.status);
    expect(answer.body.message).toContain(message);
    expect((await search(house)).body).toEqual({});
  });

  test('tags and params of more than 300 KB are refused, not stored in part', async () => {
    const house = openMlflow();
    const { model_id } = await make(house);
    const tags = Array.from({ length: 4 }, (_, i) => ({ key: `k${i}`, value: 'v'.repeat(90_000) }));
    const answer = await house.send('PATCH', `logged-models/${model_id}/tags`, { tags });
    expect(answer.status).toBe(400);
    expect((await house.get(`logged-models/${model_id}`)).body.model.info.tags).toBeUndefined();
  });

  test.each(['LOGGED_MODEL_STATUS_UNSPECIFIED', 'READY', 7, undefined])(
    'status %s is refused',
    async (status) => {
      const house = openMlflow();
      const { model_id } = await make(house);
      const answer = await house.send('PATCH', `logged-models/${model_id}`, { status });
      expect([answer.status, answer.body.error_code]).toEqual([400, 'INVALID_PARAMETER_VALUE']);
    },
  );

  test.each(BAD_PATHS)('$id $path is no id and no path', async ({ path }) => {
    const house = openMlflow();
    const { model_id } = await make(house, { name: 'x' });
    const at = encodeURIComponent(path);
    const base = '/api/2.0/mlflow/logged-models';
    const answers = [
      await house.ask('GET', `${base}/${at}`),
      await house.ask('DELETE', `${base}/${at}`, { body: {} }),
      await house.ask('PATCH', `${base}/${at}`, { body: { status: 'LOGGED_MODEL_READY' } }),
      await house.ask('PATCH', `${base}/${at}/tags`, { body: { tags: [] } }),
      await house.ask('POST', `${base}/${at}/params`, { body: { params: [] } }),
      await house.ask(
        'GET',
        `${base}/${model_id}/artifacts/directories?artifact_directory_path=${at}`,
      ),
      await house.ask('GET', `${base}/${model_id}/artifacts/files?artifact_file_path=${at}`),
    ];
    for (const [i, { status, body }] of answers.entries())
      expect([i, status, body?.error_code]).toEqual([i, 400, 'INVALID_PARAMETER_VALUE']);
  });

  test('E06: a model of another workspace is as absent as one that never was', async () => {
    const house = openMlflow();
    const { model_id } = await make(house, { name: 'x' });
    const who = 'tenant01';
    const never = `m-${'0'.repeat(32)}`;
    for (const [method, rest, body] of [
      ['GET', '', undefined],
      ['PATCH', '', { status: 'LOGGED_MODEL_READY' }],
      ['DELETE', '', {}],
      ['PATCH', '/tags', { tags: [{ key: 'a', value: 'b' }] }],
      ['DELETE', '/tags/a', {}],
      ['POST', '/params', { params: [{ key: 'a', value: 'b' }] }],
      ['GET', '/artifacts/directories', undefined],
      ['GET', '/artifacts/files?artifact_file_path=x', undefined],
    ] as const) {
      const at = `/api/2.0/mlflow/logged-models`;
      const foreign = await house.ask(method, `${at}/${model_id}${rest}`, body, { who });
      const absent = await house.ask(method, `${at}/${never}${rest}`, body, { who });
      expect(foreign.status).toBe(404);
      expect(foreign.text.replaceAll(model_id, never)).toBe(absent.text);
    }
    expect((await house.post('logged-models/search', { experiment_ids: ['0'] }, who)).body).toEqual(
      {},
    );
  });
});
