import type { Event } from '../kernel/event.ts';
import type { MachineState } from '../platform/ports.ts';
import type { Run, RunState, TaskRecord } from './model.ts';

/** What is told of a run, with what a repeat under its Idempotency-Key is answered. */
export const runEvent = (type: `pipelines.run.${string}`, run: Run, answer?: unknown): Event => ({
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

/** A record in another state, with the entry of its history. */
export function moved<T extends Run | TaskRecord>(
  record: T,
  state: T['state'],
  at: number,
  error?: string,
): T {
  const why = error === undefined ? {} : { error };
  return { ...record, state, ...why, history: [...record.history, { at, state, ...why }] };
}

const FINAL_STATUS = { SUCCEEDED: 'FINISHED', FAILED: 'FAILED', CANCELED: 'KILLED' } as const;
type FinalState = keyof typeof FINAL_STATUS;

/** As the MLflow side says it. */
export const statusOf = (state: RunState) => FINAL_STATUS[state as FinalState];

export const finalVerbs = {
  SUCCEEDED: 'succeeded',
  FAILED: 'failed',
  CANCELED: 'canceled',
} as const satisfies Record<FinalState, string>;

export function finalState(run: Run, ended: MachineState): FinalState {
  if (ended === 'SUCCEEDED') return 'SUCCEEDED';
  return ended === 'ABORTED' || run.state === 'CANCELING' ? 'CANCELED' : 'FAILED';
}
