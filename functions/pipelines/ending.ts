import type { Call } from '../kernel/call.ts';
import { isMissing } from '../kernel/problem.ts';
import { type Ended, reasonOf } from '../platform/failure.ts';
import type { MachineState } from '../platform/ports.ts';
import { executionOf, isFinal, type Run, type RunId, type TaskRecord } from './model.ts';
import type { RunParts } from './parts.ts';
import { trackedRunId } from './tracked.ts';
import { finalState, finalVerbs, moved, runEvent, statusOf } from './transitions.ts';

/** What is left to do for a run that was deleted. */
export type Swept = Pick<Run, 'id' | 'machine' | 'attempt' | 'state'>;

/** How a run ends: by its machine's end, by a person, or with its record. All may be repeated. */
export function runEnding({ platform, store, tracking, stepTokens }: RunParts) {
  const { world, machines, jobs } = platform;

  const ending = {
    /** The machine has ended: the run's final state, once, and that of whatever still ran. */
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
        const record = {
          ...moved(now, state, world.now(), errorOf(state, ended, why)),
          finishedAt: at,
        };
        return { record, event: runEvent(`pipelines.run.${finalVerbs[state]}`, record) };
      });
      if (run.attempt === attempt && run.state !== expected)
        await tracking.end(call, trackedRunId(id), statusOf(run.state), at);
    },

    /** Stops the machine of a run that is being canceled. */
    async halt(call: Call, id: RunId): Promise<void> {
      const run = await store.getRun(call, id);
      if (run?.state !== 'CANCELING') return;
      await stopMachine(call, run, 'terminated');
      const found = await machines.describe(call, run.machine, executionOf(run));
      // It may have ended before, or never have started: then nobody else tells.
      if (found?.state !== 'RUNNING')
        await ending.endRun(call, id, run.attempt, found?.state ?? 'ABORTED', found ?? {});
    },

    /** What is left of a run that is gone. */
    async sweep(call: Call, { id, machine, attempt, state }: Swept): Promise<void> {
      await stopMachine(call, { id, machine, attempt }, 'deleted');
      if (!isFinal(state)) await tracking.end(call, trackedRunId(id), 'KILLED', world.now());
      for (const task of await store.listTasks(call, id))
        if (task.state === 'RUNNING') await revoke(call, task);
      await store.removeTasks(call, id, {
        type: 'pipelines.tasks.deleted',
        subject: `pipelines/runs/${id}`,
        data: { id },
      });
    },
  };

  /** An execution that never began has nothing to stop. */
  async function stopMachine(
    call: Call,
    run: Pick<Run, 'id' | 'machine' | 'attempt'>,
    why: string,
  ) {
    try {
      await machines.stop(call, run.machine, executionOf(run), why);
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
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
      const record: TaskRecord = {
        ...moved(task, state, at, errorOf(state, ended, why)),
        endedAt: at,
      };
      await store.putTask(call, record, {
        type: 'pipelines.task.stopped',
        subject: `pipelines/runs/${run.id}`,
        data: { runId: run.id, task: task.id, state },
      });
      if (task.tracking) await tracking.end(call, task.tracking.runId, 'KILLED', at);
    }
  }
  return ending;
}

const errorOf = (state: Run['state'], ended: MachineState, why: string | undefined) =>
  state === 'FAILED' ? (why ?? `The machine ended ${ended}.`) : undefined;
