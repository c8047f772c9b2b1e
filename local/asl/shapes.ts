import type { Json } from '../../functions/kernel/json.ts';
import { LIMITS } from '../../statemachines/asl.ts';
import { expressionProblems, type Sees } from './expressions.ts';
import { isExpression } from './jsonata.ts';

/** Where a problem is, and how it is told: `States.Train.Retry[0].MaxAttempts must be ...`. */
export type Report = (path: string, problem: string) => void;
export type Fields = { readonly [name: string]: Json };
/** Checks one field's value. */
export type Rule = (value: Json, path: string, report: Report) => void;

export const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export const text =
  (limit: number): Rule =>
  (value, path, report) => {
    if (typeof value !== 'string') report(path, 'must be a string');
    else if (value.length > limit) report(path, `must be at most ${limit} characters long`);
  };

export const oneOf =
  (...words: readonly string[]): Rule =>
  (value, path, report) => {
    if (!words.includes(value as string)) report(path, `must be ${words.join(' or ')}`);
  };

export const whole =
  (least: number, most: number): Rule =>
  (value, path, report) => {
    if (!Number.isInteger(value) || Number(value) < least || Number(value) > most)
      report(path, `must be a whole number from ${least} to ${most}`);
  };

/** JSON in which each string that starts with `{%` is a JSONata expression. */
export const template =
  (sees: Sees): Rule =>
  (value, path, report) => {
    if (typeof value === 'string') {
      if (!value.startsWith('{%')) return;
      if (!isExpression(value)) report(path, "starts with '{%' and must end with '%}'");
      else for (const problem of expressionProblems(value, sees)) report(path, problem);
    } else if (Array.isArray(value)) {
      for (const [i, item] of value.entries()) template(sees)(item, `${path}[${i}]`, report);
    } else if (value !== null && typeof value === 'object') {
      for (const [name, item] of Object.entries(value))
        template(sees)(item, `${path}.${name}`, report);
    }
  };

/** A value of this kind, or an expression that gives one. */
export const orExpression =
  (rule: Rule): Rule =>
  (value, path, report) => {
    if (typeof value === 'string' && value.startsWith('{%')) template({})(value, path, report);
    else rule(value, path, report);
  };

export const assignments =
  (sees: Sees): Rule =>
  (value, path, report) => {
    if (!isFields(value)) return report(path, 'must be an object of variables');
    for (const [name, item] of Object.entries(value)) {
      if (!/^[\p{ID_Start}_][\p{ID_Continue}]*$/u.test(name) || name.length > LIMITS.nameLength)
        report(`${path}.${name}`, 'is no name of a variable: letters, digits and _, at most 80');
      else if (name === 'states') report(`${path}.states`, 'is reserved: choose another name');
      template(sees)(item, `${path}.${name}`, report);
    }
  };

/** Every field known, every required one there; what an earlier or later language knows is explained. */
export function checkFields(
  value: Fields,
  rules: { readonly [field: string]: Rule },
  required: readonly string[],
  path: string,
  report: Report,
) {
  for (const [name, item] of Object.entries(value)) {
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined;
    const at = path === '' ? name : `${path}.${name}`;
    if (rule) rule(item, at, report);
    else report(at, Object.hasOwn(FOREIGN, name) ? String(FOREIGN[name]) : 'is not a field here');
  }
  for (const name of required)
    if (!Object.hasOwn(value, name)) report(path || 'definition', `needs the field ${name}`);
}

const JSONPATH = 'is JSONPath, and our machines speak JSONata: use Arguments, Output and Assign';
const LATER = 'is not supported';
const FOREIGN: { readonly [field: string]: string } = {
  InputPath: JSONPATH,
  OutputPath: JSONPATH,
  ResultPath: JSONPATH,
  Parameters: JSONPATH,
  ResultSelector: JSONPATH,
  Result: 'is JSONPath: use Output',
  ItemsPath: 'is JSONPath: use Items',
  SecondsPath: 'is JSONPath: use Seconds with an expression',
  TimestampPath: 'is JSONPath: use Timestamp with an expression',
  TimeoutSecondsPath: 'is JSONPath: use TimeoutSeconds with an expression',
  HeartbeatSecondsPath: JSONPATH,
  MaxConcurrencyPath: 'is JSONPath: use MaxConcurrency with an expression',
  ErrorPath: 'is JSONPath: use Error with an expression',
  CausePath: 'is JSONPath: use Cause with an expression',
  Variable: 'is JSONPath: use Condition',
  Iterator: 'is the old name: use ItemProcessor',
  HeartbeatSeconds: `${LATER}: use TimeoutSeconds`,
  Credentials: `${LATER}: machines run with their own role`,
  ItemReader: `${LATER}: give Items`,
  ItemBatcher: `${LATER}: give Items in batches, with $partition`,
  ResultWriter: LATER,
  Label: LATER,
  ToleratedFailureCount: `${LATER} by an inline Map: catch errors inside the ItemProcessor`,
  ToleratedFailurePercentage: `${LATER} by an inline Map: catch errors inside the ItemProcessor`,
};
