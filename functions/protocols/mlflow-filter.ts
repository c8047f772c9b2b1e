import { Problem } from '../kernel/problem.ts';

/**
 * MLflow's filter and ordering texts, read into typed clauses. The grammar is common to runs, experiments, registered
 * models, versions and logged models; which keys and operators an entity has is each room's own business.
 * Source: mlflow/utils/search_utils.py; mlflow.md section 5.1.1.
 */
export type FilterOp =
  | '='
  | '!='
  | '>'
  | '>='
  | '<'
  | '<='
  | 'LIKE'
  | 'ILIKE'
  | 'RLIKE'
  | 'IN'
  | 'NOT IN'
  | 'IS NULL'
  | 'IS NOT NULL';

export type Operand =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'number'; readonly number: number }
  | { readonly kind: 'list'; readonly items: readonly string[] }
  | { readonly kind: 'none' };

/** `entity.key op operand`; a key without entity is an attribute. */
export interface FilterClause {
  readonly entity: string | undefined;
  readonly key: string;
  readonly op: FilterOp;
  readonly operand: Operand;
  /** The clause as written, for messages. */
  readonly text: string;
}

export interface OrderClause {
  readonly entity: string | undefined;
  readonly key: string;
  readonly ascending: boolean;
  readonly text: string;
}

export const FILTER_LIMITS = {
  characters: 65_536,
  clauses: 256,
  listItems: 1_000,
  pattern: 1_000,
} as const;

/** Reads `a = 'x' AND metrics.b > 1`. Empty text gives no clauses. Throws `invalid`, naming the position. */
export function readFilter(text: string | undefined, field = 'filter'): FilterClause[] {
  const scan = scanner(text ?? '', field);
  const clauses: FilterClause[] = [];
  scan.word(/AND\b/iy); // one dangling AND at either end is tolerated, as in stock
  while (!scan.done()) {
    if (clauses.length === FILTER_LIMITS.clauses)
      throw scan.refuse(`it has more than ${FILTER_LIMITS.clauses} clauses`);
    const start = scan.at();
    const { entity, key } = readKey(scan);
    const op = readOp(scan);
    const operand = readOperand(scan, op);
    clauses.push({ entity, key, op, operand, text: scan.since(start) });
    if (scan.done()) break;
    if (!scan.word(/AND\b/iy))
      throw scan.refuse(`Invalid clause(s) in filter string: '${scan.rest()}'`);
  }
  return clauses;
}

/** Reads one `order_by` entry: `metrics.x DESC`. Ascending unless it says otherwise. Throws `invalid`. */
export function readOrder(text: string, field = 'order_by'): OrderClause {
  const scan = scanner(text, field);
  const { entity, key } = readKey(scan);
  const word = scan.word(/(ASC|DESC)\b/iy);
  if (!scan.done())
    throw new Problem(
      'invalid',
      `Invalid order_by clause '${shown(text)}': Invalid ordering key.`,
      {
        field,
      },
    );
  return { entity, key, ascending: word?.toUpperCase() !== 'DESC', text };
}

/** How many code units the character at `at` takes. */
const unitsAt = (text: string, at: number) => ((text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1);

/**
 * SQL's LIKE: `%` is any run of characters, `_` any one, nothing escapes them. Greedy with one point to come back to,
 * so it never takes more than text times pattern steps.
 */
export function like(text: string, pattern: string, ignoreCase = false): boolean {
  const t = ignoreCase ? text.toLowerCase() : text;
  const p = ignoreCase ? pattern.toLowerCase() : pattern;
  let i = 0;
  let j = 0;
  let star = -1;
  let from = 0;
  while (i < t.length) {
    if (j < p.length && p[j] === '%') {
      star = j++;
      from = i;
    } else if (j < p.length && p[j] === '_') {
      i += unitsAt(t, i);
      j++;
    } else if (j < p.length && p[j] === t[i]) {
      i++;
      j++;
    } else if (star >= 0) {
      j = star + 1;
      from += unitsAt(t, from);
      i = from;
    } else return false;
  }
  while (p[j] === '%') j++;
  return j === p.length;
}

/** Whether a text value, or none, satisfies the clause. `>` and its kin are not defined on texts: false. */
export function holdsText(value: string | undefined, { op, operand }: FilterClause): boolean {
  if (op === 'IS NULL') return value === undefined;
  if (op === 'IS NOT NULL') return value !== undefined;
  if (value === undefined) return false; // != asks for a value that differs, so one must be there
  if (operand.kind === 'list') return operand.items.includes(value) === (op === 'IN');
  if (operand.kind !== 'text') return false;
  if (op === '=') return value === operand.text;
  if (op === '!=') return value !== operand.text;
  if (op === 'LIKE') return like(value, operand.text);
  if (op === 'ILIKE') return like(value, operand.text, true);
  return false;
}

/** Whether a number, or none, satisfies the clause. NaN satisfies only `!=`. */
export function holdsNumber(value: number | undefined, { op, operand }: FilterClause): boolean {
  if (op === 'IS NULL') return value === undefined;
  if (op === 'IS NOT NULL') return value !== undefined;
  if (value === undefined || operand.kind !== 'number') return false;
  const { number } = operand;
  if (op === '=') return value === number;
  if (op === '!=') return value !== number;
  if (op === '>') return value > number;
  if (op === '>=') return value >= number;
  if (op === '<') return value < number;
  if (op === '<=') return value <= number;
  return false;
}

interface Scanner {
  at(): number;
  /** Skips blanks; true at the end. */
  done(): boolean;
  /** Takes what the sticky pattern matches here, after blanks. */
  word(pattern: RegExp): string | undefined;
  /** Takes this character if it stands here, without blanks before. */
  here(character: string): boolean;
  /** Takes a quoted text that opens here with one of these quotes. */
  quoted(quotes: string): string | undefined;
  since(start: number): string;
  rest(): string;
  refuse(why: string): Problem;
}

const shown = (text: string) => (text.length > 100 ? `${text.slice(0, 100)}...` : text);

function scanner(text: string, field: string): Scanner {
  if (text.length > FILTER_LIMITS.characters)
    throw new Problem(
      'invalid',
      `Invalid ${field}: it is longer than ${FILTER_LIMITS.characters} characters.`,
      { field },
    );
  let position = 0;
  const blanks = () => {
    while (position < text.length && /\s/.test(text.charAt(position))) position++;
  };
  const refuse = (why: string) =>
    new Problem('invalid', `Invalid ${field} at position ${position}: ${why}.`, { field });
  return {
    at: () => {
      blanks();
      return position;
    },
    done: () => {
      blanks();
      return position >= text.length;
    },
    word(pattern) {
      blanks();
      pattern.lastIndex = position;
      const found = pattern.exec(text)?.[0];
      if (found) position += found.length;
      return found;
    },
    here(character) {
      if (text.charAt(position) !== character) return false;
      position++;
      return true;
    },
    quoted(quotes) {
      const quote = text.charAt(position);
      if (quote === '' || !quotes.includes(quote)) return undefined;
      const end = text.indexOf(quote, position + 1);
      if (end < 0) throw refuse(`the quote ${quote} is not closed`);
      const inside = text.slice(position + 1, end);
      position = end + 1;
      return inside;
    },
    since: (start) => shown(text.slice(start, position).trim()),
    rest: () => shown(text.slice(position).trim()),
    refuse,
  };
}

/**
 * `name`, `params.a.b`, ``tags.`a b` ``, ``` `tags`.`a b` ```, `"run name"`: the first dot parts entity from key. Only
 * backticks may quote an entity, as in stock.
 */
function readKey(scan: Scanner): { entity: string | undefined; key: string } {
  scan.done();
  const whole = scan.quoted('"\'');
  if (whole !== undefined) return { entity: undefined, key: whole };
  const named = scan.quoted('`');
  if (named !== undefined) {
    if (!scan.here('.')) return { entity: undefined, key: named };
    const key = scan.quoted('`"\'') ?? scan.word(/[\p{L}_][\p{L}\p{N}_.]*/uy);
    if (!key) throw scan.refuse(`expected a key after '${named}.'`);
    return { entity: named, key };
  }
  const bare = scan.word(/[\p{L}_][\p{L}\p{N}_.]*/uy);
  if (bare === undefined) throw scan.refuse(`expected a key, found '${scan.rest()}'`);
  const dot = bare.indexOf('.');
  if (dot < 0) return { entity: undefined, key: bare };
  const entity = bare.slice(0, dot);
  if (dot < bare.length - 1) return { entity, key: bare.slice(dot + 1) };
  const key = scan.quoted('`"\'');
  if (!key) throw scan.refuse(`expected a key after '${bare}'`);
  return { entity, key };
}

function readOp(scan: Scanner): FilterOp {
  const sign = scan.word(/==|<>|!=|>=|<=|[=<>]/y);
  if (sign === '==' || sign === '<>') throw scan.refuse(`'${sign}' is not an operator`);
  if (sign) return sign as FilterOp;
  const word = scan.word(/(NOT\s+IN|IN|I?LIKE|RLIKE|IS\s+NOT\s+NULL|IS\s+NULL)\b/iy);
  if (word) return word.toUpperCase().replace(/\s+/g, ' ') as FilterOp;
  throw scan.refuse(
    `Invalid clause(s) in filter string: expected an operator, found '${scan.rest()}'`,
  );
}

function readOperand(scan: Scanner, op: FilterOp): Operand {
  if (op === 'IS NULL' || op === 'IS NOT NULL') return { kind: 'none' };
  scan.done();
  if (op === 'IN' || op === 'NOT IN') return readList(scan);
  const text = scan.quoted('\'"');
  if (text !== undefined) {
    if (/LIKE$/.test(op) && text.length > FILTER_LIMITS.pattern)
      throw scan.refuse(`the pattern is longer than ${FILTER_LIMITS.pattern} characters`);
    return { kind: 'text', text };
  }
  const digits = scan.word(/[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?(?![\w.])/iy);
  if (digits !== undefined) return { kind: 'number', number: Number(digits) };
  throw scan.refuse(`expected a quoted text or a number, found '${scan.rest()}'`);
}

function readList(scan: Scanner): Operand {
  const items: string[] = [];
  if (!scan.word(/\(/y)) throw scan.refuse("expected a list such as ('a', 'b')");
  do {
    scan.done();
    const item = scan.quoted('\'"');
    if (item === undefined)
      throw scan.refuse('a list may hold only quoted texts, and at least one');
    items.push(item);
    if (items.length > FILTER_LIMITS.listItems)
      throw scan.refuse(`the list has more than ${FILTER_LIMITS.listItems} items`);
  } while (scan.word(/,(?!\s*\))/y));
  if (!scan.word(/,?\s*\)/y)) throw scan.refuse("the list is not closed with ')'");
  return { kind: 'list', items };
}
