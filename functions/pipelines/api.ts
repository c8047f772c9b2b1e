import * as z from 'zod';
import type { Route } from '../kernel/route.ts';
import type { HistoryEvent } from '../platform/ports.ts';
import { apiRoute } from '../protocols/api.ts';
import { RunRef } from './model.ts';
import type { PipelinesService } from './service.ts';

/** A state of the machine as it is drawn: whether it ran, how it ended, and when. */
interface StateSeen {
  readonly name: string;
  readonly status: 'running' | 'succeeded' | 'failed';
  readonly enteredAt: number;
  readonly exitedAt?: number;
}

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

/** Each state once, as it last was, in the order in which they were first entered. */
function statesSeen(events: readonly HistoryEvent[]): StateSeen[] {
  const byId = new Map(events.map((event) => [event.id, event]));
  const seen = new Map<string, StateSeen>();
  for (const event of events) {
    if (event.type.endsWith('StateEntered')) {
      const name = nameOf(event);
      if (name) seen.set(name, { name, status: 'running', enteredAt: event.timestamp });
      continue;
    }
    const failed = /(Failed|TimedOut|Aborted)$/.test(event.type);
    if (!failed && !event.type.endsWith('StateExited')) continue;
    const name = nameOf(event) ?? enteredBy(event, byId);
    const state = name === undefined ? undefined : seen.get(name);
    if (!state) continue;
    const status = failed || state.status === 'failed' ? 'failed' : 'succeeded';
    seen.set(state.name, { ...state, status, exitedAt: event.timestamp });
  }
  return [...seen.values()];
}

const nameOf = (event: HistoryEvent): string | undefined =>
  /State(Entered|Exited)$/.test(event.type) && typeof event.details['name'] === 'string'
    ? event.details['name']
    : undefined;

/** The state in which something failed: the last one entered before it in its own branch. */
function enteredBy(
  event: HistoryEvent,
  byId: ReadonlyMap<number, HistoryEvent>,
): string | undefined {
  for (
    let before = byId.get(event.previousEventId);
    before;
    before = byId.get(before.previousEventId)
  ) {
    if (before.type.endsWith('StateExited')) return undefined;
    if (before.type.endsWith('StateEntered')) return nameOf(before);
  }
  return undefined;
}
