import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { startDynamo } from '../oracles/oracle.ts';

/** A fresh DynamoDB Local with our one table, `core`, in it. */
export async function openDynamo(): Promise<{
  client: DynamoDBClient;
  url: string;
  stop(): Promise<void>;
}> {
  const oracle = await startDynamo();
  const client = new DynamoDBClient({
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
  return {
    client,
    url: oracle.url,
    async stop() {
      client.destroy();
      await oracle.stop();
    },
  };
}
