import * as z from 'zod';
import type { Json } from '../kernel/json.ts';
import { reasonOf } from '../platform/failure.ts';
import type { Task } from '../platform/ports.ts';
import { Retraining, RetrainingId } from './model.ts';
import type { LoopService } from './service.ts';

const Gated = Retraining.extend({
  error: z
    .object({ Error: z.string(), Cause: z.string().default('') })
    .transform(({ Error: error, Cause: cause }) => reasonOf({ error, cause }) ?? error)
    .optional(),
});

/** The functions that `retraining` invokes. */
export function loopTasks(loops: LoopService): Readonly<Record<string, Task>> {
  return {
    'retrain-begin': async (call, input) =>
      (await loops.begin(call, Retraining.parse(input))) as Json,
    gate: async (call, input) => {
      const { error, ...retraining } = Gated.parse(input);
      return (await loops.gate(call, retraining, error)) as Json;
    },
    promote: async (call, input) =>
      loops.promote(call, z.object({ retraining: RetrainingId }).parse(input).retraining),
  };
}
