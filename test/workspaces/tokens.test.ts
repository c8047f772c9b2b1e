import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildApp } from '../../functions/app.ts';
import { mount } from '../../functions/kernel/hallway.ts';
import { type StepTokens, stepTokensOf } from '../../functions/workspaces/index.ts';
import { type LocalPlatform, openPlatform } from '../../local/platform.ts';
import { testCall, testWorld } from '../world.ts';

const data = mkdtempSync(join(tmpdir(), 'tokens-'));
const world = testWorld();
let platform: LocalPlatform;
let steps: StepTokens;
const aStep = (job = 'train-1') => ({ job, expiresAt: Date.UTC(2026, 10, 24, 2) });
let ask: (method: string, path: string, credential?: string, body?: unknown) => Promise<Response>;

const tokens: Record<string, string> = {};

beforeAll(async () => {
  platform = openPlatform({ data, world, url: 'http://localhost', log: () => {}, noSync: true });
  const app = buildApp(platform, platform.steps);
  const hallway = { ...app.hallway(undefined), guard: () => 'http://localhost', log: () => {} };
  const server = mount(app.routes, hallway);
  ask = async (method, path, credential, body) =>
    server.request(path, {
      method,
      headers: {
        ...(credential ? { authorization: credential } : {}),
        'content-type': 'application/json',
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  for (const role of ['admin', 'write', 'read'] as const) {
    const made = await app.rooms.workspaces.service.createToken(testCall(), { name: role, role });
    tokens[role] = made.token;
  }
  tokens['other'] = (
    await app.rooms.workspaces.service.createToken(testCall({ workspace: 'tenant02' }), {
      name: 'eve',
      role: 'admin',
    })
  ).token;
  steps = stepTokensOf(platform);
  tokens['step'] = await steps.create(testCall(), aStep());
});
afterAll(async () => {
  await platform.close();
  rmSync(data, { recursive: true });
});

const bearer = (token: string | undefined) => `Bearer ${token}`;
const basic = (token: string | undefined) =>
  `Basic ${Buffer.from(`anyone:${token}`).toString('base64')}`;
const LIST = '/api/tokens';
const LOOK = '/api/2.0/mlflow/experiments/get?experiment_id=0';

describe('E01 without a good credential', () => {
  test.each([
    ['none', undefined],
    ['an empty bearer', 'Bearer '],
    ['junk', 'Bearer junk'],
    ['basic without a colon', `Basic ${Buffer.from('abc').toString('base64')}`],
    ['another scheme', 'Digest abc'],
    ['10 KB', `Bearer ${'x'.repeat(10_240)}`],
    ['a token that never was', `Bearer sf_default0${'0'.repeat(12)}_${'A'.repeat(43)}`],
  ])('%s is 401 and says how to come in', async (_how, credential) => {
    const answer = await ask('GET', LIST, credential);
    expect(answer.status).toBe(401);
    expect(answer.headers.get('www-authenticate')).toContain('Basic');
  });
  test('the right id with another secret is 401', async () => {
    const token = tokens['admin'] ?? '';
    const forged = `${token.slice(0, -1)}${token.endsWith('A') ? 'B' : 'A'}`;
    expect((await ask('GET', LIST, bearer(forged))).status).toBe(401);
  });
});

describe('with a token', () => {
  test('bearer, and basic with the token as password, are the same', async () => {
    expect((await ask('GET', LIST, bearer(tokens['admin']))).status).toBe(200);
    expect((await ask('GET', LIST, basic(tokens['admin']))).status).toBe(200);
  });

  test('a list shows no secret and no digest', async () => {
    const text = await (await ask('GET', LIST, bearer(tokens['admin']))).text();
    for (const token of Object.values(tokens)) expect(text).not.toContain(token.split('_')[2]);
    expect(text).not.toContain('digest');
    expect(text).not.toContain('tenant02');
  });

  test.each([
    ['admin', 'POST', LIST, { name: 'new' }, 200],
    ['write', 'GET', LIST, undefined, 403],
    ['read', 'GET', LIST, undefined, 403],
    ['step', 'GET', LIST, undefined, 403],
    ['write', 'POST', LIST, { name: 'new' }, 403],
    ['read', 'POST', LIST, { name: 'new' }, 403],
    ['step', 'POST', LIST, { name: 'new' }, 403],
    ['read', 'POST', '/api/2.0/mlflow/experiments/create', { name: 'x' }, 403],
    ['write', 'POST', '/api/2.0/mlflow/experiments/create', { name: 'x' }, 200],
    ['step', 'POST', '/api/2.0/mlflow/experiments/create', { name: 'y' }, 200],
    ['read', 'GET', LOOK, undefined, 200],
  ])('%s: %s %s', async (who, method, path, body, status) => {
    expect((await ask(method, path, bearer(tokens[who]), body)).status).toBe(status);
  });

  test('a refusal is an entry of the audit', async () => {
    const { entries } = await platform.table.entries(testCall(), 'callers/read');
    expect(entries.map(({ type }) => type)).toContain('governance.request.denied');
  });

  test("E07 a workspace in a header that is not the caller's is denied", async () => {
    const answer = await platformAsk({ 'x-mlflow-workspace': 'elsewhere' });
    expect(answer.status).toBe(403);
    const { entries } = await platform.table.entries(testCall(), 'callers/admin');
    expect(entries.at(-1)).toMatchObject({
      type: 'governance.request.denied',
      data: { resource: LIST, why: "The credential is not of workspace 'elsewhere'." },
    });
  });

  test.each([
    ['admin', 'default', 200],
    ['admin', 'default0', 200],
    ['admin', 'tenant02', 403],
    ['other', 'tenant02', 200],
    ['other', 'default', 403],
    ['other', 'default0', 403],
  ])("%s's token, and a header that names %s: %i", async (who, named, status) => {
    const headers = { 'x-mlflow-workspace': named };
    expect((await platformAsk(headers, tokens[who])).status).toBe(status);
  });

  test("E06 another workspace's token is as unknown as none", async () => {
    const listed = (await (await ask('GET', LIST, bearer(tokens['other']))).json()) as {
      tokens: { name: string }[];
    };
    expect(listed.tokens.map(({ name }) => name)).toEqual(['eve']);
    const id = (tokens['admin'] ?? '').split('_')[1];
    expect((await ask('DELETE', `${LIST}/${id}`, bearer(tokens['other']))).status).toBe(404);
  });

  test('E12 a revoked token is refused by the next request', async () => {
    const id = (tokens['write'] ?? '').split('_')[1];
    expect((await ask('DELETE', `${LIST}/${id}`, bearer(tokens['admin']))).status).toBe(204);
    expect((await ask('GET', LIST, bearer(tokens['write']))).status).toBe(401);
  });
});

describe("a step's token", () => {
  test('is the same however often it is asked for, and another for another step or workspace', async () => {
    const again = await steps.create(testCall(), aStep());
    expect(again).toBe(tokens['step']);
    const { entries } = await platform.table.entries(testCall(), `tokens/${again.split('_')[1]}`);
    expect(entries.map(({ type }) => type)).toEqual(['workspaces.token.created']);
    expect(await steps.create(testCall(), aStep('train-2'))).not.toBe(again);
    const elsewhere = await steps.create(testCall({ workspace: 'tenant02' }), aStep());
    expect(elsewhere.split('_')[2]).not.toBe(again.split('_')[2]);
  });

  test('is in no list', async () => {
    const { tokens: listed } = (await (await ask('GET', LIST, bearer(tokens['admin']))).json()) as {
      tokens: { name: string }[];
    };
    expect(listed.map(({ name }) => name)).not.toContain('step');
  });

  test('does not let a server believe that somebody has a token', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tokens-'));
    const log = () => {};
    const fresh = openPlatform({ data: folder, world, url: 'http://localhost', log, noSync: true });
    const app = buildApp(fresh, fresh.steps);
    await stepTokensOf(fresh).create(testCall(), aStep());
    expect(await app.hasToken()).toBe(false);
    await fresh.close();
    rmSync(folder, { recursive: true });
  });

  test('is refused once it is revoked, also for the second time', async () => {
    const token = await steps.create(testCall(), aStep('over'));
    expect((await ask('GET', LOOK, bearer(token))).status).toBe(200);
    for (let i = 0; i < 2; i += 1) await steps.revoke(testCall(), 'over');
    expect((await ask('GET', LOOK, bearer(token))).status).toBe(401);
  });

  test('is revoked by an admin by its id', async () => {
    const token = await steps.create(testCall(), aStep('leaked'));
    const path = `${LIST}/${token.split('_')[1]}`;
    expect((await ask('DELETE', path, bearer(tokens['admin']))).status).toBe(204);
    expect((await ask('GET', LIST, bearer(token))).status).toBe(401);
  });

  test('ends at its time, and no second asking revives it', async () => {
    world.pass(3 * 3_600_000);
    expect((await ask('GET', LIST, bearer(tokens['step']))).status).toBe(401);
    const again = await steps.create(testCall(), aStep());
    expect((await ask('GET', LIST, bearer(again))).status).toBe(401);
    expect((await ask('GET', LIST, bearer(tokens['admin']))).status).toBe(200);
  });
});

async function platformAsk(
  headers: Record<string, string>,
  token = tokens['admin'],
): Promise<Response> {
  const app = buildApp(platform, platform.steps);
  const hallway = { ...app.hallway(undefined), guard: () => 'http://localhost', log: () => {} };
  return mount(app.routes, hallway).request(LIST, {
    headers: { authorization: bearer(token), ...headers },
  });
}
