import { Problem } from './problem.ts';

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export interface JsonLimits {
  readonly depth: number;
  readonly members: number;
}

export const JSON_LIMITS: JsonLimits = { depth: 64, members: 200_000 };

/**
 * JSON as the wires need it: nesting and member count are capped before anything is built, duplicate keys, `__proto__`
 * and texts that hold half of a surrogate pair are refused, for no UTF-8 can say them. With `exact`, integers beyond
 * 2^53 come out as bigint instead of losing digits; with `bare`, NaN, Infinity and -Infinity are numbers, as Python
 * writes them. Throws `invalid`.
 */
export function readJson(
  text: string,
  options: { limits?: JsonLimits; exact?: boolean; bare?: boolean } = {},
): unknown {
  const { limits = JSON_LIMITS, exact = false, bare = false } = options;
  const seen = scan(text, limits);
  const reviver = exact && seen.longDigits ? keepDigits : undefined;
  let value: unknown;
  try {
    value = parsed(text, reviver, bare);
  } catch (cause) {
    throw new Problem('invalid', 'The body is not valid JSON.', { cause });
  }
  if (countMembers(value) !== seen.members)
    throw new Problem('invalid', 'The body names a field twice in one object.');
  if (HALF_ESCAPE.test(text)) refuseHalves(value, []);
  return value;
}

type Reviver = (key: string, value: unknown, context?: { source?: string }) => unknown;

function parsed(text: string, reviver: Reviver | undefined, bare: boolean): unknown {
  try {
    return JSON.parse(text, reviver);
  } catch (error) {
    const worded = bare && /NaN|Infinity/.test(text) ? withoutBare(text) : text;
    if (worded === text) throw error;
    const named: Reviver = (key, value, context) => {
      if (context?.source === NOT_A_NUMBER) return Number.NaN;
      return reviver ? reviver(key, value, context) : value;
    };
    return JSON.parse(worded, named);
  }
}

/** A zero that nobody writes. */
const NOT_A_NUMBER = '0e-99999';

/** The bare words outside strings as JSON can say them. */
function withoutBare(text: string): string {
  const pieces: string[] = [];
  for (let at = 0; at < text.length; ) {
    const quote = text.indexOf('"', at);
    const outside = text.slice(at, quote < 0 ? text.length : quote);
    pieces.push(
      outside.replace(/(?<![\w-])(?:NaN|-?Infinity)(?!\w)/g, (word) =>
        word === 'NaN' ? NOT_A_NUMBER : word.replace('Infinity', '1e999'),
      ),
    );
    if (quote < 0) break;
    at = Math.min(endOfString(text, quote) + 1, text.length);
    pieces.push(text.slice(quote, at));
  }
  return pieces.join('');
}

/** An escape of half a pair, or of a whole one: bytes cannot say a half in any other way. */
const HALF_ESCAPE = /\\u[dD][89a-fA-F]/;

function refuseHalves(value: unknown, path: readonly string[]): void {
  const refuse = (at: readonly string[]) => {
    const field = at.join('.').toWellFormed();
    return new Problem('invalid', `'${field}' holds half of a surrogate pair, which is no text.`, {
      field,
    });
  };
  if (typeof value === 'string' && !value.isWellFormed()) throw refuse(path);
  if (typeof value !== 'object' || value === null) return;
  for (const [key, item] of Object.entries(value)) {
    if (!key.isWellFormed()) throw refuse([...path, key]);
    refuseHalves(item, [...path, key]);
  }
}

/** One pass over the text, outside strings: depth, `name: value` pairs, and whether a number is too long for a double. */
function scan(text: string, limits: JsonLimits): { members: number; longDigits: boolean } {
  let depth = 0;
  let members = 0;
  let digits = 0;
  let fraction = false;
  let longDigits = false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 34) {
      i = endOfString(text, i);
      digits = 0;
    } else if (c >= 48 && c <= 57) {
      if (digits === 0) fraction = text.charCodeAt(i - 1) === 46;
      digits += 1;
    } else {
      // A long run of digits is an integer only if no point or exponent touches it.
      if (digits > 15 && !fraction && c !== 46 && c !== 101 && c !== 69) longDigits = true;
      digits = 0;
      if (c === 123 || c === 91) {
        depth += 1;
        if (depth > limits.depth)
          throw new Problem('invalid', `The body nests deeper than ${limits.depth} levels.`);
      } else if (c === 125 || c === 93) depth -= 1;
      else if (c === 58) {
        members += 1;
        if (members > limits.members)
          throw new Problem('invalid', `The body has more than ${limits.members} fields.`);
      }
    }
  }
  if (digits > 15 && !fraction) longDigits = true;
  return { members, longDigits };
}

function endOfString(text: string, start: number): number {
  let end = start;
  for (;;) {
    end = text.indexOf('"', end + 1);
    if (end < 0) return text.length;
    let slashes = 0;
    while (text.charCodeAt(end - 1 - slashes) === 92) slashes += 1;
    if (slashes % 2 === 0) return end;
  }
}

/** JSON.parse's source text gives back the digits that the double lost. */
function keepDigits(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value) || !context?.source) return value;
  return /^-?\d+$/.test(context.source) ? BigInt(context.source) : value;
}

function countMembers(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  let count = 0;
  if (Array.isArray(value)) {
    for (const item of value) if (typeof item === 'object') count += countMembers(item);
    return count;
  }
  for (const key of Object.keys(value)) {
    if (key === '__proto__')
      throw new Problem('invalid', "The body may not hold a field named '__proto__'.");
    count += 1;
    const item = (value as Record<string, unknown>)[key];
    if (typeof item === 'object') count += countMembers(item);
  }
  return count;
}

/** JSON text in which a bigint prints as its digits; for the wires whose int64 is a JSON number. */
export function writeJson(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch {
    // It holds a bigint; a replacer for every answer would cost twice the time.
    return JSON.stringify(value, (_key, item) =>
      typeof item === 'bigint'
        ? (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(String(item))
        : item,
    );
  }
}
