import { createHash } from 'node:crypto';
import type { Json } from '../../functions/kernel/json.ts';
import { type Assignments, LIMITS, type Scope, type State } from '../../statemachines/asl.ts';
import { type Engine, Stopped } from './engine.ts';
import { MachineError } from './errors.ts';
import {
  charactersOf,
  type Kept,
  type Phase,
  type Position,
  positionRecord,
  textRecord,
  variablesSk,
  workSk,
} from './journal.ts';
import { isExpression, textOf } from './jsonata.ts';
import type { Ledger, Staged } from './ledger.ts';

/** What all strands of one execution share. */
export interface Run {
  readonly engine: Engine;
  readonly ledger: Ledger;
  readonly pk: string;
  readonly workspace: string;
  readonly machine: string;
  readonly execution: string;
  /** `$states.context` but for State and Map. */
  readonly context: { readonly [name: string]: Json };
  /** What was kept of strands before a restart, taken as they are reached. */
  readonly kept: Map<string, Kept>;
  /** Integrations that have not come back, those that nobody waits for included. */
  readonly performing: Set<Promise<unknown>>;
  /** Of all variables of all strands. */
  variablesBytes: number;
  /** Events noted so far, those not settled yet included. */
  noted: number;
}

/** An item of a Map, as its iteration sees it. */
export interface MapItem {
  readonly Index: number;
  readonly Value: Json;
}

interface Variable {
  readonly value: Json;
  readonly bytes: number;
  /** The key of the item that holds it. */
  readonly sk: string;
}

/** One line of control: the machine itself, a branch of a Parallel, an iteration of a Map. */
export interface Strand {
  readonly run: Run;
  readonly id: string;
  readonly scope: Scope;
  readonly parent: Strand | undefined;
  readonly item: MapItem | undefined;
  /** Aborts when nobody needs its result. */
  readonly signal: AbortSignal;
  readonly variables: Map<string, Variable>;
  position: Position;
  /** The state's input; once done, the output. */
  data: Json;
  /** A Task's arguments, a Parallel's input, a Map's items: evaluated once, kept for a restart. */
  work: Json | undefined;
  workKept: boolean;
  staged: Staged[];
  stagedCharacters: number;
  /** Items of variables to write, or to remove, with the next settlement. */
  assigned: Map<string, { [name: string]: Json } | undefined>;
}

const NOWHERE: Position = {
  state: '',
  entry: 0,
  enteredAt: 0,
  phase: 'entered',
  attempt: 0,
  retries: [],
  until: 0,
  eventId: 0,
};

export function openStrand(
  run: Run,
  id: string,
  scope: Scope,
  rest: { parent?: Strand; item?: MapItem; signal: AbortSignal; eventId: number },
): Strand {
  const strand: Strand = {
    run,
    id,
    scope,
    parent: rest.parent,
    item: rest.item,
    signal: rest.signal,
    variables: new Map(),
    position: { ...NOWHERE, eventId: rest.eventId },
    data: null,
    work: undefined,
    workKept: false,
    staged: [],
    stagedCharacters: 0,
    assigned: new Map(),
  };
  const kept = run.kept.get(id);
  if (!kept) return strand;
  run.kept.delete(id);
  strand.position = kept.position;
  strand.data = kept.data;
  strand.work = kept.work;
  strand.workKept = kept.work !== undefined;
  for (const { sk, values } of kept.assigned)
    for (const [name, value] of Object.entries(values)) setVariable(strand, name, value, sk);
  return strand;
}

/** True if it has never entered a state. */
export const isFresh = (strand: Strand): boolean => strand.position.entry === 0;

export function checkRunning(strand: Strand) {
  if (strand.signal.aborted || strand.run.engine.closing.aborted) throw new Stopped();
}

/** Notes an event; it gets its number when the transition settles. */
export function record(strand: Strand, type: string, details: Staged['details'] = {}) {
  const { run } = strand;
  // The last number is kept for how the execution ends.
  if (run.noted >= LIMITS.historyEvents - 1)
    throw new MachineError(
      'States.Runtime',
      `The execution reached the maximum number of history events (${LIMITS.historyEvents}).`,
    );
  run.noted += 1;
  strand.staged.push({ type, timestamp: run.engine.world.now(), details });
  strand.stagedCharacters += charactersOf(details);
}

/** Moves on to this phase; in memory until it settles. */
export function move(strand: Strand, phase: Phase, changes: Partial<Position> = {}) {
  strand.position = { ...strand.position, phase, ...changes };
}

/** Queues what happened since the last settlement, as one transition. */
export function settle(strand: Strand) {
  const { run, id, staged, assigned } = strand;
  const { pk } = run;
  strand.staged = [];
  strand.stagedCharacters = 0;
  strand.assigned = new Map();
  run.ledger.settle(staged, strand.position.eventId, (eventId) => {
    strand.position = { ...strand.position, eventId };
    const puts = [positionRecord(pk, id, strand.position, strand.data)];
    const removes: string[] = [];
    if (strand.work !== undefined && !strand.workKept) {
      puts.push(textRecord(pk, workSk(id), strand.work));
      strand.workKept = true;
    }
    for (const [sk, values] of assigned) {
      if (values) puts.push(textRecord(pk, sk, values));
      else removes.push(sk);
    }
    return { puts, removes };
  });
}

/** Settles, and waits until it is durable: before every effect, so that a restart does the same again. */
export async function settleDurably(strand: Strand) {
  settle(strand);
  await strand.run.ledger.flush();
  if (strand.run.ledger.closed()) throw new Stopped();
  checkRunning(strand);
}

/** Goes into a state with this input. */
export function enter(strand: Strand, name: string, input: Json) {
  const state = stateOf(strand.scope, name);
  record(strand, `${state.Type}StateEntered`, { name, input: textOf(input, 'The input') });
  strand.data = input;
  strand.work = undefined;
  strand.workKept = false;
  strand.position = {
    state: name,
    entry: strand.position.entry + 1,
    enteredAt: strand.run.engine.world.now(),
    phase: 'entered',
    attempt: 0,
    retries: [],
    until: 0,
    eventId: strand.position.eventId,
  };
}

export function stateOf(scope: Scope, name: string): State {
  const state = scope.States[name];
  if (!state) throw new MachineError('States.Runtime', `There is no state '${name}'.`);
  return state;
}

function setVariable(strand: Strand, name: string, value: Json, sk: string) {
  const bytes = Buffer.byteLength(JSON.stringify(value));
  strand.run.variablesBytes += bytes - (strand.variables.get(name)?.bytes ?? 0);
  strand.variables.set(name, { value, bytes, sk });
}

/** Variables from the next state on; what held their old values goes when nothing of it is left. */
export function assign(strand: Strand, values: { [name: string]: Json }) {
  if (Object.keys(values).length === 0) return;
  textOf(values, 'Assign');
  const sk = variablesSk(strand.id, strand.position.entry);
  const before = new Set<string>();
  for (const [name, value] of Object.entries(values)) {
    const old = strand.variables.get(name)?.sk;
    if (old !== undefined && old !== sk) before.add(old);
    setVariable(strand, name, value, sk);
  }
  if (strand.run.variablesBytes > LIMITS.variablesBytes)
    throw new MachineError(
      'States.DataLimitExceeded',
      `The variables of the execution are larger than ${LIMITS.variablesBytes} bytes.`,
    );
  strand.assigned.set(sk, values);
  for (const variable of strand.variables.values()) before.delete(variable.sk);
  for (const old of before) strand.assigned.set(old, undefined);
}

/** Those of the scopes around are seen too; names are unique, as `define` has checked. */
function visible(strand: Strand): { [name: string]: Json } {
  const seen = strand.parent ? visible(strand.parent) : {};
  for (const [name, { value }] of strand.variables) seen[name] = value;
  return seen;
}

const itemOf = (strand: Strand | undefined): MapItem | undefined =>
  strand && (strand.item ?? itemOf(strand.parent));

/** What `$states` is where the strand stands. */
export function statesOf(
  strand: Strand,
  more: { readonly [name: string]: Json } = {},
  item = itemOf(strand),
): { [name: string]: Json } {
  const { position, run } = strand;
  return {
    input: strand.data,
    context: {
      ...run.context,
      State: {
        Name: position.state,
        EnteredTime: new Date(position.enteredAt).toISOString(),
        RetryCount: position.attempt,
      },
      ...(item ? { Map: { Item: { ...item } } } : {}),
    },
    ...more,
  };
}

/** A template with every expression in it evaluated. Notes `EvaluationFailed` when one fails. */
export async function fill(
  strand: Strand,
  template: Json,
  field: string,
  states: { readonly [name: string]: Json },
): Promise<Json> {
  const variables = visible(strand);
  const { evaluator } = strand.run.engine;
  const value = async (part: Json): Promise<Json> => {
    if (isExpression(part)) return evaluator.evaluate(part, field, states, variables);
    if (part === null || typeof part !== 'object') return part;
    if (Array.isArray(part)) {
      const items: Json[] = [];
      for (const item of part) items.push(await value(item));
      return items;
    }
    const fields: [string, Json][] = [];
    for (const [name, item] of Object.entries(part)) fields.push([name, await value(item)]);
    return Object.fromEntries(fields);
  };
  try {
    const filled = await value(template);
    textOf(filled, field);
    return filled;
  } catch (error) {
    throw evaluationFailed(strand, field, error);
  }
}

function evaluationFailed(strand: Strand, field: string, thrown: unknown): unknown {
  if (!(thrown instanceof MachineError) || thrown.error !== 'States.QueryEvaluationError')
    return thrown;
  const { state } = strand.position;
  const cause = `An error occurred while executing the state '${state}'. ${thrown.cause}`;
  record(strand, 'EvaluationFailed', { error: thrown.error, cause, location: field, state });
  return new MachineError(thrown.error, cause);
}

/** A value that an expression may give, but not for this field. */
export function wrongValue(strand: Strand, field: string, value: Json): MachineError {
  const { state } = strand.position;
  const shown = JSON.stringify(value).slice(0, 100);
  const cause = `An error occurred while executing the state '${state}'. The field '${field}' may not be ${shown}.`;
  const error = 'States.QueryEvaluationError';
  record(strand, 'EvaluationFailed', { error, cause, location: field, state });
  return new MachineError(error, cause);
}

export async function fillAssignments(
  strand: Strand,
  assignments: Assignments | undefined,
  states: { readonly [name: string]: Json },
): Promise<{ [name: string]: Json }> {
  if (!assignments) return {};
  return (await fill(strand, { ...assignments }, 'Assign', states)) as { [name: string]: Json };
}

/** The identity of one attempt at the strand's state: the same after a restart. */
export function attemptId({ run, id, position }: Strand): string {
  const { workspace, machine, execution } = run;
  const parts = [workspace, machine, execution, id, position.entry, position.attempt];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32);
}
