import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { open } from 'lmdb';
import { startServer } from '../child.ts';
import { READINGS } from './readings.ts';

/**
 * Writes `test/upgrade/base/`: a small data folder as the product of this commit leaves it, an export of its table, the
 * answers that its server gave, and the commit's id. Later releases must read it and answer the same.
 *
 *     node test/upgrade/make.ts
 */
const root = resolve(import.meta.dirname, '../..');
const base = join(import.meta.dirname, 'base');
const data = mkdtempSync(join(tmpdir(), 'upgrade-'));
const server = await startServer({ data });
const ask = async (method: string, path: string, body?: unknown, type = 'application/json') => {
  const answer = await fetch(server.url + path, {
    method,
    headers: { 'content-type': type },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return text && answer.headers.get('content-type')?.includes('json') ? JSON.parse(text) : text;
};
const mlflow = (method: string, path: string, body?: unknown) =>
  ask(method, `/api/2.0/mlflow/${path}`, body);

const { experiment_id } = await mlflow('POST', 'experiments/create', {
  name: 'upgrade',
  tags: [{ key: 'team', value: 'flow' }],
});
for (const [index, status] of ['FINISHED', 'FAILED', 'RUNNING'].entries()) {
  const { run } = await mlflow('POST', 'runs/create', {
    experiment_id,
    run_name: `run-${index}`,
    start_time: 1000 + index,
  });
  const { run_id } = run.info;
  await mlflow('POST', 'runs/log-batch', {
    run_id,
    metrics: [0, 1, 2].flatMap((step) => [
      { key: 'loss', value: 1 / (1 + step + index), timestamp: step, step },
      { key: 'odd', value: ['NaN', 'Infinity', 5e-324][step], timestamp: step, step },
    ]),
    params: [
      { key: 'depth', value: String(index) },
      { key: 'long', value: 'x'.repeat(6000) },
    ],
    tags: [{ key: 'kind', value: 'ünïcode' }],
  });
  if (status !== 'RUNNING') await mlflow('POST', 'runs/update', { run_id, status, end_time: 2000 });
  await ask(
    'PUT',
    `/api/2.0/mlflow-artifacts/artifacts/${experiment_id}/${run_id}/artifacts/plots/note.txt`,
    `note ${index}`,
    'text/plain',
  );
}
await mlflow('POST', 'registered-models/create', {
  name: 'upgrade-model',
  description: 'of the base',
});
for (const version of ['1', '2']) {
  await mlflow('POST', 'model-versions/create', {
    name: 'upgrade-model',
    source: `s3://elsewhere/model-${version}`,
  });
  await mlflow('POST', 'model-versions/set-tag', {
    name: 'upgrade-model',
    version,
    key: 'n',
    value: version,
  });
}
await mlflow('POST', 'registered-models/alias', {
  name: 'upgrade-model',
  alias: 'champion',
  version: '2',
});
await ask('PUT', '/api/data/base/points.csv', 'x,y\n1,2\n', 'text/csv');
const form = new FormData();
form.set(
  'uploadfile',
  new Blob([readFileSync(join(root, 'test/upgrade/pipeline.yaml'))]),
  'pipeline.yaml',
);
const uploaded = await fetch(`${server.url}/apis/v2beta1/pipelines/upload?name=upgrade`, {
  method: 'POST',
  body: form,
});
if (!uploaded.ok) throw new Error(await uploaded.text());
const { pipeline_id } = (await uploaded.json()) as { pipeline_id: string };
await ask('PUT', '/api/rules/upgrade', {
  on: { data: { prefix: 'drops/' } },
  start: { pipeline: 'upgrade' },
});
const run = await ask('POST', '/apis/v2beta1/runs', {
  display_name: 'base run',
  pipeline_version_reference: { pipeline_id },
});
for (
  let state = '';
  state !== 'SUCCEEDED';
  state = (await ask('GET', `/apis/v2beta1/runs/${run.run_id}`)).state
) {
  if (state === 'FAILED') throw new Error('the pipeline of the base failed');
  await new Promise((done) => setTimeout(done, 200));
}

const answers = Object.fromEntries(
  await Promise.all(
    READINGS.map(
      async ({ name, method, path, body }) => [name, await ask(method, path, body)] as const,
    ),
  ),
);
await server.stop({ keep: true });

rmSync(base, { recursive: true, force: true });
mkdirSync(base, { recursive: true });
for (const part of ['table', 'blobs', 'secret'])
  cpSync(join(data, part), join(base, 'data', part), { recursive: true });
rmSync(join(base, 'data/table/lock.mdb'), { force: true });
const items = open({ path: join(data, 'table'), maxDbs: 8, pageSize: 8192, readOnly: true }).openDB(
  { name: 'items', keyEncoding: 'binary' },
);
const exported = [...items.getRange()].map(({ key, value }) => ({
  key: Buffer.from(key as Buffer)
    .toString('latin1')
    .split('\0'),
  value: JSON.parse(
    JSON.stringify(value, (_name, held) =>
      held?.type === 'Buffer' ? { base64: Buffer.from(held.data).toString('base64') } : held,
    ),
  ),
}));
writeFileSync(join(base, 'table.json'), `${JSON.stringify(exported, null, 1)}\n`);
writeFileSync(join(base, 'answers.json'), `${JSON.stringify(answers, null, 1)}\n`);
writeFileSync(join(base, 'commit'), execFileSync('git', ['rev-parse', 'HEAD'], { cwd: root }));
rmSync(data, { recursive: true, force: true });
console.log(`${exported.length} items, ${Object.keys(answers).length} answers`);
