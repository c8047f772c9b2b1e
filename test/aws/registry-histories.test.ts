import { afterAll } from 'vitest';
import { dynamoTable } from '../../functions/platform/aws/table.ts';
import { registryHistories } from '../registry/histories.ts';
import { testCall, testWorld } from '../world.ts';
import { openDynamo } from './dynamo.ts';

let dynamo: Awaited<ReturnType<typeof openDynamo>> | undefined;

afterAll(async () => {
  await dynamo?.stop();
});

registryHistories({
  on: 'DynamoDB Local',
  async open() {
    dynamo = await openDynamo();
    const world = testWorld(5);
    return {
      table: dynamoTable({ client: dynamo.client, table: 'core', world }),
      world,
      call: testCall(),
    };
  },
  runs: Number(process.env['STILLFLOW_RUNS'] ?? 5),
  clients: 40,
});
