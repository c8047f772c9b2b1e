import * as z from 'zod';
import type { Route } from '../kernel/route.ts';
import { statesSeen } from '../platform/states.ts';
import { apiRoute } from '../protocols/api.ts';
import { RetrainingAsked, RetrainingId, RetrainingRecord } from './model.ts';
import type { LoopService } from './service.ts';

const RetrainingOnWire = RetrainingRecord.omit({ generation: true });
const onWire = ({ generation: _, ...record }: RetrainingRecord) => record;
const read = { bodyBytes: 0, timeoutSeconds: 10 };

/** Retrainings: what started each, what became of it and why. */
export function loopRoutes(loops: LoopService): Route[] {
  return [
    apiRoute('GET', '/api/retrainings', 'loops:read', {
      input: z.strictObject({
        limit: z.coerce.number().int().min(1).max(100).default(50),
        pageToken: z.string().max(4096).optional(),
      }),
      output: z.object({
        retrainings: z.array(RetrainingOnWire),
        nextPageToken: z.string().optional(),
      }),
      resource: () => 'retrainings',
      limits: read,
      summary: 'Retrainings, newest first',
      run: async (call, { limit, pageToken }) => {
        const { items, next } = await loops.list(call, limit, pageToken);
        return { retrainings: items.map(onWire), ...(next ? { nextPageToken: next } : {}) };
      },
    }),
    apiRoute('GET', '/api/retrainings/{id}', 'loops:read', {
      input: z.strictObject({ id: RetrainingId }),
      output: RetrainingOnWire,
      resource: ({ id }) => `retrainings/${id}`,
      limits: read,
      summary: 'One retraining',
      run: async (call, { id }) => onWire(await loops.get(call, id)),
    }),
    apiRoute('GET', '/api/retrainings/{id}/machine', 'loops:read', {
      input: z.strictObject({ id: RetrainingId }),
      output: z.object({
        name: z.string(),
        state: z.string(),
        definition: z.json(),
        history: z.array(
          z.object({
            name: z.string(),
            status: z.enum(['running', 'succeeded', 'failed']),
            enteredAt: z.number(),
            exitedAt: z.number().optional(),
          }),
        ),
        tasks: z.array(z.never()),
      }),
      resource: ({ id }) => `retrainings/${id}`,
      limits: { bodyBytes: 0, timeoutSeconds: 30 },
      summary: 'The machine of a retraining, and which of its states have run.',
      run: async (call, { id }) => {
        const { record, definition, events } = await loops.machineOf(call, id);
        return {
          name: record.rule ?? record.pipeline,
          state: record.state,
          definition,
          history: statesSeen(events),
          tasks: [],
        };
      },
    }),
    apiRoute('POST', '/api/retrainings', 'loops:write', {
      input: RetrainingAsked,
      output: RetrainingOnWire,
      resource: ({ gate }) => `models/${gate.model}`,
      limits: { bodyBytes: 131_072, timeoutSeconds: 30 },
      retry: 'header',
      summary: 'Start a retraining by hand',
      run: (call, asked) => loops.create(call, asked),
      encode: (record) => onWire(record),
    }),
  ];
}
