import fc from 'fast-check';
import { expect, test } from 'vitest';
import { gatewayChoice, type Mounted, mountsOf } from '../../lib/mounts.ts';

const at = (room: string, path: string, method = 'GET'): Mounted => ({ room, method, path });
/** Requests that a route answers: the rest of a path is one segment or several. */
const samples = (path: string) =>
  ['x.txt', 'deep/er/x.txt'].map((rest) =>
    path.replace(/\{\w+\*\}/, rest).replace(/\{\w+\}/g, 'v-1'),
  );

test('each room gets the shortest prefixes that it has to itself', () => {
  const mounts = mountsOf([
    at('tracking', '/api/2.0/mlflow/runs/create', 'POST'),
    at('tracking', '/api/2.0/mlflow/runs/get'),
    at('registry', '/api/2.0/mlflow/registered-models/get'),
    at('pipelines', '/apis/v2beta1/runs/{run_id}:archive', 'POST'),
    at('pipelines', '/apis/v2beta1/runs'),
    at('artifacts', '/api/2.0/mlflow-artifacts/artifacts/{path*}', 'PUT'),
    at('serving', '/'),
  ]);
  expect(mounts.map(({ method, path, room }) => `${method} ${path} ${room}`)).toEqual([
    'ANY / serving',
    'ANY /api/2.0/mlflow-artifacts/{proxy+} artifacts',
    'ANY /api/2.0/mlflow/registered-models/{proxy+} registry',
    'ANY /api/2.0/mlflow/runs/{proxy+} tracking',
    'ANY /apis/{proxy+} pipelines',
  ]);
});

test('a path that is also a prefix is mounted twice, since {proxy+} does not match nothing', () => {
  const mounts = mountsOf([at('a', '/x'), at('a', '/x/{id}'), at('b', '/y')]);
  expect(mounts.map(({ path }) => path)).toEqual(['/x', '/x/{proxy+}', '/y']);
});

test('two rooms may share a path by method, and may not share a method', () => {
  expect(mountsOf([at('a', '/x'), at('b', '/x', 'POST')])).toEqual([
    { method: 'GET', path: '/x', room: 'a' },
    { method: 'POST', path: '/x', room: 'b' },
  ]);
  expect(() => mountsOf([at('a', '/x/{id}:stop'), at('b', '/x/{id}:start')])).toThrow(
    'cannot tell',
  );
});

test('a literal beside another room’s parameter is refused, not left to the gateway', () => {
  expect(() => mountsOf([at('a', '/x/{id}/y'), at('b', '/x/list/z')])).toThrow(
    "cannot tell 'list'",
  );
});

test('more mounts than meant are refused', () => {
  const routes = Array.from({ length: 61 }, (_, index) => at(`r${index % 2}`, `/p${index}`));
  expect(() => mountsOf(routes)).toThrow('at most 60');
});

test('whatever the routes, each request reaches its own room and no mount is idle', () => {
  const segment = fc.constantFrom('a', 'b', 'c', '{id}', '{id}:go');
  const path = fc
    .tuple(fc.array(segment, { minLength: 1, maxLength: 4 }), fc.boolean())
    .map(([segments, rest]) => `/${[...segments, ...(rest ? ['{path*}'] : [])].join('/')}`);
  const route = fc.record({
    room: fc.constantFrom('one', 'two', 'three'),
    method: fc.constantFrom('GET', 'POST'),
    path,
  });
  let planned = 0;
  fc.assert(
    fc.property(fc.array(route, { minLength: 1, maxLength: 6 }), (routes) => {
      let mounts: ReturnType<typeof mountsOf>;
      try {
        mounts = mountsOf(routes);
      } catch {
        return; // Refused at synth: nothing is deployed.
      }
      planned += 1;
      const used = new Set<unknown>();
      for (const { room, method, path } of routes) {
        for (const asked of samples(path)) {
          const choice = gatewayChoice(mounts, method, asked);
          expect(choice?.room, `${method} ${asked}`).toBe(room);
          used.add(choice);
        }
      }
      for (const mount of mounts) expect(used, `${mount.method} ${mount.path}`).toContain(mount);
    }),
    { numRuns: 5000 },
  );
  expect(planned).toBeGreaterThan(300);
});
