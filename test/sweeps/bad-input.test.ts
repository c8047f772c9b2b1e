import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Route } from '../../functions/kernel/route.ts';
import { plant } from './entities.ts';
import { badPaths, badTexts, bodyFaults, type Fault, fieldFaults, textFaults } from './faults.ts';
import { type Answered, byName, type Ground, openGround } from './ground.ts';
import { GOOD, requestOf } from './requests.ts';

let planted: Awaited<ReturnType<typeof plant>>;
let ground: Ground;
const table = openGround();
const routes = byName(table.app.routes);

beforeAll(async () => {
  planted = await plant();
  ground = openGround(planted.data);
}, 60_000);
afterAll(async () => {
  await ground.close();
  await table.close();
  planted.remove();
});

const HEADERS = [
  'x-content-type-options',
  'x-frame-options',
  'content-security-policy',
  'cache-control',
];

/** What is wrong with an answer as an answer, whatever was asked. */
function complaint(route: Route, { status, body, headers, text }: Answered): string | undefined {
  const missing = HEADERS.filter((name) => !headers.has(name));
  if (missing.length) return `lacks ${missing}`;
  if (status >= 500) return `is ${status} ${text.slice(0, 300)}`;
  if (status < 400) return undefined;
  // Where this workspace keeps its files is told to who may have to name a place there.
  const told = text.replaceAll(ground.platform.blobs.locate(ground.call, 'x').slice(0, -1), '');
  if (/\/(tmp|root|work|home)\/|node_modules|at \w+ \(/.test(told))
    return `tells of our insides: ${text}`;
  const shown = (...names: string[]) => names.every((name) => body?.[name] !== undefined);
  const { name } = route.protocol;
  const right =
    name === 'kfp'
      ? shown('error', 'code', 'message', 'details')
      : name === 'api'
        ? shown('type', 'title', 'status', 'detail') &&
          headers.get('content-type') === 'application/problem+json'
        : name === 'inference'
          ? shown('error')
          : shown('error_code', 'message');
  if (!right) return `is no ${name} problem: ${status} ${text.slice(0, 300)}`;
  return undefined;
}

/** What the table and the folders held when they were last put back. */
let stood = '';
async function putBack() {
  await ground.restore();
  stood = ground.digest();
}

async function probe(route: Route, fault: Fault, found: string[]): Promise<void> {
  const before = ground.changes();
  const answered = await ground.ask(fault.request);
  const complain = (why: string) => void found.push(`${fault.what}: ${why}`);
  const wrong = complaint(route, answered);
  if (wrong) complain(wrong);
  else if (fault.refused && answered.status < 400)
    complain(`was taken: ${answered.text.slice(0, 200)}`);
  else if (fault.names && answered.status >= 400 && !answered.text.includes(fault.names))
    complain(`the answer does not name '${fault.names}': ${answered.text.slice(0, 300)}`);
  const asked = ground.changes() !== before;
  const wrote = asked && ground.digest() !== stood;
  if (wrote && (answered.status >= 400 || !route.retry))
    complain(`${answered.status} and yet it wrote`);
  if (wrote) await putBack();
}

describe.each([...routes.keys()])('%s', (name) => {
  const { route, twins } = routes.get(name) as { route: Route; twins: Route[] };
  beforeAll(async () => {
    await ground.close();
    ground = openGround(planted.data);
  });
  const faults =
    (make: (good: ReturnType<(typeof GOOD)[string]>) => Iterable<Fault>) => async () => {
      const found: string[] = [];
      const good = GOOD[name];
      if (!good) throw new Error(`no good request of ${name} is known`);
      await putBack();
      for (const fault of make(good(planted.entities))) await probe(route, fault, found);
      if (ground.digest() !== stood) found.push('what the table and the folders hold has changed');
      expect(found).toEqual([]);
    };

  test('a good request is answered', async () => {
    const good = GOOD[name]?.(planted.entities);
    expect(good, 'no good request is known').toBeDefined();
    for (const each of [route, ...twins]) {
      const answered = await ground.ask(requestOf(each, good ?? {}));
      expect([answered.status, answered.status < 300 ? '' : answered.text]).toEqual([
        answered.status === 204 ? 204 : 200,
        '',
      ]);
      expect(complaint(each, answered)).toBeUndefined();
      if (route.retry) await putBack();
    }
  });
  test(
    'fields: missing, of the wrong type, out of bounds',
    faults((good) => fieldFaults(route, good)),
  );
  test(
    'texts that are no path',
    faults((good) => textFaults(route, good, badPaths, true)),
  );
  test(
    'texts that no key can hold',
    faults((good) => textFaults(route, good, badTexts, false)),
  );
  test(
    'bodies',
    faults((good) => bodyFaults(route, good)),
  );
});
