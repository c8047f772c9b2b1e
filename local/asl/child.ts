import type { Json } from '../../functions/kernel/json.ts';
import type { Problem } from '../../functions/kernel/problem.ts';
import type { Execution } from '../../functions/platform/ports.ts';
import { DEPLOYED, isWritten } from '../../statemachines/resources.ts';
import { MachineError } from './errors.ts';

/** What stands before every name of a machine here, where AWS has Region and account. */
export const ACCOUNT = 'arn:aws:states:local:000000000000';

export const deployedName = (workspace: string, machine: string): string =>
  isWritten(machine) ? `${DEPLOYED}${machine}` : `${workspace}-${machine}`;

/** Which machine and execution of this workspace the arguments name; others do not exist. */
export function readChild(workspace: string, args: Json): { machine: string; execution: string } {
  const { StateMachineArn = '', Name = '' } = args as { StateMachineArn?: Json; Name?: Json };
  const deployed = String(StateMachineArn).split(':').at(-1) ?? '';
  const own = `${workspace}-`;
  const shared = deployed.startsWith(DEPLOYED) && isWritten(deployed.slice(DEPLOYED.length));
  const machine = shared
    ? deployed.slice(DEPLOYED.length)
    : deployed.startsWith(own)
      ? deployed.slice(own.length)
      : undefined;
  if (machine === undefined)
    throw new MachineError(
      'StepFunctions.StateMachineDoesNotExistException',
      `State Machine Does Not Exist: '${String(StateMachineArn)}'`,
    );
  if (!String(Name).startsWith(own))
    throw new MachineError(
      'StepFunctions.InvalidNameException',
      `Invalid Name: '${String(Name)}' must start with '${own}'`,
    );
  return { machine, execution: String(Name).slice(own.length) };
}

/** As Step Functions names what StartExecution refuses. */
export function startError(problem: Problem): MachineError {
  const names = {
    exists: 'StepFunctions.ExecutionAlreadyExistsException',
    missing: 'StepFunctions.StateMachineDoesNotExistException',
    invalid: 'StepFunctions.InvalidNameException',
  } as { readonly [code: string]: string };
  return new MachineError(names[problem.code] ?? 'States.TaskFailed', problem.message);
}

/** As DescribeExecution words it, with the output as JSON; a child that failed is an error. */
export function childResult(workspace: string, end: Execution): Json {
  const deployed = deployedName(workspace, end.machine);
  const Name = `${workspace}-${end.execution}`;
  const result = {
    ExecutionArn: `${ACCOUNT}:execution:${deployed}:${Name}`,
    Input: end.input,
    Name,
    StartDate: new Date(end.startedAt).toISOString(),
    StateMachineArn: `${ACCOUNT}:stateMachine:${deployed}`,
    Status: end.state,
    StopDate: new Date(end.endedAt ?? end.startedAt).toISOString(),
    ...(end.output === undefined ? {} : { Output: end.output }),
    ...(end.error === undefined ? {} : { Error: end.error }),
    ...(end.cause === undefined ? {} : { Cause: end.cause }),
  };
  if (end.state !== 'SUCCEEDED')
    throw new MachineError('States.TaskFailed', JSON.stringify(result));
  return result;
}
