import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type AslScope, type Graph, lightUp, type Node, readGraph, taken } from '../../web/asl.ts';
import { type Placed, place, SIZES, settle } from '../../web/layout.ts';

const root = join(import.meta.dirname, '../..');
const machine = (path: string) => JSON.parse(readFileSync(join(root, path), 'utf8')) as AslScope;
const GOLDEN = ['two_step', 'diamond', 'cross', 'nested', 'settings'].map(
  (name) => `test/golden/${name}.asl.json`,
);
const WRITTEN = ['statemachines/retraining.asl.json', 'statemachines/deploy-endpoint.asl.json'];

const nodesOf = (graph: Graph): Node[] =>
  graph.nodes.flatMap((node) => [node, ...node.branches.flatMap(nodesOf)]);
const statesOf = (scope: AslScope): string[] =>
  Object.entries(scope.States).flatMap(([name, state]) => [
    name,
    ...[...(state.Branches ?? []), ...(state.ItemProcessor ? [state.ItemProcessor] : [])].flatMap(
      statesOf,
    ),
  ]);

describe.each([...GOLDEN, ...WRITTEN])('%s', (path) => {
  test.each([true, false])('each state is in one node (folded: %s)', (folded) => {
    const held = nodesOf(readGraph(machine(path), folded)).flatMap(({ states }) => states);
    expect(held.sort()).toEqual(statesOf(machine(path)).sort());
  });

  test.each([true, false])('every box has its own place (folded: %s)', (folded) => {
    check(place(readGraph(machine(path), folded)));
  });
});

test('the four states of a task fold into one node, and only they', () => {
  const graph = readGraph(machine('test/golden/two_step.asl.json'), true);
  const task = graph.nodes.find(({ states }) => states.length > 1);
  expect(task?.states).toEqual([
    task?.id,
    ...['choice', 'run', 'done'].map((s) => `${task?.id}.${s}`),
  ]);
  expect(graph.nodes.map(({ id }) => id)).toContain('Finish run');
  expect(graph.edges.every(({ from, to }) => from !== to)).toBe(true);
});

test('a way that is only taken on an error is drawn as one; one that is both is a plain one', () => {
  const { edges } = readGraph(machine('statemachines/retraining.asl.json'), true);
  const caught = edges.filter((edge) => edge.caught);
  expect(caught).toEqual([{ from: 'Prepare the run', to: 'Gate', caught: true }]);
});

test('a state named like a part of every object is a state', () => {
  const scope = {
    StartAt: 'constructor',
    States: { constructor: { Type: 'Pass', Next: 'toString' } },
  };
  const graph = readGraph(scope as unknown as AslScope, true);
  expect(graph.nodes.map(({ id }) => id)).toEqual(['constructor']);
  expect(graph.edges).toEqual([]);
});

describe('what lights up', () => {
  const graph = readGraph(machine('test/golden/two_step.asl.json'), true);
  const [first = '', second = ''] = graph.nodes.filter((n) => n.states.length > 1).map((n) => n.id);
  const seen = (
    name: string,
    status: 'running' | 'succeeded' | 'failed',
    at: number,
    to?: number,
  ) => ({
    name,
    status,
    enteredAt: at,
    ...(to === undefined ? {} : { exitedAt: to }),
  });
  const begun = [seen(first, 'succeeded', 10, 20), seen(`${first}.choice`, 'succeeded', 20, 20)];
  const status = (history: ReturnType<typeof seen>[], state: string, over = false) =>
    lightUp(graph, history, [{ id: first, title: first, state, why: 'why' }], over).get(first)
      ?.status;

  test('a task that has begun runs until its last state has ended', () => {
    expect(status([], 'RUNNING')).toBe('idle');
    expect(status(begun, 'RUNNING')).toBe('running');
    expect(status([...begun, seen(`${first}.run`, 'running', 20)], 'RUNNING')).toBe('running');
  });
  test.each([
    ['SUCCEEDED', 'succeeded'],
    ['CACHED', 'cached'],
    ['SKIPPED', 'skipped'],
    ['FAILED', 'failed'],
    ['CANCELED', 'stopped'],
  ])('the task says %s: %s', (state, expected) => expect(status(begun, state)).toBe(expected));
  test('nothing runs in an execution that has ended', () => {
    expect(status([...begun, seen(`${first}.run`, 'running', 20)], 'RUNNING', true)).toBe(
      'stopped',
    );
  });
  test('an edge is taken when one state is left as the other is entered', () => {
    const history = [
      ...begun,
      seen(`${first}.done`, 'succeeded', 20, 90),
      seen(second, 'running', 91),
    ];
    const lit = lightUp(graph, history, [], false);
    expect(taken({ from: first, to: second, caught: false }, lit)).toBe(true);
    expect(taken({ from: first, to: second, caught: true }, lit)).toBe(false);
    expect(taken({ from: second, to: 'Finish run', caught: false }, lit)).toBe(false);
  });
});

/** No two boxes of a scope overlap, all lie inside it, and every edge ends at a box. */
function check(placed: Placed): void {
  for (const [at, one] of placed.nodes.entries()) {
    expect(one.x).toBeGreaterThanOrEqual(-0.01);
    expect(one.x + one.width).toBeLessThanOrEqual(placed.width + 0.01);
    expect(one.y + one.height).toBeLessThanOrEqual(placed.height + 0.01);
    for (const other of placed.nodes.slice(at + 1)) {
      const apart =
        one.x + one.width <= other.x + 0.01 ||
        other.x + other.width <= one.x + 0.01 ||
        one.y + one.height <= other.y ||
        other.y + other.height <= one.y;
      expect(apart, `${one.node.id} over ${other.node.id}`).toBe(true);
    }
    for (const inner of one.inside) {
      expect(inner.x + inner.width).toBeLessThanOrEqual(one.width);
      expect(inner.y + inner.height).toBeLessThanOrEqual(one.height);
      check(inner);
    }
  }
  for (const { path } of placed.edges) expect(path).not.toMatch(/NaN|undefined|Infinity/);
}

describe('any machine, also with loops and states nothing leads to', () => {
  const size = 12;
  const graphs = fc
    .uniqueArray(fc.tuple(fc.nat(size - 1), fc.nat(size - 1)), {
      maxLength: 30,
      selector: ([from, to]) => `${from} ${to}`,
    })
    .map(
      (pairs): Graph => ({
        start: '0',
        nodes: Array.from({ length: size }, (_, at) => ({
          id: `${at}`,
          label: 'x'.repeat(at * 4),
          kind: at % 3 ? ('task' as const) : ('choice' as const),
          type: 'Task',
          states: [`${at}`],
          branches: [],
        })),
        edges: pairs.map(([from, to]) => ({ from: `${from}`, to: `${to}`, caught: false })),
      }),
    );

  test('is placed without overlaps, with every edge but those to itself', () => {
    fc.assert(
      fc.property(graphs, (graph) => {
        const placed = place(graph);
        check(placed);
        expect(placed.nodes).toHaveLength(size);
        const drawn = new Set(placed.edges.map(({ edge }) => edge));
        expect(drawn).toEqual(new Set(graph.edges.filter(({ from, to }) => from !== to)));
        expect(placed.edges).toHaveLength(drawn.size);
      }),
      { numRuns: 100 },
    );
  });

  test('leads downwards unless it leads back', () => {
    fc.assert(
      fc.property(graphs, (graph) => {
        const { nodes, edges } = place(graph);
        const top = new Map(nodes.map(({ node, y }) => [node.id, y]));
        for (const { edge, tip } of edges)
          expect((top.get(edge.to) ?? 0) > (top.get(edge.from) ?? 0)).toBe(tip.down === 1);
      }),
      { numRuns: 100 },
    );
  });
});

test('a row keeps its order and its gaps wherever it is pulled', () => {
  const row = fc.array(
    fc.tuple(fc.integer({ min: 10, max: 300 }), fc.integer({ min: -999, max: 999 })),
  );
  fc.assert(
    fc.property(row, (boxes) => {
      const placed = boxes.map(([width]) => ({ width, x: 0 }));
      settle(
        placed,
        boxes.map(([, wanted]) => wanted),
      );
      for (const [at, box] of placed.entries()) {
        const before = placed[at - 1];
        if (!before) continue;
        const gap = box.x - box.width / 2 - (before.x + before.width / 2);
        expect(gap).toBeGreaterThan(SIZES.gap.across - 1e-6);
      }
    }),
  );
});

test('sixty tasks side by side wrap into rows', () => {
  const task = (name: string) => ({ StartAt: name, States: { [name]: { Type: 'Pass' } } });
  const branches = Array.from({ length: 60 }, (_, at) => task(`task-${at}`));
  const scope = { StartAt: 'all', States: { all: { Type: 'Parallel', Branches: branches } } };
  const placed = place(readGraph(scope, true));
  check(placed);
  expect(placed.width).toBeLessThan(1300);
});
