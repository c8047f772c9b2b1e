import type { Json } from '../kernel/json.ts';
import { Problem } from '../kernel/problem.ts';
import type { ParameterType } from './compiler/ir.ts';
import type { Parameter } from './compiler/plan.ts';
import { mismatch, shown } from './compiler/values.ts';
import { LIMITS } from './model.ts';

const FIELD = 'runtime_config.parameters';
const refuse = (name: string, why: string) =>
  new Problem('invalid', `Invalid input error: parameter '${name}' ${why}.`, {
    field: `${FIELD}.${name}`,
  });

/**
 * A run's parameters as its pipeline will see them: what was given, checked, and its defaults. Null counts as not
 * given. Throws `invalid`, naming the parameter. Source: kfp.md section 1.5, create run.
 */
export function runParameters(
  pipeline: string,
  declared: Readonly<Record<string, Parameter>>,
  given: Readonly<Record<string, unknown>>,
): Record<string, Json> {
  const names = Object.keys(given);
  if (names.length > LIMITS.parameters)
    throw refuse(names[LIMITS.parameters] ?? '', `is one too many: at most ${LIMITS.parameters}`);
  const known = Object.keys(declared).join(', ') || 'none';
  const unknown = names.find((name) => !Object.hasOwn(declared, name));
  if (unknown !== undefined)
    throw refuse(
      unknown.slice(0, 200),
      `is not an input of pipeline '${pipeline}' (it has: ${known})`,
    );
  const values: Record<string, Json> = {};
  for (const [name, parameter] of Object.entries(declared)) {
    const value = asJson(name, given[name] ?? null);
    if (value !== null) values[name] = checked(name, value, parameter);
    else if (parameter.otherwise !== undefined && parameter.otherwise !== null)
      values[name] = parameter.otherwise;
    else if (!parameter.optional)
      throw refuse(
        name,
        `is required and was not given: give it as a ${parameter.type} in ${FIELD}`,
      );
  }
  if (Buffer.byteLength(JSON.stringify(values)) > LIMITS.parametersBytes)
    throw new Problem(
      'too_large',
      `The parameters are larger than ${LIMITS.parametersBytes} bytes.`,
    );
  return values;
}

function checked(name: string, value: Json, { type, literals }: Parameter): Json {
  const why = mismatch(value, type);
  if (why) throw refuse(name, why);
  if (literals && !literals.some((each) => JSON.stringify(each) === JSON.stringify(value)))
    throw refuse(name, `must be one of ${literals.map(shown).join(', ')}`);
  return value;
}

/** Integers beyond 2^53 come in as bigint and cannot travel as a number. */
function asJson(name: string, value: unknown): Json {
  if (typeof value === 'bigint')
    throw refuse(name, 'is an integer beyond 2^53: give it as a string');
  if (Array.isArray(value)) return value.map((item) => asJson(name, item));
  if (typeof value !== 'object' || value === null) return value as Json;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, asJson(name, item)]));
}

/** Why a step could not start; its task then fails with these words. */
export class Unresolved extends Error {}

/** A value on its way into a task: a string takes anything, as its JSON text. Throws `Unresolved`. */
export function taken(name: string, value: Json, type: ParameterType): Json {
  if (type === 'STRING' && typeof value !== 'string') return JSON.stringify(value);
  const why = mismatch(value, type);
  if (why) throw new Unresolved(`input '${name}' ${why}`);
  return value;
}

const PLACEHOLDER = /\{\{\$(?:\.[\w]+)+(?:\[(?:'[^']*'|"[^"]*")\])?\}\}/g;

/**
 * A constant with its placeholders replaced, once: inserted text is not read again. A string that is one placeholder
 * becomes the value itself. What `look` does not know stays as it is.
 */
export function filled(constant: Json, look: (placeholder: string) => Json | undefined): Json {
  if (Array.isArray(constant)) return constant.map((item) => filled(item, look));
  if (typeof constant === 'object' && constant !== null)
    return Object.fromEntries(
      Object.entries(constant).map(([key, item]) => [key, filled(item, look)]),
    );
  if (typeof constant !== 'string') return constant;
  const [whole] = constant.match(PLACEHOLDER) ?? [];
  if (whole === constant) return look(constant) ?? constant;
  return constant.replace(PLACEHOLDER, (placeholder) => {
    const value = look(placeholder);
    if (value === undefined) return placeholder;
    return typeof value === 'string' ? value : JSON.stringify(value);
  });
}
