import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import type { Context, SQSEvent } from 'aws-lambda';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import * as z from 'zod';
import type { GatewayEvent } from '../../functions/handlers/gateway.ts';
import { findingsOf } from '../../functions/handlers/identity.ts';
import { lambdas } from '../../functions/handlers/lambdas.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import { apiRoute } from '../../functions/protocols/api.ts';
import { mlflowRoute } from '../../functions/protocols/mlflow.ts';
import type { Room } from '../../functions/room.ts';
import { workspacesRoom } from '../../functions/workspaces/index.ts';
import { type LocalTable, openTable } from '../../local/table.ts';
import { testCall, testWorld } from '../world.ts';

const world = testWorld();
const folder = mkdtempSync(join(tmpdir(), 'stillflow-lambdas-'));
const heard: string[] = [];
const limits = { bodyBytes: 1000, timeoutSeconds: 5 };
const parts = { input: z.any(), output: z.any(), resource: () => 'things', limits };
const room: Room = {
  routes: [
    mlflowRoute('GET', '/api/2.0/mlflow/who', 'tests:read', {
      ...parts,
      run: ({ caller, workspace }) => ({ caller, workspace }),
    }),
    apiRoute('GET', '/open', 'tests:read', { ...parts, open: true, run: () => ({ fine: true }) }),
    apiRoute('PUT', '/bytes/{path*}', 'tests:write', {
      ...parts,
      retry: 'natural',
      rawBody: true,
      run: async (_call, _input, incoming) => {
        const bytes = Buffer.from(await incoming.bytes());
        return Response.json({ path: incoming.params['path'], hex: bytes.toString('hex') });
      },
    }),
    apiRoute('GET', '/raw', 'tests:read', {
      ...parts,
      run: () =>
        new Response(new Uint8Array([0, 255, 1]), { headers: { 'Content-Type': 'image/png' } }),
    }),
    apiRoute('GET', '/huge', 'tests:read', {
      ...parts,
      run: () => new Response('x'.repeat(6_000_000), { headers: { 'Content-Type': 'text/plain' } }),
    }),
    apiRoute('GET', '/follow', 'tests:read', {
      ...parts,
      streams: true,
      run: () => new Response(new Blob(['one\n', 'two\n']).stream()),
    }),
    apiRoute('GET', '/cut', 'tests:read', {
      ...parts,
      streams: true,
      run: () =>
        new Response(
          new ReadableStream({
            start(controller) {
              controller.enqueue(Buffer.from('half'));
              setImmediate(() => controller.error(new Error('source died')));
            },
          }),
        ),
    }),
  ],
  followers: [
    {
      name: 'tests-follower',
      hears: ['*'],
      async run(call, told) {
        if (told.subject === 'bad') throw new Error('not today');
        heard.push(`${call.workspace} ${told.id}`);
      },
    },
    {
      name: 'tests-many',
      hears: ['*'],
      run: async () => expect.unreachable(),
      async runMany(call, tolds) {
        if (call.workspace === 'failing0') throw new Error('not today');
        heard.push(`${call.workspace} ${tolds.map(({ id }) => id)}`);
      },
    },
  ],
  tasks: {
    'tests-task': async (call, input) => {
      if ((input as { fail?: string }).fail) throw new Problem('missing', 'No such thing.');
      return { workspace: call.workspace };
    },
  },
  folders: [],
};

let table: LocalTable;
let entries: ReturnType<typeof lambdas>;
let token: string;
beforeAll(async () => {
  table = openTable({ folder, world });
  entries = lambdas(room, { table, world });
  const { service } = workspacesRoom({ table, world });
  token = (await service.createToken(testCall(), { name: 'ada', role: 'read' })).token;
});
afterAll(async () => {
  await table.close();
  rmSync(folder, { recursive: true, force: true });
});

const event = (
  path: string,
  more: Partial<GatewayEvent> & { authorizer?: unknown; method?: string } = {},
) => {
  const { authorizer, method = 'GET', ...rest } = more;
  return {
    version: '2.0',
    rawPath: path,
    rawQueryString: '',
    headers: {},
    isBase64Encoded: false,
    ...rest,
    requestContext: { domainName: 'api.example.com', http: { method, path }, authorizer },
  } as unknown as GatewayEvent;
};
const found = async (authorization: string) => ({
  lambda: await findingsOf(
    new Headers({ authorization }),
    workspacesRoom({ table, world }).service,
  ),
});
const basic = (password: string) => `Basic ${Buffer.from(`user:${password}`).toString('base64')}`;

test('a token, as bearer or as password, says who asks', async () => {
  for (const header of [`Bearer ${token}`, basic(token)]) {
    const answer = await entries.http(
      event('/api/2.0/mlflow/who', { authorizer: await found(header) }),
    );
    expect(answer.statusCode).toBe(200);
    expect(JSON.parse(answer.body ?? '')).toEqual({
      caller: { name: 'ada', role: 'read' },
      workspace: 'default0',
    });
  }
});

test('without a credential, or with one that does not count, the protocol says so in its own words', async () => {
  const wrong = await found(`Bearer ${token.slice(0, -1)}${token.endsWith('A') ? 'B' : 'A'}`);
  for (const authorizer of [undefined, {}, { lambda: null }, { lambda: {} }, wrong]) {
    const answer = await entries.http(event('/api/2.0/mlflow/who', { authorizer }));
    expect(answer.statusCode).toBe(401);
    expect(JSON.parse(answer.body ?? '')).toMatchObject({ error_code: 'UNAUTHENTICATED' });
    expect(answer.headers).toMatchObject({ 'www-authenticate': expect.stringContaining('Bearer') });
  }
});

test('an open route answers anyone', async () => {
  expect((await entries.http(event('/open'))).statusCode).toBe(200);
});

test.each([
  ['a header that names a caller', { 'x-stillflow-caller': 'ada' }],
  ['what gateways put into headers', { 'x-amzn-oidc-identity': 'ada', 'x-apigateway-event': '{}' }],
  [
    'a signature that no gateway looked at',
    { authorization: 'AWS4-HMAC-SHA256 Credential=AKIA/x' },
  ],
  [
    'a header named as the context is',
    { 'requestcontext.authorizer.iam.userarn': 'arn:aws:iam::1:user/ada' },
  ],
])('%s makes no identity', async (_what, headers) => {
  const query = 'authorizer[iam][userArn]=arn:aws:iam::1:user/ada';
  for (const authorizer of [undefined, {}, { iam: null }, { iam: {} }, { iam: { userArn: '' } }]) {
    const asked = event('/raw', { headers, rawQueryString: query, authorizer });
    expect((await entries.http(asked)).statusCode).toBe(401);
  }
});

test('whom the gateway found stays whoever the headers say', async () => {
  const authorizer = { iam: { userArn: 'arn:aws:iam::1:user/eve' } };
  const headers = { authorization: `Bearer ${token}`, 'x-stillflow-caller': 'ada' };
  const answer = await entries.http(event('/api/2.0/mlflow/who', { headers, authorizer }));
  expect(JSON.parse(answer.body ?? '').caller).toEqual({ name: 'iam:user/eve', role: 'write' });
  const other = event('/raw', { headers: { 'x-mlflow-workspace': 'team0001' }, authorizer });
  expect((await entries.http(other)).statusCode).toBe(403);
});

test('behind the streaming front nothing that an event says of an authorizer counts', async () => {
  const { out, chunks } = sink();
  const authorizer = { iam: { userArn: 'arn:aws:iam::1:user/eve' } };
  await entries.stream(event('/follow', { authorizer }), out);
  expect(chunks.join('')).toContain('needs a token');
});

test('no header makes an identity', async () => {
  const headers = { 'x-stillflow-caller': 'ada', authorization: `Bearer ${token}` };
  expect((await entries.http(event('/raw', { headers }))).statusCode).toBe(401);
});

test('a SigV4 caller writes in the default workspace and administers nothing', async () => {
  const authorizer = { iam: { userArn: 'arn:aws:sts::1:assumed-role/ml/ada' } };
  const answer = await entries.http(event('/api/2.0/mlflow/who', { authorizer }));
  expect(JSON.parse(answer.body ?? '')).toEqual({
    caller: { name: 'iam:assumed-role/ml/ada', role: 'write' },
    workspace: 'default0',
  });
});

test('a role that may only read is refused a write, which is kept for the audit', async () => {
  const authorizer = await found(`Bearer ${token}`);
  const answer = await entries.http(event('/bytes/a', { method: 'PUT', authorizer, body: 'x' }));
  expect(answer.statusCode).toBe(403);
  const { entries: kept } = await table.entries(testCall(), 'callers/ada');
  expect(kept.at(-1)).toMatchObject({ type: 'governance.request.denied' });
});

const signed = { iam: { userArn: 'arn:aws:iam::1:user/ada' } };

test('a body in base64 arrives as its bytes, under a path that is decoded once', async () => {
  const body = Buffer.from([0, 200, 255]).toString('base64');
  const answer = await entries.http(
    event('/bytes/a%2520b/c', { method: 'PUT', authorizer: signed, body, isBase64Encoded: true }),
  );
  expect(JSON.parse(answer.body ?? '')).toEqual({ path: 'a%20b/c', hex: '00c8ff' });
});

test.each(['/bytes/../open', '/bytes/./a', '/bytes/%2e%2e/a', '/bytes/.%2E/a'])(
  'a path with a dot segment is refused before it is resolved: %s',
  async (path) => {
    const answer = await entries.http(
      event(path, { method: 'PUT', authorizer: signed, body: 'x' }),
    );
    expect(answer.statusCode).toBe(400);
    expect(answer.headers).toMatchObject({ 'x-content-type-options': 'nosniff' });
  },
);

test('a page of another origin may not write', async () => {
  const ask = (origin: string) =>
    entries.http(
      event('/bytes/a', { method: 'PUT', authorizer: signed, body: 'x', headers: { origin } }),
    );
  expect((await ask('https://evil.example')).statusCode).toBe(403);
  expect((await ask('https://api.example.com')).statusCode).toBe(200);
});

test('bytes leave as base64, and an answer beyond the gateway’s limit is refused whole', async () => {
  const raw = await entries.http(event('/raw', { authorizer: signed }));
  expect([raw.isBase64Encoded, raw.body]).toEqual([true, 'AP8B']);
  const huge = await entries.http(event('/huge', { authorizer: signed }));
  expect([huge.statusCode, huge.body?.includes('larger')]).toEqual([500, true]);
});

const sink = () => {
  const chunks: string[] = [];
  const out = new Writable({
    write(chunk, _encoding, done) {
      chunks.push(String(chunk));
      done();
    },
  });
  return { out, chunks };
};

test('the streaming front checks the token itself and serves only what streams', async () => {
  const ask = async (path: string, headers: Record<string, string>) => {
    const { out, chunks } = sink();
    await entries.stream(event(path, { headers }), out);
    return chunks.join('');
  };
  const authorization = `Bearer ${token}`;
  expect(await ask('/follow', { authorization })).toBe('one\ntwo\n');
  expect(await ask('/follow', {})).toContain('needs a token');
  expect(await ask('/raw', { authorization })).toContain('Not Found');
});

test('a table that is throttled while the token is looked up is a worded answer, no failed function', async () => {
  const throttled = {
    ...table,
    get: () => Promise.reject(new Problem('unavailable', 'The table is busy.')),
  };
  const { stream } = lambdas(room, { table: throttled, world });
  const { out, chunks } = sink();
  await stream(event('/follow', { headers: { authorization: `Bearer ${token}` } }), out);
  expect(chunks.join('')).toContain('The table is busy.');
});

test('a stream whose source dies is cut, not ended', async () => {
  const { out } = sink();
  const headers = { authorization: `Bearer ${token}` };
  await expect(entries.stream(event('/cut', { headers }), out)).rejects.toThrow('source died');
  expect(out.writableFinished).toBe(false);
});

const context = { getRemainingTimeInMillis: () => 1000, awsRequestId: 'r1' } as Context;

test('of a batch only what failed comes again', async () => {
  vi.stubEnv('STILLFLOW_FOLLOWER', 'tests-follower');
  const record = (messageId: string, told: object) => ({ messageId, body: JSON.stringify(told) });
  const batch = {
    Records: [
      record('1', { id: 'a', workspace: 'default0', subject: 'good' }),
      record('2', { id: 'b', workspace: 'default0', subject: 'bad' }),
      record('3', { id: 'c', workspace: 'NOT ONE', subject: 'good' }),
      { messageId: '4', body: 'no json' },
      record('5', { id: 'd', workspace: 'other000', subject: 'good' }),
    ],
  } as SQSEvent;
  const { batchItemFailures } = await entries.follow(batch, context);
  expect(batchItemFailures.map(({ itemIdentifier }) => itemIdentifier)).toEqual(['2', '3', '4']);
  expect(heard).toEqual(['default0 a', 'other000 d']);
});

test('what a follower of many cannot take comes again whole, and no other workspace of the batch', async () => {
  vi.stubEnv('STILLFLOW_FOLLOWER', 'tests-many');
  const record = (messageId: string, told: object) => ({ messageId, body: JSON.stringify(told) });
  const batch = {
    Records: [
      record('1', { id: 'a', workspace: 'default0' }),
      record('2', { id: 'b', workspace: 'failing0' }),
      record('3', { id: 'c', workspace: 'default0' }),
      record('4', { id: 'd', workspace: 'failing0' }),
      { messageId: '5', body: 'no json' },
    ],
  } as SQSEvent;
  const { batchItemFailures } = await entries.follow(batch, context);
  expect(batchItemFailures.map(({ itemIdentifier }) => itemIdentifier)).toEqual(['5', '2', '4']);
  expect(heard).toContain('default0 a,c');
});

test('a task runs in the workspace of its execution, and its problem has a name that machines catch', async () => {
  vi.stubEnv('STILLFLOW_TASK', 'tests-task');
  expect(await entries.task({ execution: 'team0001-run-7' }, context)).toEqual({
    workspace: 'team0001',
  });
  await expect(
    entries.task({ execution: 'team0001-x', fail: 'yes' }, context),
  ).rejects.toMatchObject({ name: 'Problem.missing', message: 'No such thing.' });
  await expect(entries.task({ execution: 'NOT-OURS' }, context)).rejects.toThrow();
  vi.stubEnv('STILLFLOW_TASK', 'toString');
  await expect(entries.task({ execution: 'team0001-x' }, context)).rejects.toThrow('no task');
});
