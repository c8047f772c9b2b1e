import { LIMITS } from '../../statemachines/asl.ts';

/** An error as machines know it: a name that Retry and Catch match, and a cause for people. */
export class MachineError extends Error {
  readonly error: string;
  override readonly cause: string;
  constructor(error: string, cause: string) {
    super(`${error}: ${cause}`);
    this.name = 'MachineError';
    this.error = error.slice(0, LIMITS.errorLength);
    this.cause = cause.slice(0, LIMITS.causeLength);
  }
}

/** What no Retry and no Catch on States.ALL ever sees. Source: Step Functions, "Handling errors in workflows". */
const TERMINAL: readonly string[] = ['States.Runtime', 'States.DataLimitExceeded'];

/** Whether a Retrier or Catcher with these names takes this error. */
export function takes(errorEquals: readonly string[], error: string): boolean {
  if (error === 'States.DataLimitExceeded') return errorEquals.includes(error);
  if (TERMINAL.includes(error)) return false;
  return errorEquals.some(
    (name) =>
      name === error ||
      name === 'States.ALL' ||
      (name === 'States.TaskFailed' && error !== 'States.Timeout'),
  );
}

/** Whatever an integration threw, as an error that a machine may catch. */
export function asMachineError(thrown: unknown): MachineError {
  if (thrown instanceof MachineError) return thrown;
  const name = thrown instanceof Error ? thrown.name : 'Error';
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new MachineError(name, lambdaCause(name, message));
}

/** The cause that Lambda gives for an error thrown by a Node handler; we show no stack. */
export const lambdaCause = (errorType: string, errorMessage: string): string =>
  JSON.stringify({ errorType, errorMessage, trace: [] });
