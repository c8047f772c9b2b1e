import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Call } from '../../functions/kernel/call.ts';
import type { Route } from '../../functions/kernel/route.ts';
import { testCall } from '../world.ts';
import { CANARY, type Entities, plant } from './entities.ts';
import { byName, type Ground, OWNER, openGround, STRANGER } from './ground.ts';
import { GOOD, type Good, requestOf } from './requests.ts';

let planted: Awaited<ReturnType<typeof plant>>;
let ground: Ground;
const table = openGround();
const routes = [...byName(table.app.routes)].map(([name, { route }]) => ({ name, route }));
const closed = routes.filter(({ route }) => !route.open);
const changing = routes.filter(({ route }) => !/:(read|invoke)$/.test(route.action));
/** Who has which credential is for admins alone. */
const credentials = routes.filter(({ route }) => route.action === 'workspaces:read' && !route.open);

beforeAll(async () => {
  planted = await plant();
  ground = openGround(planted.data);
}, 60_000);
afterAll(async () => {
  await ground.close();
  await table.close();
  planted.remove();
});

const good = (name: string, entities = planted.entities): Good => GOOD[name]?.(entities) ?? {};
/** What is the owner's: keys and folders that begin with the workspace's id. */
const owners = () => ground.digest((key) => !key.includes(OWNER));

/** Of the same look, and nobody's. */
function absent(text: string): string {
  return text
    .replaceAll(CANARY, 'ospreys')
    .replace(/[0-9a-f]{6}$/, (tail) => (tail === 'abcabc' ? 'cbacba' : 'abcabc'))
    .replace(/[0-9a-f]{6}(?=\/artifacts)/, 'abcabc')
    .replace(/[0-9A-Z]{6}$/, 'ABCABC');
}
function absentIn<T>(value: T): T {
  if (typeof value === 'string') return absent(value) as T;
  if (Array.isArray(value)) return value.map(absentIn) as T;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [name, absentIn(item)]),
  ) as T;
}

/** An answer without what differs from one good answer to the next. */
function shape(text: string, entities: Entities): string {
  let plain = text.replaceAll('ospreys', CANARY);
  const ids = Object.values(entities).filter((value) => typeof value === 'string');
  for (const id of [...ids, ...ids.map(absent)].sort((a, b) => b.length - a.length))
    if (id.length > 4) plain = plain.replaceAll(id, '<id>');
  return plain
    .replace(
      /[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9A-HJKMNP-TV-Z]{26}/g,
      '<id>',
    )
    .replace(/sf_\w{20}_[\w-]{43}/g, '<secret>')
    .replace(/tenantb2[0-9a-f]{12}/g, '<token>')
    .replace(/expires=\d+/g, 'expires=<time>')
    .replace(/signature=[\w-]+/g, 'signature=<signature>')
    .replace(/\d+-[0-9a-z]{8,}-[0-9a-z]+/g, '<etag>')
    .replace(/\d{13}|\d{4}-\d\d-\d\dT[\d:.]+Z/g, '<time>')
    .replace(/[\w-]{60,}/g, '<sealed>');
}

describe("another workspace's things are not there (E06, E08, E09)", () => {
  test.each(routes)('$name', async ({ name, route }) => {
    const before = owners();
    const { entities } = planted;
    const foreign = await ground.ask({ ...requestOf(route, good(name)), workspace: STRANGER });
    await ground.restore();
    const nobodys = await ground.ask({
      ...requestOf(route, absentIn(good(name))),
      workspace: STRANGER,
    });
    await ground.restore();
    expect(foreign.status).toBeLessThan(500);
    expect([foreign.status, shape(foreign.text, entities)]).toEqual([
      nobodys.status,
      shape(nobodys.text, entities),
    ]);
    // What was asked for by name may be named again; nothing else of the owner's may be.
    const said = JSON.stringify(good(name));
    const told = foreign.text.match(new RegExp(`${CANARY}[\\w.-]*`, 'g')) ?? [];
    expect(told.filter((word) => !said.includes(word))).toEqual([]);
    expect(owners()).toBe(before);
  });

  test('lists and searches of a workspace hold what is its own, and all of that', async () => {
    const lists = routes.filter(
      ({ route }) =>
        /(search|experiments|pipelines|runs|versions|list|tokens|models|endpoints|rules|retrainings|data|artifacts)$/.test(
          route.path,
        ) && route.action.endsWith(':read'),
    );
    let full = 0;
    for (const { name, route } of lists) {
      const asked = requestOf(route, { fields: { ...good(name).fields, filter: '' } });
      const mine = await ground.ask(asked);
      if (mine.text.includes(CANARY)) full += 1;
      const theirs = await ground.ask({ ...asked, workspace: STRANGER });
      if (theirs.status < 300)
        expect(theirs.text.replaceAll(`${CANARY}-experiment not`, '')).not.toContain(CANARY);
    }
    expect(full).toBeGreaterThan(10);
  });
});

interface Refused {
  readonly call: Call;
  /** The caller's. */
  readonly name: string;
}
/** How many refusals of this caller the audit holds. */
async function denials({ call, name }: Refused): Promise<number> {
  let count = 0;
  let after: string | undefined;
  do {
    const page = await ground.platform.table.entries(call, `callers/${name}`, after);
    count += page.entries.filter(({ type }) => type === 'governance.request.denied').length;
    after = page.next;
  } while (after !== undefined);
  return count;
}
/** What is held, but for the record of the refusal, its chain, and nothing else. */
const besides = ({ name }: Refused) => ground.digest((key) => key.includes(`callers/${name}`));

test.each(closed)('$name asks for a credential, and says so', async ({ name, route }) => {
  const before = ground.digest();
  const asked = requestOf(route, good(name));
  const answered = await ground.ask({
    ...asked,
    headers: { ...asked.headers, 'x-test-workspace': '' },
  });
  expect(answered.status).toBe(401);
  expect(answered.headers.get('www-authenticate')).toContain('Bearer');
  expect(ground.digest()).toBe(before);
});

test.each(closed)(
  '$name: a tenant named in a header is not the one that is asked (E07)',
  async ({ name, route }) => {
    const stranger = { call: testCall({ workspace: STRANGER }), name: 'ada-admin' };
    const [before, denied] = [besides(stranger), await denials(stranger)];
    const asked = requestOf(route, good(name));
    const answered = await ground.ask({
      ...asked,
      headers: { ...asked.headers, 'x-mlflow-workspace': OWNER },
      workspace: STRANGER,
    });
    expect(answered.status).toBe(403);
    expect(answered.text).not.toContain(CANARY);
    expect(besides(stranger)).toBe(before);
    expect(await denials(stranger)).toBe(denied + 1);
  },
);

describe('a role that may only read (E11)', () => {
  const reader = { call: testCall({ workspace: OWNER }), name: 'ada-read' };

  test.each([...changing, ...credentials])(
    '$name is denied, and the refusal kept',
    async ({ name, route }) => {
      const [before, denied] = [besides(reader), await denials(reader)];
      const answered = await ground.ask({ ...requestOf(route, good(name)), role: 'read' });
      expect([answered.status, answered.text]).toEqual([403, expect.stringContaining('may not')]);
      expect(besides(reader)).toBe(before);
      expect(await denials(reader)).toBe(denied + 1);
    },
  );

  test('looks at everything and asks models', async () => {
    const looking: { name: string; route: Route }[] = routes.filter(
      (each) => !changing.includes(each) && !credentials.includes(each),
    );
    for (const { name, route } of looking) {
      const answered = await ground.ask({ ...requestOf(route, good(name)), role: 'read' });
      expect([name, answered.status]).toEqual([name, 200]);
    }
    expect(changing.length).toBeGreaterThan(60);
    expect(credentials.map(({ name }) => name)).toEqual(['GET /api/tokens']);
  });
});
