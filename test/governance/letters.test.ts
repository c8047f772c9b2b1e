import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Hono } from 'hono';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { governanceRoom } from '../../functions/governance/index.ts';
import { hallwaySteps } from '../../functions/hallway.ts';
import type { Role } from '../../functions/kernel/call.ts';
import { mount } from '../../functions/kernel/hallway.ts';
import type { DeadLetters } from '../../functions/platform/ports.ts';
import { openBus } from '../../local/bus.ts';
import { lettersOf } from '../../local/letters.ts';
import { type LocalTable, openTable } from '../../local/table.ts';
import { testCall, testWorld } from '../world.ts';

const folder = mkdtempSync(join(tmpdir(), 'letters-'));
const world = testWorld();
const call = testCall();
let table: LocalTable;
let letters: DeadLetters;
let down = true;
const heard: string[] = [];

beforeAll(async () => {
  table = openTable({ folder, world, noSync: true });
  await table.commit(call, [], { type: 'test.thing.made', subject: 'things/1', data: { n: 1 } });
  const follower = {
    name: 'tests-follower',
    hears: ['test.*'],
    async run(_: unknown, { subject }: { subject: string }) {
      if (down) throw new Error('the mill is down\n    at secret/place.ts:7');
      heard.push(subject);
    },
  };
  // Winds itself: a delivery that failed is tried again at once.
  const later = (run: () => void) => {
    setImmediate(run);
    return { cancel: () => {} };
  };
  const parts = { table, world, followers: [follower], folders: [], log: () => {}, later };
  const bus = openBus(parts);
  bus.start();
  await bus.settled();
  letters = lettersOf(() => bus);
});
afterAll(async () => {
  await table.close();
  rmSync(folder, { recursive: true });
});

function front(given: DeadLetters | undefined, workspace: string = call.workspace): Hono {
  const room = governanceRoom({
    ...{ table, world, secret: new Uint8Array(32) },
    ...(given ? { letters: given } : {}),
  });
  return mount(room.routes, {
    ...hallwaySteps({ table, world }, async (headers) => {
      const role = (headers.get('x-role') ?? 'admin') as Role;
      return testCall({ workspace, role });
    }),
    ...{ guard: () => 'http://localhost', log: () => {} },
  });
}
const ask = async (app: Hono, method: string, path: string, role = 'admin') => {
  const answer = await app.request(path, { method, headers: { 'x-role': role } });
  return { status: answer.status, body: await answer.json() };
};
const LIST = '/api/dead-letters';

test('a dead letter names follower, event, attempts and the last error, and no place in our code', async () => {
  const { status, body } = await ask(front(letters), 'GET', LIST);
  expect([status, body]).toEqual([
    200,
    {
      letters: [
        expect.objectContaining({
          id: expect.stringMatching(/^tests-follower\.\d+$/),
          follower: 'tests-follower',
          attempts: 8,
          error: 'Error: the mill is down',
          event: expect.objectContaining({ type: 'test.thing.made', data: { n: 1 } }),
        }),
      ],
    },
  ]);
});

test.each(['read', 'write'])('%s may neither see nor replay them', async (role) => {
  const app = front(letters);
  expect((await ask(app, 'GET', LIST, role)).status).toBe(403);
  expect((await ask(app, 'POST', `${LIST}/tests-follower.1/replay`, role)).status).toBe(403);
});

test("another workspace's letters are not there", async () => {
  const [letter] = (await ask(front(letters), 'GET', LIST)).body.letters;
  const app = front(letters, 'other000');
  expect((await ask(app, 'GET', LIST)).body).toEqual({ letters: [] });
  expect((await ask(app, 'POST', `${LIST}/${letter.id}/replay`)).status).toBe(404);
});

test.each(['nothing.1', 'tests-follower.999999'])('a letter that is not there: %s', async (id) => {
  expect((await ask(front(letters), 'POST', `${LIST}/${id}/replay`)).status).toBe(404);
});

test('a replay that fails again keeps the letter with its count; one that works forgets it and is audited', async () => {
  const app = front(letters);
  const [{ id }] = (await ask(app, 'GET', LIST)).body.letters;
  const failed = await ask(app, 'POST', `${LIST}/${id}/replay`);
  expect([failed.status, failed.body.detail]).toEqual([
    409,
    'The delivery failed again and is kept: Error: the mill is down',
  ]);
  expect((await ask(app, 'GET', LIST)).body.letters).toMatchObject([{ id, attempts: 9 }]);
  down = false;
  expect((await ask(app, 'POST', `${LIST}/${id}/replay`)).status).toBe(200);
  expect(heard).toContain('things/1');
  expect((await ask(app, 'GET', LIST)).body).toEqual({ letters: [] });
  expect((await ask(app, 'POST', `${LIST}/${id}/replay`)).status).toBe(404);
  const { entries } = await table.entries(call, `dead-letters/${id}`);
  expect(entries).toMatchObject([{ type: 'governance.letter.replayed', caller: 'ada' }]);
});

test('more than a page of letters is walked by its token, each letter once', async () => {
  for (let n = 0; n < 250; n++)
    await table.letters.put(`tests-follower/${1000 + n}`, {
      id: `tests-follower/${1000 + n}`,
      follower: 'tests-follower',
      entry: { told: { workspace: n % 2 ? call.workspace : 'other000', id: String(n) } },
      error: 'Error: no',
      at: n,
    });
  const seen: string[] = [];
  let query = '';
  do {
    const { body } = await ask(front(letters), 'GET', `${LIST}${query}`);
    seen.push(...body.letters.map(({ id }: { id: string }) => id));
    query = body.next_page_token ? `?page_token=${body.next_page_token}` : '';
  } while (query);
  expect(seen).toHaveLength(125);
  expect(new Set(seen).size).toBe(125);
});

test('where the account keeps them, the answer says where', async () => {
  for (const [method, path] of [
    ['GET', LIST],
    ['POST', `${LIST}/tests-follower.1/replay`],
  ] as const) {
    const { status, body } = await ask(front(undefined), method, path);
    expect([status, body.detail]).toEqual([501, expect.stringContaining("'<follower>-dead'")]);
  }
});
