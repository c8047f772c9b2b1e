import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { plant } from './entities.ts';
import { type Asked, byName, type Ground, openGround } from './ground.ts';
import { GOOD, requestOf } from './requests.ts';

let planted: Awaited<ReturnType<typeof plant>>;
let ground: Ground;
const table = openGround();
const routes = [...byName(table.app.routes)].map(([name, { route }]) => ({ name, route }));

beforeAll(async () => {
  planted = await plant();
  ground = openGround(planted.data);
}, 60_000);
afterAll(async () => {
  await ground.close();
  await table.close();
  planted.remove();
});

const at = (change: (path: string) => string) => (asked: Asked) => ({
  ...asked,
  path: change(asked.path),
});
const headed = (headers: Record<string, string>) => (asked: Asked) => ({
  ...asked,
  headers: { ...asked.headers, ...headers },
});
const last = (path: string) => path.lastIndexOf('/');
/** The last slash written otherwise; of an only one, that and another. */
const instead = (path: string, text: string) =>
  `${path.slice(0, last(path)) || '/'}${text}${path.slice(last(path) + 1)}`;
const before = (path: string, text: string) =>
  `${path.slice(0, last(path))}${text}${path.slice(last(path))}`;

/** Other ways to write the address of a route (D07). */
const SPELLINGS: Readonly<Record<string, (asked: Asked) => Asked>> = {
  'a slash at the end': at((path) => `${path}/`),
  'two slashes at the start': at((path) => `/${path}`),
  'two slashes inside': at((path) => before(path, '/')),
  'upper case': at((path) => path.toUpperCase()),
  'a capital': at((path) => path.replace(/[a-z]/, (letter) => letter.toUpperCase())),
  '%2F for the last slash': at((path) => instead(path, '%2F')),
  '%2f for every slash': at((path) => `/${path.slice(1).replaceAll('/', '%2f')}`),
  'a double-encoded slash': at((path) => instead(path, '%252F')),
  '..;/ inside': at((path) => before(path, '/..;')),
  'a parameter at the end': at((path) => `${path};a=b`),
  'a dot inside': at((path) => before(path, '/.')),
  'there and back': at((path) => before(path, '/x/..')),
  'an encoded dot inside': at((path) => before(path, '/%2e')),
  'a letter encoded': at((path) =>
    path.replace(/[a-z]/, (letter) => `%${letter.charCodeAt(0).toString(16)}`),
  ),
  'a NUL at the end': at((path) => `${path}%00`),
  'a blank at the end': at((path) => `${path}%20`),
  'an extension': at((path) => `${path}.json`),
  'a backslash': at((path) => instead(path, '%5C')),
  'a method override': headed({ 'x-http-method-override': 'DELETE', 'x-method-override': 'PUT' }),
  'an original URL': headed({ 'x-original-url': '/health', 'x-rewrite-url': '/health' }),
};

describe.each(Object.entries(SPELLINGS))('%s', (_, spelled) => {
  test('opens no route to somebody without a credential', async () => {
    const found: string[] = [];
    const stood = ground.digest();
    for (const { name, route } of routes) {
      const asked = spelled(requestOf(route, GOOD[name]?.(planted.entities) ?? {}));
      const answered = await ground.ask({
        ...asked,
        headers: { ...asked.headers, 'x-test-workspace': '' },
      });
      const right = [401, 404].includes(answered.status) || (route.open && answered.status === 200);
      if (!right) found.push(`${name} as ${asked.path}: ${answered.status}`);
    }
    expect(found).toEqual([]);
    expect(ground.digest()).toBe(stood);
  });

  test('lets a reader change nothing', async () => {
    const found: string[] = [];
    const stood = ground.digest((key) => key.includes('callers/ada-read'));
    for (const { name, route } of routes) {
      const asked = spelled(requestOf(route, GOOD[name]?.(planted.entities) ?? {}));
      const { status } = await ground.ask({ ...asked, role: 'read' });
      const reads = /:(read|invoke)$/.test(route.action);
      if (status >= 500 || (!reads && status < 400))
        found.push(`${name} as ${asked.path}: ${status}`);
    }
    expect(found).toEqual([]);
    expect(ground.digest((key) => key.includes('callers/ada-read'))).toBe(stood);
  });
});

test('there are twenty spellings', () => expect(Object.keys(SPELLINGS)).toHaveLength(20));
