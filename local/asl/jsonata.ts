import { createHash } from 'node:crypto';
import { createContext, Script } from 'node:vm';
import jsonata from 'jsonata';
import type { Json } from '../../functions/kernel/json.ts';
import { newUuid, type World } from '../../functions/kernel/world.ts';
import { LIMITS } from '../../statemachines/asl.ts';
import { MachineError } from './errors.ts';

/**
 * One evaluation may cost so much and no more, counted rather than timed where that is possible: an expression that
 * passes here must pass on a slow machine too. Source: hardening.md C16.
 */
export const CAPS = {
  /** Nodes of the syntax tree visited. */
  steps: 200_000,
  /** Nested visits. */
  depth: 2_000,
  /** Elements of any array on the way. */
  elements: 100_000,
  /** Characters of any string on the way. */
  characters: 1_048_576,
  /** Values in a result, shared parts counted as often as they show: what its JSON text would take. */
  values: 1_000_000,
  milliseconds: 5_000,
  /** For one match of one regular expression. */
  regexMilliseconds: 250,
  /** Expressions kept compiled. */
  cached: 2_000,
} as const;

/** What an expression sees beside its variables. */
export type States = { readonly [name: string]: Json };

export interface Evaluator {
  /**
   * The value of an Expression. Throws MachineError `States.QueryEvaluationError` when it fails, gives nothing, or
   * costs too much. `field` says in the message where it stands.
   */
  evaluate(
    expression: string,
    field: string,
    states: States,
    variables: { readonly [name: string]: Json },
  ): Promise<Json>;
}

export const isExpression = (text: unknown): text is string =>
  typeof text === 'string' && text.startsWith('{%') && text.endsWith('%}') && text.length >= 4;

/** The JSONata between the marks. */
export const bodyOf = (expression: string): string => expression.slice(2, -2).trim();

interface Program {
  readonly compiled: jsonata.Expression;
  steps: number;
  now: number;
}

/** Evaluates, keeping each expression compiled; time, randomness and ids are the world's. */
export function createEvaluator(world: World): Evaluator {
  // A program counts its own steps, so one that is running cannot be lent twice: hence a list of idle ones.
  const idle = new Map<string, Program[]>();

  function take(body: string): Program {
    const list = idle.get(body);
    if (list) {
      idle.delete(body); // and set again below: the map's order is the order of use
      idle.set(body, list);
    }
    const program = list?.pop() ?? compile(body, world);
    program.steps = 0;
    program.now = world.now();
    return program;
  }

  function giveBack(body: string, program: Program) {
    const list = idle.get(body);
    if (list) list.push(program);
    else idle.set(body, [program]);
    for (const oldest of idle.keys()) {
      if (idle.size <= CAPS.cached) break;
      idle.delete(oldest);
    }
  }

  return {
    async evaluate(expression, field, states, variables) {
      const body = bodyOf(expression);
      const failed = (why: string) =>
        new MachineError(
          'States.QueryEvaluationError',
          `The JSONata expression '${shortened(body)}' specified for the field '${field}' ${why}`,
        );
      let result: unknown;
      try {
        const program = take(body);
        result = await program.compiled.evaluate(undefined, { ...variables, states });
        giveBack(body, program);
      } catch (error) {
        throw failed(`threw an error during evaluation. ${wording(error)}`);
      }
      if (result === undefined) throw failed('returned nothing (undefined).');
      if (isFunction(result)) throw failed('returned an unsupported result type.');
      return plain(result);
    },
  };
}

/** Throws the parser's error, worded, if this is no JSONata. */
export function parse(body: string): jsonata.ExprNode {
  try {
    return jsonata(body).ast();
  } catch (error) {
    throw new Error(wording(error));
  }
}

const shortened = (text: string) => (text.length > 200 ? `${text.slice(0, 200)}...` : text);

const isFunction = (value: unknown): boolean =>
  typeof value === 'function' ||
  (typeof value === 'object' &&
    value !== null &&
    ('_jsonata_lambda' in value || '_jsonata_function' in value));

/** JSONata's sequences carry marks of their own; what leaves is JSON. */
function plain(value: unknown): Json {
  return JSON.parse(JSON.stringify(value, (_key, item) => (isFunction(item) ? undefined : item)));
}

function wording(error: unknown): string {
  const { code, message } = error as { code?: unknown; message?: unknown };
  return [code, message ?? String(error)].filter((part) => typeof part === 'string').join(': ');
}

const ENTRY = Symbol.for('jsonata.__evaluate_entry') as unknown as string;
const EXIT = Symbol.for('jsonata.__evaluate_exit') as unknown as string;

function compile(body: string, world: World): Program {
  const compiled = jsonata(body, {
    timeout: CAPS.milliseconds,
    stack: CAPS.depth,
    sequence: CAPS.elements,
    RegexEngine: TimedRegex as unknown as RegExpConstructor,
  });
  const program: Program = { compiled, steps: 0, now: 0 };
  const weights = new WeakMap<object, number>();
  compiled.assign(ENTRY, () => {
    program.steps += 1;
    if (program.steps > CAPS.steps) throw tooMuch(`more than ${CAPS.steps} steps`);
  });
  compiled.assign(EXIT, (_node: unknown, _input: unknown, _frame: unknown, result: unknown) => {
    if (weight(result, weights) > CAPS.values) throw tooMuch(`more than ${CAPS.values} values`);
  });
  addFunctions(compiled, program, world);
  return program;
}

const tooMuch = (what: string) => ({
  code: 'States.Limit',
  message: `The evaluation was stopped: it needs ${what}`,
});

/**
 * How many values the JSON text of this would hold. An object built of the same part twice doubles with every round,
 * at no cost in memory, until somebody prints or compares it: so each is weighed once, when it is made.
 */
function weight(value: unknown, known: WeakMap<object, number>, depth = 0): number {
  if (typeof value === 'string' && value.length > CAPS.characters)
    throw tooMuch(`a text of more than ${CAPS.characters} characters`);
  if (typeof value !== 'object' || value === null || isFunction(value)) return 1;
  const before = known.get(value);
  if (before !== undefined) return before;
  if (depth > 500) throw tooMuch('more than 500 levels');
  const parts = Array.isArray(value) ? value : Object.values(value);
  if (parts.length > CAPS.elements) throw tooMuch(`a list of more than ${CAPS.elements} elements`);
  let sum = 1;
  for (const part of parts) sum += weight(part, known, depth + 1);
  // A sequence may still grow; what it holds is weighed by then.
  if (!(Array.isArray(value) && 'sequence' in value)) known.set(value, sum);
  return sum;
}

/** A RegExp whose matches are broken off after a while: V8 heeds a script's time-out even inside one. */
class TimedRegex {
  readonly #regex: RegExp;
  constructor(source: RegExp) {
    this.#regex = new RegExp(source);
  }
  get lastIndex(): number {
    return this.#regex.lastIndex;
  }
  set lastIndex(index: number) {
    this.#regex.lastIndex = index;
  }
  exec(text: string): RegExpExecArray | null {
    SANDBOX['regex'] = this.#regex;
    SANDBOX['text'] = text;
    return MATCH.runInContext(SANDBOX, { timeout: CAPS.regexMilliseconds });
  }
}

const SANDBOX = createContext({ regex: /^/, text: '' });
const MATCH = new Script('regex.exec(text)');
const FORMAT = jsonata('$fromMillis(at, picture, zone)');

/** What Step Functions adds to JSONata, and what must come from the world. Source: its page on JSONata functions. */
function addFunctions(compiled: jsonata.Expression, program: Program, world: World) {
  const refuse = (message: string) => ({ code: 'States.Function', message });
  compiled.assign('eval', undefined);
  compiled.registerFunction('millis', () => program.now, '<:n>');
  compiled.registerFunction(
    'now',
    (picture?: string, zone?: string) => FORMAT.evaluate({ at: program.now, picture, zone }),
    '<s?s?:s>',
  );
  compiled.registerFunction('uuid', () => newUuid(world), '<:s>');
  compiled.registerFunction('random', (seed?: number) => {
    if (seed === undefined) return fraction(world.randomBytes(7));
    if (!Number.isInteger(seed)) throw refuse('$random: the seed must be an integer');
    return fraction(createHash('sha256').update(`seed ${seed}`).digest());
  });
  compiled.registerFunction(
    'shuffle',
    (list: Json[]) =>
      list
        .map((item) => ({ item, at: fraction(world.randomBytes(7)) }))
        .sort((a, b) => a.at - b.at)
        .map(({ item }) => item),
    '<a:a>',
  );
  compiled.registerFunction('parse', (text: unknown) => {
    if (typeof text !== 'string') throw refuse('$parse: the argument must be a string');
    try {
      return JSON.parse(text);
    } catch {
      throw refuse('$parse: the argument is not valid JSON');
    }
  });
  compiled.registerFunction('partition', (list: unknown, size: unknown) => {
    if (!Array.isArray(list)) throw refuse('$partition: the first argument must be an array');
    if (!Number.isInteger(size) || Number(size) < 1)
      throw refuse('$partition: the size must be a positive integer');
    const by = Number(size);
    return Array.from({ length: Math.ceil(list.length / by) }, (_, i) =>
      list.slice(i * by, (i + 1) * by),
    );
  });
  compiled.registerFunction('range', (first: unknown, last: unknown, step: unknown = 1) => {
    if (![first, last, step].every((each) => Number.isInteger(each)) || step === 0)
      throw refuse('$range: first, last and step must be integers, and the step not 0');
    const length = Math.floor((Number(last) - Number(first)) / Number(step)) + 1;
    if (length > CAPS.elements) throw tooMuch(`a list of more than ${CAPS.elements} elements`);
    return Array.from({ length: Math.max(0, length) }, (_, i) => Number(first) + i * Number(step));
  });
  compiled.registerFunction('hash', (data: unknown, algorithm: unknown) => {
    const name = HASHES[String(algorithm)];
    if (!name)
      throw refuse(`$hash: the algorithm must be one of ${Object.keys(HASHES).join(', ')}`);
    if (data === undefined) throw refuse('$hash: the data is undefined');
    const text = typeof data === 'string' ? data : JSON.stringify(data);
    return createHash(name).update(text).digest('hex');
  });
  compiled.registerFunction('pad', pad, '<s-ns?:s>');
}

/** As JSONata's, which would build half a gigabyte of blanks before anyone could stop it. */
function pad(text: string | undefined, width: number, fill = ' ') {
  if (text === undefined) return undefined;
  const missing = Math.abs(Math.trunc(width)) - [...text].length;
  if (missing <= 0) return text;
  if (missing > CAPS.characters) throw tooMuch(`a text of more than ${CAPS.characters} characters`);
  const filler = [...(fill === '' ? ' ' : fill)];
  const blanks = Array.from({ length: missing }, (_, i) => filler[i % filler.length]).join('');
  return width > 0 ? text + blanks : blanks + text;
}

const HASHES: { readonly [algorithm: string]: string } = {
  MD5: 'md5',
  'SHA-1': 'sha1',
  'SHA-256': 'sha256',
  'SHA-384': 'sha384',
  'SHA-512': 'sha512',
};

/** 53 random bits as a number from 0 to below 1. */
export function fraction(bytes: Uint8Array): number {
  let value = 0;
  for (const byte of bytes.subarray(0, 6)) value = value * 256 + byte;
  return (value * 32 + ((bytes[6] ?? 0) >> 3)) / 2 ** 53;
}

/** Bytes of the JSON text; throws MachineError `States.DataLimitExceeded` beyond what one state may carry. */
export function textOf(value: Json, what: string): string {
  const text = JSON.stringify(value);
  if (text.length * 3 > LIMITS.dataBytes && Buffer.byteLength(text) > LIMITS.dataBytes)
    throw new MachineError(
      'States.DataLimitExceeded',
      `${what} is larger than the ${LIMITS.dataBytes} bytes that a state may carry.`,
    );
  return text;
}
