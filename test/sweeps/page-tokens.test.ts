import { afterAll, beforeAll, expect, test } from 'vitest';
import { plant } from './entities.ts';
import { fieldsOf } from './faults.ts';
import { byName, type Ground, openGround, STRANGER } from './ground.ts';
import { GOOD, readsQuery, requestOf } from './requests.ts';

let planted: Awaited<ReturnType<typeof plant>>;
let ground: Ground;
beforeAll(async () => {
  planted = await plant();
  ground = openGround(planted.data);
}, 60_000);
afterAll(async () => {
  await ground.close();
  planted.remove();
});

const SIZES = ['max_results', 'page_size', 'limit'];
const TOKENS = ['page_token', 'pageToken', 'page'];

/** One character of it is another. */
const edited = (token: string, at: number) =>
  `${token.slice(0, at)}${token[at] === 'A' ? 'B' : 'A'}${token.slice(at + 1)}`;

test('a page token is taken only as it was given, for what it was given, by whom it was given to', async () => {
  const found: string[] = [];
  const tokens: { name: string; token: string }[] = [];
  const lists: { name: string; next: (token: string, workspace?: string) => Promise<number> }[] =
    [];
  for (const [name, { route }] of byName(ground.app.routes)) {
    const { all } = fieldsOf(route);
    const size = SIZES.find((each) => each in all);
    const field = TOKENS.find((each) => each in all);
    if (!size || !field || route.retry) continue;
    const { filter: _, ...fields } = GOOD[name]?.(planted.entities).fields ?? {};
    const few = { ...fields, [size]: readsQuery(route) ? '1' : 1 };
    const first = await ground.ask(requestOf(route, { fields: few }));
    const token = first.body?.next_page_token ?? first.body?.nextPageToken ?? first.body?.next;
    const next = async (given: string, workspace?: string) => {
      const asked = requestOf(route, { fields: { ...few, [field]: given } });
      return (await ground.ask({ ...asked, ...(workspace ? { workspace } : {}) })).status;
    };
    lists.push({ name, next });
    if (typeof token !== 'string') continue;
    tokens.push({ name, token });
    if ((await next(token)) !== 200) found.push(`${name} does not take its own token`);
    for (const at of [0, 5, 12, token.length >> 1, token.length - 2])
      if ((await next(edited(token, at))) !== 400)
        found.push(`${name} takes a token edited at ${at}`);
    for (const cut of [token.slice(1), token.slice(0, -4), `${token}AAAA`])
      if ((await next(cut)) !== 400) found.push(`${name} takes a token of another length`);
    // Whoever is of another workspace is told no more than that: it is no token, or the thing is not there.
    const theirs = await next(token, STRANGER);
    if (![400, 404].includes(theirs))
      found.push(`${name}: a stranger may use the token: ${theirs}`);
  }
  for (const { name, next } of lists)
    for (const other of tokens.filter((each) => each.name !== name)) {
      const status = await next(other.token);
      const twins = sameList(name, other.name);
      if (status !== 400 && !twins)
        found.push(`${name} takes the token of ${other.name}: ${status}`);
    }
  expect(found).toEqual([]);
  expect(tokens.map(({ name }) => name).length).toBeGreaterThan(8);
});

/** `GET /search` and `POST /search` are one list. */
const sameList = (a: string, b: string) => a.replace(/^\w+ /, '') === b.replace(/^\w+ /, '');
