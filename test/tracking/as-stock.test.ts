import { describe, expect, test } from 'vitest';
import { dataOf, newRun, openTracking, type TrackingHouse } from '../mlflow.ts';

/** What mlflow 3.17.2 on SQLite answered to the same requests, where we said something else. */

async function opened() {
  const app = openTracking();
  return { app, run_id: await newRun(app) };
}

describe('values with half of a surrogate pair, which Python cannot encode', () => {
  test.each([
    ['runs/set-tag', '"key":"k","value":"a\\ud83d"', 'value'],
    ['runs/log-parameter', '"key":"k","value":"\\ude00a"', 'value'],
    ['runs/update', '"run_name":"a\\ud83db"', 'run_name'],
    ['runs/log-batch', '"params":[{"key":"k","value":"\\ud83d"}]', 'params.0.value'],
  ])('%s is refused, naming the field, and nothing is written', async (path, fields, field) => {
    const { app, run_id } = await opened();
    const before = await dataOf(app, run_id);
    const { status, body } = await app.post(path, `{"run_id":"${run_id}",${fields}}`);
    expect([status, body.error_code]).toEqual([400, 'INVALID_PARAMETER_VALUE']);
    expect(body.message).toContain(`'${field}'`);
    expect(await dataOf(app, run_id)).toEqual(before);
  });
});

describe('runs/update with a status that is none', () => {
  test.each([9, 0, -1, 2.5, true])('the number %j was ignored', async (status) => {
    const { app, run_id } = await opened();
    const answer = await app.post('runs/update', { run_id, status });
    expect(answer).toMatchObject({ status: 400, body: { error_code: 'INVALID_PARAMETER_VALUE' } });
    expect(answer.body.message).toContain("'status'");
  });
  test.each(['9', 'BOGUS'])('the word %j is ignored, as in stock', async (status) => {
    const { app, run_id } = await opened();
    const { body } = await app.post('runs/update', { run_id, status });
    expect(body.run_info.status).toBe('RUNNING');
  });
});

test('a view type that is none is refused as a number, ignored as a word; 0 is unset', async () => {
  const { app } = await opened();
  const asked = async (view: unknown) => [
    (await app.post('runs/search', { experiment_ids: ['0'], run_view_type: view })).status,
    (await app.post('experiments/search', { max_results: 1, view_type: view })).status,
  ];
  expect(await asked(9)).toEqual([400, 400]);
  for (const view of ['9', 'BOGUS', 0, 2, 'ALL']) expect(await asked(view)).toEqual([200, 200]);
});

describe('bare NaN and Infinity in a body, as Python writes them', () => {
  test.each([
    ['NaN', 'NaN'],
    ['Infinity', Number.MAX_VALUE],
    ['-Infinity', -Number.MAX_VALUE],
  ])('%s is a value of a metric', async (word, value) => {
    const { app, run_id } = await opened();
    const point = `"value":${word},"timestamp":1,"step":0`;
    const one = await app.post('runs/log-metric', `{"run_id":"${run_id}","key":"a",${point}}`);
    const batch = `{"run_id":"${run_id}","metrics":[{"key":"b",${point}}]}`;
    expect([one.status, (await app.post('runs/log-batch', batch)).status]).toEqual([200, 200]);
    expect((await dataOf(app, run_id)).metrics).toEqual({ a: value, b: value });
  });
  test.each([
    ['runs/log-metric', '"key":"a","value":1,"timestamp":NaN', 'timestamp'],
    ['runs/log-parameter', '"key":"a","value":NaN', 'value'],
    ['runs/log-parameter', '"key":Infinity,"value":"x"', 'key'],
  ])('%s {%s} says which field cannot be that', async (path, fields, field) => {
    const { app, run_id } = await opened();
    const { status, body } = await app.post(path, `{"run_id":"${run_id}",${fields}}`);
    expect(status).toBe(400);
    expect(body.message).toMatch(
      new RegExp(`Invalid value (NaN|Infinity) for parameter '${field}'`),
    );
  });
});

describe('texts beyond the first plane of Unicode', () => {
  const VALUES = ['x', '\u{1f600}x', '\uff5ex', 'zx', 'aax'];
  async function stocked() {
    const app = openTracking();
    for (const value of VALUES) {
      const run_id = await newRun(app);
      await app.post('runs/log-parameter', { run_id, key: 'p', value });
    }
    return app;
  }
  async function found(app: TrackingHouse, filter: string, order: string) {
    const search = { experiment_ids: ['0'], filter, order_by: [order] };
    const { body } = await app.post('runs/search', search);
    return (body.runs ?? []).map(
      ({ data }: { data: { params: { value: string }[] } }) => data.params[0]?.value,
    );
  }
  test('_ is one character, not half of one', async () => {
    const app = await stocked();
    const one = ['zx', '\uff5ex', '\u{1f600}x'];
    expect(await found(app, "params.p LIKE '_x'", 'params.p')).toEqual(one);
    expect(await found(app, "params.p ILIKE '%_X'", 'params.p')).toEqual(['aax', ...one]);
    expect(await found(app, "params.p LIKE '__x'", 'params.p')).toEqual(['aax']);
    expect(await found(app, "params.p LIKE '%__'", 'params.p')).toEqual(['aax', ...one]);
  });
  test('the order is by code point, both ways', async () => {
    const app = await stocked();
    const sorted = ['aax', 'x', 'zx', '\uff5ex', '\u{1f600}x'];
    expect(await found(app, '', 'params.p')).toEqual(sorted);
    expect(await found(app, '', 'params.p DESC')).toEqual(sorted.toReversed());
  });
  test('an entity may stand in backticks', async () => {
    const app = await stocked();
    expect(await found(app, "`params`.`p` = 'x'", '`params`.`p` DESC')).toEqual(['x']);
    expect(await found(app, "`params`.p = 'x'", 'params.`p`')).toEqual(['x']);
  });
});

describe('logged models', () => {
  const names = (body: { models?: { info: { name: string } }[] }) =>
    (body.models ?? []).map(({ info }) => info.name).sort();
  test('source_run_id = empty text found no model without a run', async () => {
    const { app, run_id } = await opened();
    await app.post('logged-models', { experiment_id: '0', name: 'alone' });
    await app.post('logged-models', { experiment_id: '0', name: 'made', source_run_id: run_id });
    const found = async (filter: string) =>
      names((await app.post('logged-models/search', { experiment_ids: ['0'], filter })).body);
    expect(await found("source_run_id = ''")).toEqual(['alone']);
    expect(await found("source_run_id != ''")).toEqual(['made']);
    expect(await found("source_run_id NOT IN ('x')")).toEqual(['alone', 'made']);
    expect(await found("model_type = ''")).toEqual(['alone', 'made']);
  });
  test('a search for none gives none, and ascending is no word', async () => {
    const { app } = await opened();
    await app.post('logged-models', { experiment_id: '0', name: 'alone' });
    const search = (more: object) =>
      app.post('logged-models/search', { experiment_ids: ['0'], ...more });
    expect(await search({ max_results: 0 })).toMatchObject({ status: 200, body: {} });
    expect((await search({ max_results: 0 })).body).toEqual({});
    expect((await search({ max_results: -1 })).status).toBe(400);
    const order_by = [{ field_name: 'name', ascending: 'false' }];
    expect((await search({ order_by })).status).toBe(400);
  });
});
