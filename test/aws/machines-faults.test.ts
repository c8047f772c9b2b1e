import {
  CreateStateMachineCommand,
  DeleteStateMachineCommand,
  DescribeExecutionCommand,
  DescribeStateMachineCommand,
  GetExecutionHistoryCommand,
  SFNClient,
  StartExecutionCommand,
  StopExecutionCommand,
} from '@aws-sdk/client-sfn';
import { mockClient } from 'aws-sdk-client-mock';
import { beforeEach, describe, expect, test } from 'vitest';
import { stepFunctions } from '../../functions/platform/aws/machines.ts';
import { callIn } from '../contracts/calls.ts';

const call = callIn('team0001');
const ARN = 'arn:aws:states:eu-central-1:123456789012';
const mock = mockClient(SFNClient);
const machines = stepFunctions({
  client: new SFNClient({ region: 'eu-central-1' }),
  arn: ARN,
  roleArn: 'arn:aws:iam::123456789012:role/machines',
});

const error = (name: string, message = name) => Object.assign(new Error(message), { name });
const described = (more: Record<string, unknown> = {}) => ({
  status: 'RUNNING' as const,
  input: '{"b":[2],"a":1}',
  startDate: new Date(1000),
  ...more,
});

beforeEach(() => mock.reset());

describe('start', () => {
  test('an answer that was lost is found by name, also once the execution has ended', async () => {
    mock.on(StartExecutionCommand).rejects(error('ExecutionAlreadyExists'));
    mock.on(DescribeExecutionCommand).resolves(described({ status: 'SUCCEEDED' }));
    await machines.start(call, 'm', 'e', { a: 1, b: [2] });
    await expect(machines.start(call, 'm', 'e', { a: 1 })).rejects.toMatchObject({
      code: 'exists',
    });
    expect(mock.commandCalls(StartExecutionCommand)[0]?.args[0].input).toEqual({
      stateMachineArn: `${ARN}:stateMachine:sf-team0001-m`,
      name: 'team0001-e',
      input: '{"a":1,"b":[2]}',
    });
  });

  test('a written machine is the one that the stack deployed, the execution is the workspace’s', async () => {
    mock.on(StartExecutionCommand).resolves({});
    await machines.start(call, 'retraining', 'x'.repeat(70), {});
    const { stateMachineArn, name } =
      mock.commandCalls(StartExecutionCommand)[0]?.args[0].input ?? {};
    expect(stateMachineArn).toBe(`${ARN}:stateMachine:stillflow-retraining`);
    expect(name).toHaveLength(79);
    expect(machines.address(call, 'retraining', 'e')).toEqual({
      StateMachineArn: `${ARN}:stateMachine:stillflow-retraining`,
      Name: 'team0001-e',
    });
  });

  test.each([
    ['StateMachineDoesNotExist', 'missing'],
    ['StateMachineDeleting', 'unavailable'],
    ['ThrottlingException', 'unavailable'],
    ['ExecutionLimitExceeded', 'exhausted'],
    ['InvalidExecutionInput', 'invalid'],
  ])('%s is worded %s', async (name, code) => {
    mock.on(StartExecutionCommand).rejects(error(name));
    await expect(machines.start(call, 'm', 'e', {})).rejects.toMatchObject({ code });
  });

  test('what we do not know goes up as it is, and asks nothing more', async () => {
    const unknown = error('KmsAccessDeniedException');
    mock.on(StartExecutionCommand).rejects(unknown);
    await expect(machines.start(call, 'm', 'e', {})).rejects.toBe(unknown);
    expect(mock.calls()).toHaveLength(1);
  });

  test('a bad name never leaves the house', async () => {
    await expect(machines.start(call, 'm', 'a:b', {})).rejects.toMatchObject({ code: 'invalid' });
    expect(mock.calls()).toHaveLength(0);
  });
});

describe('define', () => {
  const definition = { QueryLanguage: 'JSONata', StartAt: 'A', States: { A: { Type: 'Succeed' } } };

  test('the same machine with its fields in another order is no conflict', async () => {
    mock.on(CreateStateMachineCommand).rejects(error('StateMachineAlreadyExists'));
    mock.on(DescribeStateMachineCommand).resolves({
      status: 'ACTIVE',
      definition: '{"States":{"A":{"Type":"Succeed"}},"StartAt":"A","QueryLanguage":"JSONata"}',
    });
    await machines.define(call, 'm', definition);
    await expect(
      machines.define(call, 'm', { ...definition, Comment: 'other' }),
    ).rejects.toMatchObject({ code: 'conflict' });
  });

  test('what Step Functions refuses is told with its reason', async () => {
    mock
      .on(CreateStateMachineCommand)
      .rejects(error('InvalidDefinition', 'SCHEMA_VALIDATION_FAILED: no StartAt'));
    await expect(machines.define(call, 'm', definition)).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringContaining('no StartAt'),
    });
  });

  test('written machines are the stack’s', async () => {
    for (const name of ['retraining', 'deploy-endpoint']) {
      await expect(machines.define(call, name, definition)).rejects.toMatchObject({
        code: 'conflict',
      });
      await expect(machines.remove(call, name)).rejects.toMatchObject({ code: 'conflict' });
    }
    expect(mock.calls()).toHaveLength(0);
  });

  test('one that is being deleted counts as gone', async () => {
    mock.on(DescribeStateMachineCommand).resolves({ status: 'DELETING', definition: '{}' });
    expect(await machines.definition(call, 'm')).toBeUndefined();
    mock.on(DeleteStateMachineCommand).rejects(error('StateMachineDoesNotExist'));
    await machines.remove(call, 'm');
  });
});

describe('stop', () => {
  test('of one that had ended meanwhile is fine, of one that never was is missing', async () => {
    mock.on(StopExecutionCommand).rejects(error('ValidationException'));
    mock.on(DescribeExecutionCommand).resolves(described({ status: 'FAILED' }));
    await machines.stop(call, 'm', 'e', 'why');
    mock.on(DescribeExecutionCommand).resolves(described());
    await expect(machines.stop(call, 'm', 'e', 'why')).rejects.toThrow('ValidationException');
    mock.on(StopExecutionCommand).rejects(error('ExecutionDoesNotExist'));
    await expect(machines.stop(call, 'm', 'e', 'why')).rejects.toMatchObject({ code: 'missing' });
  });
});

describe('history', () => {
  const event = (id: number) => ({
    id,
    previousEventId: id - 1,
    type: 'PassStateEntered' as const,
    timestamp: new Date(id),
    stateEnteredEventDetails: { name: `S${id}` },
  });
  const ids = (from: number, to: number) =>
    Array.from({ length: Math.abs(to - from) + 1 }, (_, i) => from + (to > from ? i : -i));

  test('from the start asks for one page, in order', async () => {
    mock
      .on(GetExecutionHistoryCommand)
      .resolves({ events: ids(1, 1000).map(event), nextToken: 'more' });
    const history = await machines.history(call, 'm', 'e');
    expect(history).toHaveLength(1000);
    expect(history[4]).toEqual({
      id: 5,
      previousEventId: 4,
      type: 'PassStateEntered',
      timestamp: 5,
      details: { name: 'S5' },
    });
    expect(mock.calls()).toHaveLength(1);
  });

  test('of what is new reads from the end, and stops at what is known', async () => {
    mock
      .on(GetExecutionHistoryCommand, { nextToken: undefined, reverseOrder: true })
      .resolves({ events: ids(2500, 1501).map(event), nextToken: 'older' })
      .on(GetExecutionHistoryCommand, { nextToken: 'older', reverseOrder: true })
      .resolves({ events: ids(1500, 501).map(event), nextToken: 'oldest' });
    const tip = await machines.history(call, 'm', 'e', 2490);
    expect(tip.map(({ id }) => id)).toEqual(ids(2491, 2500));
    expect(mock.calls()).toHaveLength(1);
    const middle = await machines.history(call, 'm', 'e', 600);
    expect(middle.map(({ id }) => id)).toEqual(ids(601, 1600));
    expect(mock.calls()).toHaveLength(3);
  });

  test('a throttle is worded, and half a history is never given', async () => {
    mock
      .on(GetExecutionHistoryCommand)
      .resolvesOnce({ events: ids(2500, 1501).map(event), nextToken: 'older' })
      .rejects(error('ThrottlingException'));
    await expect(machines.history(call, 'm', 'e', 5)).rejects.toMatchObject({
      code: 'unavailable',
      retryAfterSeconds: 2,
    });
  });
});

test('an execution that waits for a redrive counts as running', async () => {
  mock.on(DescribeExecutionCommand).resolves(described({ status: 'PENDING_REDRIVE' }));
  expect(await machines.describe(call, 'm', 'e')).toMatchObject({
    state: 'RUNNING',
    input: { a: 1, b: [2] },
    startedAt: 1000,
  });
  mock.on(DescribeExecutionCommand).rejects(error('ExecutionDoesNotExist'));
  expect(await machines.describe(call, 'm', 'e')).toBeUndefined();
});
