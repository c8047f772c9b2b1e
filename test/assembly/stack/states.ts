import type { Call } from '../../../functions/kernel/call.ts';
import { systemCall } from '../../../functions/kernel/call.ts';
import { DEFAULT_WORKSPACE, type WorkspaceId } from '../../../functions/kernel/ids.ts';
import type { Json } from '../../../functions/kernel/json.ts';
import { Problem } from '../../../functions/kernel/problem.ts';
import { newUlid, type World } from '../../../functions/kernel/world.ts';
import type { Execution, HistoryEvent } from '../../../functions/platform/ports.ts';
import { childResult, startError } from '../../../local/asl/child.ts';
import type { Integration } from '../../../local/asl/engine.ts';
import { MachineError } from '../../../local/asl/errors.ts';
import { openBus } from '../../../local/bus.ts';
import { localMachines } from '../../../local/machines.ts';
import type { LocalTable } from '../../../local/table.ts';
import {
  DEPLOYED,
  INVOKE,
  RESOURCES,
  RULE_ACTIONS,
  START_EXECUTION,
} from '../../../statemachines/resources.ts';
import { type Access, AwsError, arnOf, type Caller } from './access.ts';
import type { Account } from './account.ts';
import type { Buses } from './bus.ts';
import type { Host } from './lambda.ts';
import { nameOf, splitName } from './names.ts';
import { type Fields, fields, text } from './values.ts';

export interface StatesParts {
  readonly account: Account;
  readonly access: Access;
  readonly host: Host;
  readonly buses: Buses;
  readonly table: LocalTable;
  readonly world: World;
  /** By Resource, each called with who the machine's role is. */
  readonly integrations: Readonly<
    Record<string, (caller: Caller, args: Json, signal: AbortSignal) => Promise<Json>>
  >;
  readonly log: (line: Record<string, unknown>) => void;
}

/** Step Functions: the product's interpreter behind AWS's own API, tasks by the machine's role. */
export async function stepFunctions(parts: StatesParts) {
  const { account, access, host, buses, table, world, log } = parts;
  const roles = new Map<string, string>();
  const written: Record<string, Json> = {};
  for (const { at, properties } of account.of('AWS::StepFunctions::StateMachine')) {
    const name = text(properties['StateMachineName']);
    if (!name.startsWith(DEPLOYED)) throw new Error(`${at} is called ${name}, not ${DEPLOYED}..`);
    written[name.slice(DEPLOYED.length)] = JSON.parse(text(properties['DefinitionString'])) as Json;
    roles.set(name, text(properties['RoleArn']));
    checkRole(name, text(properties['DefinitionString']));
  }
  const callOf = (workspace: WorkspaceId): Call =>
    systemCall(workspace, 'machines', newUlid(world), world.now() + 60_000);
  const machines = localMachines({ table, world, written, log });

  function callerOf(machine: string): Caller {
    const role = roles.get(machine);
    if (!role)
      throw new AwsError('StateMachineDoesNotExist', `State Machine Does Not Exist: '${machine}'`);
    return access.assume(role, `machine ${machine}`, 'states.amazonaws.com');
  }

  /** What Step Functions asks of a role when a machine is made: a rule of its own for each kind of job that it waits on. */
  function checkRole(name: string, definition: string): void {
    for (const { arn, rule } of RESOURCES)
      if (rule && definition.includes(`"${arn}"`))
        for (const action of RULE_ACTIONS)
          access.check(callerOf(name), { action, resource: arnOf('events', `rule/${rule}`) });
  }

  /** The integration of a role: what it may not do fails as its service says it. */
  const byRole =
    (
      run: (caller: Caller, args: Json, signal: AbortSignal) => Promise<Json>,
      refusal: string,
    ): Integration =>
    async (call, args, context, signal) => {
      const deployed = Object.hasOwn(written, context.machine)
        ? `${DEPLOYED}${context.machine}`
        : nameOf(call.workspace, context.machine);
      try {
        return await run(callerOf(deployed), args, signal);
      } catch (error) {
        if (error instanceof AwsError) throw new MachineError(refusal, error.message);
        throw error;
      }
    };

  const invoke = async (caller: Caller, args: Json): Promise<Json> => {
    const { FunctionName, Payload = {} } = fields(args);
    const spec = host.find(text(FunctionName));
    const resource = spec?.arn ?? arnOf('lambda', `function:${text(FunctionName)}`);
    access.check(caller, { action: 'lambda:InvokeFunction', resource });
    if (!spec)
      throw new MachineError('Lambda.ResourceNotFoundException', `Function not found: ${resource}`);
    const { error, body } = await host.invoke(spec, Buffer.from(JSON.stringify(Payload)));
    if (error) throw new MachineError(error.errorType, body.toString());
    return {
      ExecutedVersion: '$LATEST',
      Payload: JSON.parse(body.toString()) as Json,
      StatusCode: 200,
    };
  };

  const waiting = new Map<string, () => void>();

  /** `startExecution.sync:2`: a child by name, waited for, by the right of the machine's role. */
  const startChild = async (caller: Caller, args: Json, signal: AbortSignal): Promise<Json> => {
    const { StateMachineArn, Name, Input = {} } = fields(args);
    const arn = text(StateMachineArn);
    access.check(caller, { action: 'states:StartExecution', resource: arn });
    const { workspace, own: execution } = splitName(text(Name));
    const machine = splitName(arn.split(':').at(-1) ?? '').own;
    const call = callOf(workspace);
    const { executionArn } = arnsOf(workspace, { machine, execution });
    for (const action of ['states:DescribeExecution', 'states:StopExecution'])
      access.check(caller, { action, resource: executionArn });
    const over = new Promise<void>((resolve) => waiting.set(executionArn, resolve));
    const stop = () =>
      void machines
        .stop(callOf(workspace), machine, execution, 'Its parent was stopped.')
        .catch(() => {});
    signal.addEventListener('abort', stop);
    try {
      await machines.start(call, machine, execution, Input as Json).catch((error: unknown) => {
        throw error instanceof Problem ? startError(error) : error;
      });
      let found = await machines.describe(call, machine, execution);
      if (found?.state === 'RUNNING') await over;
      found = await machines.describe(callOf(workspace), machine, execution);
      if (!found) throw new MachineError('States.Runtime', `Execution ${executionArn} is gone.`);
      return childResult(workspace, found);
    } finally {
      waiting.delete(executionArn);
      signal.removeEventListener('abort', stop);
    }
  };

  const bus = openBus({
    table,
    world,
    folders: [],
    log,
    followers: [
      {
        name: 'stack-ended',
        hears: ['machines.execution.ended'],
        async run(_call, { workspace, data }) {
          const { machine, execution } = data as Fields;
          const found = await machines.describe(
            callOf(workspace as WorkspaceId),
            text(machine),
            text(execution),
          );
          if (found) tellEnd(workspace as WorkspaceId, found);
        },
      },
    ],
  });
  bus.start();

  function tellEnd(workspace: WorkspaceId, found: Execution): void {
    waiting.get(arnsOf(workspace, found).executionArn)?.();
    buses.emit('default', {
      source: 'aws.states',
      detailType: 'Step Functions Execution Status Change',
      resources: [arnsOf(workspace, found).executionArn],
      detail: { ...arnsOf(workspace, found), ...worded(found), inputDetails: { included: true } },
    });
  }

  const arnsOf = (
    workspace: string,
    { machine, execution }: Pick<Execution, 'machine' | 'execution'>,
  ) => {
    const deployed = Object.hasOwn(written, machine)
      ? `${DEPLOYED}${machine}`
      : nameOf(workspace, machine);
    const name = `${workspace}-${execution}`;
    return {
      executionArn: arnOf('states', `execution:${deployed}:${name}`),
      stateMachineArn: arnOf('states', `stateMachine:${deployed}`),
      name,
    };
  };

  const machineOf = (asked: Fields) => {
    const arn = text(asked['stateMachineArn']);
    return { arn, deployed: arn.split(':').at(-1) ?? '' };
  };
  async function executionOf(caller: Caller, action: string, asked: Fields) {
    const arn = text(asked['executionArn']);
    access.check(caller, { action: `states:${action}`, resource: arn });
    const [deployed = '', name = ''] = arn.split(':').slice(-2);
    const { workspace, own } = splitName(name);
    const machine = splitName(deployed).own;
    const found = await machines.describe(callOf(workspace), machine, own);
    if (!found) throw new AwsError('ExecutionDoesNotExist', `Execution Does Not Exist: '${arn}'`);
    return { workspace, machine, execution: own, found, arn };
  }

  const operations: Record<string, (caller: Caller, asked: Fields) => Promise<unknown>> = {
    async CreateStateMachine(caller, asked) {
      const [name, definition, roleArn] = [
        text(asked['name']),
        text(asked['definition']),
        text(asked['roleArn']),
      ];
      const stateMachineArn = arnOf('states', `stateMachine:${name}`);
      access.check(caller, { action: 'states:CreateStateMachine', resource: stateMachineArn });
      access.pass(caller, roleArn, 'states.amazonaws.com');
      const { workspace, own } = splitName(name);
      const before = roles.get(name);
      roles.set(name, roleArn);
      try {
        checkRole(name, definition);
        await machines.define(callOf(workspace), own, JSON.parse(definition) as Json);
      } catch (error) {
        if (before === undefined) roles.delete(name);
        throw error;
      }
      return { stateMachineArn, creationDate: world.now() / 1000 };
    },
    async DescribeStateMachine(caller, asked) {
      const { arn, deployed } = machineOf(asked);
      access.check(caller, { action: 'states:DescribeStateMachine', resource: arn });
      const { workspace, own } = splitName(deployed);
      const definition = await machines.definition(callOf(workspace), own);
      if (!definition)
        throw new AwsError('StateMachineDoesNotExist', `State Machine Does Not Exist: '${arn}'`);
      return {
        stateMachineArn: arn,
        name: deployed,
        status: 'ACTIVE',
        definition: JSON.stringify(definition),
        roleArn: roles.get(deployed),
        type: 'STANDARD',
      };
    },
    async DeleteStateMachine(caller, asked) {
      const { arn, deployed } = machineOf(asked);
      access.check(caller, { action: 'states:DeleteStateMachine', resource: arn });
      const { workspace, own } = splitName(deployed);
      await machines.remove(callOf(workspace), own);
    },
    async StartExecution(caller, asked) {
      const { arn, deployed } = machineOf(asked);
      access.check(caller, { action: 'states:StartExecution', resource: arn });
      const name = text(asked['name']) || newUlid(world);
      const { workspace, own } = splitName(name);
      const machine = splitName(deployed).own;
      await machines.start(
        callOf(workspace),
        machine,
        own,
        JSON.parse(text(asked['input']) || '{}') as Json,
      );
      return {
        executionArn: arnsOf(workspace, { machine, execution: own }).executionArn,
        startDate: world.now() / 1000,
      };
    },
    async DescribeExecution(caller, asked) {
      const { workspace, found } = await executionOf(caller, 'DescribeExecution', asked);
      const { startedAt, endedAt } = found;
      return {
        ...arnsOf(workspace, found),
        ...worded(found),
        startDate: startedAt / 1000,
        ...(endedAt === undefined ? {} : { stopDate: endedAt / 1000 }),
      };
    },
    async StopExecution(caller, asked) {
      const { workspace, machine, execution, found } = await executionOf(
        caller,
        'StopExecution',
        asked,
      );
      if (found.state !== 'RUNNING')
        throw new AwsError('ValidationException', 'The execution has already ended.');
      await machines.stop(callOf(workspace), machine, execution, text(asked['cause']));
      return { stopDate: world.now() / 1000 };
    },
    async GetExecutionHistory(caller, asked) {
      const { workspace, machine, execution } = await executionOf(
        caller,
        'GetExecutionHistory',
        asked,
      );
      const all: HistoryEvent[] = [];
      for (;;) {
        const page = await machines.history(
          callOf(workspace),
          machine,
          execution,
          all.at(-1)?.id ?? 0,
        );
        if (!page.length) break;
        all.push(...page);
      }
      if (asked['reverseOrder'] === true) all.reverse();
      const from = Number(text(asked['nextToken']) || 0);
      const most = Number(asked['maxResults'] ?? 100);
      const events = all.slice(from, from + most).map(wordedEvent);
      return { events, ...(from + most < all.length ? { nextToken: String(from + most) } : {}) };
    },
  };

  const names = {
    missing: 'StateMachineDoesNotExist',
    conflict: 'StateMachineAlreadyExists',
    exists: 'ExecutionAlreadyExists',
  };

  await machines.serve({
    tasks: {},
    functions: {},
    workspaces: [DEFAULT_WORKSPACE],
    integrations: {
      [INVOKE]: byRole(invoke, 'Lambda.AWSLambdaException'),
      [START_EXECUTION]: byRole(startChild, 'StepFunctions.AccessDeniedException'),
      ...Object.fromEntries(
        Object.entries(parts.integrations).map(([arn, run]) => [
          arn,
          byRole(run, 'SageMaker.AmazonSageMakerException'),
        ]),
      ),
    },
  });

  return {
    machines,
    roleOf: (machine: string) => callerOf(machine),
    async answer(caller: Caller, operation: string, body: Buffer): Promise<unknown> {
      const operate = Object.hasOwn(operations, operation) ? operations[operation] : undefined;
      if (!operate)
        throw new AwsError(
          'UnknownOperationException',
          `npm run stack does not know states:${operation}`,
        );
      try {
        return await operate(caller, fields(JSON.parse(body.toString())));
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        throw new AwsError(
          names[error.code as keyof typeof names] ?? 'ValidationException',
          error.message,
        );
      }
    },
    async close(): Promise<void> {
      await bus.stop();
      await machines.close();
    },
  };
}

const worded = ({ state, input, output, error, cause }: Execution) => ({
  status: state,
  input: JSON.stringify(input),
  ...(output === undefined ? {} : { output: JSON.stringify(output) }),
  ...(error === undefined ? {} : { error }),
  ...(cause === undefined ? {} : { cause }),
});

/** `TaskScheduled` carries `taskScheduledEventDetails`. */
const wordedEvent = ({ id, previousEventId, type, timestamp, details }: HistoryEvent) => ({
  id,
  previousEventId,
  type,
  timestamp: timestamp / 1000,
  [`${type.charAt(0).toLowerCase()}${type.slice(1)}EventDetails`]: details,
});
