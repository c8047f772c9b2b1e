import { beforeEach, describe, expect, test } from 'vitest';
import { Problem } from '../../functions/kernel/problem.ts';
import type { InferenceRequest } from '../../functions/platform/ports.ts';
import { servingRoom } from '../../functions/serving/index.ts';
import { call } from '../house.ts';
import { answer } from './endpoints.ts';
import { openServing, type ServingHouse } from './house.ts';

let home: ServingHouse;
let asked: InferenceRequest[];
let reply: (request: InferenceRequest) => ReturnType<typeof answer>;
const sent = () => JSON.parse(Buffer.from(asked.at(-1)?.body ?? []).toString());

const MLMODEL = `
artifact_path: model
signature:
  inputs: '[{"type":"double","name":"age","required":true},{"type":"long","name":"visits","required":true}]'
  outputs: '[{"type":"tensor","tensor-spec":{"dtype":"float64","shape":[-1]}}]'
`;

beforeEach(async () => {
  asked = [];
  reply = () => answer('{"predictions": [1.0, 2.5]}');
  home = openServing((ground, shelf) => ({ serving: servingRoom(ground, shelf.models) }));
  for (const name of ['churn', 'plain']) {
    home.shelf.add(name, 3);
    home.servers.set(`mem://models/${name}/3`, (request) => {
      asked.push(request);
      return reply(request);
    });
  }
  await home.blobs.put(call, 'models/churn/3/MLmodel', Buffer.from(MLMODEL));
  await deploy('churn');
});

async function deploy(name: string, more = {}) {
  await home.ask('PUT', `/api/endpoints/${name}`, { model: `models:/${name}/3`, ...more });
  await home.quiet();
}

describe('MLflow /invocations', () => {
  test('passes bytes and content type on as they came, both ways', async () => {
    reply = () => ({ status: 200, contentType: 'text/x', body: Buffer.from([0, 255, 1]) });
    const body = new Uint8Array([1, 2, 250]);
    const answered = await home.ask('POST', '/endpoints/churn/invocations', body, {
      headers: { 'content-type': 'text/csv' },
    });
    expect(asked).toMatchObject([{ path: '/invocations', contentType: 'text/csv' }]);
    expect([...(asked[0]?.body ?? [])]).toEqual([1, 2, 250]);
    expect(answered.headers.get('content-type')).toBe('text/x');
  });

  test("a model's own refusal comes through as it is", async () => {
    reply = () => answer({ error_code: 'BAD_REQUEST', message: 'no column x' }, 400);
    expect(await home.ask('POST', '/endpoints/churn/invocations', { inputs: 1 })).toMatchObject({
      status: 400,
      body: { error_code: 'BAD_REQUEST', message: 'no column x' },
    });
  });

  test('bare, while there is one endpoint; then 400 with their names', async () => {
    expect((await home.ask('POST', '/invocations', { inputs: [1] })).status).toBe(200);
    expect((await home.ask('GET', '/ping')).status).toBe(200);
    await deploy('plain');
    const answered = await home.ask('POST', '/invocations', { inputs: [1] });
    expect(answered.status).toBe(400);
    expect(answered.text).toContain('churn, plain');
    expect((await home.ask('GET', '/ping')).text).toContain('churn, plain');
    await home.ask('DELETE', '/api/endpoints/churn');
    expect((await home.ask('POST', '/invocations', { inputs: [1] })).status).toBe(200);
  });

  test('without any endpoint: 404 saying how to make one', async () => {
    await home.ask('DELETE', '/api/endpoints/churn');
    const answered = await home.ask('POST', '/invocations', { inputs: [1] });
    expect(answered).toMatchObject({ status: 404 });
    expect(answered.text).toContain('PUT /api/endpoints/{name}');
  });

  test.each([
    ['POST', '/endpoints/none/invocations', {}, 404],
    ['GET', '/endpoints/none/ping', undefined, 404],
    ['POST', '/endpoints/churn/invocations', undefined, 415],
  ])('%s %s %j: %i', async (method, path, body, status) => {
    const answered = await home.ask(method, path, body);
    expect(answered.status).toBe(status);
    expect(answered.body).toMatchObject({ message: expect.any(String) });
    expect(asked).toEqual([]);
  });

  test('a body above 25 MB is 413 and reaches no model', async () => {
    const body = new Uint8Array(25_000_001);
    const headers = { 'content-type': 'text/csv' };
    const answered = await home.ask('POST', '/endpoints/churn/invocations', body, { headers });
    expect(answered.status).toBe(413);
    expect(asked).toEqual([]);
  });

  test('ping tells an endpoint that is up from one that is not', async () => {
    expect((await home.ask('GET', '/endpoints/churn/ping')).status).toBe(200);
    home.endpointsHeld.setSlow(true);
    home.shelf.add('late', 3);
    await home.ask('PUT', '/api/endpoints/late', { model: 'models:/late/3' });
    const answered = await home.ask('GET', '/endpoints/late/ping');
    expect([answered.status, answered.headers.get('retry-after')]).toEqual([503, '5']);
  });
});

describe('the way of a prediction', () => {
  test('touches no table once it is warm, and refreshes by age', async () => {
    await home.ask('POST', '/endpoints/churn/invocations', { inputs: [1] });
    const before = { ...home.counts.calls };
    for (let i = 0; i < 20; i += 1) {
      await home.ask('POST', '/endpoints/churn/invocations', { inputs: [1] });
      await home.ask('POST', '/v1/models/churn:predict', { instances: [[1, 2]] });
    }
    expect(home.counts.calls).toEqual(before);
    home.world.pass(5_000);
    await Promise.all(
      Array.from({ length: 10 }, () =>
        home.ask('POST', '/endpoints/churn/invocations', { inputs: [1] }),
      ),
    );
    expect(home.counts.calls.query).toBe(before.query + 1);
    expect(home.counts.calls.get).toBe(before.get);
  });

  test('a cold start that outlasts the caller is 503 with a time to wait, on every wire', async () => {
    reply = () => {
      throw new Problem('unavailable', 'churn is starting.');
    };
    const answers = await Promise.all([
      home.ask('POST', '/endpoints/churn/invocations', { inputs: [1] }),
      home.ask('POST', '/v1/models/churn:predict', { instances: [[1, 2]] }),
      home.ask('POST', '/v2/models/churn/infer', { inputs: [column('age', [1])] }),
    ]);
    for (const each of answers)
      expect([each.status, each.headers.get('retry-after')]).toEqual([503, '5']);
  });
});

describe('KServe V1', () => {
  test('lists and describes models', async () => {
    expect((await home.ask('GET', '/v1/models')).body).toEqual({ models: ['churn'] });
    expect((await home.ask('GET', '/v1/models/churn')).body).toEqual({
      name: 'churn',
      ready: true,
    });
    expect(await home.ask('GET', '/v1/models/none')).toMatchObject({
      status: 404,
      body: { error: 'Endpoint none not found.' },
    });
  });

  test('rows without names get the columns of the signature', async () => {
    const answered = await home.ask('POST', '/v1/models/churn:predict', { instances: [[1, 2]] });
    expect(answered.body).toEqual({ predictions: [1, 2.5] });
    expect(sent()).toEqual({ dataframe_split: { columns: ['age', 'visits'], data: [[1, 2]] } });
  });

  test('what MLflow reads as it is goes on byte by byte', async () => {
    const text = '{ "instances" : [{"age": 1.0, "visits": 2}] }';
    await home.ask('POST', '/v1/models/churn:predict', text);
    expect(Buffer.from(asked[0]?.body ?? []).toString()).toBe(text);
  });

  test.each([
    ['{"instances":', 400],
    ['{}', 400],
    ['[]', 400],
    ['', 400],
    ['{"instances": 3}', 400],
    ['{"instances": []}', 400],
    ['{"instances": [1], "inputs": [1]}', 400],
    ['{"instances": [1], "instances": [2]}', 400],
    [`${'['.repeat(100)}1${']'.repeat(100)}`, 400],
  ])('%s: %i', async (body, status) => {
    const answered = await home.ask('POST', '/v1/models/churn:predict', body);
    expect(answered.status).toBe(status);
    expect(answered.body).toEqual({ error: expect.any(String) });
    expect(asked).toEqual([]);
  });

  test("the model's refusal in this wire's words", async () => {
    reply = () => answer({ error_code: 'BAD_REQUEST', message: 'no column x' }, 400);
    const answered = await home.ask('POST', '/v1/models/churn:predict', { inputs: [1] });
    expect(answered).toMatchObject({ status: 400, body: { error: 'no column x' } });
  });
});

const column = (name: string, data: unknown[], datatype = 'FP64') => ({
  name,
  shape: [data.length],
  datatype,
  data,
});
const infer = (inputs: unknown[], more = {}, path = '/v2/models/churn/infer') =>
  home.ask('POST', path, { inputs, ...more });

describe('Open Inference Protocol', () => {
  test('health without a credential, the rest not', async () => {
    const nobody = { role: 'nobody' } as const;
    for (const path of ['/v2', '/v2/health/live', '/v2/health/ready'])
      expect((await home.ask('GET', path, undefined, nobody)).status).toBe(200);
    expect((await home.ask('GET', '/v2/models/churn', undefined, nobody)).status).toBe(401);
  });

  test('tells what a model takes', async () => {
    expect((await home.ask('GET', '/v2/models/churn')).body).toEqual({
      name: 'churn',
      versions: ['3'],
      platform: 'mlflow_pyfunc',
      inputs: [
        { name: 'age', datatype: 'FP64', shape: [-1] },
        { name: 'visits', datatype: 'INT64', shape: [-1] },
      ],
      outputs: [{ name: '0', datatype: 'FP64', shape: [-1] }],
    });
    expect((await home.ask('GET', '/v2/models')).body).toEqual({ models: ['churn'] });
  });

  test('versions: the one that is served, and no other', async () => {
    for (const path of ['', '/ready']) {
      expect((await home.ask('GET', `/v2/models/churn/versions/3${path}`)).status).toBe(200);
      expect((await home.ask('GET', `/v2/models/churn/versions/4${path}`)).status).toBe(404);
      expect((await home.ask('GET', `/v2/models/none${path}`)).status).toBe(404);
    }
    const at = (version: number) => `/v2/models/churn/versions/${version}/infer`;
    expect((await infer([column('age', [1])], {}, at(3))).status).toBe(200);
    expect((await infer([column('age', [1])], {}, at(4))).status).toBe(404);
  });

  test('columns by name', async () => {
    const answered = await infer(
      [column('age', [30.5, 40]), { ...column('visits', [1, 2], 'INT64'), shape: [2, 1] }],
      { id: 'q1' },
    );
    expect(sent()).toEqual({
      dataframe_split: {
        columns: ['age', 'visits'],
        data: [
          [30.5, 1],
          [40, 2],
        ],
      },
    });
    expect(answered.body).toEqual({
      model_name: 'churn',
      model_version: '3',
      id: 'q1',
      outputs: [{ name: 'predict', datatype: 'FP64', shape: [2], data: [1, 2.5] }],
    });
  });

  test('a matrix takes the names of the signature; without one it goes as it is', async () => {
    const matrix = { name: 'x', shape: [2, 2], datatype: 'FP32', data: [1, 2, 3, 4] };
    await infer([matrix]);
    const data = [
      [1, 2],
      [3, 4],
    ];
    expect(sent()).toEqual({ dataframe_split: { columns: ['age', 'visits'], data } });
    await deploy('plain');
    await infer([matrix], {}, '/v2/models/plain/infer');
    expect(sent()).toEqual({ inputs: data });
  });

  test('a model of records answers with a tensor a column, integers as integers', async () => {
    reply = () => answer('{"predictions": [{"label": "a", "n": 1}, {"label": "b", "n": 2}]}');
    const { body } = await infer([column('age', [1, 2])]);
    expect((body as { outputs: unknown }).outputs).toEqual([
      { name: 'label', datatype: 'BYTES', shape: [2], data: ['a', 'b'] },
      { name: 'n', datatype: 'INT64', shape: [2], data: [1, 2] },
    ]);
    const chosen = await infer([column('age', [1, 2])], { outputs: [{ name: 'n' }] });
    expect((chosen.body as { outputs: unknown[] }).outputs).toHaveLength(1);
    const wrong = await infer([column('age', [1, 2])], { outputs: [{ name: 'z' }] });
    expect(wrong).toMatchObject({ status: 400, body: { error: expect.stringContaining("'z'") } });
  });

  test('64-bit integers keep their digits', async () => {
    const text = `{"inputs":[{"name":"id","shape":[1],"datatype":"INT64","data":[9007199254740993]}]}`;
    await home.ask('POST', '/v2/models/churn/infer', text);
    expect(Buffer.from(asked[0]?.body ?? []).toString()).toContain('9007199254740993');
  });

  const bad: [string, unknown, string][] = [
    [
      'product of the shape',
      { shape: [2, 3], data: [1, 2, 3, 4, 5] },
      'holds 6 values and data has 5',
    ],
    ['negative dimension', { shape: [-1] }, 'whole numbers above 0'],
    ['fractional dimension', { shape: [1.5] }, 'whole numbers above 0'],
    ['no dimension', { shape: [] }, '1 to 8 dimensions'],
    ['huge shape', { shape: [1e9, 1e9] }, 'values'],
    ['FP16', { datatype: 'FP16' }, 'FP16'],
    ['unknown type', { datatype: 'FLOAT' }, 'none of'],
    ['text in numbers', { shape: [2], data: [1, 'x'] }, 'data[1]'],
    ['out of range', { datatype: 'UINT8', data: [256] }, 'UINT8'],
    ['fraction in integers', { datatype: 'INT32', data: [1.5] }, 'INT32'],
    ['number in BYTES', { datatype: 'BYTES', data: [1] }, 'string'],
    ['number in BOOL', { datatype: 'BOOL', data: [1] }, 'true or false'],
    ['null', { data: [null] }, 'finite'],
    ['wrong nesting', { shape: [2, 2], data: [[1, 2], [3]] }, 'nested'],
    ['wrong rows', { shape: [2, 2], data: [[1, 2]] }, 'rows'],
    ['binary size', { parameters: { binary_data_size: 8 } }, 'binary'],
    ['data missing', { data: undefined }, 'array'],
  ];
  test.each(bad)('%s is 400 naming the tensor', async (_what, change, words) => {
    const tensor = { name: 'age', shape: [1], datatype: 'FP64', data: [1], ...(change as object) };
    const answered = await infer([tensor]);
    expect(answered.status).toBe(400);
    expect((answered.body as { error: string }).error).toContain("'age'");
    expect((answered.body as { error: string }).error).toContain(words);
    expect(asked).toEqual([]);
  });

  test.each([
    ['no inputs', {}, 400],
    ['empty inputs', { inputs: [] }, 400],
    ['inputs no list', { inputs: 3 }, 400],
    ['no name', { inputs: [{ shape: [1], datatype: 'FP64', data: [1] }] }, 400],
    ['twice the same', { inputs: [column('a', [1]), column('a', [1])] }, 400],
    ['rows differ', { inputs: [column('a', [1]), column('b', [1, 2])] }, 400],
    [
      'matrix beside a column',
      { inputs: [column('a', [1]), { ...column('b', [1, 2]), shape: [1, 2] }] },
      400,
    ],
  ])('%s', async (_what, body, status) => {
    const answered = await home.ask('POST', '/v2/models/churn/infer', body);
    expect(answered.status).toBe(status);
    expect(answered.body).toEqual({ error: expect.any(String) });
    expect(asked).toEqual([]);
  });

  test('a binary body is refused in words', async () => {
    const answered = await home.ask('POST', '/v2/models/churn/infer', 'x', {
      headers: { 'inference-header-content-length': '1' },
    });
    expect(answered).toMatchObject({ status: 501, body: { error: expect.any(String) } });
  });

  test('a model that breaks is 500 with what it said, and the next request is answered', async () => {
    reply = () => answer({ message: 'boom' }, 500);
    expect(await infer([column('age', [1])])).toMatchObject({
      status: 500,
      body: { error: 'boom' },
    });
    reply = () => answer('not json');
    expect((await infer([column('age', [1])])).status).toBe(500);
    expect(home.logged.splice(0)).toHaveLength(2); // each is an error of the log, as it should be
    reply = () => answer('{"predictions": []}');
    expect((await infer([column('age', [1])])).status).toBe(200);
  });
});
