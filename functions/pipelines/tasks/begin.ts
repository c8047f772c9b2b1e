import type { Call } from '../../kernel/call.ts';
import type { Json } from '../../kernel/json.ts';
import type { Platform } from '../../platform/ports.ts';
import type { StepTokens } from '../../workspaces/index.ts';
import type { PlannedTask } from '../compiler/plan.ts';
import {
  type CacheVerdict,
  hasOutputs,
  isActive,
  type Run,
  type TaskRecord,
  type TaskState,
} from '../model.ts';
import { Unresolved } from '../parameters.ts';
import type { Specs } from '../specs.ts';
import type { PipelinesStore } from '../store.ts';
import {
  CACHE_TAG,
  RUN_TAG,
  type RunTracking,
  TASK_TAG,
  trackedRunId,
  trackedStepId,
} from '../tracked.ts';
import { constantsOf, type Inputs, inputsOf } from './inputs.ts';
import { lookUp } from './lookup.ts';
import { prepareJobs } from './prepare.ts';
import { blankTask, jobName, rootOf, runOf, shownOf, taskIn, triesOf } from './step.ts';

export interface TaskParts {
  readonly platform: Platform;
  readonly store: PipelinesStore;
  readonly specs: Specs;
  readonly tracking: RunTracking;
  /** What steps authenticate with against our own address; undefined where nobody must. */
  readonly stepTokens?: StepTokens | undefined;
}

/**
 * The driver: a task's inputs from our records, the cache, and the job that is to run. It answers the machine `go`
 * (run, cached, skipped or failed), the job to start if any, and what the console shows. A second call finds what the
 * first has left and answers the same. Source: kfp.md section 3.1.
 */
export function beginTask({ platform, store, specs, tracking, stepTokens }: TaskParts) {
  const { world, blobs } = platform;

  return async function begin(call: Call, input: Json): Promise<Json> {
    const { run, plan, current } = await runOf(call, input, store, specs);
    const task = taskIn(plan, input);
    const records = await store.getTasks(call, run.id, [...task.needs, task.id]);
    const found = records.get(task.id);
    if (found && hasOutputs(found.state)) return shown('cached', found);
    const before = found?.attempt === run.attempt ? found : undefined;
    if (before && before.state !== 'RUNNING') return shown('skipped', before);
    if (before) return jobsOf(call, run, task, before);
    if (!current)
      return { go: 'skipped', shown: { state: 'SKIPPED', why: 'a later attempt has begun' } };
    if (!isActive(run.state))
      return shown(
        'skipped',
        await closed(call, run, task, 'SKIPPED', `the run is ${run.state}`, found),
      );
    const why = blocked(task, records);
    if (why !== undefined)
      return shown('skipped', await closed(call, run, task, 'SKIPPED', why, found));
    await markRunning(call, run);
    try {
      const constants = constantsOf(run, task, rootOf(blobs, call, run));
      const inputs = await inputsOf(call, store, run, task, records, constants);
      return await decided(call, run, task, inputs, found);
    } catch (error) {
      if (!(error instanceof Unresolved)) throw error;
      return shown('failed', await closed(call, run, task, 'FAILED', `${error.message}.`, found));
    }
  };

  async function decided(
    call: Call,
    run: Run,
    task: PlannedTask,
    inputs: Inputs,
    earlier: TaskRecord | undefined,
  ): Promise<Json> {
    const { verdict, entry } = await lookUp(call, store, blobs, run, task, inputs);
    const parameters = await store.keep(call, `kfp/values/${run.id}`, inputs.parameters);
    const kept = { parameters, artifacts: inputs.artifacts };
    const at = world.now();
    const base = blankTask(run, task, verdict, at, earlier);
    if (entry) {
      const hit: TaskRecord = {
        ...base,
        state: 'CACHED',
        endedAt: at,
        inputs: kept,
        outputs: entry.outputs,
        history: [...base.history, { at, state: 'CACHED', note: verdict.why }],
      };
      await store.putTask(call, hit, told('cached', hit));
      return shown('cached', hit);
    }
    const step = await track(call, run, task, inputs, verdict, at);
    const started: TaskRecord = {
      ...base,
      inputs: kept,
      jobs: triesOf(task).map((index) => jobName(run, task.id, index)),
      tracking: step,
      history: [...base.history, { at, state: 'RUNNING', note: verdict.why }],
    };
    await store.putTask(call, started, told('started', started));
    return jobsOf(call, run, task, started);
  }

  async function jobsOf(
    call: Call,
    run: Run,
    task: PlannedTask,
    record: TaskRecord,
  ): Promise<Json> {
    const [job] = record.jobs;
    const token =
      job && (await stepTokens?.create(call, { job, expiresAt: lastMoment(task, record) }));
    const jobs = await prepareJobs(call, platform, store, run, task, record, token);
    return {
      go: 'run',
      shown: shownOf(record, platform.url),
      ...(task.retry ? { jobs } : { job: jobs[0] ?? null }),
    };
  }

  function shown(go: string, record: TaskRecord): Json {
    return { go, shown: shownOf(record, platform.url) };
  }

  /** A task that ends before it has begun. */
  async function closed(
    call: Call,
    run: Run,
    task: PlannedTask,
    state: TaskState & ('SKIPPED' | 'FAILED'),
    why: string,
    earlier: TaskRecord | undefined,
  ): Promise<TaskRecord> {
    const at = world.now();
    const failed = state === 'FAILED';
    const cache = { hit: false, why: failed ? 'it never ran' : `skipped: ${why}` };
    const base = blankTask(run, task, cache, at, earlier);
    const record: TaskRecord = {
      ...base,
      state,
      endedAt: at,
      ...(failed ? { error: why } : {}),
      history: [
        ...base.history,
        { at, state, ...(failed ? { error: why } : { note: `skipped: ${why}` }) },
      ],
    };
    await store.putTask(call, record, told(failed ? 'failed' : 'skipped', record));
    return record;
  }

  /** The step's own run on the MLflow side, nested in the pipeline's; its id follows from the attempt. */
  async function track(
    call: Call,
    run: Run,
    task: PlannedTask,
    inputs: Inputs,
    verdict: CacheVerdict,
    at: number,
  ) {
    const experiment = await store.getExperiment(call, run.experimentId);
    const experimentId = await tracking.experiment(call, experiment?.name ?? run.pipeline);
    const runId = trackedStepId(run.id, task.id, run.attempt);
    await tracking.start(call, {
      runId,
      experimentId,
      name: task.title,
      userId: run.createdBy,
      startedAt: at,
      parentRunId: trackedRunId(run.id),
      tags: { [RUN_TAG]: run.id, [TASK_TAG]: task.id, [CACHE_TAG]: verdict.why },
    });
    const params = Object.fromEntries(
      Object.entries(inputs.parameters).map(([name, value]) => [
        name,
        typeof value === 'string' ? value : JSON.stringify(value),
      ]),
    );
    await tracking.log(call, runId, { params, at });
    return { experimentId, runId };
  }

  async function markRunning(call: Call, run: Run): Promise<void> {
    if (run.state !== 'PENDING') return;
    await store.changeRun(call, run.id, (now) =>
      now.state !== 'PENDING'
        ? undefined
        : {
            record: {
              ...now,
              state: 'RUNNING',
              history: [...now.history, { at: world.now(), state: 'RUNNING' }],
            },
            event: {
              type: 'pipelines.run.started',
              subject: `pipelines/runs/${run.id}`,
              data: { id: run.id, attempt: run.attempt },
            },
          },
    );
  }
}

const HOUR_MS = 3_600_000;

/** When the last try must have ended, and an hour for what lies between them. */
const lastMoment = ({ deadlineSeconds }: PlannedTask, { startedAt, jobs }: TaskRecord): number =>
  startedAt + jobs.length * deadlineSeconds * 1000 + HOUR_MS;

/** The first reason why a task cannot run, from the tasks that it needs. */
function blocked(task: PlannedTask, records: ReadonlyMap<string, TaskRecord>): string | undefined {
  for (const id of task.needs) {
    const state = records.get(id)?.state;
    if (state && hasOutputs(state)) continue;
    if (state === 'FAILED') return `task '${id}' failed`;
    return `task '${id}' ${state === 'SKIPPED' ? 'was skipped' : 'did not finish'}`;
  }
  return undefined;
}

/** `pipelines.task.started` and its like, with what lineage needs: which artifacts went in and came out. */
export function told(
  verb: 'started' | 'cached' | 'skipped' | 'failed' | 'finished',
  record: TaskRecord,
) {
  const uris = (artifacts: TaskRecord['inputs']['artifacts']) =>
    Object.fromEntries(Object.entries(artifacts).map(([name, { uri }]) => [name, uri]));
  const { runId, id: task, state, attempt, error, cache, tracking } = record;
  return {
    type: `pipelines.task.${verb}` as const,
    subject: `pipelines/runs/${runId}`,
    data: {
      runId,
      task,
      state,
      attempt,
      inputs: uris(record.inputs.artifacts),
      outputs: uris(record.outputs.artifacts),
      cache: { hit: cache.hit, why: cache.why },
      ...(tracking ? { mlflowRunId: tracking.runId } : {}),
      ...(error === undefined ? {} : { error }),
    },
  };
}
