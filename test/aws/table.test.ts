import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { afterAll, expect, test } from 'vitest';
import { dynamoTable } from '../../functions/platform/aws/table.ts';
import { callIn, testWorld } from '../contracts/calls.ts';
import { countedRequests } from '../contracts/counted.ts';
import { tableContract } from '../contracts/table.ts';
import { openDynamo } from './dynamo.ts';

let dynamo: Awaited<ReturnType<typeof openDynamo>> | undefined;

afterAll(async () => {
  await dynamo?.stop();
});

tableContract({
  on: 'DynamoDB Local',
  async open() {
    dynamo = await openDynamo();
    const world = testWorld();
    return { table: dynamoTable({ client: dynamo.client, table: 'core', world }), world };
  },
  runs: Number(process.env['STILLFLOW_RUNS'] ?? 10),
});

test('requests sent: a plain write 1, with an event 2, a page 1, 250 keys 3', async () => {
  if (!dynamo) throw new Error('the suite above has not opened the oracle');
  const counting = new DynamoDBClient({
    endpoint: dynamo.url,
    region: 'us-east-1',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  });
  const sent = countedRequests(counting);
  const table = dynamoTable({ client: counting, table: 'core', world: testWorld() });
  const call = callIn('counting');
  const spent = async (work: Promise<unknown>) => {
    sent.clear();
    await work;
    return Object.fromEntries(sent);
  };
  const put = { put: { pk: 'a', sk: '1' }, if: 'absent' } as const;
  expect(await spent(table.commit(call, [put]))).toEqual({ PutItemCommand: 1 });
  const event = { type: 'test.thing.changed', subject: 'a', data: {} } as const;
  expect(await spent(table.commit(call, [], event))).toEqual({
    GetItemCommand: 1,
    TransactWriteItemsCommand: 1,
  });
  expect(await spent(table.query(call, { pk: 'a' }))).toEqual({ QueryCommand: 1 });
  const keys = Array.from({ length: 250 }, (_, i) => ({ pk: 'a', sk: `${i}` }));
  expect(await spent(table.getMany(call, keys))).toEqual({ BatchGetItemCommand: 3 });
  counting.destroy();
});
