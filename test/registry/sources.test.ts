import { describe, expect, test } from 'vitest';
import { BAD_PATHS } from '../bad-paths.ts';
import { call } from '../house.ts';
import { type MlflowHouse, openMlflow } from '../mlflow.ts';

async function openChurn(artifacts: 'proxy' | 'direct' = 'proxy') {
  const house = openMlflow({ artifacts });
  await house.post('registered-models/create', { name: 'churn' });
  return house;
}
const create = (house: MlflowHouse, body: object) =>
  house.post('model-versions/create', { name: 'churn', ...body });
const uriOf = async (house: MlflowHouse, version: string, name = 'churn') =>
  (await house.get('model-versions/get-download-uri', { name, version })).body.artifact_uri;

async function loggedModel(house: MlflowHouse, runId?: string, name = 'forest') {
  const body = { experiment_id: '0', name, ...(runId ? { source_run_id: runId } : {}) };
  return (await house.post('logged-models', body)).body.model.info as {
    model_id: string;
    artifact_uri: string;
  };
}

describe('item 32: what a source may be', () => {
  test('files of the named run, by its URI and by runs:/', async () => {
    const house = await openChurn();
    const run = await house.run();
    const source = `${run.root}/model`;
    expect((await create(house, { source, run_id: run.id })).body.model_version).toMatchObject({
      source,
      run_id: run.id,
      status: 'READY',
    });
    const byRun = await create(house, { source: `runs:/${run.id}/model`, run_id: run.id });
    expect(byRun.body.model_version.source).toBe(`runs:/${run.id}/model`);
    expect(await uriOf(house, '1')).toBe(source);
    expect(await uriOf(house, '2')).toBe(source); // item 33: never runs:/ or models:/
  });

  test('item 37: runs:/<id>/<name> names the model that the run logged', async () => {
    const house = await openChurn();
    const run = await house.run();
    const model = await loggedModel(house, run.id);
    await create(house, { source: `runs:/${run.id}/forest`, run_id: run.id });
    expect(await uriOf(house, '1')).toBe(model.artifact_uri);
  });

  test('a logged model, by its id and by its files; the model learns of its versions', async () => {
    const house = await openChurn();
    const run = await house.run();
    const { model_id, artifact_uri } = await loggedModel(house, run.id);
    const first = await create(house, { source: `models:/${model_id}`, model_id });
    expect(first.body.model_version.run_id).toBe(run.id);
    await create(house, { source: artifact_uri, model_id });
    expect(await uriOf(house, '1')).toBe(artifact_uri);
    const { body } = await house.get(`logged-models/${model_id}`);
    expect(body.model.info.registrations).toEqual([
      { name: 'churn', version: '1' },
      { name: 'churn', version: '2' },
    ]);
    // The follower that repairs a crash in between changes nothing that stands.
    const [noter] = house.rooms.tracking.followers;
    for (const told of await house.told('models/churn'))
      if (told.type === 'registry.version.created') await noter?.run(call, told);
    const again = await house.get(`logged-models/${model_id}`);
    expect(again.body.model.info.tags).toEqual(body.model.info.tags);
  });

  test('another version: its place and lineage are copied, by number, alias, stage and latest', async () => {
    const house = await openChurn();
    const run = await house.run();
    await create(house, { source: `${run.root}/model`, run_id: run.id });
    await house.post('registered-models/create', { name: 'copy' });
    await house.post('registered-models/alias', { name: 'churn', alias: 'best', version: '1' });
    for (const source of [
      'models:/churn/1',
      'models:/churn@best',
      'models:/churn/None',
      'models:/churn/latest',
    ]) {
      const { body } = await house.post('model-versions/create', { name: 'copy', source });
      expect(body.model_version).toMatchObject({ source: 'models:/churn/1', run_id: run.id });
      expect(await uriOf(house, body.model_version.version, 'copy')).toBe(`${run.root}/model`);
    }
    const none = await house.post('model-versions/create', {
      name: 'copy',
      source: 'models:/churn/7',
    });
    expect(none.status).toBe(404);
    const other = await house.post('model-versions/create', {
      name: 'copy',
      source: 'models:/churn/1',
      run_id: 'another',
    });
    expect(other.status).toBe(400);
  });

  test('A15: a version cannot have itself as its source', async () => {
    const house = await openChurn();
    const answer = await create(house, { source: 'models:/churn/1' });
    expect(answer.body).toMatchObject({ error_code: 'INVALID_PARAMETER_VALUE' });
    expect(answer.status).toBe(400);
  });

  test('what lies elsewhere is a note, whoever owns it', async () => {
    const house = await openChurn();
    for (const source of [
      's3://bucket/a/b',
      'https://host/x',
      'gs://b/x',
      'hdfs://h/x',
      's3://b/a%20b',
    ])
      expect([source, (await create(house, { source })).status]).toEqual([source, 200]);
  });

  test('A15: another run’s files, another tenant’s, another’s model are refused', async () => {
    const house = await openChurn();
    const [mine, other] = [await house.run(), await house.run()];
    const foreign = await house.run('tenant01');
    const model = await loggedModel(house);
    const probes = [
      { source: `${other.root}/model`, run_id: mine.id },
      { source: `${other.root}/model` },
      { source: `${mine.root}x/model`, run_id: mine.id },
      { source: `${mine.root.slice(0, -'/artifacts'.length)}`, run_id: mine.id },
      { source: 'mlflow-artifacts:/', run_id: mine.id },
      { source: `mlflow-artifacts://host/0/${mine.id}/artifacts`, run_id: mine.id },
      { source: `http://localhost/api/2.0/mlflow-artifacts/artifacts/0/${mine.id}/artifacts` },
      { source: `runs:/${other.id}/model`, run_id: mine.id },
      { source: `runs:/${mine.id}/model` },
      { source: `runs://host/${mine.id}/model`, run_id: mine.id },
      { source: foreign.root, run_id: foreign.id },
      { source: `runs:/${foreign.id}/model`, run_id: foreign.id },
      { source: `models:/${model.model_id}` },
      { source: `models:/${model.model_id}`, run_id: mine.id },
      { source: model.artifact_uri, run_id: mine.id },
      { source: 'models:/m-00000000000000000000000000000000', model_id: model.model_id },
      { source: `models://host/${model.model_id}`, model_id: model.model_id },
      { source: `runs:/${mine.id}/model`, model_id: model.model_id },
      { source: '/tmp/model', run_id: mine.id },
      { source: 'file:///tmp/model', run_id: mine.id },
      { source: 'dummy-source' },
    ];
    for (const probe of probes) {
      const { status, body } = await create(house, probe);
      expect([probe, status, body.error_code]).toEqual([probe, 400, 'INVALID_PARAMETER_VALUE']);
    }
    expect((await house.get('model-versions/search')).body).toEqual({});
  });

  test('A16: the prompt tag gives no source a pass', async () => {
    const house = await openChurn();
    const tags = [{ key: 'mlflow.prompt.is_prompt', value: 'true' }];
    for (const source of ['/etc/passwd', 'file:///etc', '../x', 's3://b/x']) {
      const { status } = await create(house, { source, tags });
      expect([source, status]).toEqual([source, 400]);
    }
    expect((await create(house, { source: 'prompt-template', tags })).status).toBe(200);
    // Neither does a prompt version as the source of a model's.
    await house.post('registered-models/create', { name: 'copy' });
    const copy = await house.post('model-versions/create', {
      name: 'copy',
      source: 'models:/churn/1',
    });
    expect(copy.status).toBe(400);
  });

  test('with direct artifacts a folder of the run is its own, another is not', async () => {
    const house = await openChurn('direct');
    const run = await house.run();
    expect(run.root).toMatch(/^\//);
    expect((await create(house, { source: `${run.root}/model`, run_id: run.id })).status).toBe(200);
    expect((await create(house, { source: `${run.root}/../model`, run_id: run.id })).status).toBe(
      400,
    );
    expect((await create(house, { source: '/etc', run_id: run.id })).status).toBe(400);
  });
});

describe('A14: bad spellings', () => {
  /** Free by item 32: these name other houses, which we never read. */
  const elsewhere = new Set(['s3://other/x', 'http://127.0.0.1/x']);
  test.each(BAD_PATHS.filter(({ path }) => !elsewhere.has(path)))(
    '$id $path is no source',
    async ({ path }) => {
      const house = await openChurn();
      const run = await house.run();
      const refused = await create(house, { source: path, run_id: run.id });
      expect([refused.status, refused.body.error_code]).toEqual([400, 'INVALID_PARAMETER_VALUE']);
      expect((await house.get('model-versions/search')).body).toEqual({});
    },
  );

  test.each([
    's3://b/../other/x',
    's3://b/%2e%2e/x',
    's3://b/%252e%252e/x',
    's3://b/%25252e%25252e/x',
    's3://b/..%2fx',
    's3://b/x?p=../y',
    's3://b/x#../y',
    's3://b/x#/../y',
    's3://b/..;/x',
    's3://b\\..\\x',
    's3://b/%5c..%5cx',
    's3://b/．．/x',
    's3://b/\u2024\u2024/x',
    's3://b/a%00b',
    's3://b/%c0%ae%c0%ae/x',
    's3://b/%zz',
    'mlflow-artifacts:/../x',
    'https://h/%2E%2E/x',
    'runs:/0123/../x',
    'models:/churn/../x',
    'a:b',
    'c:/windows',
  ])('%s is no source either', async (source) => {
    const house = await openChurn();
    const { status, body } = await create(house, { source });
    expect([status, body.error_code]).toEqual([400, 'INVALID_PARAMETER_VALUE']);
  });
});

describe('resolveUri', () => {
  test('every spelling of a model ends at its files', async () => {
    const house = await openChurn();
    const run = await house.run();
    const model = await loggedModel(house, run.id);
    await create(house, { source: model.artifact_uri, model_id: model.model_id });
    await house.post('registered-models/alias', { name: 'churn', alias: 'best', version: '1' });
    const { resolveUri } = house.rooms.registry.service;
    for (const uri of [
      'models:/churn/1',
      'models:/churn/latest',
      'models:/churn/none',
      'models:/churn@best',
      `models:/${model.model_id}`,
      `runs:/${run.id}/forest`,
      model.artifact_uri,
    ])
      expect([uri, await resolveUri(call, uri)]).toEqual([uri, model.artifact_uri]);
    expect(await resolveUri(call, `runs:/${run.id}/notes`)).toBe(`${run.root}/notes`);
    for (const uri of ['models:/churn/2', 'models:/churn@none', 'models:/none/1', 'runs:/none/x'])
      await expect(resolveUri(call, uri)).rejects.toMatchObject({ code: 'missing' });
    for (const uri of ['models:/', 'models:/a/b/c', 'models:/churn/Live', 'models:/../1'])
      await expect(resolveUri(call, uri)).rejects.toMatchObject({ code: 'invalid' });
  });
});
