import { systemCall } from '../../functions/kernel/call.ts';
import type { WorkspaceId } from '../../functions/kernel/ids.ts';
import type { Json } from '../../functions/kernel/json.ts';
import type { TaskState } from '../../statemachines/asl.ts';
import { childController, Stopped, sleepUntil, unlessStopped } from './engine.ts';
import { asMachineError, MachineError } from './errors.ts';
import { textOf } from './jsonata.ts';
import {
  attemptId,
  fill,
  move,
  record,
  type Strand,
  settleDurably,
  statesOf,
  wrongValue,
} from './strand.ts';

const YEAR_MS = 366 * 86_400_000;
/** A function of Lambda runs no longer. */
const INVOKE_MS = 900_000;
/** A task whose time ran out while the server was down may still have ended well: it is asked once more. */
const GRACE_MS = 10_000;

/** `arn:aws:states:::sagemaker:createTrainingJob.sync` as history words it. */
function wordsOf(resource: string) {
  const [resourceType = '', ...rest] = resource.split(':::')[1]?.split(':') ?? [];
  return { resourceType, resource: rest.join(':') };
}

/** One attempt at a Task: scheduled durably, performed, told. */
export async function perform(strand: Strand, state: TaskState): Promise<Json> {
  const { engine } = strand.run;
  const words = wordsOf(state.Resource);
  const resumed = strand.position.phase === 'task';
  if (!resumed) await schedule(strand, state);
  const { until } = strand.position;
  const deadline = until === 0 || !resumed ? until : Math.max(until, engine.world.now() + GRACE_MS);
  try {
    const result = await callIntegration(strand, state, deadline);
    record(strand, 'TaskSucceeded', { ...words, output: textOf(result, 'The result') });
    return result;
  } catch (thrown) {
    if (thrown instanceof Stopped) throw thrown;
    const { error, cause } = asMachineError(thrown);
    const type = error === 'States.Timeout' ? 'TaskTimedOut' : 'TaskFailed';
    record(strand, type, { ...words, error, cause });
    throw new MachineError(error, cause);
  }
}

async function schedule(strand: Strand, state: TaskState) {
  const words = wordsOf(state.Resource);
  const states = statesOf(strand);
  const args =
    state.Arguments === undefined
      ? strand.data
      : await fill(strand, state.Arguments, 'Arguments', states);
  const seconds =
    state.TimeoutSeconds === undefined
      ? undefined
      : await fill(strand, state.TimeoutSeconds, 'TimeoutSeconds', states);
  if (seconds !== undefined && (!Number.isInteger(seconds) || Number(seconds) < 1))
    throw wrongValue(strand, 'TimeoutSeconds', seconds);
  strand.work = args;
  strand.workKept = false;
  record(strand, 'TaskScheduled', {
    ...words,
    region: 'local',
    parameters: textOf(args, 'Arguments'),
    ...(seconds === undefined ? {} : { timeoutInSeconds: seconds }),
  });
  record(strand, 'TaskStarted', words);
  const until = seconds === undefined ? 0 : strand.run.engine.world.now() + Number(seconds) * 1000;
  move(strand, 'task', { until });
  await settleDurably(strand);
}

async function callIntegration(strand: Strand, state: TaskState, until: number): Promise<Json> {
  const { run } = strand;
  const { engine } = run;
  const { controller, release } = childController(strand.signal);
  const work = invokeIntegration(strand, state, until, controller.signal);
  run.performing.add(work);
  void work.catch(() => undefined).finally(() => run.performing.delete(work));
  const over = childController(engine.closing);
  const stops = [strand.signal, over.controller.signal];
  const late =
    until === 0
      ? []
      : [
          sleepUntil(engine, until, stops).then(() => {
            throw new MachineError('States.Timeout', 'The task ran longer than TimeoutSeconds.');
          }),
        ];
  try {
    return await unlessStopped(Promise.race([work, ...late]), [strand.signal, engine.closing]);
  } catch (error) {
    if (!engine.closing.aborted) controller.abort();
    throw error;
  } finally {
    over.controller.abort();
    over.release();
    for (const each of late) each.catch(() => undefined);
    release();
  }
}

/** Calls the integration of the strand's state, as its position says; also to stop what it may have started. */
export async function invokeIntegration(
  strand: Strand,
  state: TaskState,
  until: number,
  signal: AbortSignal,
): Promise<Json> {
  const { run, position } = strand;
  const { engine, machine, execution } = run;
  const id = attemptId(strand);
  const longest = state.Resource.includes(':::lambda:') ? INVOKE_MS : YEAR_MS;
  const deadline = until === 0 ? engine.world.now() + longest : until;
  const call = systemCall(run.workspace as WorkspaceId, 'machines', id, deadline);
  const context = { machine, execution, state: position.state, attempt: position.attempt, id };
  return engine.integration(state.Resource)(call, strand.work ?? null, context, signal);
}
