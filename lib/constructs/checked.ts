import type * as z from 'zod';
import { declaration } from '../../functions/room.ts';

/** By the schema that will read it in the account, so that a mistake is found at synth. Throws in one line. */
export function checked<T extends z.ZodType>(at: string, schema: T, value: unknown): z.output<T> {
  try {
    return declaration(schema, value);
  } catch (cause) {
    throw new Error(`${at}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}
