import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { type Hallway, honoPattern, mount } from '../../functions/kernel/hallway.ts';
import { DEFAULT_WORKSPACE } from '../../functions/kernel/ids.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import { type Route, unmountable } from '../../functions/kernel/route.ts';
import { apiRoute } from '../../functions/protocols/api.ts';
import { testWorld } from '../world.ts';

const parts = {
  input: z.object({ name: z.string() }),
  output: z.object({}),
  resource: ({ name }: { name: string }) => `things/${name}`,
  limits: { bodyBytes: 100, timeoutSeconds: 1 },
};
const steps: string[] = [];
const logged: Record<string, unknown>[] = [];
let unkept: Problem | undefined;
const kept = new Map<string, { digest: string; answer: unknown }>();
const hallway: Hallway = {
  world: testWorld(),
  guard: () => {
    steps.push('guard');
    return 'http://localhost';
  },
  authenticate: async (headers) => {
    steps.push('authenticate');
    const name = headers.get('x-name');
    return name ? { workspace: DEFAULT_WORKSPACE, caller: { name, role: 'write' } } : undefined;
  },
  checkTenant: (headers) => {
    if (headers.has('x-other')) throw new Problem('denied', 'not of that workspace');
  },
  allow: (call) => {
    steps.push('allow');
    return call.caller.name !== 'eve';
  },
  repeated: async (_call, retry) => {
    const record = kept.get(retry.key);
    if (record && record.digest !== retry.digest)
      throw new Problem('invalid', 'used for another request');
    return record;
  },
  refused: async (_call, resource) => {
    if (unkept) throw unkept;
    steps.push(`refused ${resource}`);
  },
  log: (line) => void logged.push(line),
};

const post = (name: string | undefined, body: string, headers: Record<string, string> = {}) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json', ...(name ? { 'x-name': name } : {}), ...headers },
  body,
});

describe('a route that leaves something out does not mount', () => {
  const whole = apiRoute('POST', '/things', 'things:write', {
    ...parts,
    retry: 'none',
    run: () => ({}),
  });
  const without: [string, Partial<Route>][] = [
    ['action', { action: '' as Route['action'] }],
    ['touches', { resource: undefined as unknown as Route['resource'] }],
    ['schema', { input: undefined as unknown as Route['input'] }],
    ['limits', { limits: undefined as unknown as Route['limits'] }],
    ['retry key', { retry: undefined }],
    ['cannot encode', { retry: 'header' }],
    ['without a credential', { open: true }],
  ];
  test.each(without)('%s', (why, change) => {
    expect(unmountable({ ...whole, ...change })).toContain(why);
    expect(() => mount([{ ...whole, ...change }], hallway)).toThrow(why);
  });
  test('nor does one that is there already', () => {
    expect(() => mount([whole, whole], hallway)).toThrow('twice');
  });
});

describe('the six steps', () => {
  let runs = 0;
  const app = mount(
    [
      apiRoute('POST', '/things', 'things:write', {
        ...parts,
        retry: 'header',
        run: async (call, { name }) => {
          steps.push('run');
          if (name === 'broken') throw new TypeError('secret detail');
          runs += 1;
          const answer = { name, run: runs };
          if (call.retry) kept.set(call.retry.key, { digest: call.retry.digest, answer });
          return answer;
        },
        encode: (answer) => answer,
      }),
      apiRoute('GET', '/things/{name}:peek', 'things:read', {
        ...parts,
        run: (_call, { name }) => ({ peeked: name }),
      }),
      apiRoute('GET', '/things/{name}', 'things:read', {
        ...parts,
        run: (_call, { name }) => ({ got: name }),
      }),
      apiRoute('GET', '/files/{name*}', 'things:read', {
        ...parts,
        run: (_call, { name }) => ({ file: name }),
      }),
    ],
    hallway,
  );

  test('run in order', async () => {
    steps.length = 0;
    const answer = await app.request('/things', post('ada', '{"name":"a"}'));
    expect(answer.status).toBe(200);
    expect(steps).toEqual(['guard', 'authenticate', 'allow', 'run']);
  });

  test.each([
    ['nobody', undefined, '{"name":"a"}', 401],
    ['eve', 'eve', '{"name":"a"}', 403],
    ['a wrong type', 'ada', '{"name":1}', 400],
    ['a large body', 'ada', JSON.stringify({ name: 'x'.repeat(100) }), 413],
    ['a failure of ours', 'ada', '{"name":"broken"}', 500],
    ['broken UTF-8', 'ada', Buffer.from([0x7b, 0xff, 0x7d]) as unknown as string, 400],
  ])('%s', async (_who, name, body, status) => {
    const answer = await app.request('/things', post(name, body));
    expect(answer.status).toBe(status);
    expect(answer.headers.get('content-type')).toBe('application/problem+json');
    expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
    expect(await answer.text()).not.toContain('secret');
  });

  test('a refusal is kept for the audit, a missing credential is not', async () => {
    steps.length = 0;
    await app.request('/things', post('eve', '{"name":"a"}'));
    expect(steps).toContain('refused things/a');
    steps.length = 0;
    await app.request('/things', post(undefined, '{"name":"a"}'));
    expect(steps).toEqual(['guard', 'authenticate']);
  });

  test("a workspace that is not the caller's is refused before anything is read, and kept", async () => {
    steps.length = 0;
    const answer = await app.request('/things', post('ada', 'no json', { 'x-other': 'yes' }));
    expect(answer.status).toBe(403);
    expect(steps).toEqual(['guard', 'authenticate', 'refused /things']);
  });

  test('a refusal that cannot be kept is a refusal all the same, and logged', async () => {
    logged.length = 0;
    unkept = new Problem('unavailable', 'throttled');
    const answer = await app.request('/things', post('eve', '{"name":"a"}'));
    unkept = undefined;
    expect(answer.status).toBe(403);
    expect(logged).toMatchObject([
      { level: 'error', route: 'POST /things', error: expect.stringContaining('throttled') },
    ]);
  });

  test('the same Idempotency-Key gets the first answer, with another body it is invalid', async () => {
    const key = { 'idempotency-key': 'k1' };
    const first = await (await app.request('/things', post('ada', '{"name":"b"}', key))).json();
    const again = await (await app.request('/things', post('ada', '{"name":"b"}', key))).json();
    expect(again).toEqual(first);
    expect((await app.request('/things', post('ada', '{"name":"c"}', key))).status).toBe(400);
  });

  test('a chunked body is cut at the limit', async () => {
    const body = new ReadableStream({
      pull(controller) {
        controller.enqueue(new Uint8Array(60).fill(32));
      },
    });
    const request = new Request('http://localhost/things', {
      method: 'POST',
      body,
      duplex: 'half',
      headers: { 'x-name': 'ada', 'content-type': 'application/json' },
    } as RequestInit);
    expect((await app.request(request)).status).toBe(413);
  });

  test.each([
    ['/things/a:peek', { peeked: 'a' }],
    ['/things/a', { got: 'a' }],
    ['/things/a%20b', { got: 'a b' }],
    ['/files/a/b/c.txt', { file: 'a/b/c.txt' }],
  ])('%s finds its route', async (path, expected) => {
    const answer = await app.request(path, { headers: { 'x-name': 'ada' } });
    expect(await answer.json()).toEqual(expected);
  });

  test('an unknown path is a plain 404 with the security headers', async () => {
    const answer = await app.request('/nowhere', { headers: { 'x-name': 'ada' } });
    expect(answer.status).toBe(404);
    expect(answer.headers.get('content-type')).toContain('text/plain');
    expect(answer.headers.get('x-frame-options')).toBe('SAMEORIGIN');
  });
});

test('colon verbs belong to the last segment', () => {
  expect(honoPattern('/runs/{run_id}:archive')).toEqual({
    pattern: '/runs/:run_id{[^/]+:archive}',
    suffix: ':archive',
  });
  expect(honoPattern('/a/{x}/b')).toEqual({ pattern: '/a/:x/b', suffix: '' });
});
