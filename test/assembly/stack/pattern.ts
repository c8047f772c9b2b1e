import { wildcard } from './policy.ts';
import { type Fields, fields, isFields, list, text } from './values.ts';

/**
 * Whether an event fits an EventBridge pattern, which stream filters speak too. A comparison that is not known throws,
 * naming it. Source: EventBridge user guide, "Comparison operators"; Lambda developer guide, "Filter rule syntax".
 */
export function fits(pattern: unknown, event: unknown): boolean {
  return Object.entries(fields(pattern)).every(([name, wanted]) => {
    if (name === '$or') return list(wanted).some((one) => fits(one, event));
    const value = isFields(event) ? event[name] : undefined;
    if (isFields(wanted))
      return Array.isArray(value) ? value.some((one) => fits(wanted, one)) : fits(wanted, value);
    const values = Array.isArray(value) ? value : [value];
    return list(wanted).some((one) => values.some((have) => compares(one, have)));
  });
}

function compares(wanted: unknown, have: unknown): boolean {
  if (!isFields(wanted)) return wanted === null ? have === null : wanted === have;
  const [[operator, value] = ['', undefined]] = Object.entries(wanted);
  const string = typeof have === 'string' ? have : undefined;
  switch (operator) {
    case 'exists':
      return (have !== undefined) === value;
    case 'prefix':
      return string?.startsWith(text(value)) ?? false;
    case 'suffix':
      return string?.endsWith(text(value)) ?? false;
    case 'equals-ignore-case':
      return string?.toLowerCase() === text(value).toLowerCase();
    case 'wildcard':
      return (
        string !== undefined &&
        wildcard(text(value).replaceAll('?', '\u0000')).test(string.replaceAll('?', '\u0000'))
      );
    case 'anything-but':
      return have !== undefined && !list(value).some((one) => compares(one, have));
    case 'numeric':
      return typeof have === 'number' && inRange(list(value), have);
    default:
      throw new Error(`a pattern compares by ${operator}, which npm run stack does not support`);
  }
}

function inRange(terms: readonly unknown[], have: number): boolean {
  for (let at = 0; at < terms.length; at += 2) {
    const [operator, limit] = [terms[at], Number(terms[at + 1])];
    const holds =
      operator === '='
        ? have === limit
        : operator === '<'
          ? have < limit
          : operator === '<='
            ? have <= limit
            : operator === '>'
              ? have > limit
              : have >= limit;
    if (!holds) return false;
  }
  return true;
}

/** `$.detail.name`, as input paths have it: dots and names only. */
export function at(path: string, event: unknown): unknown {
  let value: unknown = event;
  for (const name of path
    .replace(/^\$\.?/, '')
    .split('.')
    .filter(Boolean))
    value = isFields(value) ? value[name] : undefined;
  return value;
}

/** What a rule's target gets of an event: all of it, a part, or a text made of parts. */
export function inputOf(target: Fields, event: unknown): string {
  if (target['Input'] !== undefined) return text(target['Input']);
  if (target['InputPath'] !== undefined)
    return JSON.stringify(at(text(target['InputPath']), event));
  const transformer = fields(target['InputTransformer']);
  if (!target['InputTransformer']) return JSON.stringify(event);
  const paths = fields(transformer['InputPathsMap']);
  return text(transformer['InputTemplate']).replace(
    /("?)<([\w.-]+)>("?)/g,
    (_, open, name, close) => {
      const value = name === 'aws.events.event.json' ? event : at(text(paths[name]), event);
      if (typeof value === 'string' && (open || close)) return `${open}${value}${close}`;
      return open + JSON.stringify(value ?? null) + close;
    },
  );
}
