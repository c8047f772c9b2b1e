import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type BuiltApp, buildApp } from '../../functions/app.ts';
import { mount } from '../../functions/kernel/hallway.ts';
import { localEndpoints } from '../../local/endpoints.ts';
import { type LocalPlatform, openPlatform } from '../../local/platform.ts';
import { realWorld } from '../jobs/local.ts';
import { until } from '../jobs/until.ts';
import { testCall } from '../world.ts';

/** The registry and serving as one product, with model servers that are processes. */
const data = mkdtempSync(join(tmpdir(), 'registered-'));
const model = join(import.meta.dirname, '../jobs/model.ts');
const call = testCall();
const log = () => {};

let platform: LocalPlatform;
let app: BuiltApp;
let servers: ReturnType<typeof openServers>;
let front: ReturnType<typeof mount>;
const openServers = () =>
  localEndpoints({
    world: realWorld,
    dir: join(data, 'servers'),
    blobs: platform.blobs,
    commandFor: async (spec, ready) => ({
      command: [process.execPath, model, spec.modelUri, ready],
      env: {},
    }),
    log,
    graceMs: 2000,
  });

/** A house that somebody hopes we fetch from. */
const asked: string[] = [];
const elsewhere = createServer((request, response) => {
  asked.push(request.url ?? '');
  response.end('{}');
});
let bait = '';

beforeAll(async () => {
  await new Promise<void>((resolve) => elsewhere.listen(0, '127.0.0.1', resolve));
  bait = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}`;
  platform = openPlatform({ data, world: realWorld, url: 'http://localhost', log, noSync: true });
  servers = openServers();
  const endpoints: typeof platform.endpoints = new Proxy(platform.endpoints, {
    get: (_, name) => Reflect.get(servers, name),
  });
  app = buildApp({ ...platform, endpoints }, platform.steps);
  front = mount(app.routes, {
    ...app.hallway({ workspace: call.workspace, caller: call.caller }),
    guard: () => 'http://localhost',
    log,
  });
  await platform.run(app);
});
afterAll(async () => {
  await servers.close();
  await platform.close();
  elsewhere.close();
  rmSync(data, { recursive: true, force: true });
});

async function ask(method: string, path: string, body?: object) {
  const response = await front.request(`http://localhost${path}`, {
    method,
    ...(body
      ? { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }
      : {}),
  });
  const text = await response.text();
  // biome-ignore lint/suspicious/noExplicitAny: answers are looked at field by field.
  let read: any = text;
  try {
    read = JSON.parse(text);
  } catch {}
  return { status: response.status, body: read, text };
}
const M = '/api/2.0/mlflow';
async function must(method: string, path: string, body?: object) {
  const answer = await ask(method, path, body);
  expect([path, answer.status, answer.text]).toEqual([path, 200, answer.text]);
  return answer.body;
}

/** A run with a model's files, and a version of `name` made of it. */
async function registered(name: string, says: string): Promise<void> {
  const { run } = await must('POST', `${M}/runs/create`, { experiment_id: '0' });
  const root: string = run.info.artifact_uri;
  const folder = `artifacts/${root.replace(/^mlflow-artifacts:\//, '')}/model`;
  for (const [file, text] of [
    ['model.json', JSON.stringify({ name: says })],
    ['MLmodel', 'artifact_path: model\n'],
  ])
    await platform.blobs.put(call, `${folder}/${file}`, Buffer.from(text ?? ''));
  await must('POST', `${M}/model-versions/create`, {
    name,
    source: `${root}/model`,
    run_id: run.info.run_id,
  });
}
const shown = (endpoint: string) => ask('GET', `/api/endpoints/${endpoint}`);
const inService = (endpoint: string, version: number) =>
  until(`${endpoint} to serve version ${version}`, async () => {
    const { body } = await shown(endpoint);
    return body.state === 'in-service' && body.version === version ? body : undefined;
  });
const predicted = (endpoint: string) =>
  ask('POST', `/endpoints/${endpoint}/invocations`, { inputs: [1] });

let count = 0;
let name = '';
beforeEach(async () => {
  name = `m${++count}`;
  await must('POST', `${M}/registered-models/create`, { name });
});

test.each([
  ['its version', () => ask('DELETE', `${M}/model-versions/delete`, { name, version: '1' })],
  ['its model', () => ask('DELETE', `${M}/registered-models/delete`, { name })],
])(
  'F08 an endpoint whose registered model loses %s goes on, also after a restart, and says so',
  async (_, remove) => {
    await registered(name, 'first');
    await must('PUT', `/api/endpoints/${name}`, { model: `models:/${name}/1` });
    expect((await inService(name, 1)).withdrawn).toBeUndefined();
    expect((await predicted(name)).text).toContain('first');

    expect((await remove()).status).toBe(200);
    const { withdrawn } = await until('the endpoint to say so', async () => {
      const { body } = await shown(name);
      return body.withdrawn ? body : undefined;
    });
    expect(withdrawn).toContain(`Version 1 of ${name} was deleted from the registry`);
    expect((await predicted(name)).text).toContain('first');

    await servers.close();
    servers = openServers();
    await servers.ready;
    expect((await predicted(name)).text).toContain('first');
    expect((await shown(name)).body).toMatchObject({ state: 'in-service', version: 1, withdrawn });

    // It cannot be deployed anew, which changes nothing.
    const again = await ask('PUT', `/api/endpoints/${name}`, {
      model: `models:/${name}/1`,
      scale: { minimum: 1 },
    });
    expect([again.status, again.body.detail]).toEqual([404, expect.stringContaining(name)]);
    expect((await predicted(name)).status).toBe(200);
  },
);

test('F08 the next version that is deployed ends it, a rollback to the deleted one says it again', async () => {
  await registered(name, 'first');
  await registered(name, 'second');
  await must('PUT', `/api/endpoints/${name}`, { model: `models:/${name}/1` });
  await inService(name, 1);
  await must('DELETE', `${M}/model-versions/delete`, { name, version: '1' });
  await until('it to say so', async () => (await shown(name)).body.withdrawn);
  await must('PUT', `/api/endpoints/${name}`, { model: `models:/${name}/2` });
  expect((await inService(name, 2)).withdrawn).toBeUndefined();
  await must('POST', `/api/endpoints/${name}/rollback`);
  expect((await inService(name, 1)).withdrawn).toContain('was deleted');
  expect((await predicted(name)).text).toContain('first');
});

test('F08 a model made again under its name is another, though its versions count from 1 too', async () => {
  await registered(name, 'first');
  await must('PUT', `/api/endpoints/${name}`, { model: `models:/${name}/1` });
  await inService(name, 1);
  await must('DELETE', `${M}/registered-models/delete`, { name });
  await must('POST', `${M}/registered-models/create`, { name });
  await registered(name, 'another');
  await until('it to say so', async () => (await shown(name)).body.withdrawn);
  await must('PUT', `/api/endpoints/${name}`, { model: `models:/${name}/1` });
  await until('the new one to be what answers', async () => {
    const answered = (await predicted(name)).text.includes('another');
    const { body } = await shown(name);
    return answered && body.state === 'in-service' && !body.withdrawn ? true : undefined;
  });
});

test('a registered model that is renamed takes its endpoint along, and a stranger under its old name none', async () => {
  await registered(name, 'first');
  await registered(name, 'second');
  const alias = (model: string, version: string) =>
    must('POST', `${M}/registered-models/alias`, { name: model, alias: 'champion', version });
  await alias(name, '1');
  await must('PUT', `/api/endpoints/${name}`, { model: `models:/${name}@champion` });
  await inService(name, 1);
  const renamed = `${name}-renamed`;
  await must('POST', `${M}/registered-models/rename`, { name, new_name: renamed });
  await must('POST', `${M}/registered-models/create`, { name });
  await registered(name, 'stranger');
  await alias(name, '1');
  await alias(renamed, '2');
  const { model } = await inService(name, 2);
  expect(model).toBe(`models:/${renamed}@champion`);
  expect((await predicted(name)).text).toContain('second');

  await must('DELETE', `${M}/registered-models/alias`, { name: renamed, alias: 'champion' });
  const { withdrawn } = await until('the endpoint to say so', async () => {
    const { body } = await shown(name);
    return body.withdrawn ? body : undefined;
  });
  expect(withdrawn).toContain(`${renamed} has no alias champion any more`);
  expect((await predicted(name)).text).toContain('second');
});

test.each([
  ['http', () => `${bait}/model`],
  ['http of an artifact', () => `${bait}/models/MLmodel`],
  ['a foreign bucket', () => 's3://somebody-elses-bucket/model'],
  ['gs', () => 'gs://somebody-elses-bucket/model'],
  ['dbfs', () => 'dbfs:/model'],
])(
  'A14 a version whose source is %s is kept as a note, and nothing of ours ever reads it',
  async (_, source) => {
    const before = asked.length;
    const at = source();
    await must('POST', `${M}/model-versions/create`, { name, source: at });
    const deployed = await ask('PUT', `/api/endpoints/${name}`, { model: `models:/${name}/1` });
    expect([deployed.status, deployed.body.detail]).toEqual([
      501,
      `The model's files at '${at}' are not in this workspace's storage.`,
    ]);
    expect((await shown(name)).status).toBe(404);
    const file = await ask(
      'GET',
      `/model-versions/get-artifact?name=${name}&version=1&path=MLmodel`,
    );
    expect(file.status).toBeGreaterThanOrEqual(400);
    expect(file.status).not.toBe(500);

    // An alias that moves to it leaves what answers, with the reason.
    await registered(name, 'second');
    await must('POST', `${M}/registered-models/alias`, { name, alias: 'champion', version: '2' });
    await must('PUT', `/api/endpoints/${name}`, { model: `models:/${name}@champion` });
    await inService(name, 2);
    await must('POST', `${M}/registered-models/alias`, { name, alias: 'champion', version: '1' });
    const { failure } = await until('the deployment to fail', async () => {
      const { body } = await shown(name);
      return body.failure ? body : undefined;
    });
    expect(failure).toContain('are not in this workspace');
    expect((await predicted(name)).text).toContain('second');
    expect(asked.length).toBe(before);
  },
);

test.each([
  '/etc/passwd',
  'file:///etc/passwd',
  'file:/etc',
  'mlflow-artifacts://evil.example/1/x',
])('A14 %s is no source at all', async (source) => {
  const { status, body } = await ask('POST', `${M}/model-versions/create`, { name, source });
  expect([status, body.error_code]).toEqual([400, 'INVALID_PARAMETER_VALUE']);
});
