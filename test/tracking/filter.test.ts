import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Problem } from '../../functions/kernel/problem.ts';
import {
  type Candidate,
  readExperimentQuery,
  readRunQuery,
} from '../../functions/tracking/filter.ts';
import type { ExperimentId, Metric, RunId } from '../../functions/tracking/model.ts';
import { afterPosition, type PageEnd, pageOf, positionOf } from '../../functions/tracking/order.ts';

function run(
  id: string,
  more: {
    metrics?: Record<string, number>;
    params?: Record<string, string>;
    tags?: Record<string, string>;
    start?: number;
    status?: Candidate['attributes']['status'];
    datasets?: string[];
  } = {},
): Candidate {
  const metrics = Object.entries(more.metrics ?? {}).map(([key, value]): [string, Metric] => [
    key,
    { key, value, step: 0, timestamp: 0 },
  ]);
  return {
    id: id as RunId,
    lifecycle: 'active',
    attributes: {
      experimentId: '0' as ExperimentId,
      name: id,
      userId: 'ada',
      status: more.status ?? 'FINISHED',
      startTime: more.start ?? 0,
      artifactUri: `mlflow-artifacts:/0/${id}/artifacts`,
    },
    metrics: new Map(metrics),
    params: new Map(Object.entries(more.params ?? {})),
    tags: new Map(Object.entries(more.tags ?? {})),
    inputs: (more.datasets ?? []).map((name) => ({
      name,
      digest: 'd1',
      tags: [{ key: 'mlflow.data.context', value: 'train' }],
    })),
  };
}

const rows = [
  run('a', { metrics: { loss: 1, 'a b': 5 }, params: { lr: '0.1' }, tags: { t: 'x' }, start: 10 }),
  run('b', { metrics: { loss: Number.NaN }, params: { lr: '0.2', 'p.q': 'z' }, start: 20 }),
  run('c', { metrics: { loss: Infinity }, tags: { t: 'X', 'mlflow.runName': 'cee' }, start: 30 }),
  run('d', { status: 'RUNNING', start: 30, datasets: ['iris', 'wine'] }),
];
const found = (filter: string, orders: string[] = []) => {
  const query = readRunQuery(filter, orders);
  return pageOf(
    query,
    rows.filter((row) => query.matches(row)),
    100,
  )
    .items.map(({ id }) => id)
    .join('');
};

describe('runs', () => {
  test.each([
    ['', 'cdba'],
    ['metrics.loss > 0', 'ca'],
    ['metric.loss != 1', 'cb'],
    ['metrics.loss = 1e0 and start_time < 15', 'a'],
    ['metrics.`a b` >= 5', 'a'],
    ["metrics.'a b' >= -5", 'a'],
    ['metrics."a b"<=5', 'a'],
    ["params.lr = '0.1'", 'a'],
    ["parameters.lr != '0.1'", 'b'],
    ["params.p.q LIKE 'z'", 'b'],
    ['params.lr IS NULL', 'cd'],
    ['params.lr is not null', 'ba'],
    ["tags.t LIKE 'x'", 'a'],
    ["tag.t ILIKE 'x'", 'ca'],
    ["attributes.status = 'RUNNING'", 'd'],
    ["status = 'running'", ''],
    ["attr.run_id IN ('a', 'c')", 'ca'],
    ["run_id NOT IN ('a')", 'cdb'],
    ["run.`Run name` = 'cee'", 'c'],
    ["run_name LIKE 'c_e'", 'c'],
    ['created >= 30', 'cd'],
    ["dataset.name = 'iris'", 'd'],
    ["datasets.context IN ('train')", 'd'],
    ["dataset.digest LIKE '%2'", ''],
    ["AND user_id = 'ada' AND", 'cdba'],
  ])('%s finds %s', (filter, ids) => {
    expect(found(filter)).toBe(ids);
  });

  test.each([
    ['metrics.loss ASC', 'acbd'],
    ['metrics.loss DESC', 'cabd'],
    ['params.lr', 'abcd'],
    ['params.lr DESC', 'bacd'],
    ['tags.t asc', 'cadb'],
    ['attributes.start_time', 'abcd'],
    ['run_id DESC', 'dcba'],
  ])('order by %s gives %s: values, then NaN, then missing, both ways', (order, ids) => {
    expect(found('', [order])).toBe(ids);
  });

  test.each([
    "metrics.loss = '1'",
    'metrics.loss IS NULL',
    "metrics.loss LIKE '1'",
    "params.lr IN ('1')",
    'params.lr = 1',
    "params.lr > '1'",
    "status IN ('a')",
    "lifecycle_stage = 'active'",
    "experiment_id = '0'",
    "start_time = '5'",
    'metrics.loss == 1',
    'metrics.loss <> 1',
    "status = 'a' OR status = 'b'",
    "(status = 'a')",
    "NOT status = 'a'",
    "status = 'a'; DROP TABLE runs",
    "status = 'a",
    "attribute.__proto__ = 'a'",
    "attribute.constructor = 'a'",
    "__proto__.x = 'a'",
    'metrics. > 1',
    'metrics.loss >',
    'metrics.loss > 1 metrics.loss < 2',
    "dataset.source = 'x'",
    'metrics.loss > ‘1’',
    `${'a'.repeat(100_000)} = 'x'`,
    Array(10_000).fill("status = 'x'").join(' AND '),
  ])('C12, C13: %.60s is refused', (filter) => {
    expect(() => readRunQuery(filter, [])).toThrow(Problem);
  });

  test.each(['metrics.loss up', 'lifecycle_stage', 'dataset.name', 'metrics.loss ASC DESC', ''])(
    'order by %s is refused',
    (order) => {
      expect(() => readRunQuery('', [order])).toThrow(Problem);
    },
  );

  test('the same key twice in order_by is refused', () => {
    expect(() => readRunQuery('', ['metrics.a', 'metric.a DESC'])).toThrow(/twice/);
  });

  test('an unclosed quote is refused at its position', () => {
    expect(() => readRunQuery("status = 'a' AND status = 'b", [])).toThrow(/position 26/);
  });
});

test('experiments: name, ids, times and tags; tags do not order', () => {
  const one = {
    id: '7' as ExperimentId,
    name: 'seven',
    artifactRoot: '',
    lifecycle: 'active' as const,
    createdAt: 5,
    updatedAt: 9,
    tags: new Map([['team', 'a']]),
    shards: 1,
    version: 1,
  };
  const holds = (filter: string) => readExperimentQuery(filter, []).matches(one);
  expect(holds("name ILIKE 'SE%' AND creation_time = 5 AND tags.team = 'a'")).toBe(true);
  expect(holds("tags.`mlflow.experiment.isGateway` IS NULL AND experiment_id IN ('7')")).toBe(true);
  expect(holds('last_update_time > 9')).toBe(false);
  expect(() => holds("lifecycle_stage = 'active'")).toThrow(Problem);
  expect(() => holds('metrics.a > 1')).toThrow(Problem);
  expect(() => readExperimentQuery('', ['tags.team'])).toThrow(Problem);
});

// ---------------------------------------------------------------- properties

const keyArb = fc.constantFrom('a', 'b');
const textArb = fc.constantFrom('', 'x', 'X', 'xy', '%', '_');
const clauseArb = fc.oneof(
  fc.record({
    entity: fc.constant('metrics' as const),
    key: keyArb,
    op: fc.constantFrom('=', '!=', '>', '>=', '<', '<='),
    value: fc.constantFrom(-1, 0, 1, 2.5),
  }),
  fc.record({
    entity: fc.constantFrom('params' as const, 'tags' as const),
    key: keyArb,
    op: fc.constantFrom('=', '!=', 'LIKE', 'ILIKE'),
    value: textArb,
  }),
);
type Clause = typeof clauseArb extends fc.Arbitrary<infer T> ? T : never;
const runArb = fc
  .record({
    id: fc.stringMatching(/^[0-9a-f]{6}$/),
    metrics: fc.dictionary(keyArb, fc.constantFrom(-1, 0, 1, 2.5, Number.NaN, Infinity)),
    params: fc.dictionary(keyArb, textArb),
    tags: fc.dictionary(keyArb, textArb),
    start: fc.integer({ min: 0, max: 3 }),
  })
  .map(({ id, ...more }) => run(id, more));
const runsArb = fc.uniqueArray(runArb, { selector: ({ id }) => id, maxLength: 25 });

/** The clause in the plainest way: LIKE by a regular expression. */
function naive(row: Candidate, { entity, key, op, value }: Clause): boolean {
  const held = entity === 'metrics' ? row.metrics.get(key)?.value : row[entity].get(key);
  if (held === undefined) return false;
  if (op === 'LIKE' || op === 'ILIKE') {
    const source = String(value)
      .replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
      .replaceAll('%', '[^]*')
      .replaceAll('_', '[^]');
    return new RegExp(`^${source}$`, op === 'ILIKE' ? 'i' : '').test(String(held));
  }
  const operators: Record<string, boolean> = {
    '=': held === value,
    '!=': held !== value,
    '>': held > value,
    '>=': held >= value,
    '<': held < value,
    '<=': held <= value,
  };
  return operators[op] ?? false;
}

test('a filter keeps the runs that a naive reading keeps', () => {
  fc.assert(
    fc.property(runsArb, fc.array(clauseArb, { maxLength: 3 }), (runs, clauses) => {
      const text = clauses
        .map(({ entity, key, op, value }) =>
          [`${entity}.${key}`, op, typeof value === 'string' ? `'${value}'` : value].join(' '),
        )
        .join(' AND ');
      const query = readRunQuery(text, []);
      expect(runs.filter((row) => query.matches(row))).toEqual(
        runs.filter((row) => clauses.every((clause) => naive(row, clause))),
      );
    }),
    { numRuns: 500 },
  );
});

test('a walk of pages meets each run once, in order, while runs come and go', () => {
  const orders = fc.uniqueArray(fc.constantFrom('metrics.a', 'params.b', 'tags.a', 'start_time'), {
    maxLength: 3,
  });
  fc.assert(
    fc.property(
      runsArb,
      runsArb,
      orders,
      fc.boolean(),
      fc.integer({ min: 1, max: 5 }),
      (runs, late, keys, down, size) => {
        const query = readRunQuery(
          '',
          keys.map((key) => (down ? `${key} DESC` : key)),
        );
        const whole = pageOf(query, runs, 1000).items;
        const met: Candidate[] = [];
        let end: PageEnd | undefined;
        let held = runs;
        for (let pages = 0; ; pages += 1) {
          expect(pages).toBeLessThanOrEqual(runs.length + late.length);
          const position = end && positionOf(query, end, undefined);
          const rest = held.filter((row) => afterPosition(query, row, position));
          const page = pageOf(query, rest, size);
          met.push(...page.items);
          if (!page.last) break;
          end = JSON.parse(JSON.stringify(page.last));
          // Newcomers join and nobody leaves who was not met yet.
          const newcomer = late[met.length % Math.max(1, late.length)];
          if (newcomer && !runs.some(({ id }) => id === newcomer.id)) held = [...runs, newcomer];
        }
        const mine = met.filter((row) => runs.includes(row));
        expect(mine).toEqual(whole);
        expect(new Set(met.map(({ id }) => id)).size).toBe(met.length);
      },
    ),
    { numRuns: 300 },
  );
});

test('C13: whatever text is given, a filter is read or refused, and never fails otherwise', () => {
  const pieces = fc.constantFrom(
    'metrics',
    '.',
    'a',
    ' ',
    '=',
    '>',
    "'",
    '"',
    '`',
    'AND',
    'OR',
    'IN',
    '(',
    ')',
    ',',
    'LIKE',
    'NULL',
    'IS',
    'NOT',
    '1',
    '-',
    'é',
    ';',
    '__proto__',
    'status',
    '\\',
    '‘',
    '\u0000',
  );
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 14 }), (parts) => {
      try {
        readRunQuery(parts.join(''), []).matches(rows[0]!);
      } catch (error) {
        expect(error).toBeInstanceOf(Problem);
      }
    }),
    { numRuns: 2000 },
  );
});
