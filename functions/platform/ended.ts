import * as z from 'zod';
import type { Told } from '../kernel/event.ts';

/**
 * The data of `machines.execution.ended`, as `Machines` in ports.ts promises it. `execution` is the name it was started
 * by, without a workspace: who makes the event (local/asl/execution.ts, handlers/heard.ts) has taken it off.
 */
export const ExecutionEnded = z
  .object({
    machine: z.string(),
    execution: z.string(),
    state: z.enum(['SUCCEEDED', 'FAILED', 'TIMED_OUT', 'ABORTED']),
    error: z.string().nullish(),
    cause: z.string().nullish(),
  })
  .transform(({ error, cause, ...ended }) => ({
    ...ended,
    error: error ?? undefined,
    cause: cause ?? undefined,
  }));
export type ExecutionEnded = z.output<typeof ExecutionEnded>;

/** Throws if it is no such event. */
export const endedOf = ({ data }: Told): ExecutionEnded => ExecutionEnded.parse(data);
