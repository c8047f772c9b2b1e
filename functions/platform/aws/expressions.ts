import type { Condition, Query } from '../ports.ts';

/** Names and values of one expression, numbered so that no reserved word and no dot can hurt. */
export interface Expression {
  ConditionExpression?: string;
  ExpressionAttributeNames?: Record<string, string>;
  ExpressionAttributeValues?: Record<string, string | number | boolean>;
}

/** Prints a condition. An item past its `expiresAt` counts as absent, as everywhere. */
export function conditionExpression(condition: Condition | undefined, now: number): Expression {
  if (condition === undefined) return {};
  const names: Record<string, string> = { '#e': 'expiresAt', '#k': 'pk' };
  const values: Record<string, string | number | boolean> = { ':now': now };
  const name = (text: string) => {
    const slot = `#n${Object.keys(names).length}`;
    names[slot] = text;
    return slot;
  };
  const value = (given: string | number | boolean) => {
    const slot = `:v${Object.keys(values).length}`;
    values[slot] = given;
    return slot;
  };
  const gone = '(attribute_not_exists(#k) OR #e <= :now)';
  const there = '(attribute_exists(#k) AND (attribute_not_exists(#e) OR NOT #e <= :now))';
  let text: string;
  if (condition === 'absent') text = gone;
  else if (condition === 'present') text = there;
  else if ('equal' in condition) {
    const equal = Object.entries(condition.equal).map(([n, v]) => `${name(n)} = ${value(v)}`);
    text = [there, ...equal].join(' AND ');
  } else {
    const newer = Object.entries(condition.newer).map(([n, v]) => {
      const slot = name(n);
      return `(attribute_not_exists(${slot}) OR ${slot} < ${value(v)})`;
    });
    if (newer.length === 0) return {};
    // DynamoDB refuses brackets around what has its own.
    text = `${gone} OR ${newer.length > 1 ? `(${newer.join(' AND ')})` : newer[0]}`;
  }
  return {
    ConditionExpression: text,
    ExpressionAttributeNames: names,
    ExpressionAttributeValues: values,
  };
}

/** U+10FFFF has the largest bytes UTF-8 can have: no sort key that begins with a prefix lies beyond it. */
const LAST = '\u{10ffff}';
const least = (a: string, b: string) =>
  Buffer.compare(Buffer.from(a), Buffer.from(b)) <= 0 ? a : b;
const most = (a: string, b: string) => (least(a, b) === a ? b : a);

/**
 * The lowest and the highest sort key of a query, both inclusive; undefined where there is no bound, or nothing at
 * all if none can match. DynamoDB takes one condition on the sort key, so prefix, after and until become a range: the
 * next key after `a` is `a` and NUL, which no key holds.
 */
export function rangeOf(query: Query): { low?: string; high?: string } | undefined {
  const { prefix = '', after, until, reverse = false } = query;
  const lows: string[] = [];
  const highs: string[] = [];
  if (prefix !== '') {
    lows.push(prefix);
    highs.push(prefix + LAST);
  }
  if (after !== undefined) (reverse ? highs : lows).push(reverse ? after : `${after}\0`);
  if (until !== undefined && !reverse) highs.push(until);
  const low = lows.length > 0 ? lows.reduce(most) : undefined;
  const high = highs.length > 0 ? highs.reduce(least) : undefined;
  if (high === '' || (low !== undefined && high !== undefined && least(low, high) !== low))
    return undefined;
  return { ...(low === undefined ? {} : { low }), ...(high === undefined ? {} : { high }) };
}

/** The key condition of one partition and a range in it. */
export function keyExpression(pk: string, { low, high }: { low?: string; high?: string }) {
  const values: Record<string, string> = { ':pk': pk };
  let text = '#pk = :pk';
  if (low !== undefined) values[':low'] = low;
  if (high !== undefined) values[':high'] = high;
  if (low !== undefined && high !== undefined) text += ' AND #sk BETWEEN :low AND :high';
  else if (low !== undefined) text += ' AND #sk >= :low';
  else if (high !== undefined) text += ' AND #sk <= :high';
  const names: Record<string, string> = { '#pk': 'pk' };
  if (low !== undefined || high !== undefined) names['#sk'] = 'sk';
  return {
    KeyConditionExpression: text,
    ExpressionAttributeNames: names,
    ExpressionAttributeValues: values,
  };
}
