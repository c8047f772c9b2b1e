import { describe, expect, test } from 'vitest';
import { newRun, openMlflow } from '../mlflow.ts';

/** What mlflow 3.17.2 on SQLite answered to the same requests, where we said something else. */

/** Model `m` with three versions, of which the second has a run. */
async function stocked() {
  const app = openMlflow();
  const run_id = await newRun(app);
  await app.post('registered-models/create', { name: 'm' });
  for (const from of [{}, { run_id }, {}])
    await app.post('model-versions/create', { name: 'm', source: 's3://b/x', ...from });
  return { app, run_id };
}

test.each(['latest', 'LaTest'])('the alias %s was not found', async (alias) => {
  const { app } = await stocked();
  await app.post('model-versions/transition-stage', { name: 'm', version: '3', stage: 'Archived' });
  const { status, body } = await app.get('registered-models/alias', { name: 'm', alias });
  expect([status, body.model_version?.version]).toEqual([200, '3']);
  await app.post('registered-models/create', { name: 'empty' });
  for (const name of ['empty', 'unknown'])
    expect(await app.get('registered-models/alias', { name, alias })).toMatchObject({
      status: 404,
      body: { error_code: 'RESOURCE_DOES_NOT_EXIST' },
    });
  const set = await app.post('registered-models/alias', { name: 'm', alias, version: '1' });
  expect(set.status).toBe(400);
});

test('versions without a run were found by no run_id', async () => {
  const { app, run_id } = await stocked();
  const found = async (clause: string) => {
    const { body } = await app.get('model-versions/search', { filter: `name='m' and ${clause}` });
    const versions: { version: string }[] = body.model_versions ?? [];
    return versions.map(({ version }) => version).sort();
  };
  expect(await found("run_id=''")).toEqual(['1', '3']);
  expect(await found("run_id!=''")).toEqual(['2']);
  expect(await found("run_id IN ('x', '')")).toEqual(['1', '3']);
  expect(await found("run_id NOT IN ('x')")).toEqual(['1', '2', '3']);
  expect(await found(`run_id='${run_id}'`)).toEqual(['2']);
});

test.each(['true', 'false', 1, 0])('archive_existing_versions took %j for a bool', async (flag) => {
  const { app } = await stocked();
  const answer = await app.post('model-versions/transition-stage', {
    ...{ name: 'm', version: '1', stage: 'Staging' },
    archive_existing_versions: flag,
  });
  expect(answer.status).toBe(400);
  expect(answer.body.message).toContain("'archive_existing_versions'");
});

test('a search for no models gives none; for no versions it is refused', async () => {
  const { app } = await stocked();
  const max_results = '0';
  const models = await app.get('registered-models/search', { max_results });
  expect([models.status, models.body]).toEqual([200, {}]);
  expect((await app.get('model-versions/search', { max_results })).status).toBe(400);
  expect((await app.get('registered-models/search', { max_results: '-1' })).status).toBe(400);
});

describe('aliases', () => {
  const set = (app: ReturnType<typeof openMlflow>, alias: string) =>
    app.post('registered-models/alias', { name: 'm', alias, version: '1' });

  test('with letters and digits of any script were refused; they are listed by code point', async () => {
    const { app } = await stocked();
    const given = [
      'zeta',
      'é',
      'Alpha',
      '\u{20000}',
      'ﬁn',
      'alpha',
      'B',
      'ñandú',
      '_',
      '中',
      'vé',
      'a٣',
    ];
    for (const alias of given) expect((await set(app, alias)).status).toBe(200);
    const sorted = given.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const model = (await app.get('registered-models/get', { name: 'm' })).body.registered_model;
    expect(model.aliases).toEqual(sorted.map((alias) => ({ alias, version: '1' })));
    const version = await app.get('model-versions/get', { name: 'm', version: '1' });
    expect(version.body.model_version.aliases).toEqual(sorted);
    const one = await app.get('registered-models/alias', { name: 'm', alias: 'é' });
    expect(one.body.model_version.version).toBe('1');
    const source = { name: 'm', source: 'models:/m@é' };
    const copied = await app.post('model-versions/create', source);
    expect(copied.body.model_version).toMatchObject({ source: 'models:/m/1' });
    const gone = await app.send('DELETE', 'registered-models/alias', { name: 'm', alias: 'é' });
    expect(gone.status).toBe(200);
  });
  test.each(['V2', 'v\u0663', 'a b', 'a/b', 'e\u0301', '\u200b', 'a\n', ''])(
    '%j is refused still',
    async (alias) => {
      const { app } = await stocked();
      expect((await set(app, alias)).status).toBe(400);
    },
  );
});
