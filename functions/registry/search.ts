import { Problem } from '../kernel/problem.ts';
import { compareText } from '../kernel/text.ts';
import {
  type FilterClause,
  type FilterOp,
  holdsNumber,
  holdsText,
  type OrderClause,
  readFilter,
  readOrder,
} from '../protocols/mlflow-filter.ts';
import {
  isPrompt,
  type ModelVersion,
  PROMPT_TAG,
  type RegisteredModel,
  type Tags,
} from './model.ts';

/** A version with the name it is searched and ordered by. */
export interface VersionRow {
  readonly id: string;
  readonly name: string;
  /** Whether its model is a prompt. */
  readonly prompt: boolean;
  readonly version: ModelVersion;
}

/** What a search asks for, read and checked; pure. `Place` is what a page token keeps of the last row shown. */
export interface SearchQuery<Row, Place> {
  /** The only names that can match, if the filter says so. */
  readonly names: readonly string[] | undefined;
  /** The tags whose values the filter reads. */
  readonly tags: ReadonlySet<string>;
  /** True if the order is the store's own: by name, ascending. */
  readonly natural: boolean;
  matches(row: Row): boolean;
  compare(a: Place, b: Place): number;
}

export interface ModelPlace {
  readonly name: string;
  readonly updatedAt: number;
}
export interface VersionPlace extends ModelPlace {
  readonly createdAt: number;
  readonly version: number;
}
export const placeOf = ({ name, version }: VersionRow): VersionPlace => ({
  name,
  version: version.version,
  createdAt: version.createdAt,
  updatedAt: version.updatedAt,
});

const TEXT_OPS: readonly FilterOp[] = ['=', '!=', 'LIKE', 'ILIKE'];
const LIST_OPS: readonly FilterOp[] = [...TEXT_OPS, 'IN', 'NOT IN'];
const NUMBER_OPS: readonly FilterOp[] = ['=', '!=', '>', '>=', '<', '<='];

/** Source: mlflow/store/model_registry/sqlalchemy_store.py, _get_search_registered_model_filter_query. */
export function readModelQuery(
  filter: string | undefined,
  orderBy: readonly string[],
): SearchQuery<RegisteredModel, ModelPlace> {
  const { clauses, prompts } = promptRule(readFilter(filter));
  const tests = clauses.map((clause): ((model: RegisteredModel) => boolean) => {
    if (isTag(clause)) return tagTest(clause, (model) => model.tags);
    if (clause.key !== 'name') throw unknownKey(clause.key, ['name']);
    checkOp(clause, LIST_OPS);
    return (model) => holdsText(model.name, clause);
  });
  const orders = readOrders(orderBy, {
    name: (place: ModelPlace) => place.name,
    timestamp: (place) => place.updatedAt,
    last_updated_timestamp: (place) => place.updatedAt,
  });
  if (!orders.keys.has('name')) orders.comparators.push(ascending(({ name }) => name));
  const [first] = orderBy;
  return {
    names: exactNames(clauses),
    tags: tagKeys(clauses),
    natural: first === undefined || /^(attributes?\.)?name(\s+asc)?\s*$/i.test(first.trim()),
    matches: (model) => isPrompt(model.tags) === prompts && tests.every((test) => test(model)),
    compare: all(orders.comparators),
  };
}

/** Source: the same, _get_search_model_versions_filter_clauses. */
export function readVersionQuery(
  filter: string | undefined,
  orderBy: readonly string[],
): SearchQuery<VersionRow, VersionPlace> {
  const { clauses, prompts } = promptRule(readFilter(filter));
  const tests = clauses.map(versionTest);
  const given = orderBy.length ? orderBy : ['last_updated_timestamp DESC'];
  const orders = readOrders(given, {
    name: (place: VersionPlace) => place.name,
    version_number: (place) => place.version,
    creation_timestamp: (place) => place.createdAt,
    last_updated_timestamp: (place) => place.updatedAt,
  });
  if (!orders.keys.has('name')) orders.comparators.push(ascending(({ name }) => name));
  if (!orders.keys.has('version_number')) orders.comparators.push((a, b) => b.version - a.version);
  return {
    names: exactNames(clauses),
    tags: tagKeys(clauses),
    natural: false,
    matches: (row) =>
      (row.prompt || isPrompt(row.version.tags)) === prompts && tests.every((test) => test(row)),
    compare: all(orders.comparators),
  };
}

function versionTest(clause: FilterClause): (row: VersionRow) => boolean {
  if (isTag(clause)) return tagTest(clause, ({ version }) => version.tags);
  switch (clause.key) {
    case 'name':
      checkOp(clause, LIST_OPS);
      return (row) => holdsText(row.name, clause);
    case 'run_id':
      checkOp(clause, LIST_OPS);
      return ({ version }) => holdsText(version.runId, clause); // empty where there is none
    case 'source_path':
      checkOp(clause, TEXT_OPS);
      return ({ version }) => holdsText(version.source, clause);
    case 'version_number': {
      const numeric = asNumber(clause);
      checkOp(numeric, NUMBER_OPS);
      return ({ version }) => holdsNumber(version.version, numeric);
    }
    default:
      throw unknownKey(clause.key, ['name', 'version_number', 'run_id', 'source_path']);
  }
}

/** A quoted whole number is a number too. */
function asNumber(clause: FilterClause): FilterClause {
  const { operand } = clause;
  const number =
    operand.kind === 'text' && /^-?\d+$/.test(operand.text)
      ? Number(operand.text)
      : operand.kind === 'number'
        ? operand.number
        : Number.NaN;
  if (!Number.isInteger(number))
    throw new Problem('invalid', `Invalid value for numeric attribute in '${clause.text}'.`, {
      field: 'filter',
    });
  return { ...clause, operand: { kind: 'number', number } };
}

/**
 * Prompts are models with a tag. They show only to a filter that asks for that tag's truth; any other clause on the
 * tag asks for what is shown anyway. Source: the same, _is_querying_prompt.
 */
function promptRule(clauses: readonly FilterClause[]) {
  const about = clauses.filter((clause) => isTag(clause) && clause.key === PROMPT_TAG);
  for (const clause of about) checkOp(clause, TEXT_OPS);
  const [first] = about;
  const word = first?.operand.kind === 'text' ? first.operand.text.toLowerCase() : '';
  const prompts =
    (first?.op === '=' && word === 'true') || (first?.op === '!=' && word === 'false');
  return { prompts, clauses: clauses.filter((clause) => !about.includes(clause)) };
}

function isTag({ entity }: FilterClause): boolean {
  if (entity === 'tag' || entity === 'tags') return true;
  if (entity === undefined || entity === 'attribute' || entity === 'attributes') return false;
  throw new Problem(
    'invalid',
    `Invalid entity type '${entity}'. Valid entity types are ('attribute', 'tag', 'tags').`,
    { field: 'filter' },
  );
}

function tagTest<Row>(clause: FilterClause, tagsOf: (row: Row) => Tags) {
  checkOp(clause, TEXT_OPS);
  return (row: Row) => holdsText(tagsOf(row).get(clause.key) ?? undefined, clause);
}

const tagKeys = (clauses: readonly FilterClause[]) =>
  new Set(clauses.filter(isTag).map(({ key }) => key));

function exactNames(clauses: readonly FilterClause[]): readonly string[] | undefined {
  for (const clause of clauses) {
    if (isTag(clause) || clause.key !== 'name') continue;
    if (clause.op === '=' && clause.operand.kind === 'text') return [clause.operand.text];
    if (clause.op === 'IN' && clause.operand.kind === 'list') return clause.operand.items;
  }
  return undefined;
}

function checkOp({ op, operand, text }: FilterClause, allowed: readonly FilterOp[]): void {
  if (!allowed.includes(op))
    throw new Problem(
      'invalid',
      `Invalid comparator '${op}' in '${text}'. Expected one of ${allowed.join(', ')}.`,
      { field: 'filter' },
    );
  if (operand.kind === 'number' && allowed !== NUMBER_OPS)
    throw new Problem('invalid', `Expected a quoted string value in '${text}'.`, {
      field: 'filter',
    });
}

const unknownKey = (key: string, valid: readonly string[]) =>
  new Problem(
    'invalid',
    `Invalid attribute key '${key.slice(0, 100)}' specified. Valid keys are '${valid.join("', '")}'`,
    { field: 'filter' },
  );

type Comparator<Place> = (a: Place, b: Place) => number;

function ascending<Place>(value: (place: Place) => string | number): Comparator<Place> {
  return (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (typeof x === 'string' && typeof y === 'string') return compareText(x, y);
    return x < y ? -1 : x > y ? 1 : 0;
  };
}

function all<Place>(comparators: readonly Comparator<Place>[]): Comparator<Place> {
  return (a, b) => {
    for (const comparator of comparators) {
      const order = comparator(a, b);
      if (order !== 0) return order;
    }
    return 0;
  };
}

function readOrders<Place>(
  orderBy: readonly string[],
  valid: Record<string, (place: Place) => string | number>,
) {
  const keys = new Set<string>();
  const comparators = orderBy.map((text) => {
    const order: OrderClause = readOrder(text);
    const plain = order.entity === undefined || /^attributes?$/.test(order.entity);
    const value = plain && Object.hasOwn(valid, order.key) ? valid[order.key] : undefined;
    if (!value)
      throw new Problem(
        'invalid',
        `Invalid order by key '${text.slice(0, 100)}' specified. Valid keys are '${Object.keys(valid).join("', '")}'`,
        { field: 'order_by' },
      );
    if (keys.has(order.key))
      throw new Problem('invalid', '`order_by` contains duplicate fields.', { field: 'order_by' });
    keys.add(order.key);
    const up = ascending(value);
    return order.ascending ? up : (a: Place, b: Place) => up(b, a);
  });
  return { keys, comparators };
}
