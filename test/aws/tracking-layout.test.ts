import fc from 'fast-check';
import { afterAll, test } from 'vitest';
import { dynamoTable } from '../../functions/platform/aws/table.ts';
import { play, programs } from '../tracking/layout/model.ts';
import { product } from '../tracking/layout/subject.ts';
import { testWorld } from '../world.ts';
import { openDynamo } from './dynamo.ts';
import { memoryBlobs } from './memory-blobs.ts';

const SEEDS = Number(process.env['STILLFLOW_RUNS'] ?? 10);
let dynamo: Awaited<ReturnType<typeof openDynamo>> | undefined;

afterAll(async () => {
  await dynamo?.stop();
});

test(`what was acknowledged is found by every later read on DynamoDB Local, in ${SEEDS} programs`, async () => {
  dynamo = await openDynamo();
  const world = testWorld(11);
  const table = dynamoTable({ client: dynamo.client, table: 'core', world });
  const blobs = memoryBlobs('bucket');
  let opened = 0;
  await fc.assert(
    fc.asyncProperty(programs, (program) =>
      play(product, { table, blobs, world }, program, `ws${String(opened++).padStart(6, '0')}`),
    ),
    { numRuns: SEEDS, seed: 20261124 },
  );
});
