import { createHash } from 'node:crypto';
import type { Call } from '../../kernel/call.ts';
import type { Json } from '../../kernel/json.ts';
import { Problem } from '../../kernel/problem.ts';
import type { Blobs } from '../../platform/ports.ts';
import type { Plan, PlannedTask } from '../compiler/plan.ts';
import { type CacheVerdict, type Run, runOfExecution, type TaskRecord } from '../model.ts';
import type { Specs } from '../specs.ts';
import type { PipelinesStore } from '../store.ts';

/** What a machine's task is about: the run and attempt that its execution's name says, and that run's plan. */
export async function runOf(
  call: Call,
  input: Json,
  store: PipelinesStore,
  specs: Specs,
): Promise<{ run: Run; plan: Plan; current: boolean }> {
  const { execution } = input as { execution?: Json };
  const named = typeof execution === 'string' ? runOfExecution(execution) : undefined;
  if (!named) throw new Problem('invalid', 'This execution is not one of a pipeline run.');
  const run = await store.getRun(call, named.id);
  if (!run) throw new Problem('missing', `Run ${named.id} not found.`);
  const { plan } = await specs.compiled(call, run.spec);
  return { run, plan, current: named.attempt === run.attempt };
}

export function taskIn(plan: Plan, input: Json): PlannedTask {
  const { task: id } = input as { task?: Json };
  const task = plan.tasks.find((each) => each.id === id);
  if (!task) throw new Problem('invalid', `The pipeline has no task '${String(id)}'.`);
  return task;
}

const NOTHING = { parameters: { values: {} }, artifacts: {} } as const;

/** A task that is about to run. `earlier`: what an attempt before this one left; its history goes on. */
export function blankTask(
  run: Run,
  task: PlannedTask,
  cache: CacheVerdict,
  at: number,
  earlier: TaskRecord | undefined,
): TaskRecord {
  return {
    runId: run.id,
    id: task.id,
    title: task.title,
    state: 'RUNNING',
    attempt: run.attempt,
    startedAt: at,
    jobs: [],
    failedJobs: [...(earlier?.failedJobs ?? []), ...(earlier?.jobs ?? [])],
    inputs: NOTHING,
    outputs: NOTHING,
    cache,
    history: earlier?.history ?? [],
  };
}

const slug = (text: string, max: number) =>
  text
    .replace(/[^A-Za-z0-9]+/g, '-')
    .slice(0, max)
    .replace(/^-+|-+$/g, '');

/** Where a run's artifacts go. */
export const rootOf = (blobs: Blobs, call: Call, run: Run): string =>
  run.root ?? blobs.locate(call, `pipelines/${slug(run.pipeline, 80) || 'pipeline'}/${run.id}`);

/** Each try of a job has a number of its own in the run's attempt: nothing of a failed one is in the way. */
export const triesOf = (task: PlannedTask): number[] =>
  Array.from({ length: (task.retry?.count ?? 0) + 1 }, (_, index) => index);

/** At most 51 characters; the same for the same try. */
export function jobName(run: Run, task: string, index: number): string {
  const digest = createHash('sha256')
    .update(`${run.id}/${task}/${run.attempt}/${index}`)
    .digest('hex')
    .slice(0, 20);
  return `${slug(task, 30) || 'step'}-${digest}`;
}

/** Our own files of one try: task.json and executor_output.json. */
export const stepFolder = (run: Run, task: string, index: number): string =>
  `kfp/steps/${run.id}/${task}/${run.attempt}-${index}`;

const MAX_SHOWN = 1000;
const MAX_METRICS = 10;

/** What the console shows of a step: at most 1 KB, no values but scalar metrics. */
export function shownOf(record: TaskRecord, url: string): Json {
  const metrics = Object.entries(metricsOf(record)).slice(0, MAX_METRICS);
  const shown = {
    state: record.state,
    why: record.error ?? record.cache.why,
    ...(metrics.length ? { metrics: Object.fromEntries(metrics) } : {}),
    ...(record.tracking ? { mlflow_run_id: record.tracking.runId } : {}),
    log: `${url}/apis/v1alpha1/runs/${record.runId}/nodes/${record.id}/log`,
  };
  const short = { ...shown, why: shown.why.slice(0, 300) };
  if (Buffer.byteLength(JSON.stringify(short)) <= MAX_SHOWN) return short;
  return { state: record.state, why: shown.why.slice(0, 200) };
}

/** Scalars that a step logged on its metrics artifacts. */
export function metricsOf(record: Pick<TaskRecord, 'outputs'>): Record<string, number> {
  const found: Record<string, number> = {};
  for (const artifact of Object.values(record.outputs.artifacts))
    if (artifact.type.schemaTitle === 'system.Metrics')
      for (const [name, value] of Object.entries(artifact.metadata))
        if (typeof value === 'number') found[name] = value;
  return found;
}
