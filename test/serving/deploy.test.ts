import * as fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { servingRoom } from '../../functions/serving/index.ts';
import { call } from '../house.ts';
import { answer } from './endpoints.ts';
import { openServing, type ServingHouse } from './house.ts';

let home: ServingHouse;
const predicts = (n: number) => () => answer({ predictions: [n] });

beforeEach(async () => {
  home = openServing((ground, shelf) => ({ serving: servingRoom(ground, shelf.models) }));
  for (const version of [1, 2, 3]) {
    home.shelf.add('churn', version);
    home.servers.set(`mem://models/churn/${version}`, predicts(version));
  }
  await home.shelf.setAlias(call, { name: 'churn', alias: 'champion', version: 1 });
});

const put = (model: string, more = {}, asked = {}) =>
  home.ask('PUT', '/api/endpoints/shop', { model, ...more }, asked);
const look = () => home.ask('GET', '/api/endpoints/shop').then(({ body }) => body as Shown);
const predicted = async () =>
  (await home.ask('POST', '/endpoints/shop/invocations', { inputs: [1] })).text;
const revisions = async () =>
  ((await home.ask('GET', '/api/endpoints/shop/revisions')).body as { revisions: Revision[] })
    .revisions;
interface Shown {
  state: string;
  version?: number;
  failure?: string;
  target?: { version: number };
}
interface Revision {
  revision: string;
  version: number;
  state: string;
  why: string;
  failure?: string;
}

describe('deploying', () => {
  test('a version comes up, answers, and is listed', async () => {
    expect(await put('models:/churn/2')).toMatchObject({
      status: 200,
      body: { name: 'shop', state: 'deploying', target: { version: 2 } },
    });
    await home.quiet();
    expect(await look()).toMatchObject({ state: 'in-service', version: 2, live: { copies: 1 } });
    expect(await predicted()).toBe('{"predictions":[2]}');
    expect(await revisions()).toMatchObject([{ version: 2, state: 'in-service', why: 'asked' }]);
    const { body } = await home.ask('GET', '/api/endpoints');
    expect(body).toMatchObject({ endpoints: [{ name: 'shop', version: 2 }] });
    const logs = await home.ask('GET', '/api/endpoints/shop/logs');
    expect(logs.body).toEqual({ lines: ['shop is listening'], next: '1' });
  });

  test('the same request again changes nothing and starts nothing', async () => {
    await put('models:/churn@champion');
    await home.quiet();
    const before = await look();
    for (let i = 0; i < 5; i += 1) expect((await put('models:/churn@champion')).status).toBe(200);
    await home.quiet();
    expect(await look()).toEqual(before);
    expect(home.endpointsHeld.deployed).toHaveLength(1);
  });

  test('ten callers at once make one endpoint, and all are answered', async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, () => put('models:/churn/1')));
    expect(answers.map(({ status }) => status)).toEqual(Array(10).fill(200));
    await home.quiet();
    expect(home.endpointsHeld.deployed).toHaveLength(1);
  });

  test('another scale is another revision', async () => {
    await put('models:/churn/1');
    await home.quiet();
    await put('models:/churn/1', { scale: { maximum: 3 } });
    await home.quiet();
    expect(await revisions()).toMatchObject([{ state: 'in-service' }, { state: 'superseded' }]);
  });
});

describe('an alias that moves', () => {
  beforeEach(async () => {
    await put('models:/churn@champion');
    await home.quiet();
  });

  test('takes the endpoint with it', async () => {
    await home.shelf.setAlias(call, { name: 'churn', alias: 'champion', version: 2 });
    await home.quiet();
    expect(await look()).toMatchObject({ version: 2, state: 'in-service' });
    expect(await predicted()).toBe('{"predictions":[2]}');
    expect((await revisions())[0]).toMatchObject({ why: 'alias', version: 2 });
  });

  test('the same event ten times deploys once', async () => {
    await home.shelf.setAlias(call, { name: 'churn', alias: 'champion', version: 2 });
    await home.quiet();
    const { entries } = await home.table.entries(call, 'models/churn');
    await Promise.all(Array.from({ length: 10 }, () => home.bus.publish(entries)));
    await home.quiet();
    expect(home.endpointsHeld.deployed).toEqual([
      'shop:mem://models/churn/1',
      'shop:mem://models/churn/2',
    ]);
    expect(await revisions()).toHaveLength(2);
  });

  test('two moves at once end at the last one, in whatever order they are heard', async () => {
    await home.shelf.setAlias(call, { name: 'churn', alias: 'champion', version: 2 });
    await home.shelf.setAlias(call, { name: 'churn', alias: 'champion', version: 3 });
    await home.quiet();
    const { entries } = await home.table.entries(call, 'models/churn');
    await home.bus.publish([...entries].reverse());
    await home.quiet();
    expect(await look()).toMatchObject({ version: 3, state: 'in-service' });
    expect(home.endpointsHeld.live('shop')).toBe('mem://models/churn/3');
  });

  test('another alias or model leaves it alone', async () => {
    home.shelf.add('other', 2);
    await home.shelf.setAlias(call, { name: 'other', alias: 'champion', version: 2 });
    await home.shelf.setAlias(call, { name: 'churn', alias: 'candidate', version: 2 });
    await home.quiet();
    expect(await look()).toMatchObject({ version: 1 });
  });
});

describe('a model that does not start', () => {
  test('keeps the old one answering and says why', async () => {
    await put('models:/churn/1');
    await home.quiet();
    home.shelf.add('churn', 9); // no server for it
    await put('models:/churn/9');
    await home.quiet();
    const reason = 'no model lies at mem://models/churn/9';
    expect(await look()).toMatchObject({ state: 'in-service', version: 1, failure: reason });
    expect(await predicted()).toBe('{"predictions":[1]}');
    expect((await revisions())[0]).toMatchObject({ version: 9, state: 'failed', failure: reason });
    const failed = (await revisions())[0]?.revision ?? '';
    const execution = await home.machines.describe(call, 'deploy-endpoint', `shop-${failed}`);
    expect(execution).toMatchObject({ state: 'FAILED', error: 'NotDeployed', cause: reason });
  });

  test('a first one that fails leaves a failed endpoint, which may be deployed anew', async () => {
    home.shelf.add('churn', 9);
    await put('models:/churn/9');
    await home.quiet();
    expect(await look()).toMatchObject({ state: 'failed' });
    const answered = await home.ask('POST', '/endpoints/shop/invocations', { inputs: [1] });
    expect(answered.status).toBe(503);
    expect(answered.headers.get('retry-after')).toBe('30');
    await put('models:/churn/2');
    await home.quiet();
    expect(await look()).toMatchObject({ state: 'in-service', version: 2 });
  });

  test('one that never comes up is given up within the hour', async () => {
    home.endpointsHeld.setSlow(true);
    const startedAt = home.world.now();
    await put('models:/churn/1');
    await home.quiet();
    expect(await look()).toMatchObject({ state: 'failed' });
    expect(home.world.now() - startedAt).toBeLessThan(3_600_000);
  });

  test('a machine that is stopped half-way keeps the old one', async () => {
    await put('models:/churn/1');
    await home.quiet();
    home.endpointsHeld.setSlow(true);
    await put('models:/churn/2');
    await home.until(async () => (await revisions()).length === 2);
    const id = (await revisions())[0]?.revision;
    await home.machines.stop(call, 'deploy-endpoint', `shop-${id}`, 'by hand');
    await home.quiet();
    expect(await look()).toMatchObject({ state: 'in-service', version: 1 });
    expect(await predicted()).toBe('{"predictions":[1]}');
  });
});

describe('a cause that is JSON is shown as the text in it', () => {
  const cause = JSON.stringify({ Error: 'E', Cause: '{"errorMessage":"no room on the disk"}' });
  async function underWay(): Promise<string> {
    home.endpointsHeld.setSlow(true);
    await put('models:/churn/1');
    await home.until(async () => (await revisions()).length === 1);
    return (await revisions())[0]?.revision ?? '';
  }

  test('where the machine catches it', async () => {
    const input = { endpoint: 'shop', deployment: await underWay(), why: 'asked' };
    const error = { Error: 'States.TaskFailed', Cause: cause };
    await home.tasks['deploy-failed']?.(call, { ...input, error });
    expect(await look()).toMatchObject({ failure: 'no room on the disk' });
  });

  test('where the machine itself ends of it', async () => {
    const execution = `shop-${await underWay()}`;
    const machine = 'deploy-endpoint';
    await home.table.commit(call, [], {
      type: 'machines.execution.ended',
      subject: `executions/${execution}`,
      data: { machine, execution, state: 'FAILED', error: 'E', cause, output: null },
    });
    await home.until(async () => (await look()).failure !== undefined);
    expect(await look()).toMatchObject({ failure: 'no room on the disk' });
  });
});

describe('a later deployment', () => {
  test('takes over from one that is still coming up', async () => {
    home.endpointsHeld.setSlow(true);
    await put('models:/churn/1');
    await home.until(async () => (await revisions()).length === 1);
    await put('models:/churn/2');
    await home.until(async () => (await revisions()).length === 2);
    home.endpointsHeld.setSlow(false);
    await home.quiet();
    expect(await look()).toMatchObject({ state: 'in-service', version: 2 });
    expect(home.endpointsHeld.live('shop')).toBe('mem://models/churn/2');
  });
});

describe('rolling back', () => {
  beforeEach(async () => {
    for (const version of [1, 2, 3]) {
      await put(`models:/churn/${version}`);
      await home.quiet();
    }
  });
  const back = (body?: unknown, headers = {}) =>
    home.ask('POST', '/api/endpoints/shop/rollback', body, { headers });

  test('one call goes back one revision, a second one another, a third says there is none', async () => {
    expect(await back()).toMatchObject({ status: 200, body: { target: { version: 2 } } });
    await home.quiet();
    expect(await look()).toMatchObject({ version: 2 });
    await back();
    await home.quiet();
    expect(await predicted()).toBe('{"predictions":[1]}');
    expect(await back()).toMatchObject({
      status: 409,
      body: { detail: 'Endpoint shop has no earlier revision to go back to.' },
    });
  });

  test('goes to a revision by name', async () => {
    const first = (await revisions()).at(-1)?.revision;
    expect((await back({ to: first })).status).toBe(200);
    await home.quiet();
    expect(await look()).toMatchObject({ version: 1 });
    expect(await back({ to: '01HZZZZZZZZZZZZZZZZZZZZZZZ' })).toMatchObject({
      status: 404,
      body: { field: 'to' },
    });
  });

  test('the same key goes back once', async () => {
    const key = { 'idempotency-key': 'k1' };
    const first = await back({}, key);
    const second = await back({}, key);
    expect(second).toMatchObject({ status: 200, body: first.body });
    await home.quiet();
    expect(await look()).toMatchObject({ version: 2 });
  });

  test('its event says so', async () => {
    await back();
    await home.quiet();
    const { entries } = await home.table.entries(call, 'endpoints/shop');
    expect(entries.map(({ type }) => type).slice(-3)).toEqual([
      'serving.rollback.asked',
      'serving.revision.started',
      'serving.endpoint.rolled-back',
    ]);
  });
});

describe('deleting', () => {
  test('stops the server, forgets the history, and the name is free', async () => {
    await put('models:/churn/1');
    await home.quiet();
    expect((await home.ask('DELETE', '/api/endpoints/shop')).status).toBe(204);
    await home.quiet();
    expect((await home.ask('GET', '/api/endpoints/shop')).status).toBe(404);
    expect((await home.ask('DELETE', '/api/endpoints/shop')).status).toBe(404);
    const answered = await home.ask('POST', '/endpoints/shop/invocations', { inputs: [1] });
    expect(answered.status).toBe(404);
    await put('models:/churn/2');
    await home.quiet();
    expect(await revisions()).toHaveLength(1);
    expect(await predicted()).toBe('{"predictions":[2]}');
  });

  test('and made again before the world has taken it down: the new one comes up and keeps its history', async () => {
    await put('models:/churn/1');
    await home.quiet();
    let made = false;
    home.endpointsHeld.beforeRemoval(async () => {
      if (made) return;
      made = true;
      await put('models:/churn/2');
      // Its machine has asked the world for it before the removal goes on.
      for (let i = 0; i < 5000 && home.endpointsHeld.deployed.length < 2; i++)
        await new Promise((turned) => setImmediate(turned));
    });
    expect((await home.ask('DELETE', '/api/endpoints/shop')).status).toBe(204);
    await home.quiet();
    expect(await look()).toMatchObject({ state: 'in-service', version: 2 });
    expect(await revisions()).toHaveLength(1);
    expect(await predicted()).toBe('{"predictions":[2]}');
  });

  test('while it comes up: the deployment ends and nothing is left running', async () => {
    home.endpointsHeld.setSlow(true);
    await put('models:/churn/1');
    await home.until(async () => (await revisions()).length === 1);
    await home.ask('DELETE', '/api/endpoints/shop');
    home.endpointsHeld.setSlow(false);
    await home.quiet();
    expect(home.endpointsHeld.live('shop')).toBeUndefined();
  });
});

describe('bad input changes nothing', () => {
  const cases: [string, string, unknown, number, string][] = [
    ['PUT', '/api/endpoints/shop', {}, 400, 'model'],
    ['PUT', '/api/endpoints/shop', { model: 7 }, 400, 'model'],
    ['PUT', '/api/endpoints/shop', { model: 'churn' }, 400, 'model'],
    ['PUT', '/api/endpoints/shop', { model: 'models:/churn/0' }, 400, 'model'],
    ['PUT', '/api/endpoints/shop', { model: 'models:/../x/1' }, 400, 'model'],
    [
      'PUT',
      '/api/endpoints/shop',
      { model: 'models:/churn/1', scale: { minimum: -1 } },
      400,
      'scale.minimum',
    ],
    [
      'PUT',
      '/api/endpoints/shop',
      { model: 'models:/churn/1', scale: { minimum: 2 } },
      400,
      'scale.minimum',
    ],
    ['PUT', '/api/endpoints/shop', { model: 'models:/churn/1', extra: 1 }, 400, ''],
    ['PUT', '/api/endpoints/-x', { model: 'models:/churn/1' }, 400, 'name'],
    ['PUT', '/api/endpoints/..%2fx', { model: 'models:/churn/1' }, 400, 'name'],
    ['PUT', `/api/endpoints/${'a'.repeat(41)}`, { model: 'models:/churn/1' }, 400, 'name'],
    ['PUT', '/api/endpoints/shop', '{"model":', 400, ''],
    ['PUT', '/api/endpoints/shop', [], 400, ''],
    ['POST', '/api/endpoints/none/rollback', {}, 404, ''],
    ['POST', '/api/endpoints/shop/rollback', { to: 3 }, 400, 'to'],
    ['GET', '/api/endpoints/none', undefined, 404, ''],
    ['GET', '/api/endpoints/none/revisions', undefined, 404, ''],
    ['GET', '/api/endpoints/none/logs', undefined, 404, ''],
    ['GET', '/api/endpoints?limit=0', undefined, 400, 'limit'],
    ['GET', '/api/endpoints?pageToken=abc', undefined, 400, 'page_token'],
    ['DELETE', '/api/endpoints/none', undefined, 404, ''],
    ['PUT', '/api/endpoints/shop', { model: 'models:/none/1' }, 404, ''],
    ['PUT', '/api/endpoints/shop', { model: 'models:/churn@none' }, 404, ''],
  ];
  test.each(cases)('%s %s %j: %i', async (method, path, body, status, field) => {
    const answered = await home.ask(method, path, body);
    expect(answered.status).toBe(status);
    if (field) expect(answered.body).toMatchObject({ field });
    expect((await home.ask('GET', '/api/endpoints')).body).toEqual({ endpoints: [] });
  });

  test('a body beyond the limit is 413', async () => {
    const answered = await put(`models:/${'a'.repeat(20_000)}/1`);
    expect(answered.status).toBe(413);
  });
});

test('a reader may look and predict, and deploys nothing', async () => {
  const reader = { role: 'read' } as const;
  const denied = await put('models:/churn/1', {}, reader);
  expect(denied.status).toBe(403);
  expect((await home.ask('GET', '/api/endpoints', undefined, reader)).status).toBe(200);
  const asked = await home.ask('POST', '/endpoints/x/invocations', { inputs: [] }, reader);
  expect(asked.status).toBe(404);
  expect(await home.told('callers/ada')).toMatchObject([
    { type: 'governance.request.denied', data: { resource: 'endpoints/shop' } },
  ]);
});

test('endpoints are listed page by page, each once', async () => {
  for (let i = 0; i < 7; i += 1)
    await home.ask('PUT', `/api/endpoints/e${i}`, { model: 'models:/churn/1' });
  const names: string[] = [];
  let token: string | undefined;
  do {
    const query = token === undefined ? '' : `&pageToken=${token}`;
    const { body } = await home.ask('GET', `/api/endpoints?limit=3${query}`);
    const page = body as { endpoints: { name: string }[]; nextPageToken?: string };
    names.push(...page.endpoints.map(({ name }) => name));
    token = page.nextPageToken;
  } while (token !== undefined);
  expect(names).toEqual(['e0', 'e1', 'e2', 'e3', 'e4', 'e5', 'e6']);
});

test('endpoints beyond what one page of the table holds are counted as well', async () => {
  const large = Array.from({ length: 1000 }, (_, i) => ({
    put: { pk: 'S#endpoints', sk: `e${i}`, filling: 'x'.repeat(2000) },
  }));
  for (let at = 0; at < large.length; at += 90)
    await home.table.commit(call, large.slice(at, at + 90));
  const refused = await put('models:/churn/1');
  expect([refused.status, refused.body.detail]).toEqual([
    429,
    expect.stringContaining('at most 1000 endpoints'),
  ]);
});

test('every step of the machine may run twice', async () => {
  await put('models:/churn/1');
  await home.quiet();
  await put('models:/churn/2');
  await home.quiet();
  const before = [await look(), await revisions()];
  const told = (await home.table.entries(call, 'endpoints/shop')).entries.length;
  for (const { revision } of await revisions()) {
    const input = { endpoint: 'shop', deployment: revision, why: 'asked', execution: 'x' };
    for (let i = 0; i < 2; i += 1)
      for (const step of ['resolve', 'start', 'ready', 'switch', 'failed']) {
        const more = step === 'failed' ? { error: { Error: 'E', Cause: 'late' } } : {};
        const done = home.tasks[`deploy-${step}`]?.(call, { ...input, ...more });
        await done?.catch((error) => expect(error).toMatchObject({ code: 'gone' }));
      }
  }
  await home.quiet();
  expect([await look(), await revisions()]).toEqual(before);
  expect((await home.table.entries(call, 'endpoints/shop')).entries).toHaveLength(told);
});

test('whatever is asked, in whatever order it is heard, what answers is what the record says', async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('alias' as const), version: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ do: fc.constant('put' as const), version: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ do: fc.constant('follow' as const), version: fc.constant(0) }),
    fc.record({ do: fc.constant('back' as const), version: fc.constant(0) }),
    fc.record({ do: fc.constant('again' as const), version: fc.constant(0) }),
    fc.record({ do: fc.constant('settle' as const), version: fc.constant(0) }),
  );
  home.shelf.add('churn', 4); // never starts
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), async (steps) => {
      await put('models:/churn@champion');
      await home.quiet();
      for (const { do: what, version } of steps) {
        home.world.pass(1);
        if (what === 'alias')
          await home.shelf.setAlias(call, { name: 'churn', alias: 'champion', version });
        else if (what === 'put') await put(`models:/churn/${version}`);
        else if (what === 'follow') await put('models:/churn@champion');
        else if (what === 'back') await home.ask('POST', '/api/endpoints/shop/rollback');
        else if (what === 'settle') await home.quiet();
        else {
          const { entries } = await home.table.entries(call, 'models/churn');
          await home.bus.publish([...entries].reverse().slice(0, 5));
        }
      }
      await put('models:/churn@champion');
      await home.quiet();
      const shown = await look();
      const wanted = home.shelf.aliasOf('churn', 'champion');
      expect(shown).toMatchObject({ state: 'in-service', version: wanted });
      expect(home.endpointsHeld.live('shop')).toBe(`mem://models/churn/${wanted}`);
      expect(await predicted()).toBe(`{"predictions":[${wanted}]}`);
      const inService = (await revisions()).filter(({ state }) => state === 'in-service');
      expect(inService).toHaveLength(1);
    }),
    { numRuns: 15 },
  );
}, 60_000);
