import { isDeepStrictEqual } from 'node:util';
import {
  CreateStateMachineCommand,
  DeleteStateMachineCommand,
  DescribeExecutionCommand,
  type DescribeExecutionCommandOutput,
  DescribeStateMachineCommand,
  GetExecutionHistoryCommand,
  type GetExecutionHistoryCommandInput,
  type SFNClient,
  type HistoryEvent as SfnEvent,
  StartExecutionCommand,
  StopExecutionCommand,
} from '@aws-sdk/client-sfn';
import { DEPLOYED, isWritten, readStackMachine } from '../../../statemachines/resources.ts';
import type { Call } from '../../kernel/call.ts';
import type { Json } from '../../kernel/json.ts';
import { Problem, type ProblemCode } from '../../kernel/problem.ts';
import { checkMachineName, checkStart } from '../machine_spec.ts';
import type { Execution, HistoryEvent, MachineState, Machines } from '../ports.ts';
import { cloudName } from './names.ts';

export interface StepFunctionsOptions {
  readonly client: SFNClient;
  /** `arn:aws:states:eu-central-1:123456789012`. */
  readonly arn: string;
  /** Generated machines run with it; written ones with what the stack gave them. */
  readonly roleArn: string;
}

const PAGE = 1000;

/**
 * The Machines port on Step Functions. What ends is told by EventBridge, not here: a rule hands
 * `Step Functions Execution Status Change` to the relay as `machines.execution.ended`.
 */
export function stepFunctions({ client, arn, roleArn }: StepFunctionsOptions): Machines {
  const deployed = (call: Call, machine: string) => {
    const shared = isWritten(machine) ? machine : readStackMachine(machine)?.name;
    return shared === undefined ? cloudName(call.workspace, machine) : `${DEPLOYED}${shared}`;
  };
  /** A stack's pipeline by its version, so that a run keeps to the text that it was created for. */
  const machineArn = (call: Call, machine: string) => {
    const version = readStackMachine(machine)?.version;
    const whole = `${arn}:stateMachine:${deployed(call, machine)}`;
    return version === undefined ? whole : `${whole}:${version}`;
  };
  const madeByStack = (machine: string) =>
    isWritten(machine) || readStackMachine(machine) !== undefined;
  const executionArn = (call: Call, machine: string, execution: string) =>
    `${arn}:execution:${deployed(call, machine)}:${call.workspace}-${execution}`;

  async function describeMachine(call: Call, machine: string): Promise<Json | undefined> {
    const stateMachineArn = machineArn(call, machine);
    try {
      const found = await client.send(new DescribeStateMachineCommand({ stateMachineArn }));
      if (found.status === 'DELETING' || found.definition === undefined) return undefined;
      return JSON.parse(found.definition);
    } catch (error) {
      if (named(error, 'StateMachineDoesNotExist', 'InvalidArn')) return undefined;
      throw worded(error);
    }
  }

  async function describe(
    call: Call,
    machine: string,
    execution: string,
  ): Promise<Execution | undefined> {
    try {
      const command = new DescribeExecutionCommand({
        executionArn: executionArn(call, machine, execution),
      });
      return readExecution(machine, execution, await client.send(command));
    } catch (error) {
      if (named(error, 'ExecutionDoesNotExist', 'InvalidArn')) return undefined;
      throw worded(error);
    }
  }

  return {
    async define(call, name, definition) {
      checkMachineName(name);
      if (madeByStack(name))
        throw new Problem('conflict', `${name} is a written state machine: choose another name.`);
      try {
        await client.send(
          new CreateStateMachineCommand({
            name: deployed(call, name),
            definition: JSON.stringify(definition),
            roleArn,
            type: 'STANDARD',
          }),
        );
      } catch (error) {
        if (!named(error, 'StateMachineAlreadyExists', 'ConflictException')) throw worded(error);
        // It compares text, and the same machine may have been written with its fields in another order.
        if (isDeepStrictEqual(await describeMachine(call, name), definition)) return;
        throw new Problem('conflict', `The state machine ${name} is defined with another text.`, {
          cause: error,
        });
      }
    },

    async remove(call, name) {
      if (madeByStack(name))
        throw new Problem('conflict', `${name} is a written state machine and stays.`);
      try {
        const stateMachineArn = machineArn(call, name);
        await client.send(new DeleteStateMachineCommand({ stateMachineArn }));
      } catch (error) {
        if (!named(error, 'StateMachineDoesNotExist', 'InvalidArn')) throw worded(error);
      }
    },

    async start(call, machine, execution, input) {
      const text = checkStart(machine, execution, input);
      try {
        await client.send(
          new StartExecutionCommand({
            stateMachineArn: machineArn(call, machine),
            name: `${call.workspace}-${execution}`,
            input: text,
          }),
        );
      } catch (error) {
        if (!named(error, 'ExecutionAlreadyExists')) throw worded(error);
        // Also what a repeat hears whose first answer was lost, once the execution has ended.
        const first = await describe(call, machine, execution);
        if (first && isDeepStrictEqual(first.input, JSON.parse(text))) return;
        throw new Problem('exists', `Execution ${execution} was started with another input.`, {
          cause: error,
        });
      }
    },

    async stop(call, machine, execution, reason) {
      try {
        await client.send(
          new StopExecutionCommand({
            executionArn: executionArn(call, machine, execution),
            cause: reason.slice(0, 32_768),
          }),
        );
      } catch (error) {
        if (named(error, 'ExecutionDoesNotExist', 'InvalidArn'))
          throw new Problem('missing', `Execution ${execution} not found.`, { cause: error });
        const found = named(error, 'ValidationException')
          ? await describe(call, machine, execution)
          : undefined;
        if (!found || found.state === 'RUNNING') throw worded(error);
      }
    },

    describe,

    address: (call, machine, execution) => ({
      StateMachineArn: machineArn(call, machine),
      Name: `${call.workspace}-${execution}`,
    }),

    async history(call, machine, execution, afterId = 0) {
      const ask = {
        executionArn: executionArn(call, machine, execution),
        maxResults: PAGE,
        includeExecutionData: true,
        // One who has read some before mostly misses the last few: those come first in reverse.
        reverseOrder: afterId > 0,
      };
      const events: HistoryEvent[] = [];
      try {
        for await (const page of historyPages(client, ask)) {
          events.push(...page.filter(({ id }) => id > afterId));
          const whole = ask.reverseOrder ? page.some(({ id }) => id <= afterId) : true;
          if (whole) break;
        }
      } catch (error) {
        if (named(error, 'ExecutionDoesNotExist', 'InvalidArn'))
          throw new Problem('missing', `Execution ${execution} not found.`, { cause: error });
        throw worded(error);
      }
      return events.sort((a, b) => a.id - b.id).slice(0, PAGE);
    },

    definition: describeMachine,
  };
}

async function* historyPages(
  client: SFNClient,
  ask: GetExecutionHistoryCommandInput,
): AsyncGenerator<HistoryEvent[]> {
  let nextToken: string | undefined;
  do {
    const command = new GetExecutionHistoryCommand(nextToken ? { ...ask, nextToken } : ask);
    const page = await client.send(command);
    yield (page.events ?? []).map(readEvent);
    nextToken = page.nextToken;
  } while (nextToken);
}

/** `taskScheduledEventDetails` and its like: the one object that an event carries, whatever its name. */
function readEvent(event: SfnEvent): HistoryEvent {
  const { id = 0, previousEventId = 0, type = '', timestamp } = event;
  const [details = {}] = Object.entries(event)
    .filter(([name]) => name.endsWith('EventDetails'))
    .map(([, value]) => value as { [name: string]: Json | undefined });
  return { id, previousEventId, type, timestamp: timestamp?.getTime() ?? 0, details };
}

function readExecution(
  machine: string,
  execution: string,
  found: DescribeExecutionCommandOutput,
): Execution {
  const { input = '{}', output, error, cause, startDate, stopDate } = found;
  return {
    machine,
    execution,
    state: found.status === 'PENDING_REDRIVE' ? 'RUNNING' : (found.status as MachineState),
    input: JSON.parse(input),
    startedAt: startDate?.getTime() ?? 0,
    ...(output === undefined ? {} : { output: JSON.parse(output) }),
    ...(error === undefined ? {} : { error }),
    ...(cause === undefined ? {} : { cause }),
    ...(stopDate === undefined ? {} : { endedAt: stopDate.getTime() }),
  };
}

const named = (error: unknown, ...names: readonly string[]): boolean =>
  error instanceof Error && names.includes(error.name);

/** What Step Functions says, in our words. What it retries itself has been retried by the client before. */
const WORDS: { readonly [name: string]: readonly [ProblemCode, string] } = {
  StateMachineDoesNotExist: ['missing', 'The state machine is not defined.'],
  StateMachineDeleting: ['unavailable', 'The state machine is being deleted; try again later.'],
  StateMachineLimitExceeded: ['exhausted', 'The account has no room for another state machine.'],
  ExecutionLimitExceeded: ['exhausted', 'The account has no room for another execution.'],
  InvalidDefinition: ['invalid', 'Step Functions refuses this definition'],
  InvalidName: ['invalid', 'Step Functions refuses this name'],
  InvalidExecutionInput: ['invalid', 'Step Functions refuses this input'],
  ThrottlingException: ['unavailable', 'Step Functions is throttling; try again.'],
  TooManyRequestsException: ['unavailable', 'Step Functions is throttling; try again.'],
  ServiceUnavailable: ['unavailable', 'Step Functions does not answer; try again.'],
  InternalFailure: ['unavailable', 'Step Functions does not answer; try again.'],
  TimeoutError: ['unavailable', 'Step Functions does not answer; try again.'],
};

function worded(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof Problem) return error;
  const [code, words] = WORDS[error.name] ?? [];
  if (code === undefined || words === undefined) return error;
  // What it refuses is the caller's own text, and only it says why.
  const message = code === 'invalid' ? `${words}: ${error.message.slice(0, 1000)}` : words;
  return new Problem(code, message, {
    cause: error,
    ...(code === 'unavailable' || code === 'exhausted' ? { retryAfterSeconds: 2 } : {}),
  });
}
