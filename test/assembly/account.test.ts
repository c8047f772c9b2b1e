import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  ask,
  credentialsOf,
  dailyWork,
  dropIsTold,
  everyFollowerHears,
  everyFunctionStarts,
  everyRouteIsAnswered,
  firstToken,
  machinesMay,
  readersGetTheirOwn,
  schedulesRun,
} from './checks.ts';
import { type Opened, openStack } from './open.ts';
import { REGION } from './stack/intrinsics.ts';
import { sign } from './stack/sigv4.ts';
import { fields, text } from './stack/values.ts';

describe('the account that the assembly makes', () => {
  let opened: Opened;
  let token: string;
  beforeAll(async () => {
    opened = await openStack();
    token = await firstToken(opened.stack);
  });
  afterAll(() => opened?.close());

  const checks = [
    everyRouteIsAnswered,
    dailyWork,
    readersGetTheirOwn,
    dropIsTold,
    machinesMay,
    schedulesRun,
    everyFunctionStarts(),
    everyFollowerHears,
  ];
  test.each(checks)('$name', async ({ run }) => run(opened.stack, token));

  test('nothing that it did was denied', () => {
    expect(opened.stack.access.denials).toEqual([]);
  });

  const url = () => text(opened.stack.outputs['stillflow-api.Url']);
  test('without a token, or with a revoked one, the room says so in the words of its protocol', async () => {
    const path = '/api/2.0/mlflow/experiments/search?max_results=1';
    const bare = await fetch(url() + path);
    expect([bare.status, await bare.json()]).toMatchObject([
      401,
      { error_code: 'UNAUTHENTICATED' },
    ]);
    const other = await firstToken(opened.stack);
    await ask(opened.stack, other, 'GET', path);
    await ask(opened.stack, token, 'DELETE', `/api/tokens/${other.split('_')[1]}`);
    await expect(ask(opened.stack, other, 'GET', path)).rejects.toThrow(' 401 ');
  });

  const signed = (service: string, secret?: string) => {
    const at = text(opened.stack.outputs['stillflow-api.SignedUrl']);
    const path = '/api/2.0/mlflow/experiments/search?max_results=1';
    const keys = credentialsOf(opened.stack);
    const content = createHash('sha256').update('').digest('hex');
    const headers = sign(
      { method: 'GET', url: path, headers: { host: new URL(at).host } },
      secret ? { ...keys, secretAccessKey: secret } : keys,
      { region: REGION, service, now: new Date(), content },
    );
    return fetch(at + path, { headers });
  };
  test('the signed API takes who signs for execute-api, and nobody else', async () => {
    expect((await signed('execute-api')).status).toBe(200);
    expect((await signed('lambda')).status).toBe(403);
    expect((await signed('execute-api', 'another')).status).toBe(403);
    expect((await fetch(text(opened.stack.outputs['stillflow-api.SignedUrl']))).status).toBe(403);
  });

  test.each([
    ['over 10 MB', 10 * 2 ** 20 + 1],
    ['over 6 MB once it is base64', 5 * 2 ** 20],
  ])('a body %s never reaches a function: 413', async (_, bytes) => {
    const answer = await fetch(`${url()}/api/data/large.bin`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/octet-stream' },
      body: Buffer.alloc(bytes),
    }).catch((error: unknown) => error as Error);
    // A server that stops reading may cut the connection before its answer is read.
    if (answer instanceof Error) expect(String(answer.cause)).toMatch(/EPIPE|ECONNRESET|closed/);
    else expect(answer.status).toBe(413);
  });

  test('a file of data comes back byte by byte, whatever its bytes', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, at) => at));
    const headers = { authorization: `Bearer ${token}` };
    const put = await fetch(`${url()}/api/data/suite/bytes.bin`, {
      method: 'PUT',
      headers,
      body: bytes,
    });
    expect(put.status).toBe(200);
    const first = await fetch(`${url()}/api/data/suite/bytes.bin`, { headers, redirect: 'manual' });
    const location = first.headers.get('location');
    const last = location ? await fetch(location) : first;
    expect(Buffer.from(await last.arrayBuffer())).toEqual(bytes);
  });

  test('the streaming front checks the token, and answers what streams', async () => {
    const at = text(opened.stack.outputs['stillflow-api.StreamUrl']).replace(/\/$/, '');
    const path = `${at}/api/data/suite/bytes.bin`;
    expect((await fetch(path)).status).toBe(401);
    const found = await fetch(path, { headers: { authorization: `Bearer ${token}` } });
    expect(found.status).toBe(200);
    expect((await found.arrayBuffer()).byteLength).toBe(256);
  });

  test('a token may not be asked for what its role does not say', async () => {
    const made = fields(
      await ask(opened.stack, token, 'POST', '/api/tokens', { name: 'reader', role: 'read' }),
    );
    await expect(
      ask(opened.stack, text(made['token']), 'POST', '/api/2.0/mlflow/experiments/create', {
        name: 'x',
      }),
    ).rejects.toThrow(' 403 ');
  });
});
