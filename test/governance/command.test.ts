import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { digestOf } from '../../functions/governance/anchor.ts';
import { ulid } from '../../functions/kernel/ids.ts';
import { entryKey } from '../../functions/platform/records.ts';
import { verifyAudit } from '../../local/audit.ts';
import { start } from '../../local/start.ts';
import { openTable } from '../../local/table.ts';
import { testCall, testWorld } from '../world.ts';

const data = mkdtempSync(join(tmpdir(), 'audit-command-'));
afterAll(() => rmSync(data, { recursive: true, force: true }));

async function verified(asked: { url?: string; kept?: string } = {}) {
  const lines: string[] = [];
  const whole = await verifyAudit({
    ...{ data, token: undefined, url: asked.url, kept: asked.kept },
    write: (line) => void lines.push(line),
  });
  return { whole, lines };
}

test('audit verify asks a running server, here or elsewhere, or reads the folder, and names what was tampered with', async () => {
  const server = await start({
    ...{ host: '127.0.0.1', port: 0, data, auth: false, hosts: [], log: () => {} },
  });
  const post = (path: string, body: object) =>
    fetch(`${server.url}/api/2.0/mlflow/${path}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
  for (const name of ['one', 'two'])
    expect((await post('experiments/create', { name })).status).toBe(200);
  const { experiment } = await (
    await fetch(`${server.url}/api/2.0/mlflow/experiments/get-by-name?experiment_name=one`)
  ).json();
  const subject = `experiments/${experiment.experiment_id}`;
  // What is committed is heard by and by.
  let here = await verified();
  for (const end = Date.now() + 10_000; Date.now() < end && !/^3 ent/.test(here.lines[0] ?? ''); ) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    here = await verified();
  }
  expect(here).toEqual({ whole: true, lines: ['3 entries, 0 anchors: nothing amiss'] });
  expect(await verified({ url: server.url })).toEqual(here);
  await server.stop();
  expect(await verified()).toEqual(here);

  const table = openTable({ folder: join(data, 'table'), world: testWorld() });
  const items = table.root.openDB<{ told: string }, Buffer>({
    name: 'items',
    keyEncoding: 'binary',
  });
  const { pk, sk } = entryKey({ subject, sequence: 1 });
  const key = Buffer.from(`default0\0${pk}\0${sk}`);
  const item = items.get(key);
  expect(item?.told).toContain('"caller":"local"');
  await items.put(key, { ...item, told: String(item?.told).replace('"local"', '"mallory"') });
  await table.close();
  const { whole, lines } = await verified();
  expect(whole).toBe(false);
  expect(lines[0]).toBe(`amiss: ${subject} entry 1: this entry was changed, or the one before it`);
  expect(await verified({ kept: `1:${'0'.repeat(64)}` })).toMatchObject({
    lines: ['amiss: anchors entry 1: it is not the anchor that you kept', lines[0], lines[1]].map(
      (line) => line?.replace(': 1 amiss', ': 2 amiss'),
    ),
  });
  await expect(verified({ kept: 'x' })).rejects.toThrow('--kept must be');
});

test('a server folds what earlier hours left when it starts', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'audit-clock-'));
  const options = {
    host: '127.0.0.1',
    port: 0,
    data: folder,
    auth: false,
    hosts: [],
    log: () => {},
  };
  await (await start(options)).stop();
  const table = openTable({ folder: join(folder, 'table'), world: testWorld() });
  // A note of a head that was heard two hours ago.
  const call = testCall();
  await table.commit(call, [], { type: 'test.thing.changed', subject: 'things/1', data: {} });
  const [told] = (await table.entries(call, 'things/1')).entries;
  const old = ulid(Date.now() - 2 * 3_600_000, new Uint8Array(10));
  const text = JSON.stringify([['things/1', 1, 1, told?.hash]]);
  await table.commit(call, [
    { put: { pk: 'AN#NOTES', sk: `NOTE#${old}`, text, digest: digestOf(text) } },
  ]);
  await table.close();

  const server = await start(options);
  const anchors = async () =>
    (await (await fetch(`${server.url}/api/audit/verify`)).json()) as Record<string, unknown>;
  let seen = await anchors();
  for (const end = Date.now() + 10_000; Date.now() < end && seen['anchors'] === 0; ) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    seen = await anchors();
  }
  expect(seen).toMatchObject({ anchors: 1, findings: [], newest: { number: 1 } });
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});
