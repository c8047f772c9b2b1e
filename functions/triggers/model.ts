import * as z from 'zod';
import type { Json } from '../kernel/json.ts';

/** Part of execution names: 40 characters and a ULID stay under 70. */
export const RuleName = z
  .string()
  .max(40, 'must be at most 40 characters')
  .regex(/^[A-Za-z0-9](-?[A-Za-z0-9])*$/, 'must be letters, digits and single dashes between them');

/** A place in an event: `$.data.path`, `$.data.items[0]`. Nothing is evaluated. */
export const Place = z
  .string()
  .max(300, 'must be at most 300 characters')
  .regex(
    /^\$(\.[A-Za-z_][\w-]*|\[\d{1,4}\])+$/,
    'must be a place in the event such as $.data.path',
  );

const Scalar = z.union([z.string().max(1000), z.number(), z.boolean(), z.null()]);
/** What a place must hold: a value, one of several, text that begins so, or a number beyond a bound. */
export const Expected = z.union([
  Scalar,
  z.array(Scalar).min(1).max(50),
  z.strictObject({ prefix: z.string().min(1).max(1000) }),
  z.strictObject({ above: z.number() }),
  z.strictObject({ below: z.number() }),
]);
export type Expected = z.infer<typeof Expected>;

const EventPattern = z.strictObject({
  type: z
    .string()
    .max(200)
    .regex(
      /^[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)*(\.\*)?$/,
      'must be an event type such as registry.alias.set, or end in .*',
    )
    .refine(
      (type) => !type.startsWith('triggers.'),
      'may not be an event of triggers: the rule would start itself',
    ),
  match: z
    .record(Place, Expected)
    .refine((match) => Object.keys(match).length <= 20, 'may name at most 20 places')
    .default({}),
});

/** Checked further, with the clock at hand, by `checkClockwork`. */
const CronPattern = z.strictObject({
  schedule: z.string().max(200),
  timeZone: z.string().max(64).optional(),
});

const DataPattern = z.strictObject({
  prefix: z.string().max(1024, 'must be at most 1024 characters'),
});

/** Exactly one of the three. */
export const On = z
  .strictObject({
    event: EventPattern.optional(),
    cron: CronPattern.optional(),
    data: DataPattern.optional(),
  })
  .refine(
    ({ event, cron, data }) => [event, cron, data].filter(Boolean).length === 1,
    'must hold exactly one of event, cron and data',
  );
export type On = z.infer<typeof On>;

const json: z.ZodType<Json> = z.json() as z.ZodType<Json>;
const TaskOutput = z
  .string()
  .max(300)
  .regex(/^[^.\s][^.]{0,127}\.[^.]{1,127}$/, 'must be <task>.<output parameter>');

/** How a retrained model is held against the champion. */
export const Gate = z.strictObject({
  /** Registered model whose alias moves. */
  model: z.string().min(1).max(255),
  alias: z
    .string()
    .regex(/^[\w-]{1,255}$/, 'may hold only letters, digits, _ and -')
    .default('champion'),
  /** A metric of the versions' runs; read where `after` and `before` name no task's output. */
  metric: z.string().min(1).max(250),
  direction: z.enum(['lower', 'higher']),
  /** Share of the champion's value by which the new one must be better: 0.01 is one percent. */
  minimumImprovement: z.number().min(0).max(10).default(0),
  /** The task output that holds the new version's number; if absent, what a step's MLflow run registered. */
  version: TaskOutput.optional(),
  /** The task output that holds the new version's metric. */
  after: TaskOutput.optional(),
  /** The task output that holds the champion's metric on the same data. */
  before: TaskOutput.optional(),
});
export type Gate = z.infer<typeof Gate>;

const ExperimentText = z
  .string()
  .max(128, 'must be at most 128 characters')
  .refine((text) => text.trim() !== '', 'must not be blank')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this refuses.
  .refine((text) => !/[\u0000-\u001f\u007f]/.test(text), 'must not hold control characters')
  .refine((text) => text.isWellFormed(), 'must be well-formed Unicode');

/** What a rule starts: a pipeline run, or the machine `retraining` around one. */
export const Start = z
  .strictObject({
    machine: z.literal('retraining').optional(),
    /** Name or id. */
    pipeline: z.string().min(1).max(255),
    /** Name or id; the newest if absent. */
    version: z.string().min(1).max(255).optional(),
    /** A whole text `$.data.path` is taken from the event; `$$.` begins a text that only looks so. */
    parameters: z
      .record(z.string().min(1).max(255), json)
      .refine((all) => Object.keys(all).length <= 200, 'may hold at most 200 parameters')
      .default({}),
    /**
     * Where its runs are logged: name or id, of pipelines or of MLflow, or `$.data.path`, taken from the event. One of
     * that name is made if there is none. Named after the pipeline if absent.
     */
    experiment: ExperimentText.optional(),
    gate: Gate.optional(),
  })
  .refine(({ machine, gate }) => (machine === undefined) === (gate === undefined), {
    path: ['gate'],
    message: 'must be given with machine: retraining, and only then',
  });
export type Start = z.infer<typeof Start>;

/** What a caller says of a rule. */
export const RuleAsked = z.strictObject({
  on: On,
  start: Start,
  /** Events that follow each other within this time start one run, for the newest, once it is quiet. */
  debounceSeconds: z.int().min(0).max(86_400).default(0),
  /** A guard of the purse: what comes beyond it is listed and starts nothing. */
  maximumPerHour: z.int().min(1).max(10_000).default(100),
  enabled: z.boolean().default(true),
});
export type RuleAsked = z.infer<typeof RuleAsked>;

/** As it lies in the table, beside its key. */
export const Rule = z.object({
  ...RuleAsked.shape,
  name: z.string(),
  generation: z.int(),
  createdAt: z.number(),
  updatedAt: z.number(),
});
export type Rule = z.infer<typeof Rule>;

/** The event behind a firing, without its data. */
export const Cause = z.object({ id: z.string(), type: z.string(), subject: z.string() });
export type Cause = z.infer<typeof Cause>;

export const Outcome = z.enum([
  'waiting', // for quiet, within debounceSeconds
  'starting',
  'started',
  'failed',
  'folded', // into a later event of the same burst
  'duplicate', // of data that has fired already
  'over-budget',
  'own-run', // of a run that this rule led to: it would start itself for ever
]);
export type Outcome = z.infer<typeof Outcome>;

export const Firing = z.object({
  rule: z.string(),
  /** The event's id, or a ULID made of the rule and the clock's strike. */
  id: z.string(),
  cause: Cause,
  outcome: Outcome,
  why: z.string(),
  /** Rules that led to the event, the first first: each started a run, and the last one's run told of it. */
  after: z.array(z.string()).optional(),
  /** What was started: a run's id, or an execution of `retraining`. */
  started: z.object({ kind: z.enum(['run', 'retraining']), id: z.string() }).optional(),
  at: z.number(),
  updatedAt: z.number(),
});
export type Firing = z.infer<typeof Firing>;

/** A start whose parameters are settled; kept until it has been made, so that a crash loses none. */
export const Order = z.object({
  rule: z.string(),
  firing: z.string(),
  cause: Cause,
  start: Start,
  attempts: z.int(),
  after: Firing.shape.after,
});
export type Order = z.infer<typeof Order>;

/** A user's own event. Its type is in a name space of its own, so that none of ours can be forged. */
export const UserEvent = z.strictObject({
  type: z
    .string()
    .max(200)
    .regex(
      /^custom(\.[a-z][a-z0-9-]{0,63}){2,4}$/,
      'must be custom.<noun>.<verb-in-the-past>, in lower case',
    ),
  /** The same id is the same event, however often it is sent. */
  id: z
    .string()
    .regex(/^[\x21-\x7e]{1,128}$/, 'must be 1 to 128 visible ASCII characters')
    .optional(),
  subject: z
    .string()
    .regex(/^[\w./@-]{1,200}$/, 'may hold letters, digits and _ . / @ -, at most 200')
    .optional(),
  data: z.record(z.string(), json).default({}),
});
export type UserEvent = z.infer<typeof UserEvent>;

export const LIMITS = {
  rules: 200,
  /** Of a start's parameters once they are settled, as JSON. */
  parameterBytes: 64_000,
  /** A quiet time is waited for at most this many times over. */
  debounceFactor: 10,
  /** An order not confirmed by then is made again by the clock. */
  confirmMs: 30_000,
  attempts: 8,
  /** As long as Step Functions keeps an execution's name (aws.md section 6.1). */
  firingKeptMs: 90 * 86_400_000,
} as const;
