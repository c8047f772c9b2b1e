import * as z from 'zod';
import type { Json } from '../kernel/json.ts';
import { Cause, Gate, Start } from '../triggers/model.ts';

/** `<rule>-<ULID>` or `manual-<ULID>`; also the execution's name and the run's retry key. */
export const RetrainingId = z
  .string()
  .regex(/^[A-Za-z0-9](-?[A-Za-z0-9])*-[0-9A-HJKMNP-TV-Z]{26}$/, 'must be a retraining id')
  .max(70);

/** What a caller asks for by hand: a rule's start with its gate, the machine being understood. */
export const RetrainingAsked = z.strictObject({
  pipeline: Start.shape.pipeline,
  version: Start.shape.version,
  parameters: Start.shape.parameters,
  /** Name or id; named after the pipeline if absent. */
  experiment: Start.shape.experiment,
  gate: Gate,
});
export type RetrainingAsked = z.infer<typeof RetrainingAsked>;

/** The input of the machine `retraining`, from a rule or by hand. */
export const Retraining = z.object({
  retraining: RetrainingId,
  rule: z.string().optional(),
  cause: Cause.optional(),
  pipeline: z.string(),
  version: z.string().optional(),
  parameters: z.record(z.string(), z.json() as z.ZodType<Json>).default({}),
  experiment: z.string().optional(),
  gate: Gate,
});
export type Retraining = z.infer<typeof Retraining>;

/**
 * `promote`: the gate is passed, the alias has yet to move. `kept`: the champion stays. `refused`: there was nothing
 * to compare, since validation or another step failed, or a metric is missing.
 */
export const Decision = z.object({
  outcome: z.enum(['promote', 'kept', 'refused']),
  reason: z.string(),
  /** The new version, where the pipeline made one. */
  version: z.int().optional(),
  /** The champion it was compared with, and both metrics. */
  champion: z.int().optional(),
  before: z.number().optional(),
  after: z.number().optional(),
});
export type Decision = z.infer<typeof Decision>;

export const RetrainingState = z.enum(['running', 'promoted', 'kept', 'refused', 'failed']);
export type RetrainingState = z.infer<typeof RetrainingState>;

/** A retraining as it lies in the table and is shown. */
export const RetrainingRecord = Retraining.omit({ retraining: true }).extend({
  id: RetrainingId,
  state: RetrainingState,
  /** The pipeline run, once it is prepared. */
  runId: z.string().optional(),
  decision: Decision.optional(),
  /** Why it ended as it did. */
  reason: z.string().optional(),
  generation: z.int(),
  startedAt: z.number(),
  endedAt: z.number().optional(),
});
export type RetrainingRecord = z.infer<typeof RetrainingRecord>;
