import type { Call } from '../../functions/kernel/call.ts';
import type { Event } from '../../functions/kernel/event.ts';
import type { Json } from '../../functions/kernel/json.ts';
import type { HistoryEvent, MachineState, Table } from '../../functions/platform/ports.ts';
import type { StateMachine, TaskState } from '../../statemachines/asl.ts';
import { childController, type Engine, Stopped, sleepUntil } from './engine.ts';
import { asMachineError } from './errors.ts';
import {
  type Ended,
  executionKey,
  historyRecords,
  type Journal,
  type Kept,
  openRemoval,
  type Started,
} from './journal.ts';
import { createLedger } from './ledger.ts';
import { runStrand } from './states.ts';
import { openStrand, type Run, record, type Strand, settle } from './strand.ts';
import { invokeIntegration } from './task.ts';

export interface ExecutionOptions {
  readonly engine: Engine;
  readonly table: Table;
  readonly journal: Journal;
  readonly started: Started;
  readonly machine: StateMachine;
  readonly workspace: string;
  /** `$states.context` but for State and Map. */
  readonly context: { readonly [name: string]: Json };
  /** A call of our own, with a deadline from now. */
  call(): Call;
}

/** An execution that this process carries on. */
export interface LiveExecution {
  /** How it ended; never if the server closes first. Also resolves once what it left in the table is gone. */
  readonly ended: Promise<Ended>;
  /** Resolves when nothing of it is left to do in this process. */
  readonly over: Promise<void>;
  /** Ends it ABORTED, durably; does nothing if it has ended. */
  stop(call: Call, reason: string): Promise<void>;
}

const ROOT = '-';
const SWEPT_AT_ONCE = 90;
const SWEPT_ALONG = 60;

/** Carries an execution on from where the table says it stands. */
export function liveExecution(options: ExecutionOptions): LiveExecution {
  const { engine, started, machine, journal } = options;
  const pk = executionKey(started.machine, started.execution);
  const { controller } = childController(new AbortController().signal);
  let ended: (how: Ended) => void = () => undefined;
  const endedPromise = new Promise<Ended>((resolve) => {
    ended = resolve;
  });
  let ending: Promise<void> | undefined;
  let live: Run | undefined;

  async function carryOn() {
    const run = await load(options, pk);
    live = run;
    if (ending) return;
    const root = openStrand(run, ROOT, machine, { signal: controller.signal, eventId: 0 });
    if (run.ledger.lastEventId() === 0)
      record(root, 'ExecutionStarted', { input: JSON.stringify(started.input) });
    const clock = timeLimit(root);
    try {
      const output = await runStrand(root, started.input);
      settle(root);
      await finish(run, options.call(), { state: 'SUCCEEDED', output });
    } catch (thrown) {
      if (thrown instanceof Stopped) return;
      const { error, cause } = asMachineError(thrown);
      settle(root);
      const said = { ...(error === '' ? {} : { error }), ...(cause === '' ? {} : { cause }) };
      await finish(run, options.call(), { state: 'FAILED', ...said });
    } finally {
      clock?.();
    }
  }

  /** TimeoutSeconds of the machine, counted from the start. */
  function timeLimit(root: Strand): (() => void) | undefined {
    if (machine.TimeoutSeconds === undefined) return undefined;
    const { controller: off, release } = childController(engine.closing);
    const at = started.startedAt + machine.TimeoutSeconds * 1000;
    sleepUntil(engine, at, [off.signal])
      .then(() => finish(root.run, options.call(), { state: 'TIMED_OUT' }))
      .catch((error) => {
        if (!(error instanceof Stopped)) engine.log({ level: 'error', error: String(error) });
      });
    return () => {
      off.abort();
      release();
    };
  }

  /** Ends it once, however many ask: the first one says how. */
  function finish(run: Run, call: Call, how: Omit<Ended, 'endedAt'>): Promise<void> {
    ending ??= endNow(run, call, { ...how, endedAt: engine.world.now() });
    return ending;
  }

  async function endNow(run: Run, call: Call, how: Ended) {
    let clean = false;
    const last = () => {
      const sweep = [...run.ledger.present];
      clean = run.performing.size === 0 && sweep.length <= SWEPT_ALONG;
      const swept = clean
        ? [
            openRemoval(started.machine, started.execution),
            ...sweep.map((sk) => ({ remove: { pk, sk } })),
          ]
        : [];
      const events = historyRecords(pk, [lastEvent(run, how)]);
      return [...events.map((put) => ({ put })), journal.endWrite(started, how), ...swept];
    };
    const landed = await run.ledger.end(call, last, endedEvent(started, how));
    controller.abort();
    if (landed) ended(how);
    if (clean) return;
    while (run.performing.size && !engine.closing.aborted)
      await Promise.allSettled([...run.performing]);
    await sweepLeft(options, pk);
  }

  const over = carryOn()
    .then(() => ending)
    .catch((error) => {
      if (error instanceof Stopped) return;
      engine.log({
        level: 'error',
        message: 'an execution cannot go on',
        machine: started.machine,
        execution: started.execution,
        error: error instanceof Error ? (error.stack ?? error.message) : String(error),
      });
    });

  return {
    ended: endedPromise,
    over,
    async stop(call, reason) {
      const run = live ?? (await load(options, pk));
      live ??= run;
      const stopping = ending === undefined;
      const done = finish(run, call, { state: 'ABORTED', cause: reason });
      // Its jobs are stopped meanwhile: the answer waits for the record only.
      if (stopping) await Promise.race([endedPromise, done]);
    },
  };
}

async function load(options: ExecutionOptions, pk: string): Promise<Run> {
  const { engine, journal, started, workspace, context, call, table } = options;
  const kept: Map<string, Kept> = await journal.strands(call(), pk);
  const lastEventId = await journal.lastEventId(call(), pk);
  const ledger = createLedger({
    table,
    pk,
    lastEventId,
    present: kept.size ? await journal.keysNow(call(), pk) : [],
    call,
    async again(error, failures) {
      engine.log({ level: 'error', message: 'a commit failed', pk, error: String(error) });
      const waitMs = Math.min(30_000, 250 * 2 ** failures);
      await sleepUntil(engine, engine.world.now() + waitMs, [engine.closing]);
    },
  });
  return {
    engine,
    ledger,
    pk,
    workspace,
    machine: started.machine,
    execution: started.execution,
    context,
    kept,
    performing: new Set(),
    variablesBytes: 0,
    noted: lastEventId,
  };
}

const LAST: { readonly [state in MachineState]: string } = {
  RUNNING: '',
  SUCCEEDED: 'ExecutionSucceeded',
  FAILED: 'ExecutionFailed',
  TIMED_OUT: 'ExecutionTimedOut',
  ABORTED: 'ExecutionAborted',
};

function lastEvent(run: Run, how: Ended): HistoryEvent {
  const id = run.ledger.lastEventId() + 1;
  const { error, cause, output, endedAt } = how;
  return {
    id,
    previousEventId: id - 1,
    type: LAST[how.state],
    timestamp: endedAt,
    details: {
      ...(error === undefined ? {} : { error }),
      ...(cause === undefined ? {} : { cause }),
      ...(output === undefined ? {} : { output: JSON.stringify(output) }),
    },
  };
}

function endedEvent({ machine, execution }: Started, how: Ended): Event {
  const { state, error, cause, output } = how;
  return {
    type: 'machines.execution.ended',
    subject: `executions/${execution}`,
    data: {
      machine,
      execution,
      state,
      error: error ?? null,
      cause: cause ?? null,
      output: output ?? null,
    },
  };
}

/** Takes away what an ended execution left, and then its entry among the open ones. */
async function sweepLeft({ table, journal, started, call }: ExecutionOptions, pk: string) {
  const keys = await journal.keysNow(call(), pk);
  for (let at = 0; at < keys.length; at += SWEPT_AT_ONCE)
    await table.commit(
      call(),
      keys.slice(at, at + SWEPT_AT_ONCE).map((sk) => ({ remove: { pk, sk } })),
    );
  await table.commit(call(), [openRemoval(started.machine, started.execution)]);
}

/**
 * After a restart, for an execution that had ended while tasks of it were still being stopped: stops them again, then
 * sweeps.
 */
export async function clearEnded(options: ExecutionOptions): Promise<void> {
  const { engine, started, machine } = options;
  const pk = executionKey(started.machine, started.execution);
  const run = await load(options, pk);
  const aborted = AbortSignal.abort();
  for (const id of [...run.kept.keys()]) {
    const strand = openStrand(run, id, machine, { signal: aborted, eventId: 0 });
    if (strand.position.phase !== 'task') continue;
    const state = taskNamed(machine, strand.position.state);
    if (!state) continue;
    await invokeIntegration(strand, state, 0, aborted).catch((error) =>
      engine.log({ level: 'info', message: 'stopped a task again', error: String(error) }),
    );
  }
  await sweepLeft(options, pk);
}

/** Names are unique in the whole machine. */
function taskNamed(scope: Pick<StateMachine, 'States'>, name: string): TaskState | undefined {
  for (const [each, state] of Object.entries(scope.States)) {
    if (state.Type === 'Task' && each === name) return state;
    const scopes =
      state.Type === 'Parallel'
        ? state.Branches
        : state.Type === 'Map'
          ? [state.ItemProcessor]
          : [];
    for (const inner of scopes) {
      const found = taskNamed(inner, name);
      if (found) return found;
    }
  }
  return undefined;
}
