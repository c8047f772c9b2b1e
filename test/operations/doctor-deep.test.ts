import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Item } from '../../functions/platform/ports.ts';
import { namedIn } from '../../local/doctor_blobs.ts';
import { examine, type Finding } from '../../local/doctor_checks.ts';
import { deepChecks } from '../../local/doctor_deep.ts';
import { start } from '../../local/start.ts';
import { openTable } from '../../local/table.ts';
import { testWorld } from '../world.ts';

const data = mkdtempSync(join(tmpdir(), 'doctor-deep-'));
afterAll(() => rmSync(data, { recursive: true, force: true }));
const HOUR = 3_600_000;
const later = () => Date.now() + 2 * HOUR;

async function doctored(now: () => number = Date.now) {
  const lines: string[] = [];
  const well = await examine(deepChecks(data, now), {
    write: (line) => void lines.push(line),
    json: true,
  });
  const { findings } = JSON.parse(lines.join('')) as { findings: Finding[] };
  const of = (check: string) => findings.find((finding) => finding.check === check);
  return { well, of };
}

const files = (below: string): string[] =>
  readdirSync(join(data, 'blobs/data/default0', below), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
const serve = () =>
  start({ ...{ host: '127.0.0.1', port: 0, data, auth: false, hosts: [], log: () => {} } });

/** Each kind of record that names a file: a large dataset, data, a pipeline and its run, a model. */
beforeAll(async () => {
  const server = await serve();
  const post = async (path: string, body: unknown) => {
    const answer = await fetch(`${server.url}${path}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
    expect(answer.status, `${path}: ${await answer.clone().text()}`).toBe(200);
    return answer.json();
  };
  const mlflow = (path: string, body: unknown) => post(`/api/2.0/mlflow/${path}`, body);
  const { run } = await mlflow('runs/create', { experiment_id: '0', start_time: 1 });
  const { run_id } = run.info;
  await mlflow('runs/log-inputs', {
    run_id,
    datasets: [
      {
        tags: [{ key: 'mlflow.data.context', value: 'training' }],
        dataset: {
          ...{ name: 'sales', digest: 'd1', source_type: 'local' },
          source: 's',
          schema: 'x'.repeat(400_000),
        },
      },
    ],
  });
  const put = (path: string, body: string) =>
    fetch(`${server.url}${path}`, { method: 'PUT', body }).then(({ status }) =>
      expect(status).toBeLessThan(300),
    );
  await put('/api/data/drops/sales.csv', 'day,units\n');
  await put(
    `/api/2.0/mlflow-artifacts/artifacts/0/${run_id}/artifacts/model/MLmodel`,
    'flavors: {}',
  );
  await mlflow('registered-models/create', { name: 'churn' });
  await mlflow('model-versions/create', { name: 'churn', source: `runs:/${run_id}/model`, run_id });
  const form = new FormData();
  const spec = readFileSync(join(import.meta.dirname, '../golden/diamond.yaml'));
  form.set('uploadfile', new Blob([spec]), 'diamond.yaml');
  const upload = await fetch(`${server.url}/apis/v2beta1/pipelines/upload?name=diamond`, {
    method: 'POST',
    body: form,
  });
  expect(upload.status).toBe(200);
  await server.stop();
});

let kept: Map<string, Buffer>;
beforeEach(() => {
  kept ??= new Map(files('').map((path) => [path, readFileSync(path)]));
  for (const [path, bytes] of kept) writeFileSync(path, bytes);
});

test('what the product leaves behind is whole: each file that is led to by a record alone has one', async () => {
  for (const folder of ['tracking', 'kfp/specs', 'data', 'artifacts'])
    expect(files(folder).length, folder).toBeGreaterThan(0);
  const { well, of } = await doctored(later);
  expect(of('strays')).toMatchObject({ result: 'ok' });
  expect(of('blobs')).toMatchObject({ result: 'ok' });
  expect(Number(/name (\d+) files/.exec(of('blobs')?.said ?? '')?.[1])).toBe(4);
  expect(of('audit')).toMatchObject({ result: 'ok' });
  expect(well).toBe(true);
});

test.each(['tracking', 'kfp/specs', 'data', 'artifacts'])(
  'a file that is gone below %s is found, with the record that names it',
  async (folder) => {
    const [first = ''] = files(folder);
    rmSync(first);
    const { well, of } = await doctored();
    expect(well).toBe(false);
    const path = first.slice(join(data, 'blobs/data/default0/').length);
    const named = folder === 'artifacts' ? path.slice(0, path.lastIndexOf('/')) : path;
    expect(of('blobs')).toMatchObject({ result: 'fail', said: expect.stringContaining(named) });
    expect(of('blobs')?.said).toMatch(/1 missing/);
  },
);

test('other bytes of the same length are found by their digest, shorter ones by their size', async () => {
  const [spec = ''] = files('kfp/specs');
  const bytes = readFileSync(spec);
  bytes[bytes.length - 2] = 0x20 ^ (bytes[bytes.length - 2] ?? 0);
  writeFileSync(spec, bytes);
  expect((await doctored()).of('blobs')).toMatchObject({
    result: 'fail',
    said: expect.stringMatching(/its bytes are others than were recorded/),
  });
  writeFileSync(spec, kept.get(spec) ?? '');
  const [drop = ''] = files('data');
  writeFileSync(drop, 'x');
  // Somebody wrote the data again: to be known, not to be mended.
  const { well, of } = await doctored();
  expect(of('blobs')).toMatchObject({
    result: 'warn',
    said: expect.stringMatching(/it has 1 bytes, not 10/),
  });
  expect(well).toBe(true);
});

test('a file that no record leads to is told once it is an hour old', async () => {
  const stray = join(data, 'blobs/data/default0/kfp/specs', `${'0'.repeat(64)}.json`);
  writeFileSync(stray, '{}');
  expect((await doctored()).of('strays')).toMatchObject({ result: 'ok' });
  expect((await doctored(later)).of('strays')).toMatchObject({
    result: 'warn',
    said: expect.stringContaining(`default0/kfp/specs/${'0'.repeat(64)}.json`),
  });
  rmSync(stray);
});

test('a file of points is named by its log entry, and by the past that it is folded into', () => {
  const path = 'tracking/4f/01.points';
  for (const pk of ['X#1#0', 'R#4f'])
    expect(namedIn({ pk, sk: 'LOG#4f#01', blob: path }, () => undefined)).toEqual([
      { path, kind: 'file' },
    ]);
});

test('what records of pipelines name: specs, kept values, artifacts that were there, once each and nothing of the user', () => {
  const digest = 'ab'.repeat(32);
  const artifact = (uri: string, present: boolean) => ({
    ...{ name: 'x', uri, present, type: {}, identity: 'i' },
    metadata: { spec: digest, blob: 'no/path', sizeBytes: 1, uri: 'mine://x', present: true },
  });
  const task = {
    inputs: { parameters: { values: { spec: digest, blob: 'b', sizeBytes: 2 } }, artifacts: {} },
    outputs: {
      parameters: { blob: `kfp/values/1/${digest}.json`, sizeBytes: 5 },
      artifacts: {
        kept: artifact('s3://bucket/ws/pipelines/p/kept', true),
        absent: artifact('s3://bucket/ws/pipelines/p/absent', false),
        elsewhere: artifact('gs://other/kept', true),
      },
    },
  };
  const pathOf = (uri: string) => /^s3:\/\/bucket\/ws\/(.*)$/.exec(uri)?.[1];
  const of = (pk: string, record: unknown, sk = 'x') =>
    namedIn({ pk, sk, version: 1, record: JSON.stringify(record) }, pathOf);
  const outputs = [
    { path: `kfp/values/1/${digest}.json`, kind: 'file', sizeBytes: 5, sha256: digest },
    { path: 'pipelines/p/kept', kind: 'any' },
  ];
  expect(of('KFP#run#1', task, 'T#train')).toEqual(outputs);
  expect(of('KFP#cache#p', { outputs: task.outputs }, 'F#1')).toEqual(outputs);
  const spec = { path: `kfp/specs/${digest}.json`, kind: 'file', sha256: digest };
  expect(of('KFP#runs', { spec: digest, parameters: { values: { a: 1 } } })).toEqual([spec]);
  expect(of('KFP#versions#p', { spec: digest, tags: {} })).toEqual([spec]);
  expect(of('KFP#pipelines', { spec: digest })).toEqual([]);
});

test('it looks while a server runs, and leaves alone what is being written', async () => {
  const server = await serve();
  const aside = join(data, 'blobs/aside/half-written');
  writeFileSync(aside, 'half');
  const { well, of } = await doctored();
  expect(of('blobs')).toMatchObject({ result: 'ok' });
  expect(well).toBe(true);
  expect(statSync(aside).size).toBe(4);
  await server.stop();
});
test('a record that cannot be read is a failure, not a check that was left out', async () => {
  const copy = mkdtempSync(join(tmpdir(), 'doctor-copy-'));
  cpSync(data, copy, { recursive: true });
  const table = openTable({ folder: join(copy, 'table'), world: testWorld() });
  const items = table.root.openDB<Item, Buffer>({ name: 'items', keyEncoding: 'binary' });
  await items.put(Buffer.from('default0\0KFP#runs\0x'), {
    pk: 'KFP#runs',
    sk: 'x',
    record: '{"spec',
  });
  await table.close();
  const lines: string[] = [];
  const told = { write: (line: string) => void lines.push(line), json: false };
  expect(await examine(deepChecks(copy, Date.now), told)).toBe(false);
  expect(lines[0]).toMatch(/^fail {4}blobs .* the table could not be read/);
  rmSync(copy, { recursive: true });
});

test('a chain that was changed by hand', async () => {
  const table = openTable({ folder: join(data, 'table'), world: testWorld() });
  const items = table.root.openDB<{ told?: string }, Buffer>({
    name: 'items',
    keyEncoding: 'binary',
  });
  for (const { key, value } of items.getRange({}))
    if (value.told?.includes('registry.model.created'))
      await items.put(key, { ...value, told: value.told.replace('"local"', '"mallory"') });
  await table.close();
  const { well, of } = await doctored();
  expect(well).toBe(false);
  expect(of('audit')).toMatchObject({
    result: 'fail',
    said: expect.stringMatching(/amiss: models\//),
  });
});

test('no table: nothing to look at, and none is made', async () => {
  const empty = mkdtempSync(join(tmpdir(), 'doctor-empty-'));
  const lines: string[] = [];
  const told = { write: (line: string) => void lines.push(line), json: false };
  expect(await examine(deepChecks(empty, Date.now), told)).toBe(true);
  expect(lines.at(-1)).toBe('0 ok, 0 to look at, 0 wrong, 3 skipped');
  expect(readdirSync(empty)).toEqual([]);
  rmSync(empty, { recursive: true });
});
