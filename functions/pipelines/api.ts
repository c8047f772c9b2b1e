import * as z from 'zod';
import type { Route } from '../kernel/route.ts';
import { statesSeen } from '../platform/states.ts';
import { apiRoute } from '../protocols/api.ts';
import { RunRef } from './model.ts';
import type { PipelinesService } from './service.ts';

/** What the dashboard draws: the machine of a run, and what of it has lit up. */
export function machineRoutes(pipelines: PipelinesService): Route[] {
  return [
    apiRoute('GET', '/api/runs/{run_id}/machine', 'pipelines:read', {
      input: z.object({ run_id: RunRef }),
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
            enteredAt: z.number(),
            exitedAt: z.number().optional(),
          }),
        ),
        tasks: z.array(
          z.object({ id: z.string(), title: z.string(), state: z.string(), why: z.string() }),
        ),
      }),
      resource: ({ run_id }) => `pipelines/runs/${run_id}`,
      limits: { bodyBytes: 0, timeoutSeconds: 30 },
      summary: 'The state machine of a pipeline run, and which of its states have run.',
      run: async (call, { run_id }) => {
        const { run, execution, definition, events } = await pipelines.machineOf(call, run_id);
        const tasks = await pipelines.listTasks(call, run_id);
        return {
          run_id: run.id,
          name: run.name,
          state: run.state,
          execution,
          definition: { ...definition },
          history: statesSeen(events),
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
