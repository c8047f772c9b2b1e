import {
  ConditionalCheckFailedException,
  DynamoDBClient,
  TransactionCanceledException,
} from '@aws-sdk/client-dynamodb';
import {
  BatchGetCommand,
  DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  TransactWriteCommand,
} from '@aws-sdk/lib-dynamodb';
import { mockClient } from 'aws-sdk-client-mock';
import { beforeEach, expect, test } from 'vitest';
import { dynamoTable } from '../../functions/platform/aws/table.ts';
import { Refused, Repeated } from '../../functions/platform/ports.ts';
import { callIn, testWorld } from '../contracts/calls.ts';

const dynamo = mockClient(DynamoDBDocumentClient);
beforeEach(() => dynamo.reset());

const world = testWorld();
const waits: number[] = [];
const table = dynamoTable({
  client: new DynamoDBClient({ region: 'us-east-1' }),
  table: 'core',
  world,
  async sleep(ms) {
    waits.push(ms);
    world.advance(ms);
  },
});
const call = () => callIn('faults00', { deadline: world.now() + 60_000 });
const key = { pk: 'a', sk: '1' };
const event = { type: 'test.thing.changed', subject: 'a', data: {} } as const;
const failing = (name: string, more: object = {}) =>
  Object.assign(new Error(name), { name, ...more });
const throttled = failing('ProvisionedThroughputExceededException');
const lost = failing('TimeoutError');
const metadata = { httpStatusCode: 400, attempts: 1 };
const cancelled = (...codes: string[]) =>
  new TransactionCanceledException({
    message: 'cancelled',
    $metadata: metadata,
    CancellationReasons: codes.map((Code) => ({ Code })),
  });
const refusedBy = (item?: Record<string, unknown>) =>
  new ConditionalCheckFailedException({
    message: 'no',
    $metadata: metadata,
    ...(item ? { Item: item as never } : {}),
  });

test('G04: throttles are waited out with jitter, and the write is sent until it lands', async () => {
  dynamo.on(PutCommand).rejectsOnce(throttled).rejectsOnce(throttled).resolves({});
  await table.commit(call(), [{ put: key }]);
  expect(dynamo.commandCalls(PutCommand)).toHaveLength(3);
});

test('G04: throttled past the deadline it is unavailable, with a time to come back', async () => {
  dynamo.on(GetCommand).rejects(throttled);
  await expect(table.get(call(), key)).rejects.toMatchObject({
    code: 'unavailable',
    retryAfterSeconds: 1,
  });
  expect(dynamo.commandCalls(GetCommand).length).toBeGreaterThan(5);
});

test('G05: an answer lost after a conditional put landed is no refusal', async () => {
  let stored: Record<string, unknown> | undefined;
  dynamo.on(PutCommand).callsFake((input) => {
    if (stored) throw refusedBy({ _write: { S: String(stored['_write']) } });
    stored = input.Item;
    throw lost;
  });
  await table.commit(call(), [{ put: key, if: 'absent' }]);
  expect(dynamo.commandCalls(PutCommand)).toHaveLength(2);
});

test('G05: the same, where the SDK itself sent it twice', async () => {
  dynamo.on(PutCommand).callsFake((input) => {
    throw refusedBy({ _write: { S: String(input.Item._write) } });
  });
  await table.commit(call(), [{ put: key, if: 'absent' }]);
});

test("somebody else's item is a refusal; after a lost answer it is not known, and said so", async () => {
  dynamo.on(PutCommand).rejects(refusedBy({ _write: { S: 'another' } }));
  await expect(table.commit(call(), [{ put: key, if: 'absent' }])).rejects.toThrow(Refused);
  dynamo.reset();
  dynamo
    .on(PutCommand)
    .rejectsOnce(lost)
    .rejects(refusedBy({ _write: { S: 'another' } }));
  await expect(table.commit(call(), [{ put: key, if: 'absent' }])).rejects.toMatchObject({
    code: 'unavailable',
  });
});

test('G05: a transaction whose answer was lost is sent again under its token', async () => {
  dynamo.on(GetCommand).resolves({});
  dynamo.on(TransactWriteCommand).rejectsOnce(lost).resolves({});
  await table.commit(call(), [{ put: key }], event);
  const tokens = dynamo
    .commandCalls(TransactWriteCommand)
    .map(({ args }) => args[0].input.ClientRequestToken);
  expect(tokens).toHaveLength(2);
  expect(new Set(tokens).size).toBe(1);
});

test('G06: a cancelled transaction says whose condition it was, or tries again', async () => {
  dynamo.on(GetCommand).resolves({});
  const writes = [{ put: key }, { check: { pk: 'b', sk: '1' }, if: 'present' as const }];
  dynamo
    .on(TransactWriteCommand)
    .rejects(cancelled('TransactionConflict', 'ConditionalCheckFailed', 'None', 'None'));
  await expect(table.commit(call(), writes, event)).rejects.toMatchObject({ index: 1 });
  dynamo.reset();
  dynamo.on(GetCommand).resolves({});
  dynamo
    .on(TransactWriteCommand)
    .rejectsOnce(cancelled('TransactionConflict', 'None', 'None', 'None'))
    .rejectsOnce(cancelled('None', 'None', 'ConditionalCheckFailed', 'None'))
    .rejectsOnce(cancelled('None', 'ThrottlingError', 'None', 'None'))
    .resolves({});
  await table.commit(call(), writes, event);
  expect(dynamo.commandCalls(TransactWriteCommand)).toHaveLength(4);
  // Each time the head was read anew.
  expect(dynamo.commandCalls(GetCommand)).toHaveLength(4);
  dynamo.reset();
  dynamo.on(GetCommand).resolves({});
  dynamo
    .on(TransactWriteCommand)
    .rejects(cancelled('None', 'ConditionalCheckFailed', 'None', 'None'));
  const retry = { key: 'k', digest: 'd' };
  await expect(table.commit({ ...call(), retry }, [{ put: key }], event)).rejects.toThrow(Repeated);
});

test('G06: of a batch answered in part only the rest is asked again', async () => {
  const keys = Array.from({ length: 3 }, (_, i) => ({ pk: 'a', sk: `${i}` }));
  const stored = keys.map(({ pk, sk }) => ({ pk: `faults00#${pk}`, sk }));
  dynamo
    .on(BatchGetCommand)
    .resolvesOnce({
      Responses: { core: stored.slice(0, 1) },
      UnprocessedKeys: { core: { Keys: stored.slice(1) } },
    })
    .resolvesOnce({
      Responses: { core: [] },
      UnprocessedKeys: { core: { Keys: stored.slice(1) } },
    })
    .resolves({ Responses: { core: stored.slice(1) } });
  expect(await table.getMany(call(), keys)).toEqual(keys);
  const asked = dynamo
    .commandCalls(BatchGetCommand)
    .map(({ args }) => args[0].input.RequestItems?.['core']?.Keys?.length);
  expect(asked).toEqual([3, 2, 2]);
});

test('one write is one plain put; with an event it is one read and one transaction', async () => {
  dynamo.on(PutCommand).resolves({});
  dynamo.on(GetCommand).resolves({});
  dynamo.on(TransactWriteCommand).resolves({});
  await table.commit(call(), [{ put: { ...key, expiresAt: 1500 }, if: 'absent' }]);
  expect(dynamo.calls()).toHaveLength(1);
  expect(dynamo.commandCalls(PutCommand)[0]?.args[0].input.Item).toMatchObject({
    pk: 'faults00#a',
    _ttl: 2,
  });
  dynamo.resetHistory();
  await table.commit(call(), [{ put: key }], event);
  expect(dynamo.calls()).toHaveLength(2);
});

test('an error that will not pass is thrown at once', async () => {
  dynamo.on(PutCommand).rejects(failing('AccessDeniedException'));
  await expect(table.commit(call(), [{ put: key }])).rejects.toThrow('AccessDeniedException');
  expect(dynamo.commandCalls(PutCommand)).toHaveLength(1);
});
