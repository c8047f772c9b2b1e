import type { Json } from '../../functions/kernel/json.ts';
import {
  type Assignments,
  type Catcher,
  type ChoiceState,
  LIMITS,
  type MapState,
  type ParallelState,
  type Retrier,
  type Scope,
  type State,
  type TaskState,
  type Template,
  type WaitState,
} from '../../statemachines/asl.ts';
import { readTimestamp } from './check.ts';
import { childController, Stopped, sleepUntil } from './engine.ts';
import { asMachineError, MachineError, takes } from './errors.ts';
import { fraction, textOf } from './jsonata.ts';
import {
  assign,
  checkRunning,
  enter,
  fill,
  fillAssignments,
  isFresh,
  type MapItem,
  move,
  openStrand,
  record,
  type Strand,
  settle,
  settleDurably,
  stateOf,
  statesOf,
  wrongValue,
} from './strand.ts';
import { perform } from './task.ts';

/** Where a state leads: on to another, or out of the scope with its output. */
type Outcome = { readonly next: string | undefined; readonly output: Json };

/** States passed in memory before the strand rests on the disk, and lets others run. */
const STRIDE = 64;
const STRIDE_CHARACTERS = 200_000;

/** Runs a strand from where it stands to the output of its scope. Throws MachineError, or Stopped. */
export async function runStrand(strand: Strand, input: Json): Promise<Json> {
  if (strand.position.phase === 'done') return strand.data;
  if (isFresh(strand)) enter(strand, strand.scope.StartAt, input);
  for (let passed = 1; ; passed++) {
    checkRunning(strand);
    const { next, output } = await runState(strand);
    if (next === undefined) return output;
    enter(strand, next, output);
    if (passed % STRIDE === 0 || strand.stagedCharacters > STRIDE_CHARACTERS)
      await settleDurably(strand);
  }
}

async function runState(strand: Strand): Promise<Outcome> {
  const state = stateOf(strand.scope, strand.position.state);
  switch (state.Type) {
    case 'Pass':
      return leave(strand, state, strand.data, {});
    case 'Choice':
      return choose(strand, state);
    case 'Wait':
      await wait(strand, state);
      return leave(strand, state, strand.data, {});
    case 'Succeed':
      return leave(strand, state, strand.data, {});
    case 'Fail': {
      const word = async (text: string | undefined, field: string) =>
        text === undefined ? '' : String(await fill(strand, text, field, statesOf(strand)));
      const error = await word(state.Error, 'Error');
      throw new MachineError(error, await word(state.Cause, 'Cause'));
    }
    case 'Task':
      return guarded(strand, state, () => perform(strand, state));
    case 'Parallel':
      return guarded(strand, state, () => branch(strand, state));
    case 'Map':
      return guarded(strand, state, () => iterate(strand, state));
  }
}

type Leaving = {
  readonly Type: State['Type'];
  readonly Next?: string;
  readonly Output?: Template;
  readonly Assign?: Assignments;
};

/** Output and Assign both see the values at entry; what Assign sets is seen from the next state on. */
async function leave(
  strand: Strand,
  state: Leaving,
  result: Json,
  sees: { readonly [name: string]: Json },
): Promise<Outcome> {
  const states = statesOf(strand, sees);
  const output =
    state.Output === undefined ? result : await fill(strand, state.Output, 'Output', states);
  const assigned = await fillAssignments(strand, state.Assign, states);
  const { state: name } = strand.position;
  const shown = Object.entries(assigned).map(([key, value]) => [key, JSON.stringify(value)]);
  assign(strand, assigned);
  record(strand, `${state.Type}StateExited`, {
    name,
    output: textOf(output, 'The output'),
    ...(shown.length ? { assignedVariables: Object.fromEntries(shown) } : {}),
  });
  return { next: state.Next, output };
}

async function choose(strand: Strand, state: ChoiceState): Promise<Outcome> {
  for (const rule of state.Choices) {
    const holds = await fill(strand, rule.Condition, 'Condition', statesOf(strand));
    if (typeof holds !== 'boolean') throw wrongValue(strand, 'Condition', holds);
    if (holds) return leave(strand, { ...rule, Type: 'Choice' }, strand.data, {});
  }
  if (state.Default === undefined)
    throw new MachineError(
      'States.NoChoiceMatched',
      `No choice of the state '${strand.position.state}' matched, and it has no Default.`,
    );
  return leave(strand, { ...state, Next: state.Default }, strand.data, {});
}

async function wait(strand: Strand, state: WaitState) {
  const { engine } = strand.run;
  if (strand.position.phase !== 'waiting') {
    const until = await waitUntil(strand, state);
    move(strand, 'waiting', { until });
    await settleDurably(strand);
  }
  await sleepUntil(engine, strand.position.until, [strand.signal, engine.closing]);
}

async function waitUntil(strand: Strand, state: WaitState): Promise<number> {
  if (state.Seconds !== undefined) {
    const seconds = await fill(strand, state.Seconds, 'Seconds', statesOf(strand));
    if (!Number.isInteger(seconds) || Number(seconds) < 0 || Number(seconds) > 99_999_999)
      throw wrongValue(strand, 'Seconds', seconds);
    return strand.run.engine.world.now() + Number(seconds) * 1000;
  }
  const given = await fill(strand, state.Timestamp, 'Timestamp', statesOf(strand));
  const until = typeof given === 'string' ? readTimestamp(given) : undefined;
  if (until === undefined) throw wrongValue(strand, 'Timestamp', given);
  return until;
}

type Guarded = TaskState | ParallelState | MapState;

/** Attempts, until one succeeds, no Retrier takes the error, and no Catcher either. */
async function guarded(
  strand: Strand,
  state: Guarded,
  attempt: () => Promise<Json>,
): Promise<Outcome> {
  const { engine } = strand.run;
  for (;;) {
    try {
      if (strand.position.phase === 'retry') {
        await sleepUntil(engine, strand.position.until, [strand.signal, engine.closing]);
        move(strand, 'entered');
      }
      const result = await attempt();
      return await leave(strand, state, result, { result });
    } catch (thrown) {
      if (thrown instanceof Stopped) throw thrown;
      const error = asMachineError(thrown);
      if (await retried(strand, state.Retry ?? [], error)) continue;
      const catcher = state.Catch?.find(({ ErrorEquals }) => takes(ErrorEquals, error.error));
      if (!catcher) throw error;
      return caught(strand, state, catcher, error);
    }
  }
}

/** Notes when to try again, if a Retrier takes the error and has attempts left. */
async function retried(
  strand: Strand,
  retriers: readonly Retrier[],
  error: MachineError,
): Promise<boolean> {
  const index = retriers.findIndex(({ ErrorEquals }) => takes(ErrorEquals, error.error));
  const retrier = retriers[index];
  if (!retrier) return false;
  const retries = retriers.map((_, i) => strand.position.retries[i] ?? 0);
  const before = retries[index] ?? 0;
  if (before >= (retrier.MaxAttempts ?? 3)) return false;
  retries[index] = before + 1;
  const { world } = strand.run.engine;
  const until = world.now() + delayMs(retrier, before, () => fraction(world.randomBytes(7)));
  strand.work = undefined;
  strand.workKept = false;
  move(strand, 'retry', { until, retries, attempt: strand.position.attempt + 1 });
  await settleDurably(strand);
  return true;
}

/** The wait before retry number `before + 1`. */
function delayMs(retrier: Retrier, before: number, random: () => number): number {
  const { IntervalSeconds = 1, BackoffRate = 2, MaxDelaySeconds = 99_999_999 } = retrier;
  const seconds = Math.min(IntervalSeconds * BackoffRate ** before, MaxDelaySeconds);
  const part = retrier.JitterStrategy === 'FULL' ? random() : 1;
  return Math.round(seconds * 1000 * part);
}

async function caught(
  strand: Strand,
  state: Guarded,
  catcher: Catcher,
  error: MachineError,
): Promise<Outcome> {
  const errorOutput = { Error: error.error, Cause: error.cause };
  const { Output, Assign, Next } = catcher;
  const leaving = {
    Type: state.Type,
    Next,
    ...(Output === undefined ? {} : { Output }),
    ...(Assign === undefined ? {} : { Assign }),
  };
  return leave(strand, leaving, errorOutput, { errorOutput });
}

// ---------------------------------------------------------------- Parallel and Map

interface Inner {
  readonly scope: Scope;
  readonly input: () => Promise<Json>;
  readonly item?: MapItem;
}

async function branch(strand: Strand, state: ParallelState): Promise<Json> {
  if (strand.position.phase !== 'inner') {
    strand.work =
      state.Arguments === undefined
        ? strand.data
        : await fill(strand, state.Arguments, 'Arguments', statesOf(strand));
    strand.workKept = false;
    record(strand, 'ParallelStateStarted');
    move(strand, 'inner');
    settle(strand);
  }
  const input = strand.work ?? null;
  const inner = state.Branches.map((scope) => ({ scope, input: async () => input }));
  return runInner(strand, 'Parallel', inner, inner.length);
}

async function iterate(strand: Strand, state: MapState): Promise<Json> {
  if (strand.position.phase !== 'inner') {
    strand.work = await itemsOf(strand, state);
    strand.workKept = false;
    record(strand, 'MapStateStarted', { length: strand.work.length });
    move(strand, 'inner');
    settle(strand);
  }
  const items = Array.isArray(strand.work) ? strand.work : [];
  const atOnce = await concurrency(strand, state);
  const inner = items.map((Value, Index): Inner => {
    const item = { Index, Value };
    const selected = state.ItemSelector;
    const input = async () =>
      selected === undefined
        ? Value
        : fill(strand, selected, 'ItemSelector', statesOf(strand, {}, item));
    return { scope: state.ItemProcessor, input, item };
  });
  return runInner(strand, 'Map', inner, atOnce);
}

async function itemsOf(strand: Strand, state: MapState): Promise<Json[]> {
  try {
    const items =
      state.Items === undefined
        ? strand.data
        : await fill(strand, state.Items as Json, 'Items', statesOf(strand));
    if (!Array.isArray(items)) throw wrongValue(strand, 'Items', items);
    return items;
  } catch (error) {
    record(strand, 'MapStateFailed', wordsOfError(error));
    throw error;
  }
}

async function concurrency(strand: Strand, state: MapState): Promise<number> {
  const most = LIMITS.inlineMapConcurrency;
  if (state.MaxConcurrency === undefined) return most;
  const given = await fill(strand, state.MaxConcurrency, 'MaxConcurrency', statesOf(strand));
  if (!Number.isInteger(given) || Number(given) < 0)
    throw wrongValue(strand, 'MaxConcurrency', given);
  return Number(given) === 0 ? most : Math.min(most, Number(given));
}

/** Runs branches or iterations, so many at once; the first uncaught error stops the others. */
async function runInner(
  strand: Strand,
  kind: 'Parallel' | 'Map',
  inner: readonly Inner[],
  atOnce: number,
): Promise<Json> {
  const { controller, release } = childController(strand.signal);
  const outputs: Json[] = new Array(inner.length).fill(null);
  const name = strand.position.state;
  let next = 0;
  let failure: { error: unknown; child: Strand } | undefined;

  async function work() {
    for (let index = next++; index < inner.length; index = next++) {
      const each = inner[index];
      if (!each || failure) return;
      const child = openChild(strand, index, each, controller.signal);
      try {
        outputs[index] = await runChild(strand, child, each, kind, { name, index });
      } catch (error) {
        if (!failure && !(error instanceof Stopped)) failure = { error, child };
        controller.abort();
        if (error instanceof Stopped) return;
      }
    }
  }

  try {
    await Promise.all(Array.from({ length: Math.min(atOnce, inner.length) }, work));
  } finally {
    release();
  }
  checkRunning(strand);
  if (failure) {
    strand.staged.push(...failure.child.staged);
    if (kind === 'Map')
      record(strand, 'MapIterationFailed', { name, index: indexOf(failure.child) });
    record(strand, `${kind}StateFailed`, wordsOfError(failure.error));
    throw failure.error;
  }
  textOf(outputs, 'The result');
  record(strand, `${kind}StateSucceeded`);
  return outputs;
}

const indexOf = (child: Strand): number => child.item?.Index ?? 0;

function wordsOfError(thrown: unknown) {
  const { error, cause } = asMachineError(thrown);
  return { error, cause };
}

function openChild(parent: Strand, index: number, inner: Inner, signal: AbortSignal): Strand {
  const { entry, attempt, eventId } = parent.position;
  return openStrand(parent.run, `${parent.id}/${entry}.${attempt}.${index}`, inner.scope, {
    parent,
    signal,
    eventId,
    ...(inner.item ? { item: inner.item } : {}),
  });
}

async function runChild(
  parent: Strand,
  child: Strand,
  inner: Inner,
  kind: 'Parallel' | 'Map',
  about: { name: string; index: number },
): Promise<Json> {
  if (child.position.phase === 'done') return child.data;
  let input: Json = null;
  if (isFresh(child)) {
    checkRunning(child);
    if (kind === 'Map') record(child, 'MapIterationStarted', about);
    input = await inner.input();
  }
  const output = await runStrand(child, input);
  checkRunning(child);
  if (kind === 'Map') record(child, 'MapIterationSucceeded', about);
  child.data = output;
  move(child, 'done');
  settle(child);
  void parent.run.ledger.flush().catch(() => undefined);
  return output;
}
