import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type MlflowHouse, openMlflow } from '../mlflow.ts';

const S3 = 's3://elsewhere/model';
const create = (house: MlflowHouse, name = 'churn', body: object = {}) =>
  house.post('model-versions/create', { name, source: S3, ...body });

async function openChurn(count = 0) {
  const house = openMlflow();
  await house.post('registered-models/create', { name: 'churn' });
  for (let i = 0; i < count; i++) {
    house.world.pass(1000);
    await create(house);
  }
  return house;
}
const stagesOf = async (house: MlflowHouse) => {
  const { body } = await house.get('model-versions/search', { order_by: 'version_number ASC' });
  return (body.model_versions ?? []).map((v: { current_stage: string }) => v.current_stage);
};

describe('versions', () => {
  test('item 27: a deleted number is never given again', async () => {
    const house = await openChurn(3);
    await house.send('DELETE', 'model-versions/delete', { name: 'churn', version: '3' });
    expect((await house.get('model-versions/get', { name: 'churn', version: '3' })).status).toBe(
      404,
    );
    expect((await create(house)).body.model_version.version).toBe('4');
  });

  test('F01: 200 clients at once get 1 to 200, each once', async () => {
    const house = await openChurn();
    const made = await Promise.all(Array.from({ length: 200 }, () => create(house)));
    const numbers = made.map(({ body }) => Number(body.model_version.version));
    expect(numbers.sort((a, b) => a - b)).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
    const told = (await house.told('models/churn')).filter(
      (t) => t.type === 'registry.version.created',
    );
    expect(told).toHaveLength(200);
  });

  test('item 31: deleting a version deletes its aliases, and nobody else’s', async () => {
    const house = await openChurn(2);
    await house.post('registered-models/alias', { name: 'churn', alias: 'a', version: '1' });
    await house.post('registered-models/alias', { name: 'churn', alias: 'b', version: '2' });
    await house.send('DELETE', 'model-versions/delete', { name: 'churn', version: '1' });
    const model = await house.get('registered-models/get', { name: 'churn' });
    expect(model.body.registered_model.aliases).toEqual([{ alias: 'b', version: '2' }]);
  });

  test('item 31: an absent alias is 400, an absent alias deleted is 200', async () => {
    const house = await openChurn(1);
    const answer = await house.get('registered-models/alias', { name: 'churn', alias: 'zz' });
    expect([answer.status, answer.body]).toEqual([
      400,
      { error_code: 'INVALID_PARAMETER_VALUE', message: 'Registered model alias zz not found.' },
    ]);
    const deleted = await house.send('DELETE', 'registered-models/alias', {
      name: 'churn',
      alias: 'zz',
    });
    expect(deleted.status).toBe(200);
  });

  test('an alias that is set again to the same version tells nothing twice', async () => {
    const house = await openChurn(2);
    for (const version of ['1', '1', '2'])
      await house.post('registered-models/alias', { name: 'churn', alias: 'champion', version });
    const told = (await house.told('models/churn')).filter(
      ({ type }) => type === 'registry.alias.set',
    );
    expect(told.map(({ data }) => data)).toEqual([
      { name: 'churn', alias: 'champion', version: 1, previous: null },
      { name: 'churn', alias: 'champion', version: 2, previous: 1 },
    ]);
    const version = await house.get('model-versions/get', { name: 'churn', version: '2' });
    expect(version.body.model_version.aliases).toEqual(['champion']);
  });

  test('version 0007 is version 7 of the wire, and numbers beyond eight digits are refused', async () => {
    const house = await openChurn(1);
    expect((await house.get('model-versions/get', { name: 'churn', version: '0001' })).status).toBe(
      200,
    );
    const big = await house.get('model-versions/get', { name: 'churn', version: '123456789' });
    expect(big.status).toBe(400);
  });
});

describe('stages', () => {
  test('item 29: archiving moves the others and the times of all', async () => {
    const house = await openChurn(3);
    const move = (version: string, stage: string, archive = false) =>
      house.post('model-versions/transition-stage', {
        name: 'churn',
        version,
        stage,
        archive_existing_versions: archive,
      });
    await move('1', 'staging');
    await move('2', 'STAGING');
    expect(await stagesOf(house)).toEqual(['Staging', 'Staging', 'None']);
    house.world.pass(5000);
    const moved = await move('3', 'Staging', true);
    const now = house.world.now();
    expect(moved.body.model_version.current_stage).toBe('Staging');
    expect(await stagesOf(house)).toEqual(['Archived', 'Archived', 'Staging']);
    const model = (await house.get('registered-models/get', { name: 'churn' })).body
      .registered_model;
    expect(model.last_updated_timestamp).toBe(now);
    const { body } = await house.get('model-versions/search');
    for (const version of body.model_versions) expect(version.last_updated_timestamp).toBe(now);
    expect(
      model.latest_versions.map((v: Record<string, string>) => [v['current_stage'], v['version']]),
    ).toEqual([
      ['Staging', '3'],
      ['Archived', '2'],
    ]);
    const told = (await house.told('models/churn')).at(-1);
    expect(told?.data).toMatchObject({ version: 3, stage: 'Staging', archived: [1, 2] });
  });

  test('more versions than one commit can hold are archived, the asked one last', async () => {
    const house = await openChurn(201);
    for (let i = 1; i <= 200; i++)
      await house.post('model-versions/transition-stage', {
        name: 'churn',
        version: String(i),
        stage: 'Production',
      });
    const moved = await house.post('model-versions/transition-stage', {
      name: 'churn',
      version: '201',
      stage: 'Production',
      archive_existing_versions: true,
    });
    expect(moved.status).toBe(200);
    const stages = await stagesOf(house);
    expect(stages.filter((stage: string) => stage === 'Archived')).toHaveLength(200);
    expect(stages.at(-1)).toBe('Production');
  });

  test('item 28: the newest of each stage follows every move and deletion', async () => {
    const shared = openMlflow();
    let counter = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            fc.constant({ do: 'create' as const }),
            fc.record({
              do: fc.constant('delete' as const),
              version: fc.integer({ min: 1, max: 6 }),
            }),
            fc.record({
              do: fc.constant('move' as const),
              version: fc.integer({ min: 1, max: 6 }),
              stage: fc.constantFrom('None', 'Staging', 'Production', 'Archived'),
              archive: fc.boolean(),
            }),
          ),
          { maxLength: 14 },
        ),
        async (steps) => {
          const name = `m${counter++}`;
          await shared.post('registered-models/create', { name });
          const model = new Map<number, string>();
          let next = 1;
          for (const step of steps) {
            if (step.do === 'create') {
              await create(shared, name);
              model.set(next++, 'None');
            } else if (step.do === 'delete') {
              const body = { name, version: String(step.version) };
              const { status } = await shared.send('DELETE', 'model-versions/delete', body);
              expect(status).toBe(model.delete(step.version) ? 200 : 404);
            } else {
              const active = step.stage === 'Staging' || step.stage === 'Production';
              const archive = step.archive && active;
              const { status } = await shared.post('model-versions/transition-stage', {
                name,
                version: String(step.version),
                stage: step.stage,
                archive_existing_versions: archive,
              });
              expect(status).toBe(model.has(step.version) ? 200 : 404);
              if (!model.has(step.version)) continue;
              if (archive)
                for (const [version, stage] of model)
                  if (stage === step.stage) model.set(version, 'Archived');
              model.set(step.version, step.stage);
            }
          }
          const newest = new Map<string, number>();
          for (const [version, stage] of model)
            newest.set(stage, Math.max(version, newest.get(stage) ?? 0));
          const { body } = await shared.get('registered-models/get-latest-versions', { name });
          const shown = (body.model_versions ?? []).map((v: Record<string, string>) => [
            v['current_stage'],
            Number(v['version']),
          ]);
          expect(new Map(shown)).toEqual(newest);
        },
      ),
      { numRuns: 40 },
    );
  }, 60_000);
});

describe('searches', () => {
  test('§5.1.5: a tag on version 1 moves it ahead of version 2', async () => {
    const house = await openChurn(3);
    house.world.pass(1000);
    await house.post('model-versions/set-tag', {
      name: 'churn',
      version: '1',
      key: 'k',
      value: 'v',
    });
    const { body } = await house.get('model-versions/search');
    expect(body.model_versions.map((v: { version: string }) => v.version)).toEqual(['1', '3', '2']);
  });

  test('§5.1.5: every attribute, operator and order that there is', async () => {
    const house = await openChurn();
    const run = await house.run();
    await house.post('registered-models/create', { name: 'other' });
    await create(house, 'churn', { run_id: run.id, tags: [{ key: 'a b', value: 'Blue' }] });
    house.world.pass(1000);
    await create(house, 'other', { source: 's3://elsewhere/x' });
    house.world.pass(1000);
    await create(house, 'churn');
    const names = async (filter: string, order: string[] = ['name ASC', 'version_number ASC']) => {
      const { body } = await house.get('model-versions/search', { filter, order_by: order });
      return (body.model_versions ?? []).map(
        (v: Record<string, string>) => `${v['name']}${v['version']}`,
      );
    };
    expect(await names(`name = 'churn'`)).toEqual(['churn1', 'churn2']);
    expect(await names(`name LIKE 'o%'`)).toEqual(['other1']);
    expect(await names(`name ILIKE 'OTH_R'`)).toEqual(['other1']);
    expect(await names(`name IN ('churn', 'none')`)).toEqual(['churn1', 'churn2']);
    expect(await names(`name != 'churn'`)).toEqual(['other1']);
    expect(await names(`run_id = '${run.id}'`)).toEqual(['churn1']);
    expect(await names(`run_id IN ('${run.id}', 'x')`)).toEqual(['churn1']);
    expect(await names(`source_path LIKE '%/x'`)).toEqual(['other1']);
    expect(await names('version_number > 1')).toEqual(['churn2']);
    expect(await names(`version_number = '2' AND name = 'churn'`)).toEqual(['churn2']);
    expect(await names("tags.`a b` = 'Blue'")).toEqual(['churn1']);
    expect(await names(`tags."a b" ILIKE 'b%'`)).toEqual(['churn1']);
    expect(await names('', ['creation_timestamp DESC'])).toEqual(['churn2', 'other1', 'churn1']);
    expect(await names('', ['last_updated_timestamp ASC'])).toEqual(['churn1', 'other1', 'churn2']);
    expect(await names('', ['version_number DESC', 'name DESC'])).toEqual([
      'churn2',
      'other1',
      'churn1',
    ]);
  });

  test.each([
    [`name = 'a' OR name = 'b'`],
    [`name == 'a'`],
    ['name = 5'],
    [`current_stage = 'None'`],
    [`user_id = 'x'`],
    ['creation_timestamp > 5'],
    [`version_number = 'x'`],
    ['version_number = 1.5'],
    [`source_path IN ('a')`],
    [`tags.a IN ('a')`],
    ['tags.a IS NULL'],
    [`params.a = 'b'`],
    [`name = 'a'; DROP`],
    [`name = 'a`],
    [`attribute.__proto__ = 'a'`],
    [`name LIKE '${'%'.repeat(1001)}'`],
    [Array.from({ length: 300 }, () => `name = 'a'`).join(' AND ')],
  ])('§5.1.5: %.60s is refused', async (filter) => {
    const house = await openChurn(1);
    const answer = await house.get('model-versions/search', { filter });
    expect([answer.status, answer.body.error_code]).toEqual([400, 'INVALID_PARAMETER_VALUE']);
  });

  test('§5.1.4: models by name, filters, orders; others are refused', async () => {
    const house = openMlflow();
    for (const name of ['b', 'a', 'C', 'd']) {
      house.world.pass(1000);
      await house.post('registered-models/create', {
        name,
        tags: name === 'd' ? [{ key: 'k', value: 'v' }] : [],
      });
    }
    const names = async (query: Record<string, string>) => {
      const { body } = await house.get('registered-models/search', query);
      return (body.registered_models ?? []).map((m: { name: string }) => m.name);
    };
    expect(await names({})).toEqual(['C', 'a', 'b', 'd']);
    expect(await names({ order_by: 'timestamp DESC' })).toEqual(['d', 'C', 'a', 'b']);
    expect(await names({ order_by: 'last_updated_timestamp' })).toEqual(['b', 'a', 'C', 'd']);
    expect(await names({ order_by: 'name DESC' })).toEqual(['d', 'b', 'a', 'C']);
    expect(await names({ filter: `name ILIKE 'c'` })).toEqual(['C']);
    expect(await names({ filter: `name IN ('a', 'd', 'z')` })).toEqual(['a', 'd']);
    expect(await names({ filter: `tags.k = 'v' AND` })).toEqual(['d']);
    for (const query of [
      { order_by: 'creation_timestamp' },
      { order_by: 'name BLAH' },
      { filter: `description = 'x'` },
      { filter: 'tags.k IS NULL' },
      { max_results: '-1' },
      { max_results: '1001' },
      { max_results: 'x' },
      { page_token: 'junk' },
    ]) {
      const answer = await house.get('registered-models/search', query as Record<string, string>);
      expect([query, answer.status]).toEqual([query, 400]);
    }
  });

  test.each([
    ['registered-models/search', { order_by: 'name ASC' }],
    ['registered-models/search', { order_by: 'timestamp DESC' }],
    ['registered-models/search', {}],
    ['model-versions/search', {}],
    ['model-versions/search', { filter: `name LIKE 'm%'`, order_by: 'version_number DESC' }],
  ])(
    'a page walk of %s %j meets each row once, also while others are added',
    async (path, query) => {
      const house = openMlflow();
      for (let i = 0; i < 7; i++) {
        house.world.pass(1000);
        await house.post('registered-models/create', { name: `m${i}` });
        await create(house, `m${i}`);
      }
      const key = path.startsWith('model') ? 'model_versions' : 'registered_models';
      const walked: string[] = [];
      let token: string | undefined;
      do {
        const { body } = await house.get(path, {
          ...query,
          max_results: '2',
          ...(token ? { page_token: token } : {}),
        } as Record<string, string>);
        walked.push(...body[key].map((row: { name: string }) => row.name));
        token = body.next_page_token;
        await house.post('registered-models/create', { name: `a${walked.length}` });
      } while (token);
      expect(walked.filter((name) => name.startsWith('m')).sort()).toEqual([
        'm0',
        'm1',
        'm2',
        'm3',
        'm4',
        'm5',
        'm6',
      ]);
      expect(new Set(walked).size).toBe(walked.length);
    },
  );

  test('C14: a token of another query, or of another workspace, is refused', async () => {
    const house = openMlflow();
    for (const name of ['a', 'b']) await house.post('registered-models/create', { name });
    const { body } = await house.get('registered-models/search', { max_results: '1' });
    const page_token = body.next_page_token;
    const other = await house.get('registered-models/search', {
      page_token,
      filter: `name != 'x'`,
    });
    const foreign = await house.get('registered-models/search', { page_token }, 'tenant01');
    expect([other.status, foreign.status]).toEqual([400, 400]);
  });

  test('§3.4: prompts hide unless the filter asks for them', async () => {
    const house = await openChurn(1);
    const tags = [{ key: 'mlflow.prompt.is_prompt', value: 'true' }];
    await house.post('registered-models/create', { name: 'greet', tags });
    await create(house, 'greet', { source: 'dummy-source', tags });
    const names = async (path: string, key: string, filter: string) => {
      const { body } = await house.get(path, { filter });
      return (body[key] ?? []).map((row: { name: string }) => row.name);
    };
    const tag = 'tags.`mlflow.prompt.is_prompt`';
    const kinds = [
      ['registered-models/search', 'registered_models'],
      ['model-versions/search', 'model_versions'],
    ] as const;
    for (const [path, key] of kinds) {
      expect(await names(path, key, '')).toEqual(['churn']);
      expect(await names(path, key, `${tag} = 'true'`)).toEqual(['greet']);
      expect(await names(path, key, `${tag} = 'false'`)).toEqual(['churn']);
      expect(await names(path, key, `${tag} != 'true'`)).toEqual(['churn']);
    }
    const list = await house.ask('GET', '/api/models');
    expect(list.body.models.map((m: { name: string }) => m.name)).toEqual(['churn']);
  });

  test('our own face lists versions newest first, in pages', async () => {
    const house = await openChurn(5);
    await house.post('registered-models/alias', { name: 'churn', alias: 'champion', version: '4' });
    const first = await house.ask('GET', '/api/models/churn?limit=3');
    expect(first.body).toMatchObject({ name: 'churn', latestVersion: 5, aliases: { champion: 4 } });
    expect(first.body.versions.map((v: { version: number }) => v.version)).toEqual([5, 4, 3]);
    expect(first.body.versions[1].aliases).toEqual(['champion']);
    const next = await house.ask('GET', `/api/models/churn?limit=3&page=${first.body.next}`);
    expect(next.body.versions.map((v: { version: number }) => v.version)).toEqual([2, 1]);
    expect(next.body.next).toBeUndefined();
    expect((await house.ask('GET', '/api/models/none')).status).toBe(404);
    expect((await house.ask('GET', '/api/models/churn?limit=0')).status).toBe(400);
    expect((await house.ask('GET', '/api/models/..%2f..%2fx')).status).toBe(400);
  });
});
