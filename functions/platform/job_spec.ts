import * as z from 'zod';
import { Problem } from '../kernel/problem.ts';
import type { EndpointSpec, JobSpec } from './ports.ts';

/** Both worlds check what they are asked to run here, so that a spec good on a laptop is good in an account. */

/** Leaves room for a prefix and a workspace within SageMaker's 63 characters: `sf-default0-`. */
const Name = z
  .string()
  .regex(/^[a-zA-Z0-9](-?[a-zA-Z0-9])*$/, 'must be letters, digits and single dashes between them')
  .max(51, 'must be at most 51 characters');
const Text = z
  .string()
  .refine((text) => !text.includes('\0'), 'must not hold a NUL character')
  // Linux passes no longer single argument or variable (MAX_ARG_STRLEN).
  .refine((text) => Buffer.byteLength(text) < 131_072, 'must be shorter than 128 KiB');
const Env = z
  .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,255}$/, 'is no name of a variable'), Text)
  .refine((env) => Object.keys(env).length <= 100, 'must hold at most 100 variables');
const Uri = z.string().min(1).max(1024);
const channels = (reserved: readonly string[]) =>
  z
    .array(
      z.object({
        name: z
          .string()
          .regex(/^[a-zA-Z0-9][\w-]{0,63}$/, 'must be letters, digits, - and _')
          .refine((name) => !reserved.includes(name), 'is reserved'),
        uri: Uri,
      }),
    )
    .max(20)
    .refine((list) => new Set(list.map(({ name }) => name)).size === list.length, 'names twice');

const Regex = z
  .string()
  .min(1)
  .max(500)
  .refine((text) => {
    try {
      return new RegExp(`${text}|`).exec('')?.length !== 1;
    } catch {
      return false;
    }
  }, 'must be a regular expression with a group around the number');

/** Of a node or a copy. */
const Amounts = z.object({
  cpus: z.number().positive().max(1024).optional(),
  memoryBytes: z.number().int().positive().optional(),
  accelerator: z
    .object({ type: z.string().min(1).max(100), count: z.number().int().min(0).max(64) })
    .optional(),
});

const Spec = z
  .object({
    name: Name,
    interpreter: z.literal('python').optional(),
    image: z.string().min(1).max(255).optional(),
    command: z.array(Text).min(1).max(1000),
    env: Env,
    inputs: channels(['stillflow']),
    outputs: channels(['failure']),
    resources: Amounts.extend({
      network: z.literal('fast').optional(),
      spot: z.boolean().optional(),
      // Source: SageMaker developer guide, "Managed Warm Pools": 60 minutes.
      keepAliveSeconds: z.number().int().min(1).max(3600).optional(),
      runner: z.enum(['lambda', 'sagemaker', 'processing', 'batch']).optional(),
    }),
    nodes: z.number().int().min(1).max(32),
    checkpoint: Uri.optional(),
    deadlineSeconds: z.number().int().min(1).max(2_419_200),
    metrics: z
      .array(z.object({ name: z.string().min(1).max(255), regex: Regex }))
      .max(40)
      .optional(),
  })
  .refine(({ interpreter, image }) => (interpreter === undefined) !== (image === undefined), {
    message: 'needs either interpreter or image, not both',
  })
  .superRefine((spec, context) => {
    const refuse = (field: string, message: string) =>
      context.addIssue({ code: 'custom', path: field.split('.'), message });
    const { runner, spot, keepAliveSeconds, network } = spec.resources;
    if (spot && keepAliveSeconds !== undefined)
      refuse(
        'resources.keepAliveSeconds',
        'cannot be had with spot: nobody keeps what may be taken',
      );
    if (runner !== undefined && runner !== 'sagemaker')
      for (const [field, asked] of Object.entries({ spot, keepAliveSeconds, network }))
        if (asked)
          refuse(`resources.${field}`, 'has only a training job: use the runner sagemaker');
    if (runner === 'batch' && spec.nodes > 1) refuse('nodes', 'must be 1 for the runner batch');
    if (runner !== 'processing') return;
    const only = 'has only a training job: use the runner sagemaker';
    if (spec.checkpoint !== undefined) refuse('checkpoint', only);
    if (spec.metrics?.length) refuse('metrics', only);
    // Source: SageMaker API, CreateProcessingJob: 10 inputs, two of which are ours; 10 outputs; 7 days.
    if (spec.inputs.length > 8) refuse('inputs', 'must be at most 8 for a processing job');
    if (spec.outputs.length > 10) refuse('outputs', 'must be at most 10 for a processing job');
    if (spec.deadlineSeconds > 604_800)
      refuse('deadlineSeconds', 'must be at most 604800 for a processing job');
  });

const Deployment = z.object({
  name: Name,
  revision: z.string().min(1).max(255),
  modelUri: Uri,
  env: Env,
  scale: z
    .object({
      minimum: z.number().int().min(0).max(100),
      maximum: z.number().int().min(1).max(100),
      concurrency: z.number().int().min(1).max(1000),
      idleSeconds: z.number().int().min(1).max(86_400),
    })
    .refine(({ minimum, maximum }) => minimum <= maximum, 'minimum must not pass maximum'),
  resources: Amounts.optional(),
});

function check(schema: z.ZodType, value: unknown, what: string): void {
  const { error } = schema.safeParse(value);
  const issue = error?.issues[0];
  if (!issue) return;
  const field = issue.path.join('.');
  throw new Problem('invalid', `${what}${field && ` field '${field}'`}: ${issue.message}`, {
    field,
  });
}

/** Throws `invalid`, naming the field. */
export function checkJobSpec(spec: JobSpec): void {
  check(Spec, spec, `Job '${String(spec.name).slice(0, 60)}'`);
}

/** Throws `invalid`, naming the field. */
export function checkEndpointSpec(spec: EndpointSpec): void {
  check(Deployment, spec, `Endpoint '${String(spec.name).slice(0, 60)}'`);
}

/** Throws `invalid` unless a name could be a job's or an endpoint's: it becomes a folder and a cloud name. */
export function checkName(name: string): void {
  check(z.object({ name: Name }), { name }, 'Wrong');
}

/** The launcher's place-holder in a command; runtimes/launcher/README.md. */
export const LAUNCHER = 'stillflow-launcher';

/** Lambda's own limit. */
const LAMBDA_SECONDS = 900;

/** Which runner of ARCHITECTURE's table a job gets in an account, where it does not say so itself. */
export function runnerOf(spec: JobSpec): NonNullable<JobSpec['resources']['runner']> {
  const { runner, accelerator, spot, keepAliveSeconds, network } = spec.resources;
  if (runner) return runner;
  const light =
    spec.interpreter === 'python' &&
    spec.nodes === 1 &&
    spec.checkpoint === undefined &&
    spec.inputs.length + spec.outputs.length === 0 &&
    (accelerator?.count ?? 0) === 0 &&
    !spot &&
    keepAliveSeconds === undefined &&
    network === undefined &&
    spec.deadlineSeconds <= LAMBDA_SECONDS &&
    (spec.resources.memoryBytes ?? 0) <= 2 ** 31;
  return light ? 'lambda' : 'sagemaker';
}
