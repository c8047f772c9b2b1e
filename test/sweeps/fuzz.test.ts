import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { plant } from './entities.ts';
import { type Asked, byName, type Ground, openGround } from './ground.ts';
import { GOOD, type Good, requestOf } from './requests.ts';

const REQUESTS = Number(process.env['STILLFLOW_FUZZ'] ?? 2000);
const SEED = Number(process.env['SEED'] ?? Date.now() & 0x7fffffff);

let planted: Awaited<ReturnType<typeof plant>>;
let ground: Ground;
const unhandled: unknown[] = [];
const note = (error: unknown) => void unhandled.push(error);
const table = openGround();
const routes = [...byName(table.app.routes)].map(([name, { route }]) => ({ name, route }));

beforeAll(async () => {
  process.on('unhandledRejection', note);
  planted = await plant();
  ground = openGround(planted.data);
}, 60_000);
afterAll(async () => {
  process.off('unhandledRejection', note);
  await ground.close();
  await table.close();
  planted.remove();
});

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ maxLength: 40 }),
  fc.constantFrom(
    '',
    '0',
    '-1',
    '9223372036854775808',
    'NaN',
    '__proto__',
    'a'.repeat(5000),
    '%',
    "'",
    '"',
    '`',
    'a=b',
    '{{$}}',
    '$.x',
    '../x',
    '\ud800',
  ),
);
const value = fc.oneof(
  text,
  fc.jsonValue({ maxDepth: 3 }),
  fc.constantFrom(1e308, -0, 2 ** 53, 1e-9),
);
/** Steps into a request, each taken modulo what is there. */
const place = fc.array(fc.nat(50), { minLength: 1, maxLength: 4 });
const mutation = fc.oneof(
  fc.record({ how: fc.constant('set' as const), place, value }),
  fc.record({ how: fc.constant('drop' as const), place }),
  fc.record({ how: fc.constant('add' as const), name: text, value }),
  fc.record({
    how: fc.constant('flip' as const),
    bits: fc.array(fc.nat(1_000_000), { minLength: 1, maxLength: 8 }),
  }),
  fc.record({ how: fc.constant('cut' as const), at: fc.nat(1_000_000) }),
  fc.record({
    how: fc.constant('head' as const),
    name: fc.constantFrom(
      'content-type',
      'idempotency-key',
      'range',
      'accept',
      'if-none-match',
      'content-encoding',
      'authorization',
    ),
    text: fc.string({ maxLength: 60 }).map((line) => line.trim()),
  }),
);
type Mutation = typeof mutation extends fc.Arbitrary<infer M> ? M : never;

function within(
  held: unknown,
  [step = 0, ...more]: readonly number[],
  change: (holder: Record<string, unknown>, key: string) => void,
): void {
  if (typeof held !== 'object' || held === null) return;
  const holder = held as Record<string, unknown>;
  const keys = Object.keys(holder);
  const key = keys[step % Math.max(1, keys.length)];
  if (key === undefined) return;
  const inner = holder[key];
  if (more.length && typeof inner === 'object' && inner !== null) within(inner, more, change);
  else change(holder, key);
}

function mutatedFields(good: Good, mutations: readonly Mutation[]): Good {
  const fields = structuredClone(good.fields ?? {}) as Record<string, unknown>;
  for (const each of mutations) {
    if (each.how === 'set')
      within(fields, each.place, (holder, key) => {
        holder[key] = each.value;
      });
    if (each.how === 'drop')
      within(fields, each.place, (holder, key) => {
        delete holder[key];
      });
    if (each.how === 'add' && each.name !== '__proto__') fields[each.name] = each.value;
  }
  return { ...good, fields };
}

function mutatedBytes(asked: Asked, mutations: readonly Mutation[]): Asked {
  let body = asked.body === undefined ? undefined : Buffer.from(asked.body);
  const headers: Record<string, string> = { ...asked.headers };
  for (const each of mutations) {
    if (each.how === 'flip' && body?.length)
      for (const bit of each.bits) {
        const at = bit % (body.length * 8);
        body[at >> 3] = (body[at >> 3] ?? 0) ^ (1 << (at & 7));
      }
    if (each.how === 'cut') body = body?.subarray(0, each.at % (body.length + 1));
    if (each.how === 'head' && /^[\x20-\x7e]*$/.test(each.text)) headers[each.name] = each.text;
  }
  return { ...asked, headers, ...(body === undefined ? {} : { body }) };
}

test(
  `${REQUESTS} requests with something wrong somewhere: none fails (SEED=${SEED})`,
  async () => {
    let asked = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.nat(routes.length - 1),
        fc.array(mutation, { minLength: 1, maxLength: 4 }),
        async (index, mutations) => {
          const { name, route } = routes[index] as (typeof routes)[number];
          const good = mutatedFields(GOOD[name]?.(planted.entities) ?? {}, mutations);
          let request: Asked;
          try {
            request = mutatedBytes(requestOf(route, good), mutations);
            new Request(`http://localhost${request.path}`, { method: 'GET' });
          } catch {
            return; // no address can hold a lone surrogate
          }
          const answered = await ground.ask(request);
          asked += 1;
          if (answered.status >= 500)
            throw new Error(
              `${route.method} ${request.path}: ${answered.status} ${answered.text.slice(0, 300)} ${JSON.stringify(ground.logged.at(-1))}`,
            );
          if (!answered.headers.has('x-content-type-options'))
            throw new Error('no security headers');
          if (asked % 50 === 0) await ground.restore();
        },
      ),
      { numRuns: REQUESTS, seed: SEED, endOnFailure: true },
    );
    expect(unhandled).toEqual([]);
    expect(asked).toBeGreaterThan(REQUESTS * 0.8);
  },
  Math.max(60_000, REQUESTS * 100),
);
