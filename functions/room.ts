import type * as z from 'zod';
import type { Call } from './kernel/call.ts';
import type { Json } from './kernel/json.ts';
import { Problem } from './kernel/problem.ts';
import type { Route } from './kernel/route.ts';
import type { Folder, Follower, Task } from './platform/ports.ts';

/** What a room's `index.ts` gives. Building a room touches nothing: stacks, docs and tests build it to read it. */
export interface Room {
  readonly routes: readonly Route[];
  readonly followers: readonly Follower[];
  /** The Lambda functions that machines may invoke, by name: `begin-task`. */
  readonly tasks: Readonly<Record<string, Task>>;
  readonly folders: readonly Folder[];
  /** What a stack, or the folder that `stillflow start --app` names, may declare, by kind: `pipeline`. */
  readonly declared?: Readonly<Record<string, Declared>>;
}

/** Objects that are declared beside the code, under names of their own. Both methods may run twice and do no harm. */
export interface Declared {
  /**
   * Makes the object what the declaration says, and answers what else may be asked of it. With `first` the name must
   * be free, or held by the same: what somebody made by hand is not taken over. Throws `invalid`, `exists`, `missing`.
   */
  put(call: Call, name: string, declaration: Json, first: boolean): Promise<DeclaredAnswer>;
  /** What is not there is removed already. */
  remove(call: Call, name: string): Promise<void>;
}
export type DeclaredAnswer = Readonly<Record<string, string>>;

/** What is declared, by its schema. Throws `invalid`, naming the first field that is wrong. */
export function declaration<T extends z.ZodType>(schema: T, declared: unknown): z.output<T> {
  const read = schema.safeParse(declared);
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  const field = issue?.path.join('.') || 'the declaration';
  throw new Problem('invalid', `${field}: ${issue?.message ?? 'is not understood'}`, { field });
}
