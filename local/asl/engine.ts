import type { Call } from '../../functions/kernel/call.ts';
import type { Json } from '../../functions/kernel/json.ts';
import type { World } from '../../functions/kernel/world.ts';
import type { Evaluator } from './jsonata.ts';
import type { Timers } from './timers.ts';

/** What an integration is told beside its arguments. */
export interface IntegrationContext {
  readonly machine: string;
  readonly execution: string;
  readonly state: string;
  /** Retries before this one: 0 at first. */
  readonly attempt: number;
  /** 32 hex digits, the same when a restarted server runs this attempt again: do it once by this. */
  readonly id: string;
}

/**
 * What a Task's Resource does. It may be called again with the same `id` after a restart, and must then find what it
 * did. `signal` aborts when nobody waits any more: stop what was started; called with a signal that is aborted
 * already, it must stop what an earlier call with this id may have started. Throw MachineError for an error that
 * machines catch by name; whatever else is thrown goes by its `name`.
 */
export type Integration = (
  call: Call,
  args: Json,
  context: IntegrationContext,
  signal: AbortSignal,
) => Promise<Json>;

/** What all executions of one server share. */
export interface Engine {
  readonly world: World;
  readonly timers: Timers;
  readonly evaluator: Evaluator;
  /** Aborts when the server closes: everything stands still, and nothing is stopped. */
  readonly closing: AbortSignal;
  integration(resource: string): Integration;
  log(line: { [name: string]: unknown }): void;
}

/** Thrown through a strand that must not go on: stopped, aborted by a sibling, or the server closes. */
export class Stopped extends Error {
  constructor() {
    super('stopped');
    this.name = 'Stopped';
  }
}

/** Settles like `work`, or throws Stopped as soon as one of the signals aborts. */
export function unlessStopped<T>(work: Promise<T>, signals: readonly AbortSignal[]): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const stop = () => settle(() => reject(new Stopped()));
    const settle = (how: () => void) => {
      for (const signal of signals) signal.removeEventListener('abort', stop);
      how();
    };
    for (const signal of signals) signal.addEventListener('abort', stop);
    work.then(
      (value) => settle(() => resolve(value)),
      (error) => settle(() => reject(error)),
    );
    if (signals.some((signal) => signal.aborted)) stop();
  });
}

/** Resolves at this time; throws Stopped when one of the signals aborts first. */
export function sleepUntil(
  engine: Engine,
  time: number,
  signals: readonly AbortSignal[],
): Promise<void> {
  if (time <= engine.world.now() && !signals.some(({ aborted }) => aborted))
    return Promise.resolve();
  let cancel: () => void = () => undefined;
  const rung = new Promise<void>((resolve) => {
    cancel = engine.timers.at(time, resolve);
  });
  return unlessStopped(rung, signals).finally(() => cancel());
}

/** A controller that aborts with its parent; `release` once it is over. */
export function childController(parent: AbortSignal): {
  controller: AbortController;
  release: () => void;
} {
  const controller = new AbortController();
  const abort = () => controller.abort();
  if (parent.aborted) abort();
  else parent.addEventListener('abort', abort, { once: true });
  return { controller, release: () => parent.removeEventListener('abort', abort) };
}
