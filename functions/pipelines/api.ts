import * as z from 'zod';
import type { Route } from '../kernel/route.ts';
import { statesSince } from '../platform/states.ts';
import { apiRoute } from '../protocols/api.ts';
import { RunRef } from './model.ts';
import { HISTORY_PAGE, type PipelinesService } from './service.ts';

/** What the dashboard draws: the machine of a run, and what of it has lit up. */
export function machineRoutes(pipelines: PipelinesService): Route[] {
  return [
    apiRoute('GET', '/api/runs/{run_id}/machine', 'pipelines:read', {
      input: z.object({ run_id: RunRef, after: z.coerce.number().int().min(0).optional() }),
      output: z.object({
        run_id: z.string(),
        name: z.string(),
        state: z.string(),
        execution: z.string(),
        definition: z.record(z.string(), z.unknown()),
        history: z.array(
          z.object({
            name: z.string(),
            status: z.enum(['running', 'succeeded', 'failed']),
            /** Absent where an answer before this one told it. */
            enteredAt: z.number().optional(),
            exitedAt: z.number().optional(),
          }),
        ),
        /** Give it as `after` for what happens from here on; ask again at once while `more`. */
        next: z.number(),
        more: z.boolean(),
        tasks: z.array(
          z.object({ id: z.string(), title: z.string(), state: z.string(), why: z.string() }),
        ),
      }),
      resource: ({ run_id }) => `pipelines/runs/${run_id}`,
      limits: { bodyBytes: 0, timeoutSeconds: 30 },
      summary:
        'The state machine of a pipeline run, and which of its states have run: all, or of at most 1,000 events after one.',
      run: async (call, { run_id, after }) => {
        const seen = await pipelines.machineOf(call, run_id, after);
        const { run, execution, definition, events } = seen;
        const more = after !== undefined && events.length >= HISTORY_PAGE;
        const { states, next } = statesSince(events, after ?? 0, more);
        const tasks = await pipelines.listTasks(call, run_id);
        return {
          run_id: run.id,
          name: run.name,
          state: run.state,
          execution,
          definition: { ...definition },
          history: states,
          next,
          more,
          tasks: tasks.map(({ id, title, state, error, cache }) => ({
            id,
            title,
            state,
            why: error ?? cache.why,
          })),
        };
      },
    }),
  ];
}
