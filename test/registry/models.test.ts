import { describe, expect, test } from 'vitest';
import { BAD_PATHS } from '../bad-paths.ts';
import { call } from '../house.ts';
import { openMlflow } from '../mlflow.ts';

const S3 = 's3://elsewhere/model';

async function withVersions(count: number) {
  const house = openMlflow();
  await house.post('registered-models/create', { name: 'churn' });
  for (let i = 0; i < count; i++) {
    house.world.pass(1000);
    await house.post('model-versions/create', { name: 'churn', source: S3 });
  }
  return house;
}

describe('registered models', () => {
  test('a model is created, described, tagged, found, renamed with all it has, and deleted', async () => {
    const house = await withVersions(2);
    const created = await house.post('registered-models/create', { name: 'churn' });
    expect(created).toMatchObject({
      status: 400,
      body: {
        error_code: 'RESOURCE_ALREADY_EXISTS',
        message: 'Registered Model (name=churn) already exists.',
      },
    });
    await house.send('PATCH', 'registered-models/update', {
      name: 'churn',
      description: 'who leaves',
    });
    await house.post('registered-models/set-tag', { name: 'churn', key: 'team', value: 'blue' });
    await house.post('registered-models/alias', { name: 'churn', alias: 'champion', version: '1' });
    const renamed = await house.post('registered-models/rename', {
      name: 'churn',
      new_name: 'leavers',
    });
    expect(renamed.body.registered_model).toMatchObject({
      name: 'leavers',
      description: 'who leaves',
      tags: [{ key: 'team', value: 'blue' }],
      aliases: [{ alias: 'champion', version: '1' }],
      latest_versions: [{ name: 'leavers', version: '2', current_stage: 'None' }],
    });
    expect((await house.get('registered-models/get', { name: 'churn' })).status).toBe(404);
    const champion = await house.get('registered-models/alias', {
      name: 'leavers',
      alias: 'champion',
    });
    expect(champion.body.model_version).toMatchObject({ name: 'leavers', version: '1' });
    const deleted = await house.send('DELETE', 'registered-models/delete', { name: 'leavers' });
    expect([deleted.status, deleted.body]).toEqual([200, {}]);
    expect((await house.get('registered-models/get', { name: 'leavers' })).body).toEqual({
      error_code: 'RESOURCE_DOES_NOT_EXIST',
      message: 'Registered Model with name=leavers not found',
    });
    expect((await house.get('model-versions/search')).body).toEqual({});
  });

  test('a rename onto a taken name changes nothing', async () => {
    const house = await withVersions(1);
    await house.post('registered-models/create', { name: 'taken' });
    const answer = await house.post('registered-models/rename', {
      name: 'churn',
      new_name: 'taken',
    });
    expect(answer.body.error_code).toBe('RESOURCE_ALREADY_EXISTS');
    expect((await house.get('model-versions/get', { name: 'churn', version: '1' })).status).toBe(
      200,
    );
  });

  test('a model made again after its deletion starts anew, and the old rows are swept', async () => {
    const house = await withVersions(3);
    const long = 'x'.repeat(90_000);
    await house.post('model-versions/set-tag', {
      name: 'churn',
      version: '2',
      key: 'k',
      value: long,
    });
    await house.send('DELETE', 'registered-models/delete', { name: 'churn' });
    await house.post('registered-models/create', { name: 'churn' });
    const first = await house.post('model-versions/create', { name: 'churn', source: S3 });
    expect(first.body.model_version.version).toBe('1');
    const [sweeper] = house.rooms.registry.followers;
    const told = await house.told('models/churn');
    const deleted = told.find(({ type }) => type === 'registry.model.deleted');
    await sweeper?.run(call, deleted!);
    await sweeper?.run(call, deleted!);
    const rows = await house.table.query(call, { pk: 'VERSIONS' });
    expect(rows.items).toHaveLength(1);
    const { id } = deleted!.data as { id: string };
    expect((await house.table.query(call, { pk: `M#${id}` })).items).toEqual([]);
  });

  test('a tag of 100,000 characters comes back whole, one more is refused', async () => {
    const house = await withVersions(1);
    const value = 'é'.repeat(100_000);
    const where = { name: 'churn', version: '1' };
    for (const path of ['registered-models/set-tag', 'model-versions/set-tag']) {
      expect((await house.post(path, { ...where, key: 'text', value })).status).toBe(200);
      const refused = await house.post(path, { ...where, key: 'text', value: `${value}e` });
      expect(refused.body).toMatchObject({
        error_code: 'INVALID_PARAMETER_VALUE',
        message: "'value' exceeds the maximum length of 100000 characters",
      });
    }
    const model = await house.get('registered-models/get', { name: 'churn' });
    expect(model.body.registered_model.tags).toEqual([{ key: 'text', value }]);
    expect(model.body.registered_model.latest_versions[0].tags).toEqual([{ key: 'text', value }]);
    const found = await house.get('model-versions/search', { filter: `tags.text LIKE 'éé%'` });
    expect(found.body.model_versions[0].tags).toEqual([{ key: 'text', value }]);
    await house.post('model-versions/set-tag', { ...where, key: 'text', value: 'short' });
    const version = await house.get('model-versions/get', where);
    expect(version.body.model_version.tags).toEqual([{ key: 'text', value: 'short' }]);
    await house.send('DELETE', 'model-versions/delete-tag', { ...where, key: 'text' });
    const again = await house.send('DELETE', 'model-versions/delete-tag', {
      ...where,
      key: 'text',
    });
    expect(again.status).toBe(200); // item 17: silent for the registry
    expect((await house.get('model-versions/get', where)).body.model_version.tags).toBeUndefined();
  });

  test('a tag named __proto__ is a tag', async () => {
    const house = await withVersions(1);
    await house.post('registered-models/set-tag', { name: 'churn', key: '__proto__', value: 'v' });
    const shown = await house.ask('GET', '/api/models/churn');
    expect(Object.entries(shown.body.tags)).toEqual([['__proto__', 'v']]);
    expect(({} as Record<string, unknown>)['v']).toBeUndefined();
  });

  test('both prefixes answer the same', async () => {
    const house = await withVersions(1);
    const [api, ajax] = await Promise.all(
      ['/api', '/ajax-api'].map((prefix) =>
        house.ask('GET', `${prefix}/2.0/mlflow/registered-models/get?name=churn`),
      ),
    );
    expect(ajax?.body).toEqual(api?.body);
  });

  test('another workspace sees, finds and changes nothing', async () => {
    const house = await withVersions(1);
    const who = 'tenant01';
    const name = 'churn';
    const probes = [
      house.get('registered-models/get', { name }, who),
      house.get('model-versions/get', { name, version: '1' }, who),
      house.get('model-versions/get-download-uri', { name, version: '1' }, who),
      house.post('model-versions/create', { name, source: S3 }, who),
      house.post('registered-models/alias', { name, alias: 'a', version: '1' }, who),
      house.send('DELETE', 'registered-models/delete', { name }, who),
      house.send('DELETE', 'model-versions/delete', { name, version: '1' }, who),
      house.post('registered-models/rename', { name, new_name: 'mine' }, who),
    ];
    for (const probe of await Promise.all(probes)) expect(probe.status).toBe(404);
    expect((await house.get('model-versions/search', {}, who)).body).toEqual({});
    expect((await house.get('registered-models/search', {}, who)).body).toEqual({});
    expect((await house.get('registered-models/get', { name })).status).toBe(200);
  });
});

describe('bad input', () => {
  const bad = BAD_PATHS.map(({ id, path }) => ({ id, path }));
  test.each(bad)('$id $path is no model name', async ({ path }) => {
    const house = openMlflow();
    const answers = await Promise.all([
      house.post('registered-models/create', { name: path }),
      house.post('registered-models/rename', { name: 'x', new_name: path }),
      house.get('registered-models/get', { name: path }),
      house.post('model-versions/create', { name: path, source: S3 }),
      house.post('registered-models/set-tag', { name: path, key: 'k', value: 'v' }),
    ]);
    for (const { status, body } of answers)
      expect([status, body.error_code]).toEqual([400, 'INVALID_PARAMETER_VALUE']);
    expect((await house.table.query(call, { pk: 'MODELS' })).items).toEqual([]);
  });

  test.each([
    ['POST', 'registered-models/create', {}, "Missing value for required parameter 'name'"],
    [
      'POST',
      'registered-models/create',
      { name: '' },
      "Missing value for required parameter 'name'",
    ],
    ['POST', 'registered-models/create', { name: 7 }, "Invalid value 7 for parameter 'name'"],
    ['POST', 'registered-models/create', { name: 'a/b' }, "Names cannot contain '/' or ':'"],
    ['POST', 'registered-models/create', { name: 'n'.repeat(257) }, 'maximum length of 256'],
    ['POST', 'registered-models/create', { name: 'a', tags: 'x' }, 'tags'],
    [
      'POST',
      'registered-models/create',
      { name: 'a', tags: [{ key: '../x', value: '' }] },
      'must not resolve to other names',
    ],
    [
      'POST',
      'registered-models/create',
      { name: 'a', description: 'd'.repeat(10_001) },
      'at most 10000',
    ],
    ['POST', 'registered-models/rename', { name: 'churn' }, "parameter 'new_name'"],
    ['PATCH', 'registered-models/update', {}, "parameter 'name'"],
    ['POST', 'registered-models/set-tag', { name: 'churn' }, "parameter 'key'"],
    [
      'POST',
      'registered-models/set-tag',
      { name: 'churn', key: 'k', value: 3 },
      "parameter 'value'",
    ],
    [
      'POST',
      'registered-models/set-tag',
      { name: 'churn', key: 'k'.repeat(251), value: '' },
      'maximum length of 250',
    ],
    [
      'POST',
      'registered-models/alias',
      { name: 'churn', alias: 'a', version: 'abc' },
      "Parameter 'version' must be an integer, got 'abc'.",
    ],
    [
      'POST',
      'registered-models/alias',
      { name: 'churn', alias: 'a', version: 1 },
      "parameter 'version'",
    ],
    [
      'POST',
      'registered-models/alias',
      { name: 'churn', alias: 'v12', version: '1' },
      "Version alias name 'v12' is reserved.",
    ],
    [
      'POST',
      'registered-models/alias',
      { name: 'churn', alias: 'Latest', version: '1' },
      'is reserved',
    ],
    [
      'POST',
      'registered-models/alias',
      { name: 'churn', alias: 'a b', version: '1' },
      'Names may only contain',
    ],
    [
      'POST',
      'registered-models/alias',
      { name: 'churn', alias: 'a'.repeat(256), version: '1' },
      '255',
    ],
    ['POST', 'registered-models/alias', { name: 'churn', version: '1' }, "parameter 'alias'"],
    ['POST', 'model-versions/create', { name: 'churn' }, "parameter 'source'"],
    [
      'POST',
      'model-versions/create',
      { name: 'churn', source: 's3://b/x', run_id: '../x' },
      'run_id',
    ],
    [
      'POST',
      'model-versions/create',
      { name: 'churn', source: `s3://b/${'x'.repeat(2000)}` },
      'longer than 2000',
    ],
    [
      'POST',
      'model-versions/transition-stage',
      { name: 'churn', version: '1', stage: 'Live' },
      'Invalid Model Version stage: Live',
    ],
    [
      'POST',
      'model-versions/transition-stage',
      { name: 'churn', version: '1' },
      "parameter 'stage'",
    ],
    [
      'POST',
      'model-versions/transition-stage',
      { name: 'churn', version: '1', stage: 'archived', archive_existing_versions: true },
      'is not an Active stage',
    ],
    [
      'POST',
      'registered-models/get-latest-versions',
      { name: 'churn', stages: ['Live'] },
      'Invalid Model Version stage',
    ],
  ])('%s %s %j: %s', async (method, path, body, message) => {
    const house = await withVersions(1);
    const before = await house.told('models/churn');
    const answer = await house.send(method, path, body);
    expect(answer.status).toBe(400);
    expect(answer.body.error_code).toBe('INVALID_PARAMETER_VALUE');
    expect(answer.body.message).toContain(message);
    expect(await house.told('models/churn')).toEqual(before);
  });

  test.each([
    ['PATCH', 'registered-models/update', { name: 'none' }],
    ['DELETE', 'registered-models/delete', { name: 'none' }],
    ['POST', 'registered-models/rename', { name: 'none', new_name: 'some' }],
    ['POST', 'registered-models/set-tag', { name: 'none', key: 'k', value: 'v' }],
    ['DELETE', 'registered-models/delete-tag', { name: 'none', key: 'k' }],
    ['POST', 'registered-models/alias', { name: 'churn', alias: 'a', version: '9' }],
    ['DELETE', 'registered-models/alias', { name: 'none', alias: 'a' }],
    ['POST', 'registered-models/get-latest-versions', { name: 'none' }],
    ['POST', 'model-versions/create', { name: 'none', source: S3 }],
    ['POST', 'model-versions/create', { name: 'churn', source: S3, model_id: 'm-none' }],
    ['PATCH', 'model-versions/update', { name: 'churn', version: '9', description: 'd' }],
    ['DELETE', 'model-versions/delete', { name: 'churn', version: '9' }],
    ['POST', 'model-versions/set-tag', { name: 'churn', version: '9', key: 'k', value: 'v' }],
    ['DELETE', 'model-versions/delete-tag', { name: 'churn', version: '9', key: 'k' }],
    ['POST', 'model-versions/transition-stage', { name: 'churn', version: '9', stage: 'None' }],
  ])('%s %s of something unknown: 404', async (method, path, body) => {
    const house = await withVersions(1);
    const answer = await house.send(method, path, body);
    expect([answer.status, answer.body.error_code]).toEqual([404, 'RESOURCE_DOES_NOT_EXIST']);
  });

  test('a body over the limit is refused before it is read', async () => {
    const house = openMlflow();
    const answer = await house.post('registered-models/alias', {
      name: 'x',
      alias: 'a'.repeat(20_000),
    });
    expect(answer).toMatchObject({ status: 400, body: { error_code: 'INVALID_PARAMETER_VALUE' } });
  });
});
