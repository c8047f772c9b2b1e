import { Problem } from '../kernel/problem.ts';
import { compareText } from '../kernel/text.ts';
import {
  type FilterClause,
  type FilterOp,
  holdsNumber,
  holdsText,
  readFilter,
} from '../protocols/mlflow-filter.ts';
import {
  LOGGED_MODEL_STATUS,
  type LoggedModel,
  type MeasuredModel,
  type ModelMetric,
} from './logged-models.ts';

export interface DatasetRef {
  readonly name: string;
  readonly digest?: string;
}
export interface ModelOrder {
  readonly field: string;
  readonly ascending: boolean;
  readonly dataset?: DatasetRef;
}

/** What a search asks for, read and checked; pure. Source: mlflow/utils/search_logged_model_utils.py. */
export interface ModelQuery {
  /** True if metrics must be read before a model can be judged or ordered. */
  readonly measured: boolean;
  matches(model: MeasuredModel): boolean;
  compare(a: MeasuredModel, b: MeasuredModel): number;
}

/** Of what a model does not have, the empty text. */
const TEXTS: Record<string, (model: LoggedModel) => string> = {
  name: (model) => model.name,
  model_id: (model) => model.id,
  model_type: (model) => model.modelType ?? '',
  status: (model) => model.status,
  source_run_id: (model) => model.sourceRunId ?? '',
};
const TIMES: Record<string, (model: LoggedModel) => number> = {
  creation_timestamp: (model) => model.createdAt,
  creation_time: (model) => model.createdAt,
  last_updated_timestamp: (model) => model.updatedAt,
  last_updated_time: (model) => model.updatedAt,
};
const TEXT_OPS: readonly FilterOp[] = ['=', '!=', 'LIKE', 'ILIKE', 'IN', 'NOT IN'];
const NUMBER_OPS: readonly FilterOp[] = ['=', '!=', '>', '>=', '<', '<='];

/** Throws `invalid`. */
export function readModelQuery(
  filter: string | undefined,
  datasets: readonly DatasetRef[],
  orders: readonly ModelOrder[],
): ModelQuery {
  const clauses = readFilter(filter);
  const tests = clauses.map((clause) => readTest(clause, datasets));
  const metricClauses = clauses.some((clause) => kindOf(clause) === 'metrics');
  if (datasets.length && !metricClauses)
    tests.push((model) => model.metrics.some((metric) => onAny(metric, datasets)));
  const comparators = orders.map(readOrderBy);
  comparators.push((a, b) => b.createdAt - a.createdAt);
  comparators.push((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
  return {
    measured:
      metricClauses || datasets.length > 0 || orders.some(({ field }) => field.includes('.')),
    matches: (model) => tests.every((test) => test(model)),
    compare(a, b) {
      for (const comparator of comparators) {
        const order = comparator(a, b);
        if (order !== 0) return order;
      }
      return 0;
    },
  };
}

type Kind = 'attributes' | 'metrics' | 'params' | 'tags';

function kindOf({ entity }: FilterClause): Kind {
  if (entity === undefined || /^attr(ibutes?)?$/.test(entity)) return 'attributes';
  if (/^metrics?$/.test(entity)) return 'metrics';
  if (/^params?$/.test(entity)) return 'params';
  if (/^tags?$/.test(entity)) return 'tags';
  throw new Problem(
    'invalid',
    `Invalid entity type: '${entity}'. Expected one of ['attributes', 'metrics', 'params', 'tags'].`,
    { field: 'filter' },
  );
}

function readTest(
  clause: FilterClause,
  datasets: readonly DatasetRef[],
): (model: MeasuredModel) => boolean {
  const kind = kindOf(clause);
  if (kind === 'metrics') {
    checkOp(clause, NUMBER_OPS);
    return (model) =>
      model.metrics.some(
        (metric) =>
          metric.key === clause.key &&
          (datasets.length === 0 || onAny(metric, datasets)) &&
          holdsNumber(metric.value, clause),
      );
  }
  if (kind === 'params' || kind === 'tags') {
    checkOp(clause, TEXT_OPS);
    return (model) => holdsText(model[kind].get(clause.key), clause);
  }
  const time = Object.hasOwn(TIMES, clause.key) ? TIMES[clause.key] : undefined;
  if (time) {
    checkOp(clause, NUMBER_OPS);
    return (model) => holdsNumber(time(model), clause);
  }
  const text = Object.hasOwn(TEXTS, clause.key) ? TEXTS[clause.key] : undefined;
  if (!text)
    throw new Problem(
      'invalid',
      `Invalid logged model search key '${clause.key}'. Valid keys are ${[...Object.keys(TEXTS), ...Object.keys(TIMES)].join(', ')}.`,
      { field: 'filter' },
    );
  checkOp(clause, TEXT_OPS);
  const asked = clause.key === 'status' ? fullStatus(clause) : clause;
  return (model) => holdsText(text(model), asked);
}

/** `READY` is `LOGGED_MODEL_READY`. */
function fullStatus(clause: FilterClause): FilterClause {
  const full = (text: string) => {
    const name = `LOGGED_MODEL_${text}`;
    return Object.hasOwn(LOGGED_MODEL_STATUS, name) ? name : text;
  };
  const { operand } = clause;
  if (operand.kind === 'text')
    return { ...clause, operand: { kind: 'text', text: full(operand.text) } };
  if (operand.kind === 'list')
    return { ...clause, operand: { kind: 'list', items: operand.items.map(full) } };
  return clause;
}

function checkOp({ op, operand, text }: FilterClause, allowed: readonly FilterOp[]): void {
  const numeric = allowed === NUMBER_OPS;
  if (!allowed.includes(op))
    throw new Problem(
      'invalid',
      `Invalid comparison operator '${op}' in '${text}'. Expected one of ${allowed.join(', ')}.`,
      { field: 'filter' },
    );
  if ((operand.kind === 'number') !== numeric)
    throw new Problem(
      'invalid',
      `Invalid value in '${text}': expected ${numeric ? 'a number' : 'a quoted text'}.`,
      { field: 'filter' },
    );
}

const onAny = (metric: ModelMetric, datasets: readonly DatasetRef[]) =>
  datasets.some(
    ({ name, digest }) =>
      metric.datasetName === name && (digest === undefined || metric.datasetDigest === digest),
  );

function readOrderBy({ field, ascending, dataset }: ModelOrder) {
  const order =
    (value: (model: MeasuredModel) => string | number | undefined) =>
    (a: MeasuredModel, b: MeasuredModel): number => {
      const [x, y] = [value(a), value(b)];
      if (x === undefined || y === undefined) return x === y ? 0 : x === undefined ? 1 : -1; // what is not there comes last either way
      if (x === y || (Number.isNaN(x) && Number.isNaN(y))) return 0;
      const texts = typeof x === 'string' && typeof y === 'string';
      const smaller = texts ? compareText(x, y) < 0 : x < y;
      const before = Number.isNaN(x) ? false : Number.isNaN(y) ? true : smaller;
      return before === ascending ? -1 : 1;
    };
  const dot = field.indexOf('.');
  if (dot >= 0) {
    if (field.slice(0, dot) !== 'metrics')
      throw new Problem(
        'invalid',
        `Invalid order by field name: ${field}. Only metrics are supported.`,
        { field: 'order_by' },
      );
    const key = field.slice(dot + 1).replace(/^(["`'])(.*)\1$/, '$2');
    return order((model) => newest(model.metrics, key, dataset)?.value);
  }
  const value =
    (Object.hasOwn(TIMES, field) && TIMES[field]) || (Object.hasOwn(TEXTS, field) && TEXTS[field]);
  if (!value)
    throw new Problem('invalid', `Invalid order by field name: ${field}`, { field: 'order_by' });
  return order(value);
}

/** By timestamp, then step, then run, as stock orders what it sorts by. */
function newest(metrics: readonly ModelMetric[], key: string, dataset: DatasetRef | undefined) {
  let found: ModelMetric | undefined;
  for (const metric of metrics) {
    if (metric.key !== key || (dataset && !onAny(metric, [dataset]))) continue;
    const later =
      !found ||
      metric.timestamp > found.timestamp ||
      (metric.timestamp === found.timestamp &&
        (metric.step > found.step || (metric.step === found.step && metric.runId < found.runId)));
    if (later) found = metric;
  }
  return found;
}
