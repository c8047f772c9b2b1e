import type { Json } from '../../functions/kernel/json.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import type { Task } from '../../functions/platform/ports.ts';
import { DEPLOYED, EXECUTION_NAME, problemError } from '../../statemachines/resources.ts';
import type { Integration } from './engine.ts';
import { lambdaCause, MachineError } from './errors.ts';

/** What `arn:aws:states:::lambda:invoke` runs here: tasks of rooms by name, other functions by their whole name. */
export interface Functions {
  /** `begin-task` answers `stillflow-begin-task`. Called with the Payload. */
  readonly tasks: { readonly [task: string]: Task };
  /** By function name, such as `stillflow-run-step`. Called with the Payload as arguments. */
  readonly functions: { readonly [name: string]: Integration };
}

/** Answers as Lambda's optimised integration does, errors included. */
export function lambdaInvoke({ tasks, functions }: Functions): Integration {
  return async (call, args, context, signal) => {
    const { FunctionName, Payload = null } = args as { FunctionName: string; Payload?: Json };
    const task = FunctionName.startsWith(DEPLOYED)
      ? own(tasks, FunctionName.slice(DEPLOYED.length))
      : undefined;
    const run = own(functions, FunctionName);
    if (!task && !run)
      throw new MachineError(
        'Lambda.ResourceNotFoundException',
        `Function not found: ${FunctionName}`,
      );
    const name = `${call.workspace}-${context.execution}`;
    if (task && (Payload as { execution?: Json } | null)?.execution !== name)
      throw new MachineError(
        'States.Runtime',
        `The Payload for ${FunctionName} must hold "execution": "${EXECUTION_NAME}".`,
      );
    // A task changes nothing that must be undone, so one that nobody waits for is not even begun.
    if (task && signal.aborted) throw new MachineError('States.TaskFailed', 'aborted');
    try {
      const answer = task ? await task(call, Payload) : await run?.(call, Payload, context, signal);
      const plain: Json = JSON.parse(JSON.stringify(answer ?? null));
      return { ExecutedVersion: '$LATEST', Payload: plain, StatusCode: 200 };
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      const name = problemError(error.code);
      throw new MachineError(name, lambdaCause(name, error.message));
    }
  };
}

const own = <T>(record: { readonly [name: string]: T }, name: string): T | undefined =>
  Object.hasOwn(record, name) ? record[name] : undefined;
