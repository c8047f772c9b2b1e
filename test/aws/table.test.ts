import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { afterAll } from 'vitest';
import { dynamoTable } from '../../functions/platform/aws/table.ts';
import { testWorld } from '../contracts/calls.ts';
import { tableContract } from '../contracts/table.ts';
import { type Oracle, startDynamo } from '../oracles/oracle.ts';

let oracle: Oracle | undefined;
let client: DynamoDBClient | undefined;

afterAll(async () => {
  client?.destroy();
  await oracle?.stop();
});

tableContract({
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
    const world = testWorld();
    return { table: dynamoTable({ client, table: 'core', world }), world };
  },
  runs: Number(process.env['STILLFLOW_RUNS'] ?? 10),
});
