import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { afterAll } from 'vitest';
import { dynamoTable } from '../../functions/platform/aws/table.ts';
import { type Oracle, startDynamo } from '../oracles/oracle.ts';
import { registryHistories } from '../registry/histories.ts';
import { testCall, testWorld } from '../world.ts';

let oracle: Oracle | undefined;
let client: DynamoDBClient | undefined;

afterAll(async () => {
  client?.destroy();
  await oracle?.stop();
});

registryHistories({
  on: 'DynamoDB Local',
  async open() {
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
    const world = testWorld(5);
    return { table: dynamoTable({ client, table: 'core', world }), world, call: testCall() };
  },
  runs: Number(process.env['STILLFLOW_RUNS'] ?? 5),
  clients: 40,
});
