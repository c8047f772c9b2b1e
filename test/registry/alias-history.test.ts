import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { type LocalTable, openTable } from '../../local/table.ts';
import { type MlflowHouse, openMlflow } from '../mlflow.ts';
import { testCall, testWorld } from '../world.ts';
import {
  isLinearisable,
  type Op,
  play,
  registryHistories,
  type Wish,
  wishes,
} from './histories.ts';

const folder = mkdtempSync(join(tmpdir(), 'stillflow-histories-'));
let table: LocalTable | undefined;
afterAll(async () => {
  await table?.close();
  rmSync(folder, { recursive: true, force: true });
});

registryHistories({
  on: 'the embedded table',
  async open() {
    const world = testWorld(5);
    table = openTable({ folder, world, noSync: true });
    return { table, world, call: testCall() };
  },
  runs: 40,
  clients: 40,
});

/** The same through the routes of one process. */
const playRoutes = (house: MlflowHouse, name: string, clients: readonly (readonly Wish[])[]) =>
  play(clients, async (_client, { kind, version }) => {
    const alias = 'champion';
    if (kind === 'set') {
      const body = { name, alias, version: String(version) };
      expect((await house.post('registered-models/alias', body)).status).toBe(200);
      return version;
    }
    if (kind === 'remove') {
      const { status } = await house.send('DELETE', 'registered-models/alias', { name, alias });
      expect(status).toBe(200);
      return undefined;
    }
    const { status, body } = await house.get('registered-models/alias', { name, alias });
    expect([200, 400]).toContain(status);
    return status === 200 ? Number(body.model_version.version) : undefined;
  });

async function withVersions(house: MlflowHouse, name: string, count = 3) {
  await house.post('registered-models/create', { name });
  for (let i = 0; i < count; i++)
    await house.post('model-versions/create', { name, source: 's3://b/x' });
}

describe('F02: aliases under many clients', () => {
  test('the checker itself finds a read that nothing explains', () => {
    const set: Op = { kind: 'set', version: 1, started: 0, ended: 1 };
    expect(isLinearisable([set, { kind: 'read', version: 1, started: 2, ended: 3 }])).toBe(true);
    expect(isLinearisable([set, { kind: 'read', version: 2, started: 2, ended: 3 }])).toBe(false);
    expect(isLinearisable([set, { kind: 'read', started: 2, ended: 3 }])).toBe(false);
    expect(isLinearisable([set, { kind: 'read', started: 0.5, ended: 3 }])).toBe(true);
  });

  test('every history is linearisable', async () => {
    const house = openMlflow();
    let count = 0;
    await fc.assert(
      fc.asyncProperty(wishes, async (clients) => {
        const name = `m${count++}`;
        await withVersions(house, name);
        expect(isLinearisable(await playRoutes(house, name, clients))).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  test('200 clients set one alias; no reader sees none between two sets', async () => {
    const house = openMlflow();
    await withVersions(house, 'churn');
    await house.post('registered-models/alias', { name: 'churn', alias: 'champion', version: '1' });
    const clients = Array.from({ length: 200 }, (_, i): Wish[] => [
      { kind: 'set', version: (i % 3) + 1 },
      { kind: 'read' },
    ]);
    for (const op of await playRoutes(house, 'churn', clients))
      expect(op.version).toBeGreaterThan(0);
    const told = (await house.told('models/churn')).filter((t) => t.type === 'registry.alias.set');
    const { body } = await house.get('registered-models/get', { name: 'churn' });
    const last = told.at(-1)?.data as { version: number };
    expect(body.registered_model.aliases).toEqual([
      { alias: 'champion', version: String(last.version) },
    ]);
    // Each change names the one before it: none was lost and none came between.
    told.reduce((before: number | null, { data }) => {
      const { version, previous } = data as { version: number; previous: number | null };
      expect(previous).toBe(before);
      return version;
    }, null);
  });

  test('a version that is deleted while aliases are set leaves no alias that points at nothing', async () => {
    const house = openMlflow();
    await withVersions(house, 'churn', 2);
    const set = (alias: string) =>
      house.post('registered-models/alias', { name: 'churn', alias, version: '1' });
    const sets = Array.from({ length: 30 }, (_, i) => set(`a${i}`));
    const deleted = house.send('DELETE', 'model-versions/delete', { name: 'churn', version: '1' });
    const later = Array.from({ length: 30 }, (_, i) => set(`b${i}`));
    const answers = await Promise.all([...sets, deleted, ...later]);
    for (const { status } of answers) expect([200, 404]).toContain(status);
    expect((await deleted).status).toBe(200);
    const { body } = await house.get('registered-models/get', { name: 'churn' });
    expect(body.registered_model.aliases).toBeUndefined();
  });
});
