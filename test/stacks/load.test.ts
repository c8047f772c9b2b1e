import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { LARGEST_ANSWER_BYTES } from '../../functions/handlers/gateway.ts';
import { bundle } from '../../lib/bundle.ts';
import { readRooms } from '../../lib/rooms.ts';
import { siteFolder } from '../../lib/site.ts';

/** Answers what a cold start asks of DynamoDB: the installation's secret, and no token. Shape only. */
const sent: string[] = [];
const store = createServer((request, response) => {
  let body = '';
  request.on('data', (chunk) => {
    body += chunk;
  });
  request.on('end', () => {
    sent.push(body);
    const secret = body.includes('install0#');
    const bytes = { B: Buffer.alloc(32, 7).toString('base64') };
    const item = secret
      ? { Item: { pk: { S: 'install0#INSTALLATION' }, sk: { S: 'secret' }, bytes } }
      : {};
    response.writeHead(200, { 'content-type': 'application/x-amz-json-1.0' });
    response.end(JSON.stringify(item));
  });
});
beforeAll(() => new Promise<void>((resolve) => void store.listen(0, '127.0.0.1', resolve)));
afterAll(() => new Promise<void>((resolve) => void store.close(() => resolve())));

/** Loads a bundle in a Node of its own, with the environment of the stacks, and runs `script` with its exports as `it`. */
async function load(entry: string, script: string, folder?: string): Promise<string> {
  const index = JSON.stringify(join(folder ?? bundle(entry).folder, 'index.mjs'));
  const env = {
    AWS_REGION: 'eu-west-1',
    AWS_ACCESS_KEY_ID: 'x',
    AWS_SECRET_ACCESS_KEY: 'x',
    AWS_ENDPOINT_URL_DYNAMODB: `http://127.0.0.1:${(store.address() as AddressInfo).port}`,
    STILLFLOW_ACCOUNT: '1',
    STILLFLOW_TABLE: 'table',
    STILLFLOW_BUCKET: 'bucket',
    STILLFLOW_BUS: 'stillflow',
    STILLFLOW_URL: 'https://api.example',
    STILLFLOW_MACHINE_ROLE: 'arn:aws:iam::1:role/m',
    STILLFLOW_JOB_ROLE: 'arn:aws:iam::1:role/j',
    STILLFLOW_ENDPOINT_ROLE: 'arn:aws:iam::1:role/e',
  };
  // A pipe takes what is long in pieces: only what was written through is there after the exit.
  const code = `const it = await import(${index}); ${script}; process.stdout.write('', () => process.exit(0))`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { env });
  let out = '';
  let errors = '';
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const status = await new Promise((resolve) => child.on('close', resolve));
  if (status !== 0) throw new Error(`${entry}: ${errors.slice(-1500)}`);
  return out.trim();
}

const { rooms } = readRooms();
const event = JSON.stringify({
  rawPath: '/api/2.0/mlflow/runs/get',
  rawQueryString: 'run_id=x',
  headers: {},
  requestContext: {
    domainName: 'api.example',
    http: { method: 'GET' },
    authorizer: { lambda: {} },
  },
});

test.each(Object.entries(rooms))(
  'the bundle of %s loads and exports what the stacks call',
  async (name, room) => {
    const wanted = [
      ...(room.routes.length ? ['http'] : []),
      ...(room.followers.length ? ['follow'] : []),
      ...(Object.keys(room.tasks).length ? ['task'] : []),
      ...(name === 'triggers' || name === 'governance' ? ['tick'] : []),
    ];
    const found = await load(
      `functions/${name}/handler.ts`,
      `console.log(JSON.stringify(Object.keys(it).filter((key) => typeof it[key] === 'function')))`,
    );
    expect(JSON.parse(found)).toEqual(expect.arrayContaining(wanted));
  },
);

test('the bundle of the streaming front loads, and refuses who shows no token', async () => {
  const asked = JSON.stringify({
    ...JSON.parse(event),
    rawPath: '/apis/v1alpha1/runs/r/nodes/n/log',
    // Nothing stands before a function URL: what an event says of an authorizer counts for nothing.
    requestContext: {
      ...JSON.parse(event).requestContext,
      http: { method: 'GET' },
      authorizer: {
        iam: { userArn: 'arn:aws:iam::1:user/eve' },
        lambda: { workspace: 'default0' },
      },
    },
  });
  const out = await load(
    'functions/handlers/front.ts',
    `const { PassThrough } = await import('node:stream');
     const out = new PassThrough();
     let text = '';
     out.on('data', (chunk) => { text += chunk; });
     await it.stream(${asked}, out);
     console.log(text)`,
  );
  expect(out.split('\n').at(-1)).toContain('needs a token');
});

test('the site shows the page and describes every route of the rooms', async () => {
  const all = Object.values(rooms).flatMap(({ routes }) => routes);
  const folder = siteFolder(all);
  const answer = async (rawPath: string, lambda: object) => {
    const asked = { ...JSON.parse(event), rawPath, rawQueryString: '' };
    asked.requestContext = { ...asked.requestContext, authorizer: { lambda } };
    const out = await load(
      'functions/site/handler.ts',
      `console.log(JSON.stringify(await it.http(${JSON.stringify(asked)})))`,
      folder,
    );
    return JSON.parse(out.split('\n').at(-1) ?? '');
  };
  const described = await answer('/openapi.json', {});
  expect(described.statusCode).toBe(200);
  expect(described.body.length).toBeLessThan(LARGEST_ANSWER_BYTES);
  const { paths } = JSON.parse(described.body);
  const told = Object.values(paths).flatMap((path) => Object.keys(path as object));
  expect(told).toHaveLength(all.length);
  expect((await answer('/', {})).statusCode).toBe(401);
  const ada = { workspace: 'default0', name: 'ada', role: 'read' };
  const page = await answer('/', ada);
  expect([page.statusCode, page.headers['content-type']]).toEqual([
    200,
    'text/html; charset=utf-8',
  ]);
  const names = [...page.body.matchAll(/(?:src|href)="\/?(web\/[\w.]+)"/g)].map(([, name]) => name);
  expect(names.length).toBeGreaterThan(1);
  for (const name of names) {
    const file = await answer(`/${name}`, ada);
    expect([name, file.statusCode]).toEqual([name, 200]);
    expect(file.headers['content-security-policy']).toContain("default-src 'none'");
  }
  expect((await answer('/web/none.ts', ada)).statusCode).toBe(404);
  expect((await answer('/web/__proto__', ada)).statusCode).toBe(404);
});

test.each(['authorizer', 'relay', 'compactor', 'ended', 'arrived'])(
  'the bundle of %s loads',
  async (name) => {
    expect(await load(`functions/handlers/${name}.ts`, 'console.log(typeof it.handler)')).toBe(
      'function',
    );
  },
);

test('a bundled room refuses who has no credential, in its protocol’s words', async () => {
  const out = await load(
    'functions/tracking/handler.ts',
    `console.log(JSON.stringify(await it.http(${event})))`,
  );
  const answer = JSON.parse(out.split('\n').at(-1) ?? '');
  expect([answer.statusCode, JSON.parse(answer.body).error_code]).toEqual([401, 'UNAUTHENTICATED']);
});

test('the bundled authorizer finds nothing behind a token that is not kept', async () => {
  const asked = JSON.stringify({
    headers: { authorization: `Bearer sf_default0${'a'.repeat(12)}_${'A'.repeat(43)}` },
  });
  const out = await load(
    'functions/handlers/authorizer.ts',
    `console.log(JSON.stringify(await it.handler(${asked})))`,
  );
  expect(JSON.parse(out)).toEqual({
    isAuthorized: true,
    context: { refused: 'The token is not valid.' },
  });
});

test('the first token is written with the deployer’s credentials, and its secret is not kept', async () => {
  const { port } = store.address() as AddressInfo;
  const env = {
    ...{ AWS_REGION: 'eu-west-1', AWS_ACCESS_KEY_ID: 'x', AWS_SECRET_ACCESS_KEY: 'x' },
    AWS_ENDPOINT_URL_DYNAMODB: `http://127.0.0.1:${port}`,
  };
  sent.length = 0;
  const child = spawn(process.execPath, ['bin/aws-token.ts', '--table', 'table', '--name', 'me'], {
    env,
  });
  let out = '';
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  expect(await new Promise((resolve) => child.on('close', resolve))).toBe(0);
  const [, id = '', secret = ''] = /^sf_([a-z0-9]{20})_([\w-]{43})\n$/.exec(out) ?? [];
  expect(secret).toHaveLength(43);
  expect(sent.some((body) => body.includes(id))).toBe(true);
  expect(sent.join()).not.toContain(secret);
});
