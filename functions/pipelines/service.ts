import { readStackMachine } from '../../statemachines/resources.ts';
import type { Call } from '../kernel/call.ts';
import { Problem, type ProblemCode } from '../kernel/problem.ts';
import type { HistoryEvent } from '../platform/ports.ts';
import { catalogOf } from './catalog.ts';
import { type NewRun, runCreation } from './creation.ts';
import { runEnding } from './ending.ts';
import { executionOf, isActive, LIMITS, type Run, type RunId, type TaskRecord } from './model.ts';
import type { RunParts } from './parts.ts';
import { RUN_TAG, trackedRunId } from './tracked.ts';
import { moved, runEvent } from './transitions.ts';

/** Of the port. */
export const HISTORY_PAGE = 1000;

export type PipelinesService = ReturnType<typeof pipelinesService>;

/**
 * The story of a run. `createRun` checks everything that can be checked, commits one record and starts a machine named
 * by the run's id and attempt; should it die in between, a follower of its event starts the same name. The machine asks
 * begin-task, the job and finish-task for every step (tasks/), each of which commits what it did. The machine's end is
 * an event too: `endRun` then writes the final state, as it does when the start is refused for good. A retry is another
 * execution that finds its finished tasks.
 */
export function pipelinesService(parts: RunParts) {
  const { platform, store, specs, tracking, log = () => undefined } = parts;
  const { world, machines, jobs } = platform;
  const catalog = catalogOf(platform, store, specs);
  const creation = runCreation(parts, catalog);
  const ending = runEnding(parts);

  const service = {
    catalog,
    endRun: ending.endRun,
    /** The followers of `terminated` and `deleted` call these again. */
    halt: ending.halt,
    sweep: ending.sweep,

    /** Throws `invalid` naming the parameter, or the task and its image; `missing`; `precondition`. */
    async createRun(call: Call, wanted: NewRun): Promise<Run> {
      const { run, made } = await creation.create(call, wanted);
      const { retry: _, ...aside } = call;
      // The run stands: what follows may fail, and the follower of its event does it then.
      if (made) await tried(service.launch(aside, run.id), 'starting it', run.id);
      return run;
    },

    /** What another machine's `states:startExecution.sync:2` passes on to start this run, once by its name. */
    startOf: (call: Call, run: Run) => ({
      ...machines.address(call, run.machine, executionOf(run)),
      Input: { run: run.id, attempt: run.attempt },
    }),

    /** Starts the machine of a run that waits for it; one that is refused for good has failed. Idempotent. */
    async launch(call: Call, id: RunId): Promise<void> {
      const run = await store.getRun(call, id);
      if (!run || !isActive(run.state)) return;
      try {
        await begin(call, run);
      } catch (error) {
        if (!isForGood(error)) throw error;
        // Another launch of the same may have been let in before.
        if (await machines.describe(call, run.machine, executionOf(run))) return;
        const cause = `The run could not start: ${error.message}`;
        log({ level: 'warn', message: 'pipelines: a run was refused', run: id, error: cause });
        await ending.endRun(call, id, run.attempt, 'FAILED', { cause });
      }
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
          : { record: { ...run, storage }, event: runEvent(type, run) },
      );
    },

    /** Stops an active run; it is CANCELED once its machine has stopped. Throws `missing` and `precondition`. */
    async terminateRun(call: Call, id: RunId): Promise<void> {
      await store.changeRun(call, id, (run) => {
        if (!isActive(run.state))
          throw new Problem('precondition', `Run ${id} is ${run.state} and cannot be terminated.`);
        const record = moved(run, 'CANCELING', world.now());
        return { record, event: runEvent('pipelines.run.terminated', record) };
      });
      await tried(ending.halt(call, id), 'stopping it', id);
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
        const record = {
          ...moved<Run>(kept, 'RUNNING', world.now()),
          attempt: run.attempt + 1,
        };
        return { record, event: runEvent('pipelines.run.retried', record) };
      });
      await tried(service.launch(call, id), 'starting it again', id);
    },

    /** Also stops it. What it put into Blobs stays, for other runs may have it from the cache. Throws `missing`. */
    async deleteRun(call: Call, id: RunId): Promise<void> {
      const run = await service.getRun(call, id);
      await store.removeRun(call, id, runEvent('pipelines.run.deleted', run));
      await tried(ending.sweep(call, run), 'sweeping what it left', id);
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

  async function begin(call: Call, run: Run): Promise<void> {
    const experiment = await store.getExperiment(call, run.experimentId);
    if (experiment) await noteUse(call, run);
    const experimentId = await tracking.experiment(call, experiment?.name ?? run.pipeline);
    await tracking.start(call, {
      runId: trackedRunId(run.id),
      experimentId,
      name: run.name,
      userId: run.createdBy,
      startedAt: run.createdAt,
      tags: { [RUN_TAG]: run.id, 'stillflow.pipeline.name': run.pipeline },
    });
    if (!readStackMachine(run.machine))
      await specs.define(call, await specs.compiled(call, run.spec));
    if (run.startedElsewhere && run.attempt === 0) return;
    const input = { run: run.id, attempt: run.attempt };
    await machines.start(call, run.machine, executionOf(run), input);
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
  return service;
}

/** Refusals that a repeat meets again. Not `missing`: a machine just defined may not be known everywhere yet. */
const FOR_GOOD: readonly ProblemCode[] = [
  'invalid',
  'denied',
  'exists',
  'conflict',
  'precondition',
  'too_large',
  'unsupported',
];
/** One that says when to come again is none of them. */
const isForGood = (error: unknown): error is Problem =>
  error instanceof Problem &&
  FOR_GOOD.includes(error.code) &&
  error.retryAfterSeconds === undefined;
