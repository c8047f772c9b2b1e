import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import fc from 'fast-check';
import { afterAll, test } from 'vitest';
import { dynamoTable } from '../../functions/platform/aws/table.ts';
import { type Oracle, startDynamo } from '../oracles/oracle.ts';
import { play, programs } from '../tracking/layout/model.ts';
import { product } from '../tracking/layout/subject.ts';
import { memoryBlobs } from '../tracking/room.ts';
import { testWorld } from '../world.ts';

const SEEDS = Number(process.env['STILLFLOW_RUNS'] ?? 10);
let oracle: Oracle | undefined;
let client: DynamoDBClient | undefined;

afterAll(async () => {
  client?.destroy();
  await oracle?.stop();
});

test(`what was acknowledged is found by every later read on DynamoDB Local, in ${SEEDS} programs`, async () => {
  oracle = await startDynamo();
  client = new DynamoDBClient({
    endpoint: oracle.url,
    region: 'us-east-1',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  });
  await client.send(
    new CreateTableCommand({
      TableName: 'core',
      BillingMode: 'PAY_PER_REQUEST',
      AttributeDefinitions: [
        { AttributeName: 'pk', AttributeType: 'S' },
        { AttributeName: 'sk', AttributeType: 'S' },
      ],
      KeySchema: [
        { AttributeName: 'pk', KeyType: 'HASH' },
        { AttributeName: 'sk', KeyType: 'RANGE' },
      ],
    }),
  );
  const world = testWorld(11);
  const table = dynamoTable({ client, table: 'core', world });
  const blobs = memoryBlobs();
  let opened = 0;
  await fc.assert(
    fc.asyncProperty(programs, (program) =>
      play(product, { table, blobs, world }, program, `ws${String(opened++).padStart(6, '0')}`),
    ),
    { numRuns: SEEDS, seed: 20261124 },
  );
});
