import type { Json } from '../../kernel/json.ts';
import type { ParameterType } from './ir.ts';

const WORDS: Readonly<Record<ParameterType, string>> = {
  NUMBER_DOUBLE: 'a number',
  NUMBER_INTEGER: 'an integer within 2^53',
  STRING: 'a string',
  BOOLEAN: 'true or false',
  LIST: 'a list',
  STRUCT: 'an object',
};

/** Why a value is not of this type, or undefined. Integers travel as doubles: 5.0 is one. Source: kfp.md section 2.4. */
export function mismatch(value: Json, type: ParameterType): string | undefined {
  const fits = {
    NUMBER_DOUBLE: typeof value === 'number',
    NUMBER_INTEGER: Number.isSafeInteger(value),
    STRING: typeof value === 'string',
    BOOLEAN: typeof value === 'boolean',
    LIST: Array.isArray(value),
    STRUCT: typeof value === 'object' && value !== null && !Array.isArray(value),
  }[type];
  return fits ? undefined : `must be ${WORDS[type]}, not ${shown(value)}`;
}

export function shown(value: Json): string {
  const text = JSON.stringify(value);
  return text.length > 100 ? `${text.slice(0, 100)}...` : text;
}

/** Whether what one task gives can be what another takes: a string takes anything, as its JSON text. */
export const accepts = (taken: ParameterType, given: ParameterType): boolean =>
  taken === given ||
  taken === 'STRING' ||
  (taken.startsWith('NUMBER') && given.startsWith('NUMBER'));
