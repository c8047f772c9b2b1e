import type { Container, Resources } from './ir.ts';
import { refuse } from './refusal.ts';

const RUNNERS = ['lambda', 'sagemaker', 'batch'] as const;
export type Runner = (typeof RUNNERS)[number];
const isRunner = (name: string): name is Runner => (RUNNERS as readonly string[]).includes(name);

/** What a step asks for, in the words of `JobSpec.resources`. */
export interface StepResources {
  readonly cpus?: number;
  readonly memoryBytes?: number;
  readonly accelerator?: { readonly type: string; readonly count: number };
  readonly runner: Runner;
}

/** A task's environment may force a runner by this name: `set_env_variable('STILLFLOW_RUNNER', 'sagemaker')`. */
const RUNNER_VARIABLE = 'STILLFLOW_RUNNER';
/** Likewise how long the step may take, in seconds. */
const DEADLINE_VARIABLE = 'STILLFLOW_DEADLINE_SECONDS';

/** Source: Lambda quotas: 10,240 MB and with it 6 vCPUs, 900 seconds. */
const LAMBDA = { cpus: 6, memoryBytes: 10_240 * 2 ** 20, deadlineSeconds: 900 } as const;
const DAY_SECONDS = 86_400;
/** Source: SageMaker CreateTrainingJob, StoppingCondition.MaxRuntimeInSeconds: 28 days. */
const MAX_DEADLINE_SECONDS = 28 * DAY_SECONDS;

/** Chosen when compiling, since it decides what the job state calls. Throws `invalid`, naming the task. */
export function stepResources(container: Container, where: string): StepResources {
  const asked = amounts(container.resources, where);
  const forced = variable(container, RUNNER_VARIABLE);
  if (forced !== undefined && !isRunner(forced))
    throw refuse(
      where,
      `${RUNNER_VARIABLE} must be one of ${RUNNERS.join(', ')}, not '${forced}'.`,
    );
  const why = tooMuchForLambda(asked);
  if (forced === 'lambda' && why) throw refuse(where, `cannot run as lambda: ${why}.`);
  const light =
    isPythonImage(container.image) && !why && wanted(container, where) <= LAMBDA.deadlineSeconds;
  return { ...asked, runner: forced ?? (light ? 'lambda' : 'sagemaker') };
}

/** How long a step may take: what its environment says, else 15 minutes on a Lambda and a day elsewhere. */
export function deadlineSeconds(container: Container, runner: Runner, where: string): number {
  const seconds = variable(container, DEADLINE_VARIABLE)
    ? wanted(container, where)
    : runner === 'lambda'
      ? LAMBDA.deadlineSeconds
      : DAY_SECONDS;
  if (runner === 'lambda' && seconds > LAMBDA.deadlineSeconds)
    throw refuse(where, `a lambda may run ${LAMBDA.deadlineSeconds} s, not ${seconds}.`);
  return seconds;
}

function wanted(container: Container, where: string): number {
  const text = variable(container, DEADLINE_VARIABLE);
  if (text === undefined) return 0;
  const seconds = Number(text);
  if (!/^\d{1,7}$/.test(text) || seconds < 1 || seconds > MAX_DEADLINE_SECONDS)
    throw refuse(
      where,
      `${DEADLINE_VARIABLE} must be 1 to ${MAX_DEADLINE_SECONDS}, not '${text}'.`,
    );
  return seconds;
}

const variable = (container: Container, name: string): string | undefined =>
  container.env.findLast((entry) => entry.name === name)?.value;

const isPythonImage = (image: string) =>
  image === '' || /^((docker\.io|index\.docker\.io)\/)?(library\/)?python(:[\w.-]+)?$/.test(image);

function tooMuchForLambda(asked: Omit<StepResources, 'runner'>): string | undefined {
  if (asked.accelerator) return `it asks for ${asked.accelerator.type}`;
  if ((asked.cpus ?? 0) > LAMBDA.cpus) return `it asks for ${asked.cpus} CPUs of ${LAMBDA.cpus}`;
  if ((asked.memoryBytes ?? 0) > LAMBDA.memoryBytes) return 'it asks for more than 10 GB of memory';
  return undefined;
}

function amounts(resources: Resources, where: string): Omit<StepResources, 'runner'> {
  const cpus =
    cpuOf(resources.resourceCpuLimit, where) ??
    resources.cpuLimit ??
    cpuOf(resources.resourceCpuRequest, where) ??
    resources.cpuRequest;
  const gigabytes = resources.memoryLimit ?? resources.memoryRequest;
  const memoryBytes =
    bytesOf(resources.resourceMemoryLimit ?? resources.resourceMemoryRequest, where) ??
    (gigabytes === undefined ? undefined : gigabytes * 1e9);
  const { accelerator } = resources;
  const type = accelerator?.resourceType ?? accelerator?.type;
  const count = Number(accelerator?.resourceCount ?? accelerator?.count ?? 0);
  if (type !== undefined && !/^[\w./-]{1,100}$/.test(type))
    throw refuse(where, `'${type.slice(0, 100)}' is no accelerator's name.`);
  return {
    ...(cpus ? { cpus } : {}),
    ...(memoryBytes ? { memoryBytes: Math.round(memoryBytes) } : {}),
    ...(type && count > 0 ? { accelerator: { type, count } } : {}),
  };
}

/** `2`, `0.5`, `500m`. Source: Kubernetes' resource quantities. */
function cpuOf(text: string | undefined, where: string): number | undefined {
  if (!text) return undefined;
  const [, digits, milli] = /^(\d+(?:\.\d+)?)(m?)$/.exec(text) ?? [];
  if (digits === undefined) throw refuse(where, `'${text.slice(0, 100)}' is no number of CPUs.`);
  return Number(digits) / (milli ? 1000 : 1);
}

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  K: 1e3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

function bytesOf(text: string | undefined, where: string): number | undefined {
  if (!text) return undefined;
  const [, digits, unit] = /^(\d+(?:\.\d+)?)([A-Za-z]{0,2})$/.exec(text) ?? [];
  const factor = UNITS[unit ?? '-'];
  if (digits === undefined || factor === undefined)
    throw refuse(where, `'${text.slice(0, 100)}' is no amount of memory.`);
  return Number(digits) * factor;
}
