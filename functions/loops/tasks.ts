import * as z from 'zod';
import type { Json } from '../kernel/json.ts';
import type { Task } from '../platform/ports.ts';
import { Retraining, RetrainingId } from './model.ts';
import type { LoopService } from './service.ts';

const Gated = Retraining.extend({
  error: z.object({ Error: z.string(), Cause: z.string().default('') }).optional(),
});

/**
 * What a machine's error says. A function's Cause is JSON with an errorMessage; that of an execution which failed is
 * the execution itself, with its own Error and Cause.
 */
function reasonOf({ Error: name, Cause }: NonNullable<z.infer<typeof Gated>['error']>): string {
  try {
    const said = JSON.parse(Cause) as Record<string, unknown>;
    const text = said['errorMessage'] ?? said['Cause'] ?? said['Error'] ?? said['Status'];
    if (typeof text === 'string' && text) return text;
  } catch {
    // Not JSON: the text itself says why.
  }
  return Cause || name;
}

/** The functions that `retraining` invokes. */
export function loopTasks(loops: LoopService): Readonly<Record<string, Task>> {
  return {
    'retrain-begin': async (call, input) =>
      (await loops.begin(call, Retraining.parse(input))) as Json,
    gate: async (call, input) => {
      const { error, ...retraining } = Gated.parse(input);
      return (await loops.gate(call, retraining, error && reasonOf(error))) as Json;
    },
    promote: async (call, input) =>
      loops.promote(call, z.object({ retraining: RetrainingId }).parse(input).retraining),
  };
}
