import { Problem } from '../kernel/problem.ts';
import {
  type FilterClause,
  type FilterOp,
  holdsNumber,
  holdsText,
  type OrderClause,
  readFilter,
  readOrder,
} from '../protocols/mlflow-filter.ts';
import type { Attributes, InputRef } from './document.ts';
import {
  DATASET_CONTEXT_TAG,
  type Experiment,
  type Lifecycle,
  type Long,
  type Metric,
  type RunId,
} from './model.ts';
import type { Order, SortKey } from './order.ts';

/** A run as a search sees it. */
export interface Candidate {
  readonly id: RunId;
  readonly lifecycle: Lifecycle;
  readonly attributes: Attributes;
  readonly params: ReadonlyMap<string, string>;
  readonly tags: ReadonlyMap<string, string>;
  /** By key, the latest value. */
  readonly metrics: { get(key: string): Pick<Metric, 'value'> | undefined };
  readonly inputs: readonly InputRef[];
}

/** A filter and an order, read once; pure. */
export interface Query<Row> extends Order<Row> {
  matches(row: Row): boolean;
}

const TEXT_OPS: readonly FilterOp[] = ['=', '!=', 'LIKE', 'ILIKE'];
const NULL_OPS: readonly FilterOp[] = ['IS NULL', 'IS NOT NULL'];
const LIST_OPS: readonly FilterOp[] = ['IN', 'NOT IN'];
const NUMBER_OPS: readonly FilterOp[] = ['=', '!=', '>', '>=', '<', '<='];
const MAX_ORDERS = 32;

// ---------------------------------------------------------------- runs

const RUN_TEXTS: Readonly<Record<string, (run: Candidate) => string | undefined>> = {
  run_id: ({ id }) => id,
  run_name: ({ tags, attributes }) => tags.get('mlflow.runName') ?? attributes.name,
  status: ({ attributes }) => attributes.status,
  user_id: ({ attributes }) => attributes.userId,
  artifact_uri: ({ attributes }) => attributes.artifactUri,
};
const RUN_NUMBERS: Readonly<Record<string, (run: Candidate) => Long | undefined>> = {
  start_time: ({ attributes }) => attributes.startTime,
  end_time: ({ attributes }) => attributes.endTime,
};
const RUN_ALIASES: Readonly<Record<string, string>> = {
  'run name': 'run_name',
  'Run name': 'run_name',
  'Run Name': 'run_name',
  created: 'start_time',
  Created: 'start_time',
};
const ENTITIES: Readonly<Record<string, Entity>> = {
  metric: 'metric',
  metrics: 'metric',
  param: 'param',
  params: 'param',
  parameter: 'param',
  parameters: 'param',
  tag: 'tag',
  tags: 'tag',
  attribute: 'attribute',
  attributes: 'attribute',
  attr: 'attribute',
  run: 'attribute',
  dataset: 'dataset',
  datasets: 'dataset',
};
type Entity = 'metric' | 'param' | 'tag' | 'attribute' | 'dataset';
const DATASET_KEYS: Readonly<Record<string, (input: InputRef) => string | undefined>> = {
  name: ({ name }) => name,
  digest: ({ digest }) => digest,
  context: ({ tags }) => tags.find(({ key }) => key === DATASET_CONTEXT_TAG)?.value,
};

const own = <T>(table: Readonly<Record<string, T>>, name: string): T | undefined =>
  Object.hasOwn(table, name) ? table[name] : undefined;

/** Throws `invalid`. Source: mlflow/utils/search_utils.py, SearchUtils; mlflow.md section 5.1.2. */
export function readRunQuery(filter: string, orders: readonly string[]): Query<Candidate> {
  const tests = readFilter(filter).map(readRunTest);
  const sorts = readOrders(orders, readRunSort);
  return query(tests, [
    ...sorts,
    { ascending: false, name: '', readValue: (run) => run.attributes.startTime },
    { ascending: true, name: '', readValue: (run) => run.id },
  ]);
}

function entityOf(clause: FilterClause | OrderClause, field: string): Entity {
  const entity = clause.entity === undefined ? 'attribute' : own(ENTITIES, clause.entity);
  if (entity) return entity;
  throw new Problem(
    'invalid',
    `Invalid entity type '${clause.entity}' in '${clause.text}'. Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']`,
    { field },
  );
}

function readRunTest(clause: FilterClause): (run: Candidate) => boolean {
  const { key } = clause;
  switch (entityOf(clause, 'filter')) {
    case 'metric':
      allow(clause, NUMBER_OPS, 'number');
      return ({ metrics }) => holdsNumber(metrics.get(key)?.value, clause);
    case 'param':
      allow(clause, [...TEXT_OPS, ...NULL_OPS], 'text');
      return ({ params }) => holdsText(params.get(key), clause);
    case 'tag':
      allow(clause, [...TEXT_OPS, ...NULL_OPS], 'text');
      return ({ tags }) => holdsText(tags.get(key), clause);
    case 'dataset': {
      const textOf = own(DATASET_KEYS, key);
      if (!textOf) throw unknownKey(clause, 'dataset', Object.keys(DATASET_KEYS), 'filter');
      allow(clause, [...TEXT_OPS, ...LIST_OPS], 'text');
      return ({ inputs }) => inputs.some((input) => holdsText(textOf(input), clause));
    }
    case 'attribute':
      return readAttributeTest(clause, own(RUN_ALIASES, key) ?? key);
  }
}

function readAttributeTest(clause: FilterClause, name: string): (run: Candidate) => boolean {
  const textOf = own(RUN_TEXTS, name);
  if (textOf) {
    allow(clause, name === 'run_id' ? [...TEXT_OPS, ...LIST_OPS] : TEXT_OPS, 'text');
    return (run) => holdsText(textOf(run), clause);
  }
  const numberOf = own(RUN_NUMBERS, name);
  if (!numberOf)
    throw unknownKey(clause, 'attribute', Object.keys({ ...RUN_TEXTS, ...RUN_NUMBERS }), 'filter');
  allow(clause, NUMBER_OPS, 'number');
  return (run) => holdsNumber(asNumber(numberOf(run)), clause);
}

function readRunSort(clause: OrderClause): Omit<Sort<Candidate>, 'ascending'> {
  const { key } = clause;
  switch (entityOf(clause, 'order_by')) {
    case 'metric':
      return { name: `metric ${key}`, readValue: ({ metrics }) => metrics.get(key)?.value };
    case 'param':
      return { name: `param ${key}`, readValue: ({ params }) => params.get(key) };
    case 'tag':
      return { name: `tag ${key}`, readValue: ({ tags }) => tags.get(key) };
    case 'dataset':
      throw unknownKey(clause, 'ordering', ['metrics', 'params', 'tags', 'attributes'], 'order_by');
    case 'attribute': {
      const name = own(RUN_ALIASES, key) ?? key;
      const readValue = own(RUN_TEXTS, name) ?? own(RUN_NUMBERS, name);
      if (!readValue)
        throw unknownKey(
          clause,
          'attribute',
          Object.keys({ ...RUN_TEXTS, ...RUN_NUMBERS }),
          'order_by',
        );
      return { name, readValue };
    }
  }
}

// ---------------------------------------------------------------- experiments

const EXPERIMENT_TEXTS: Readonly<Record<string, (experiment: Experiment) => string>> = {
  name: ({ name }) => name,
  experiment_id: ({ id }) => id,
};
const EXPERIMENT_NUMBERS: Readonly<Record<string, (experiment: Experiment) => number>> = {
  creation_time: ({ createdAt }) => createdAt,
  last_update_time: ({ updatedAt }) => updatedAt,
};
const EXPERIMENT_KEYS = Object.keys({ ...EXPERIMENT_TEXTS, ...EXPERIMENT_NUMBERS });

/** Throws `invalid`. Source: mlflow/utils/search_utils.py, SearchExperimentsUtils; mlflow.md section 5.1.3. */
export function readExperimentQuery(filter: string, orders: readonly string[]): Query<Experiment> {
  const tests = readFilter(filter).map(readExperimentTest);
  const sorts = readOrders(orders, readExperimentSort);
  const byDefault: Sort<Experiment>[] = orders.length
    ? []
    : [{ ascending: false, name: '', readValue: ({ createdAt }) => createdAt }];
  return query(tests, [
    ...sorts,
    ...byDefault,
    { ascending: true, name: '', readValue: ({ id }) => Number(id) },
  ]);
}

function readExperimentTest(clause: FilterClause): (experiment: Experiment) => boolean {
  const { key } = clause;
  const entity = entityOf(clause, 'filter');
  if (entity === 'tag') {
    allow(clause, [...TEXT_OPS, ...NULL_OPS], 'text');
    return ({ tags }) => holdsText(tags.get(key), clause);
  }
  const textOf = entity === 'attribute' ? own(EXPERIMENT_TEXTS, key) : undefined;
  if (textOf) {
    allow(clause, key === 'experiment_id' ? [...TEXT_OPS, ...LIST_OPS] : TEXT_OPS, 'text');
    return (experiment) => holdsText(textOf(experiment), clause);
  }
  const numberOf = entity === 'attribute' ? own(EXPERIMENT_NUMBERS, key) : undefined;
  if (!numberOf) throw unknownKey(clause, 'attribute', EXPERIMENT_KEYS, 'filter');
  allow(clause, NUMBER_OPS, 'number');
  return (experiment) => holdsNumber(numberOf(experiment), clause);
}

function readExperimentSort(clause: OrderClause): Omit<Sort<Experiment>, 'ascending'> {
  const attribute = entityOf(clause, 'order_by') === 'attribute';
  const { key } = clause;
  const readValue =
    key === 'experiment_id'
      ? ({ id }: Experiment) => Number(id)
      : (own(EXPERIMENT_TEXTS, key) ?? own(EXPERIMENT_NUMBERS, key));
  if (!attribute || !readValue) throw unknownKey(clause, 'attribute', EXPERIMENT_KEYS, 'order_by');
  return { name: key, readValue };
}

// ---------------------------------------------------------------- both

interface Sort<Row> {
  readonly ascending: boolean;
  /** Two orders of one name are refused. */
  readonly name: string;
  readonly readValue: (row: Row) => string | Long | undefined;
}

function readOrders<Row>(
  texts: readonly string[],
  read: (clause: OrderClause) => Omit<Sort<Row>, 'ascending'>,
): Sort<Row>[] {
  const refuse = (why: string) =>
    new Problem('invalid', `Invalid order_by: ${why}.`, { field: 'order_by' });
  if (texts.length > MAX_ORDERS) throw refuse(`it has more than ${MAX_ORDERS} keys`);
  const sorts = texts.map((text) => {
    const clause = readOrder(text);
    return { ...read(clause), ascending: clause.ascending };
  });
  const names = new Set(sorts.map(({ name }) => name));
  if (names.size < sorts.length) throw refuse('it names the same key twice');
  return sorts;
}

function query<Row>(tests: ((row: Row) => boolean)[], sorts: Sort<Row>[]): Query<Row> {
  return {
    matches: (row) => tests.every((test) => test(row)),
    ascending: sorts.map(({ ascending }) => ascending),
    sortKeys: (row) => sorts.map(({ readValue }) => sortKey(readValue(row))),
    sortKey: (row, index) => sortKey(sorts[index]?.readValue(row)),
  };
}

function sortKey(value: string | Long | undefined): SortKey {
  if (value === undefined) return [2];
  return typeof value === 'number' && Number.isNaN(value) ? [1] : [0, value];
}

const asNumber = (value: Long | undefined) => (value === undefined ? undefined : Number(value));

function allow(clause: FilterClause, ops: readonly FilterOp[], kind: 'text' | 'number'): void {
  const refuse = (why: string) => new Problem('invalid', why, { field: 'filter' });
  if (!ops.includes(clause.op))
    throw refuse(
      `Invalid comparator '${clause.op}' in '${clause.text}': not one of '${ops.join(', ')}'`,
    );
  const { operand } = clause;
  if (kind === 'number' && operand.kind !== 'number')
    throw refuse(`Expected a number without quotes in '${clause.text}'`);
  if (kind === 'text' && operand.kind === 'number')
    throw refuse(`Expected a quoted string value in '${clause.text}'`);
}

const unknownKey = (
  { key, text }: FilterClause | OrderClause,
  what: string,
  known: readonly string[],
  field: string,
) =>
  new Problem(
    'invalid',
    `Invalid ${what} key '${key}' specified in '${text}'. Valid keys are ${known.join(', ')}`,
    { field },
  );
