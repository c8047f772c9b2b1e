import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import { Problem } from '../kernel/problem.ts';
import { newUuid } from '../kernel/world.ts';
import { type Ended, reasonOf } from '../platform/failure.ts';
import type { HistoryEvent, MachineState, Platform } from '../platform/ports.ts';
import type { StepTokens } from '../workspaces/index.ts';
import { type Catalog, catalogOf } from './catalog.ts';
import type { Compiled } from './compiler/compile.ts';
import type { PipelineDocument } from './document.ts';
import {
  type ExperimentId,
  executionOf,
  isActive,
  isFinal,
  LIMITS,
  type PipelineId,
  type Run,
  type RunId,
  type RunState,
  type TaskRecord,
  type VersionId,
} from './model.ts';
import { runParameters } from './parameters.ts';
import type { Specs } from './specs.ts';
import type { PipelinesStore } from './store.ts';
import { RUN_TAG, type RunTracking, trackedRunId } from './tracked.ts';

/** Whether this world runs a command of an image (undefined: our pinned Python), and with which warning. */
export type RunsImage = (
  image: string | undefined,
  command: readonly string[],
) => { readonly ok: true; readonly warning?: string } | { readonly refused: string };

/** Of the port. */
export const HISTORY_PAGE = 1000;

export type Log = (line: Record<string, unknown>) => void;

export interface NewRun {
  /** Made up if absent; given by who must be able to repeat the call: the same id is the same run. */
  readonly id?: RunId;
  readonly name: string;
  readonly description?: string;
  readonly experimentId?: ExperimentId;
  readonly source: PipelineDocument | { pipelineId?: PipelineId; versionId?: VersionId };
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly root?: string;
  readonly serviceAccount?: string;
  /** The caller's own machine starts the execution, by `startOf`; otherwise it is started here. */
  readonly startedElsewhere?: boolean;
}

export type Swept = Pick<Run, 'id' | 'machine' | 'attempt' | 'state'>;

export type PipelinesService = ReturnType<typeof pipelinesService>;

/**
 * The story of a run. `createRun` checks everything that can be checked, commits one record and starts a machine named
 * by the run's id and attempt; should it die in between, a follower of its event starts the same name. The machine asks
 * begin-task, the job and finish-task for every step (tasks/), each of which commits what it did. The machine's end is
 * an event too: `endRun` then writes the final state. A retry is another execution that finds its finished tasks.
 */
export function pipelinesService(
  platform: Platform,
  store: PipelinesStore,
  specs: Specs,
  tracking: RunTracking,
  runsImage: RunsImage,
  stepTokens?: StepTokens,
  log: Log = () => undefined,
) {
  const { world, machines, jobs, blobs } = platform;
  const catalog: Catalog = catalogOf(platform, store, specs);
  const about = (type: `pipelines.run.${string}`, run: Run, answer?: unknown): Event => ({
    type,
    subject: `pipelines/runs/${run.id}`,
    data: {
      id: run.id,
      name: run.name,
      experimentId: run.experimentId,
      state: run.state,
      attempt: run.attempt,
      pipeline: run.pipeline,
      machine: run.machine,
      ...(run.version ?? {}),
      ...(run.error === undefined ? {} : { error: run.error }),
    },
    ...(answer === undefined ? {} : { answer }),
  });

  const service = {
    catalog,

    /** Throws `invalid` naming the parameter, or the task and its image; `missing`; `precondition`. */
    async createRun(call: Call, wanted: NewRun): Promise<Run> {
      if (wanted.id) {
        const before = await store.getRun(call, wanted.id);
        if (before) return before;
      }
      // A retry key belongs to the commit of the run, and to no other on the way there.
      const { retry: _, ...aside } = call;
      const { compiled, version, keep } = await sourceOf(aside, wanted.source);
      const { plan, machine } = compiled;
      const values = runParameters(plan.name, plan.parameters, wanted.parameters);
      const warnings = [
        ...plan.warnings,
        ...imageWarnings(compiled),
        ...(wanted.serviceAccount ? ['service_account has no effect here.'] : []),
      ];
      if (wanted.root !== undefined && !blobs.pathOf(call, wanted.root)?.startsWith('pipelines/'))
        throw new Problem(
          'invalid',
          `Invalid input error: pipeline_root must lie below ${blobs.locate(call, 'pipelines')}, where this workspace keeps what pipelines make, or be left out.`,
          { field: 'runtime_config.pipeline_root' },
        );
      const experiment = await catalog.usedExperiment(aside, wanted.experimentId);
      if (experiment.storage === 'ARCHIVED')
        throw new Problem('precondition', `Experiment '${experiment.name}' is archived.`);
      const id = wanted.id ?? (newUuid(world) as RunId);
      const at = world.now();
      const spec = await keep();
      const run: Run = {
        id,
        experimentId: experiment.id,
        name: wanted.name,
        description: wanted.description ?? '',
        storage: 'AVAILABLE',
        pipeline: plan.name,
        ...(version ? { version } : {}),
        spec,
        machine,
        parameters: await store.keep(call, `kfp/values/${id}`, values),
        ...(wanted.root === undefined ? {} : { root: wanted.root.replace(/\/+$/, '') }),
        ...(wanted.serviceAccount ? { serviceAccount: wanted.serviceAccount } : {}),
        createdBy: call.caller.name,
        createdAt: at,
        state: 'PENDING',
        history: [{ at, state: 'PENDING' }],
        attempt: 0,
        startedElsewhere: wanted.startedElsewhere ?? false,
        warnings,
      };
      try {
        await store.createRun(call, run, about('pipelines.run.created', run, run));
      } catch (error) {
        const winner = wanted.id && (await store.getRun(call, wanted.id));
        if (winner) return winner;
        throw error;
      }
      // The run stands: what follows may fail, and the follower of its event does it then.
      await tried(service.launch(aside, id), 'starting it', id);
      return run;
    },

    /** What another machine's `states:startExecution.sync:2` passes on to start this run, once by its name. */
    startOf: (call: Call, run: Run) => ({
      ...machines.address(call, run.machine, executionOf(run)),
      Input: { run: run.id, attempt: run.attempt },
    }),

    /** Starts the machine of a run that waits for it. Idempotent. */
    async launch(call: Call, id: RunId): Promise<void> {
      const run = await store.getRun(call, id);
      if (!run || !isActive(run.state)) return;
      const experiment = await store.getExperiment(call, run.experimentId);
      if (experiment) await noteUse(call, run);
      const experimentId = await tracking.experiment(call, experiment?.name ?? run.pipeline);
      await tracking.start(call, {
        runId: trackedRunId(id),
        experimentId,
        name: run.name,
        userId: run.createdBy,
        startedAt: run.createdAt,
        tags: { [RUN_TAG]: id, 'stillflow.pipeline.name': run.pipeline },
      });
      await specs.define(call, await specs.compiled(call, run.spec));
      if (run.startedElsewhere && run.attempt === 0) return;
      const input = { run: run.id, attempt: run.attempt };
      await machines.start(call, run.machine, executionOf(run), input);
    },

    /** Throws `missing`. */
    async getRun(call: Call, id: RunId): Promise<Run> {
      const run = await store.getRun(call, id);
      if (!run) throw new Problem('missing', `Run ${id} not found.`);
      return run;
    },
    listRuns: store.listRuns,
    /** In the plan's order: each after what it waits for. Throws `missing`. */
    async listTasks(call: Call, id: RunId): Promise<TaskRecord[]> {
      const run = await service.getRun(call, id);
      const { plan } = await specs.compiled(call, run.spec);
      const records = await store.listTasks(call, id);
      const place = new Map(plan.tasks.map((task, index) => [task.id, index]));
      return records.sort((a, b) => (place.get(a.id) ?? 0) - (place.get(b.id) ?? 0));
    },
    values: store.values,
    document: specs.document,

    /** Throws `missing`, and `precondition` for the unarchiving of a run in an archived experiment. */
    async storeRun(call: Call, id: RunId, storage: Run['storage']): Promise<void> {
      if (storage === 'AVAILABLE') {
        const { experimentId } = await service.getRun(call, id);
        const experiment = await store.getExperiment(call, experimentId);
        if (experiment?.storage === 'ARCHIVED')
          throw new Problem(
            'precondition',
            `Run ${id} is in the archived experiment '${experiment.name}'. Unarchive that first.`,
          );
      }
      const type = storage === 'ARCHIVED' ? 'pipelines.run.archived' : 'pipelines.run.unarchived';
      await store.changeRun(call, id, (run) =>
        run.storage === storage
          ? undefined
          : { record: { ...run, storage }, event: about(type, run) },
      );
    },

    /** Stops an active run; it is CANCELED once its machine has stopped. Throws `missing` and `precondition`. */
    async terminateRun(call: Call, id: RunId): Promise<void> {
      await store.changeRun(call, id, (run) => {
        if (!isActive(run.state))
          throw new Problem('precondition', `Run ${id} is ${run.state} and cannot be terminated.`);
        const record = moved(run, 'CANCELING');
        return { record, event: about('pipelines.run.terminated', record) };
      });
      await tried(service.halt(call, id), 'stopping it', id);
    },
    /** Stops the machine of a run that is being canceled. Idempotent; the follower of `terminated` calls it again. */
    async halt(call: Call, id: RunId): Promise<void> {
      const run = await store.getRun(call, id);
      if (run?.state !== 'CANCELING') return;
      const execution = executionOf(run);
      await stopped(call, run, 'terminated');
      const found = await machines.describe(call, run.machine, execution);
      // It may have ended before, or never have started: then nobody else tells.
      if (found?.state !== 'RUNNING')
        await service.endRun(call, id, run.attempt, found?.state ?? 'ABORTED', found ?? {});
    },

    /** Another attempt that keeps what has succeeded. Throws `missing` and `precondition`. */
    async retryRun(call: Call, id: RunId): Promise<void> {
      await store.changeRun(call, id, (run) => {
        if (run.state !== 'FAILED' && run.state !== 'CANCELED')
          throw new Problem(
            'precondition',
            `Run ${id} is ${run.state}; only a failed run is retried.`,
          );
        if (run.attempt + 1 >= LIMITS.attempts)
          throw new Problem('precondition', `Run ${id} was tried ${LIMITS.attempts} times.`);
        const { error: _, finishedAt: __, ...kept } = run;
        const record = { ...moved(kept, 'RUNNING'), attempt: run.attempt + 1 };
        return { record, event: about('pipelines.run.retried', record) };
      });
      await tried(service.launch(call, id), 'starting it again', id);
    },

    /** Also stops it. What it put into Blobs stays, for other runs may have it from the cache. Throws `missing`. */
    async deleteRun(call: Call, id: RunId): Promise<void> {
      const run = await service.getRun(call, id);
      await store.removeRun(call, id, about('pipelines.run.deleted', run));
      await tried(service.sweep(call, run), 'sweeping what it left', id);
    },
    /** What is left of a run that is gone. Idempotent; the follower of `deleted` calls it again. */
    async sweep(call: Call, { id, machine, attempt, state }: Swept): Promise<void> {
      await stopped(call, { id, machine, attempt }, 'deleted');
      if (!isFinal(state)) await tracking.end(call, trackedRunId(id), 'KILLED', world.now());
      for (const task of await store.listTasks(call, id))
        if (task.state === 'RUNNING') await revoke(call, task);
      await store.removeTasks(call, id, {
        type: 'pipelines.tasks.deleted',
        subject: `pipelines/runs/${id}`,
        data: { id },
      });
    },

    /** The machine has ended: the run's final state, once, and that of whatever still ran. Idempotent. */
    async endRun(
      call: Call,
      id: RunId,
      attempt: number,
      ended: MachineState,
      said: Ended,
    ): Promise<void> {
      const before = await store.getRun(call, id);
      if (!before || before.attempt !== attempt || ended === 'RUNNING') return;
      const expected = isFinal(before.state) ? before.state : finalState(before, ended);
      const at = before.finishedAt ?? world.now();
      const why = reasonOf(said);
      if (!isFinal(before.state)) await endTasks(call, before, ended, why);
      // The MLflow side first, so that who waits for the run finds its other half ended too.
      await tracking.end(call, trackedRunId(id), statusOf(expected), at);
      const run = await store.changeRun(call, id, (now) => {
        if (now.attempt !== attempt || isFinal(now.state)) return undefined;
        const state = finalState(now, ended);
        const error = state === 'FAILED' ? (why ?? `The machine ended ${ended}.`) : undefined;
        const record = { ...moved(now, state, error), finishedAt: at };
        return { record, event: about(`pipelines.run.${FINAL_VERBS[state]}`, record) };
      });
      if (run.attempt === attempt && run.state !== expected)
        await tracking.end(call, trackedRunId(id), statusOf(run.state), at);
    },

    /**
     * The definition, and what of it has run: the events after `after`, at most 1,000 of them; all, where it is absent.
     * Throws `missing`.
     */
    async machineOf(call: Call, id: RunId, from?: number) {
      const run = await service.getRun(call, id);
      const { definition } = await specs.compiled(call, run.spec);
      const execution = executionOf(run);
      const started = await machines.describe(call, run.machine, execution);
      const events: HistoryEvent[] = [];
      for (let after = from; ; ) {
        const page: HistoryEvent[] = started
          ? await machines.history(call, run.machine, execution, after)
          : [];
        events.push(...page);
        after = page.at(-1)?.id;
        if (from !== undefined || after === undefined || page.length < HISTORY_PAGE) break;
      }
      return { run, execution, definition, events };
    },

    /** What a step has printed so far, of its last try. Throws `missing`. */
    async logOf(call: Call, id: RunId, task: string, after?: string) {
      const record = await store.getTask(call, id, task);
      if (!record) throw new Problem('missing', `Run ${id} has no node '${task}'.`);
      for (const name of [...record.jobs].reverse())
        if (await jobs.describe(call, name))
          return { ...(await jobs.logs(call, name, after)), ended: record.state !== 'RUNNING' };
      return { lines: [], next: after ?? '', ended: record.state !== 'RUNNING' };
    },
  };

  /** What the follower of the run's event does again, until it succeeds or is set aside: not the caller's failure. */
  async function tried(work: Promise<void>, what: string, run: RunId): Promise<void> {
    try {
      await work;
    } catch (error) {
      log({ level: 'warn', message: `pipelines: ${what} failed`, run, error: String(error) });
    }
  }

  async function noteUse(call: Call, { experimentId, id, createdAt }: Run): Promise<void> {
    await store.changeExperiment(call, experimentId, (record) =>
      (record.lastRunAt ?? 0) >= createdAt
        ? undefined
        : {
            record: { ...record, lastRunAt: createdAt },
            event: {
              type: 'pipelines.experiment.used',
              subject: `pipelines/experiments/${experimentId}`,
              data: { id: experimentId, runId: id },
            },
          },
    );
  }

  /** An execution that never began has nothing to stop. */
  async function stopped(call: Call, run: Pick<Run, 'id' | 'machine' | 'attempt'>, why: string) {
    try {
      await machines.stop(call, run.machine, executionOf(run), why);
    } catch (error) {
      if (!(error instanceof Problem && error.code === 'missing')) throw error;
    }
  }

  function moved(run: Run, state: RunState, error?: string): Run {
    const change = { at: world.now(), state, ...(error === undefined ? {} : { error }) };
    return {
      ...run,
      state,
      history: [...run.history, change],
      ...(error === undefined ? {} : { error }),
    };
  }

  async function sourceOf(call: Call, source: NewRun['source']) {
    if ('pipeline' in source) {
      const compiled = specs.compile(source);
      return {
        compiled,
        version: undefined,
        keep: () => specs.keep(call, source, compiled),
      };
    }
    const { pipelineId, versionId } = source;
    const version = versionId
      ? pipelineId
        ? await catalog.getVersion(call, pipelineId, versionId)
        : await catalog.versionById(call, versionId)
      : pipelineId && (await catalog.newestVersion(call, pipelineId));
    if (!version)
      throw new Problem(
        'invalid',
        'Invalid input error: pipeline_spec or pipeline_version_reference is required.',
        {
          field: 'pipeline_version_reference',
        },
      );
    const compiled = await specs.compiled(call, version.spec);
    const { pipelineId: home, id } = version;
    return {
      compiled,
      version: { pipelineId: home, versionId: id },
      keep: async () => version.spec,
    };
  }

  /** What is said of several tasks is said once. Throws `invalid`, naming the task and its image. */
  function imageWarnings({ plan }: Compiled): string[] {
    const about = new Map<string, string[]>();
    for (const { id, container } of plan.tasks) {
      const { image, command, args } = container;
      const verdict = runsImage(image === '' ? undefined : image, [...command, ...args]);
      if ('refused' in verdict)
        throw new Problem('invalid', `Invalid input error: task '${id}': ${verdict.refused}.`, {
          field: 'pipeline_spec',
        });
      const { warning } = verdict;
      if (warning) about.set(warning, [...(about.get(warning) ?? []), `'${id}'`]);
    }
    return [...about].map(
      ([warning, ids]) => `${ids.length > 1 ? 'tasks' : 'task'} ${ids.join(', ')}: ${warning}`,
    );
  }

  async function revoke(call: Call, { jobs: [job] }: TaskRecord): Promise<void> {
    if (job !== undefined) await stepTokens?.revoke(call, job);
  }

  /** Steps that the machine left in the middle. */
  async function endTasks(call: Call, run: Run, ended: MachineState, why: string | undefined) {
    const state = finalState(run, ended) === 'FAILED' ? 'FAILED' : 'CANCELED';
    for (const task of await store.listTasks(call, run.id)) {
      if (task.state !== 'RUNNING' || task.attempt !== run.attempt) continue;
      for (const name of task.jobs)
        if (await jobs.describe(call, name)) await jobs.stop(call, name);
      await revoke(call, task);
      const at = world.now();
      const error = state === 'FAILED' ? (why ?? `The machine ended ${ended}.`) : undefined;
      const record: TaskRecord = {
        ...task,
        state,
        endedAt: at,
        ...(error === undefined ? {} : { error }),
        history: [...task.history, { at, state, ...(error === undefined ? {} : { error }) }],
      };
      await store.putTask(call, record, {
        type: 'pipelines.task.stopped',
        subject: `pipelines/runs/${run.id}`,
        data: { runId: run.id, task: task.id, state },
      });
      if (task.tracking) await tracking.end(call, task.tracking.runId, 'KILLED', at);
    }
  }
  return service;
}

const FINAL_STATUS = { SUCCEEDED: 'FINISHED', FAILED: 'FAILED', CANCELED: 'KILLED' } as const;
const FINAL_VERBS = { SUCCEEDED: 'succeeded', FAILED: 'failed', CANCELED: 'canceled' } as const;

const statusOf = (state: RunState) => FINAL_STATUS[state as keyof typeof FINAL_STATUS];

function finalState(run: Run, ended: MachineState): keyof typeof FINAL_STATUS {
  if (ended === 'SUCCEEDED') return 'SUCCEEDED';
  return ended === 'ABORTED' || run.state === 'CANCELING' ? 'CANCELED' : 'FAILED';
}
