import { afterAll, expect, test } from 'vitest';
import { ANCHORS } from '../../functions/governance/anchor.ts';
import { governanceRoom } from '../../functions/governance/index.ts';
import type { Told } from '../../functions/kernel/event.ts';
import { dynamoTable } from '../../functions/platform/aws/table.ts';
import { testCall, testWorld } from '../world.ts';
import { openDynamo } from './dynamo.ts';

const HOUR = 3_600_000;
let dynamo: Awaited<ReturnType<typeof openDynamo>> | undefined;
afterAll(async () => {
  await dynamo?.stop();
});

test('anchors are folded and verified on DynamoDB Local as on one machine', async () => {
  dynamo = await openDynamo();
  const world = testWorld(9);
  const call = testCall();
  const table = dynamoTable({ client: dynamo.client, table: 'core', world });
  const room = governanceRoom({ table, world, secret: new Uint8Array(32) });
  const { whole } = room.service;
  for (let hour = 0; hour < 3; hour++) {
    for (const subject of ['models/a', 'models/b', `runs/${hour}`])
      for (let n = 0; n < 4; n++)
        await table.commit(call, [], { type: 'test.thing.changed', subject, data: { n } });
    const heard: Told[] = [];
    for (const subject of ['models/b', `runs/${hour}`, 'models/a'])
      heard.push(...(await table.entries(call, subject)).entries.slice(-4));
    await room.followers[0]?.runMany?.(call, heard.reverse());
    expect((await whole.page(call)).findings).toEqual([]);
    world.pass(HOUR);
    await room.tick(call);
  }
  expect((await table.entries(call, ANCHORS)).entries).toHaveLength(3);
  expect((await table.query(call, { pk: 'AN#NOTES' })).items).toEqual([]);
  const all = await whole.page(call);
  expect(all).toMatchObject({ anchors: 3, subjects: 9, findings: [] });

  let paged = 0;
  let from: Awaited<ReturnType<typeof whole.page>>['next'];
  do {
    const page = await whole.page(call, from, 3);
    paged += page.entries;
    from = page.next;
  } while (from);
  expect(paged).toBe(all.entries);
});
