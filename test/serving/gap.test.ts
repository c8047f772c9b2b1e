import * as fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { servingRoom } from '../../functions/serving/index.ts';
import { servingStore } from '../../functions/serving/store.ts';
import { switching } from '../../functions/serving/switching.ts';
import { call } from '../house.ts';
import { answer } from './endpoints.ts';
import { openServing, type ServingHouse } from './house.ts';

/** Traffic moves to a new revision before our record does: nothing may be decided, or said, by the record alone. */
let home: ServingHouse;
const asked: unknown[] = [];
interface Revision {
  revision: string;
  version: number;
  state: string;
  inServiceAt?: number;
}

const columnsOf = (names: string[]) => `
signature:
  inputs: '${JSON.stringify(names.map((name) => ({ type: 'double', name, required: true })))}'
`;
/** Version 3 takes other columns than 1 and 2; each refuses what it was not made for, as MLflow does. */
const COLUMNS: Record<number, string[]> = { 1: ['a', 'b'], 2: ['a', 'b'], 3: ['c', 'd', 'e'] };

beforeEach(async () => {
  asked.length = 0;
  home = openServing((ground, shelf) => ({ serving: servingRoom(ground, shelf.models) }));
  for (const version of [1, 2, 3]) {
    home.shelf.add('churn', version);
    const takes = COLUMNS[version] ?? [];
    await home.blobs.put(call, `models/churn/${version}/MLmodel`, Buffer.from(columnsOf(takes)));
    home.servers.set(`mem://models/churn/${version}`, ({ body }) => {
      const { dataframe_split: split } = JSON.parse(Buffer.from(body).toString());
      asked.push(split?.columns);
      return split && String(split.columns) !== String(takes)
        ? answer({ message: `takes ${takes}` }, 400)
        : answer({ predictions: [version] });
    });
  }
  await home.shelf.setAlias(call, { name: 'churn', alias: 'champion', version: 1 });
});

const put = (version: number | string) =>
  home.ask('PUT', '/api/endpoints/shop', {
    model: typeof version === 'number' ? `models:/churn/${version}` : version,
  });
const look = async () => (await home.ask('GET', '/api/endpoints/shop')).body;
const revisions = async () =>
  (await home.ask('GET', '/api/endpoints/shop/revisions')).body.revisions as Revision[];
const back = (headers = {}) =>
  home.ask('POST', '/api/endpoints/shop/rollback', undefined, { headers });
const predicted = async () =>
  (await home.ask('POST', '/endpoints/shop/invocations', { inputs: [1] })).body.predictions?.[0];

async function served(...versions: number[]): Promise<void> {
  for (const version of versions) {
    await put(version);
    await home.quiet();
  }
}
/** Asked for and on its way, its machine waiting. */
async function underWay(version: number): Promise<void> {
  home.endpointsHeld.setSlow(true);
  const before = (await revisions()).length;
  await put(version);
  await home.until(async () => (await revisions()).length > before);
  await home.until(async () => (await home.endpoints.describe(call, 'shop'))?.state === 'updating');
  // Its first look has been in vain, and the clock stands.
  for (let turn = 0; turn < 200; turn += 1) await new Promise(setImmediate);
}
async function settled(): Promise<void> {
  home.endpointsHeld.setSlow(false);
  await home.quiet();
}
const heard = (wanted: string) => async (event: { type: string } | undefined) => {
  if (event?.type === wanted) home.endpointsHeld.comeUp();
};

describe('a rollback right after a switch goes back one version, not two, wherever traffic moves', () => {
  const moments: [string, () => void][] = [
    ['before it is asked', () => home.endpointsHeld.comeUp()],
    [
      'between its decision and its commit',
      () => home.beforeCommit(heard('serving.rollback.asked')),
    ],
    ['right after its commit', () => home.afterCommit(heard('serving.rollback.asked'))],
    ['while its own revision starts', () => home.beforeCommit(heard('serving.revision.started'))],
    [
      'after its own revision is the target',
      () => home.afterCommit(heard('serving.revision.started')),
    ],
    ['only in the end', () => {}],
  ];
  test.each(moments)('%s', async (_, move) => {
    await served(1, 2);
    await underWay(3);
    move();
    expect(await back()).toMatchObject({ status: 200, body: { target: { version: 2 } } });
    await settled();
    expect(await look()).toMatchObject({ state: 'in-service', version: 2 });
    expect(await predicted()).toBe(2);
    expect((await revisions()).filter(({ state }) => state === 'pending')).toEqual([]);
    expect(await back()).toMatchObject({ status: 200, body: { target: { version: 1 } } });
    await settled();
    expect(await predicted()).toBe(1);
    expect((await back()).status).toBe(409);
  });

  test('the second version that a name ever had: the first, and no 409', async () => {
    await served(1);
    await underWay(2);
    home.endpointsHeld.comeUp();
    expect(await back()).toMatchObject({ status: 200, body: { target: { version: 1 } } });
    await settled();
    expect(await predicted()).toBe(1);
  });

  test('what answered for a moment was in service: the record says so', async () => {
    await served(1, 2);
    await underWay(3);
    home.endpointsHeld.comeUp();
    expect(await look()).toMatchObject({
      version: 2,
      live: { revision: (await revisions())[0]?.revision },
    });
    await back();
    const third = (await revisions()).find(({ version }) => version === 3);
    expect(third?.inServiceAt).toBeDefined();
    await settled();
    const { entries } = await home.table.entries(call, 'endpoints/shop');
    const told = entries.filter(({ type }) => type === 'serving.endpoint.deployed');
    expect(told.map(({ data }) => (data as { version: number }).version)).toEqual([1, 2, 3]);
  });

  test('twice in a row, before anything has begun: two back', async () => {
    await served(1, 2, 3);
    expect(await back()).toMatchObject({ body: { target: { version: 2 } } });
    expect(await back()).toMatchObject({ body: { target: { version: 1 } } });
    await home.quiet();
    expect(await predicted()).toBe(1);
  });

  test('a change that is only asked for yet: what answers stays', async () => {
    await served(1, 2);
    await put(3);
    expect(await back()).toMatchObject({ body: { target: { version: 2 } } });
    await home.quiet();
    expect(await predicted()).toBe(2);
  });

  test('the same key goes back once, though the record had to catch up first', async () => {
    await served(1, 2);
    await underWay(3);
    home.endpointsHeld.comeUp();
    const key = { 'idempotency-key': 'k' };
    const first = await back(key);
    expect(await back(key)).toMatchObject({ status: 200, body: first.body });
    await settled();
    expect(await predicted()).toBe(2);
  });

  test('one that answers already may be gone back to by name, though the record is behind', async () => {
    await served(1, 2);
    await underWay(3);
    const third = (await revisions())[0]?.revision;
    const to = () => home.ask('POST', '/api/endpoints/shop/rollback', { to: third });
    expect((await to()).status).toBe(409);
    home.endpointsHeld.comeUp();
    expect(await to()).toMatchObject({ status: 200, body: { target: { version: 3 } } });
  });

  test('while it has not begun, the switch before it does not end the endpoint’s deployment', async () => {
    await served(1, 2);
    await underWay(3);
    const deployment = (await revisions())[0]?.revision ?? '';
    let shown: unknown;
    home.afterCommit(async (event) => {
      if (event?.type !== 'serving.rollback.asked') return;
      home.endpointsHeld.comeUp();
      await home.tasks['deploy-ready']?.(call, { endpoint: 'shop', deployment, why: 'asked' });
      shown = await look();
    });
    await back();
    expect(shown).toMatchObject({ state: 'deploying', version: 3, target: { version: 2 } });
    await settled();
    expect(await look()).toMatchObject({ state: 'in-service', version: 2 });
  });

  test.each([
    [
      'before the next one was asked for',
      async () => {
        home.endpointsHeld.comeUp();
        home.endpointsHeld.setSlow(false);
      },
    ],
    [
      'after the next one was the target',
      async () => home.afterCommit(heard('serving.revision.started')),
    ],
  ])('one that answered %s is what that one goes back to', async (_, move) => {
    await served(1);
    await underWay(2);
    await move();
    await put(3);
    await home.until(async () => (await revisions()).length === 3);
    await home.until(
      async () => (await look()).target === undefined || (await look()).version === 2,
    );
    await settled();
    expect(await predicted()).toBe(3);
    await back();
    await settled();
    expect(await look()).toMatchObject({ version: 2, state: 'in-service' });
    expect(await predicted()).toBe(2);
  });

  test('in whatever order versions come up and are taken back', async () => {
    const round = fc.record({
      moves: fc.constantFrom('never', 'before', 'between'),
      backs: fc.integer({ min: 0, max: 3 }),
      turns: fc.integer({ min: 0, max: 30 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(round, { minLength: 1, maxLength: 4 }), async (rounds) => {
        await home.ask('DELETE', '/api/endpoints/shop');
        await served(1);
        const history = [1];
        for (const { moves, backs, turns } of rounds) {
          const next = history.at(-1) === 2 ? 3 : 2;
          await underWay(next);
          history.push(next);
          if (moves === 'before') home.endpointsHeld.comeUp();
          for (let i = 0; i < backs; i += 1) {
            const { status } = await back();
            expect(status).toBe(history.length > 1 ? 200 : 409);
            if (history.length > 1) history.pop();
            if (moves === 'between') home.endpointsHeld.comeUp();
            for (let turn = 0; turn < turns; turn += 1) await new Promise(setImmediate);
          }
          await settled();
          expect(await look()).toMatchObject({ state: 'in-service', version: history.at(-1) });
          expect(await predicted()).toBe(history.at(-1));
        }
        expect((await revisions()).filter(({ state }) => state === 'pending')).toEqual([]);
      }),
      { numRuns: 20 },
    );
  }, 60_000);
});

describe('the record follows the world', () => {
  test('a deployment that is stopped when it answers already has not failed', async () => {
    await served(1);
    await underWay(2);
    home.endpointsHeld.comeUp();
    const id = (await revisions())[0]?.revision;
    await home.machines.stop(call, 'deploy-endpoint', `shop-${id}`, 'by hand');
    await settled();
    const shown = await look();
    expect(shown).toMatchObject({ state: 'in-service', version: 2 });
    expect(shown.failure).toBeUndefined();
  });

  test('never back to what was in service before, nor to what was given up', async () => {
    await served(1, 2);
    home.shelf.add('churn', 9); // never starts
    await served(9, 1);
    await underWay(3);
    const store = servingStore(home.table);
    const { models } = home.shelf;
    const { observe } = switching({ store, endpoints: home.endpoints, models, world: home.world });
    const before = await store.find(call, 'shop');
    if (!before) throw new Error('there is no endpoint');
    const [target, ...older] = await revisions();
    const status = { name: 'shop', target: '', state: 'updating', copies: 1 } as const;
    expect(older.map(({ state }) => state)).toContain('failed');
    for (const { revision } of older)
      expect(await observe(call, before, { ...status, revision })).toBe(before);
    expect(await observe(call, before, { ...status, revision: 'unheard-of' })).toBe(before);
    expect(await observe(call, before, undefined)).toBe(before);
    const after = await observe(call, before, { ...status, revision: target?.revision });
    expect(after).toMatchObject({ current: target?.revision, state: 'in-service' });
    // A second one that read the same record comes too late, and changes nothing.
    await observe(call, before, { ...status, revision: target?.revision });
    expect(await store.find(call, 'shop')).toMatchObject({ generation: before.generation + 1 });
    await settled();
  });
});

describe('an answer names the version that gave it', () => {
  const matrix = (width: number) => ({
    inputs: [{ name: 'x', shape: [1, width], datatype: 'FP64', data: Array(width).fill(1) }],
  });
  const infer = (width: number, path = '') =>
    home.ask('POST', `/v2/models/shop${path}/infer`, matrix(width));

  beforeEach(async () => {
    await served(1);
    expect((await infer(2)).body.model_version).toBe('1'); // routing holds the record now
    await underWay(3);
  });

  test('before traffic moves, and after it while the record is behind', async () => {
    expect((await infer(2)).body).toMatchObject({ model_version: '1', outputs: [{ data: [1] }] });
    home.endpointsHeld.comeUp();
    expect((await infer(3)).body).toMatchObject({ model_version: '3', outputs: [{ data: [3] }] });
    await settled();
    expect((await infer(3)).body).toMatchObject({ model_version: '3', outputs: [{ data: [3] }] });
  });

  test('where the host does not say who answered, no version is named', async () => {
    home.endpointsHeld.setMute(true);
    const { status, body } = await infer(2);
    expect([status, body.outputs[0].data]).toEqual([200, [1]]);
    expect(body).not.toHaveProperty('model_version');
    expect((await infer(2, '/versions/1')).status).toBe(501);
  });

  test('a version by number is the one that answers, or 404', async () => {
    expect((await infer(2, '/versions/1')).status).toBe(200);
    expect((await home.ask('GET', '/v2/models/shop/versions/1')).status).toBe(200);
    home.world.pass(1000);
    expect((await infer(3, '/versions/3')).status).toBe(400); // version 1 answers, and takes two columns
    home.endpointsHeld.comeUp();
    expect((await infer(3, '/versions/3')).body).toMatchObject({ model_version: '3' });
    expect((await infer(3, '/versions/1')).status).toBe(404);
    expect((await home.ask('GET', '/v2/models/shop/versions/1')).status).toBe(404);
    expect((await home.ask('GET', '/v2/models/shop')).body).toMatchObject({
      versions: ['3'],
      inputs: [{ name: 'c' }, { name: 'd' }, { name: 'e' }],
    });
  });

  test.each([
    ['named', false],
    ['mute', true],
  ])(
    'a request that the new model takes is not refused for the old one’s signature (%s host)',
    async (_, mute) => {
      home.world.pass(1000);
      home.endpointsHeld.comeUp();
      home.endpointsHeld.setMute(mute);
      expect((await infer(3)).status).toBe(200);
      expect(asked.at(-1)).toEqual(['c', 'd', 'e']);
      const rows = await home.ask('POST', '/v1/models/shop:predict', { instances: [[1, 2, 3]] });
      expect([rows.status, rows.body]).toEqual([200, { predictions: [3] }]);
    },
  );

  test.each([
    ['named', false],
    ['mute', true],
  ])(
    'nor for the names of the old one’s columns, where both have as many (%s host)',
    async (_, mute) => {
      await home.blobs.put(call, 'models/churn/4/MLmodel', Buffer.from(columnsOf(['p', 'q'])));
      home.shelf.add('churn', 4);
      home.servers.set('mem://models/churn/4', ({ body }) => {
        const { columns } = JSON.parse(Buffer.from(body).toString()).dataframe_split;
        asked.push(columns);
        return String(columns) === 'p,q'
          ? answer({ predictions: [4] })
          : answer({ message: 'takes p, q' }, 400);
      });
      await underWay(4);
      const target = (await revisions())[0]?.revision;
      await home.until(
        async () => (await home.endpoints.describe(call, 'shop'))?.target === target,
      );
      home.endpointsHeld.comeUp();
      home.endpointsHeld.setMute(mute);
      home.world.pass(1000);
      const { status, body } = await infer(2);
      expect([status, body.outputs?.[0].data]).toEqual([200, [4]]);
      expect(body.model_version).toBe(mute ? undefined : '4');
      expect(asked.slice(-2)).toEqual([
        ['a', 'b'],
        ['p', 'q'],
      ]);
    },
  );

  test('what neither takes is refused in words', async () => {
    home.endpointsHeld.comeUp();
    expect(await infer(5)).toMatchObject({
      status: 400,
      body: { error: expect.stringContaining('columns') },
    });
  });
});
