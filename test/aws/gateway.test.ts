import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findingsOf } from '../../functions/handlers/identity.ts';
import { lambdas } from '../../functions/handlers/lambdas.ts';
import { s3Blobs } from '../../functions/platform/aws/blobs.ts';
import { LARGEST_BLOB_ANSWER_BYTES } from '../../functions/platform/aws/lazy_blobs.ts';
import { realWorld } from '../../functions/platform/aws/platform.ts';
import type { Blobs, Platform } from '../../functions/platform/ports.ts';
import { groundRooms } from '../../functions/wire.ts';
import { workspacesRoom } from '../../functions/workspaces/index.ts';
import { type LocalTable, openTable } from '../../local/table.ts';
import { runClient } from '../clients/venv.ts';
import { type Oracle, S3_KEYS, startVersity } from '../oracles/oracle.ts';
import { testCall } from '../world.ts';
import { type Gateway, startGateway } from './gateway.ts';

const folder = mkdtempSync(join(tmpdir(), 'stillflow-gateway-'));
let s3: Oracle;
let client: S3Client;
let table: LocalTable;
let blobs: Blobs;
let gateway: Gateway;
let token: string;

beforeAll(async () => {
  s3 = await startVersity();
  client = new S3Client({
    endpoint: s3.url,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: S3_KEYS,
  });
  await client.send(new CreateBucketCommand({ Bucket: 'stillflow' }));
  blobs = {
    ...s3Blobs({ client, bucket: 'stillflow' }),
    largestAnswerBytes: LARGEST_BLOB_ANSWER_BYTES,
  };
  table = openTable({ folder, world: realWorld });
  const platform = {
    table,
    blobs,
    world: realWorld,
    secret: new Uint8Array(32).fill(7),
    artifacts: 'proxy',
  } as unknown as Platform;
  const { service } = workspacesRoom(platform);
  token = (await service.createToken(testCall(), { name: 'ada', role: 'write' })).token;
  const { artifacts, tracking } = groundRooms(platform);
  const { http } = lambdas(
    { ...artifacts, routes: [...artifacts.routes, ...tracking.routes] },
    platform,
  );
  gateway = await startGateway(http, (headers) => findingsOf(headers, service));
});
afterAll(async () => {
  await gateway?.stop();
  await table?.close();
  client?.destroy();
  await s3?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const ask = (method: string, path: string, body?: BodyInit, follow: RequestRedirect = 'manual') =>
  fetch(`${gateway.url}${path}`, {
    method,
    redirect: follow,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body }),
  });
const FILES = '/api/2.0/mlflow-artifacts/artifacts';

test('a file is downloaded from the store, as an attachment that no page opens', async () => {
  expect((await ask('PUT', `${FILES}/d/page.html`, '<script>')).status).toBe(200);
  const answer = await ask('GET', `${FILES}/d/page.html`);
  const url = answer.headers.get('location') ?? '';
  expect([answer.status, answer.headers.get('x-content-type-options')]).toEqual([307, 'nosniff']);
  expect(url.startsWith(`${s3.url}/stillflow/default0/artifacts/d/page.html?`)).toBe(true);
  expect(new URL(url).searchParams.get('X-Amz-Expires')).toBe('300');
  const got = await fetch(url);
  expect([got.status, await got.text()]).toEqual([200, '<script>']);
  expect(got.headers.get('content-type')).toBe('text/plain; charset=utf-8');
  expect(got.headers.get('content-disposition')).toMatch(/^attachment; filename="page.html"/);
  // S3 refuses a signed URL beside a token: that this works shows that the token stays behind.
  const followed = await ask('GET', `${FILES}/d/page.html`, undefined, 'follow');
  expect([followed.status, followed.redirected]).toEqual([200, true]);
  expect((await ask('GET', `${FILES}/d/none`)).status).toBe(404);
});

test('a body beyond the gateway is refused by it, and goes in parts to the store', async () => {
  const bytes = Buffer.alloc(12 * 1024 * 1024, 'stillflow ');
  expect((await ask('PUT', `${FILES}/d/big`, bytes)).status).toBe(413);
  const mpu = (verb: string, body: unknown) =>
    ask('POST', `/api/2.0/mlflow-artifacts/mpu/${verb}/d`, JSON.stringify(body));
  const path = '/home/ada/big';
  const made = (await (await mpu('create', { path, num_parts: 2 })).json()) as {
    upload_id: string;
    credentials: { url: string; part_number: number }[];
  };
  const halves = [bytes.subarray(0, 6_000_000), bytes.subarray(6_000_000)];
  const parts = [];
  for (const { url, part_number } of made.credentials) {
    const body = halves[part_number - 1] ?? '';
    const { status, headers } = await fetch(url, { method: 'PUT', body });
    expect(status).toBe(200);
    parts.push({ part_number, etag: headers.get('etag') ?? '', url });
  }
  const { upload_id } = made;
  expect((await mpu('complete', { path, upload_id, parts })).status).toBe(200);
  const back = await ask('GET', `${FILES}/d/big`, undefined, 'follow');
  expect(Buffer.from(await back.arrayBuffer()).equals(bytes)).toBe(true);
  const given = (await (await mpu('create', { path, num_parts: 1 })).json()) as typeof made;
  expect((await mpu('abort', { path, upload_id: given.upload_id })).status).toBe(200);
  const late = await fetch(given.credentials[0]?.url ?? '', { method: 'PUT', body: 'x' });
  expect(late.status).toBe(404);
});

test('the MLflow client uploads in parts, follows 307, and needs one variable for it', async () => {
  gateway.asked.length = 0;
  const out = await runClient('mlflow', 'redirects.py', [gateway.url], {
    MLFLOW_TRACKING_TOKEN: token,
    MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE: '4000000',
  });
  expect(out.trim().split('\n').at(-1)).toMatch(/^\d+ checks passed$/);
  const [creates, redirects] = [/mpu\/create\S* 200$/, /^GET \S*artifacts\/\S+ 307$/].map(
    (wanted) => gateway.asked.filter((line) => wanted.test(line)),
  );
  expect(creates?.length).toBe(1);
  expect(redirects?.length).toBe(3);
});
