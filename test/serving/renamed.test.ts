import { beforeEach, describe, expect, test } from 'vitest';
import { Problem } from '../../functions/kernel/problem.ts';
import { servingRoom } from '../../functions/serving/index.ts';
import { call } from '../house.ts';
import { answer } from './endpoints.ts';
import { openServing, type ServingHouse } from './house.ts';

/** What becomes of an endpoint when its model, its alias or what it follows changes in the registry. */
let home: ServingHouse;
/** Sources that no server may read now. */
const unreadable = new Set<string>();
beforeEach(async () => {
  unreadable.clear();
  home = openServing((ground, shelf) => ({
    serving: servingRoom(ground, {
      ...shelf.models,
      locate(at, source) {
        if (unreadable.has(source)) throw new Problem('unsupported', 'It lies elsewhere.');
        return shelf.models.locate(at, source);
      },
    }),
  }));
  for (const version of [1, 2, 3]) add('churn', version, version);
  await setAlias(1);
});

function add(name: string, version: number, says: number): void {
  home.shelf.add(name, version);
  home.servers.set(`mem://models/${name}/${version}`, () => answer({ predictions: [says] }));
}
/** Later than what was asked before. */
async function rename(): Promise<void> {
  home.world.pass(1);
  await home.shelf.rename(call, 'churn', 'retention');
}
const setAlias = (version: number, name = 'churn') =>
  home.shelf.setAlias(call, { name, alias: 'champion', version });
const put = (model: string, scale?: object) =>
  home.ask('PUT', '/api/endpoints/shop', { model, ...(scale ? { scale } : {}) });
async function served(model: string): Promise<void> {
  await put(model);
  await home.quiet();
}
const look = async () => (await home.ask('GET', '/api/endpoints/shop')).body;
const revisions = async () =>
  (await home.ask('GET', '/api/endpoints/shop/revisions')).body.revisions as {
    revision: string;
    name: string;
    model: string;
    version: number;
    state: string;
  }[];
const predicted = async () =>
  (await home.ask('POST', '/endpoints/shop/invocations', { inputs: [1] })).body.predictions?.[0];

describe('an endpoint goes with its model when that is renamed', () => {
  test('it follows the alias under the new name, and no stranger under the old one', async () => {
    await served('models:/churn@champion');
    await rename();
    await home.quiet();
    const shown = await look();
    expect(shown).toMatchObject({
      model: 'models:/retention@champion',
      state: 'in-service',
      version: 1,
    });
    expect(shown.withdrawn).toBeUndefined();
    add('churn', 5, 99);
    await setAlias(5, 'churn');
    await home.quiet();
    expect(await predicted()).toBe(1);
    await setAlias(2, 'retention');
    await home.quiet();
    expect(await look()).toMatchObject({ state: 'in-service', version: 2 });
    expect(await predicted()).toBe(2);
  });

  test('an alias that moves before the rename is heard is followed too', async () => {
    await served('models:/churn@champion');
    home.beforeCommit(async (event) => {
      if (event?.type === 'registry.model.renamed') await setAlias(3, 'retention');
    });
    await rename();
    await home.quiet();
    expect(await look()).toMatchObject({ model: 'models:/retention@champion', version: 3 });
    const { entries } = await home.table.entries(call, 'models/churn');
    await home.bus.publish(entries.filter(({ type }) => type === 'registry.model.renamed'));
    await home.quiet();
    expect(await look()).toMatchObject({ model: 'models:/retention@champion', version: 3 });
  });

  test('its history goes too, and what it goes back to is not called deleted', async () => {
    await served('models:/churn/1');
    await served('models:/churn/2');
    await rename();
    await home.quiet();
    expect(await look()).toMatchObject({ model: 'models:/retention/2' });
    expect((await revisions()).map(({ name, model }) => [name, model])).toEqual([
      ['retention', 'models:/retention/2'],
      ['retention', 'models:/retention/1'],
    ]);
    await home.ask('POST', '/api/endpoints/shop/rollback');
    await home.quiet();
    expect(await look()).toMatchObject({ version: 1, state: 'in-service' });
    expect((await look()).withdrawn).toBeUndefined();
  });

  test('while a version comes up: that one is of the new name as well', async () => {
    await served('models:/churn/1');
    home.endpointsHeld.setSlow(true);
    await put('models:/churn/2');
    await home.until(async () => (await revisions()).length === 2);
    await rename();
    await home.until(async () => (await look()).model === 'models:/retention/2');
    home.endpointsHeld.setSlow(false);
    await home.quiet();
    const shown = await look();
    expect(shown).toMatchObject({ model: 'models:/retention/2', version: 2, state: 'in-service' });
    expect(shown.withdrawn).toBeUndefined();
    expect((await revisions()).map(({ name }) => name)).toEqual(['retention', 'retention']);
  });

  test('one that was pointed at another model of the old name, before the rename was heard, stays there', async () => {
    await served('models:/churn/1');
    await rename();
    add('churn', 7, 99);
    await put('models:/churn/7');
    await home.quiet();
    expect(await look()).toMatchObject({
      model: 'models:/churn/7',
      version: 7,
      state: 'in-service',
    });
    expect((await revisions()).map(({ name }) => name)).toEqual(['churn', 'retention']);
  });

  test('one that was asked for in the same moment goes too, by the files that are only there now', async () => {
    await put('models:/churn/1');
    await home.until(async () => (await revisions()).length === 1);
    await home.shelf.rename(call, 'churn', 'retention');
    await home.quiet();
    expect(await look()).toMatchObject({
      model: 'models:/retention/1',
      version: 1,
      state: 'in-service',
    });
  });

  test('more revisions than one commit holds', async () => {
    await served('models:/churn/1');
    for (let i = 2; i < 95; i += 1) {
      await put(`models:/churn/${2 - (i % 2)}`);
      await home.quiet();
    }
    await rename();
    await home.quiet();
    const names: string[] = [];
    let token: string | undefined = '';
    do {
      const page = token ? `&pageToken=${token}` : '';
      const { body } = await home.ask('GET', `/api/endpoints/shop/revisions?limit=100${page}`);
      names.push(...body.revisions.map(({ name }: { name: string }) => name));
      token = body.nextPageToken;
    } while (token);
    expect([names.length, [...new Set(names)]]).toEqual([94, ['retention']]);
  }, 60_000);
});

describe('an endpoint whose alias is removed says so', () => {
  test('and answers all the same, until the alias is there again', async () => {
    await served('models:/churn@champion');
    await home.shelf.removeAlias(call, 'churn', 'champion');
    await home.quiet();
    expect(await look()).toMatchObject({
      state: 'in-service',
      version: 1,
      withdrawn: 'churn has no alias champion any more; the endpoint goes on with version 1.',
    });
    expect(await predicted()).toBe(1);
    await setAlias(1);
    await home.quiet();
    expect((await look()).withdrawn).toBeUndefined();
  });

  test('but not where it serves a version by number', async () => {
    await served('models:/churn/1');
    await home.shelf.removeAlias(call, 'churn', 'champion');
    await home.quiet();
    expect((await look()).withdrawn).toBeUndefined();
  });
});

test('a revision that a later move overtakes does not stay pending for ever', async () => {
  await served('models:/churn@champion');
  home.endpointsHeld.setSlow(true);
  await setAlias(2);
  await home.until(async () => (await revisions()).length === 2);
  await setAlias(3);
  await home.until(async () => (await revisions()).length === 3);
  expect((await revisions())[1]).toMatchObject({ version: 2, state: 'superseded' });
  home.endpointsHeld.setSlow(false);
  await home.quiet();
  expect((await revisions()).map(({ version, state }) => [version, state])).toEqual([
    [3, 'in-service'],
    [2, 'superseded'],
    [1, 'superseded'],
  ]);
  const back = await home.ask('POST', '/api/endpoints/shop/rollback', {
    to: (await revisions())[1]?.revision,
  });
  expect([back.status, back.body.detail]).toEqual([
    409,
    expect.stringContaining('never was in service'),
  ]);
});

describe('an alias that moves back to what is served', () => {
  test.each([
    ['does not start', 9, 'no model lies'],
    ['cannot be read', 8, 'elsewhere'],
  ])('clears the failure of one that %s', async (_, version, failure) => {
    home.shelf.add('churn', 9); // no server for it
    home.shelf.add('churn', 8);
    unreadable.add('mem://models/churn/8');
    await served('models:/churn@champion');
    await setAlias(version);
    await home.quiet();
    expect(await look()).toMatchObject({ state: 'in-service', version: 1 });
    expect((await look()).failure).toContain(failure);
    await setAlias(1);
    await home.quiet();
    expect(await look()).toMatchObject({ state: 'in-service', version: 1 });
    expect((await look()).failure).toBeUndefined();
    expect(await predicted()).toBe(1);
  });

  test('a late word of the failure does not bring it back', async () => {
    await served('models:/churn@champion');
    const error = { Error: 'Problem.unsupported', Cause: 'too late' };
    const deployment = '7ZZZZZZZZZZZZZZZZZZZZZZZZZ';
    await home.tasks['deploy-failed']?.(call, {
      endpoint: 'shop',
      deployment,
      why: 'alias',
      error,
    });
    expect((await look()).failure).toBeUndefined();
  });
});

test('after a failed deployment the old revision is what the host is asked for', async () => {
  await served('models:/churn/1');
  const kept = (await revisions())[0]?.revision;
  home.shelf.add('churn', 9);
  await served('models:/churn/9');
  expect(await look()).toMatchObject({ state: 'in-service', version: 1, revision: kept });
  // A host that was left heading for the failed one would bring it up as soon as its files are there.
  expect(await home.endpoints.describe(call, 'shop')).toMatchObject({
    revision: kept,
    target: kept,
  });
});

test('a request that failed before it began does not pass for what is served: the alias is followed again', async () => {
  await served('models:/churn/1');
  await setAlias(2);
  home.afterCommit(async (event) => {
    if (event?.type === 'serving.endpoint.asked') unreadable.add('mem://models/churn/2');
  });
  await served('models:/churn@champion');
  expect(await look()).toMatchObject({
    state: 'in-service',
    version: 1,
    failure: 'It lies elsewhere.',
  });
  unreadable.clear();
  await home.table.commit(call, [], {
    type: 'registry.alias.set',
    subject: 'models/churn',
    data: { name: 'churn', alias: 'champion', version: 2 },
  });
  await home.quiet();
  expect(await look()).toMatchObject({ state: 'in-service', version: 2 });
  expect((await look()).failure).toBeUndefined();
});
