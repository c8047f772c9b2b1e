import { EventBridgeClient, PutEventsCommand } from '@aws-sdk/client-eventbridge';
import { mockClient } from 'aws-sdk-client-mock';
import { beforeEach, expect, test } from 'vitest';
import { tell } from '../../functions/kernel/event.ts';
import {
  eventBridge,
  relay,
  streamedEvents,
  streamedItems,
} from '../../functions/platform/aws/bus.ts';
import { callIn, testWorld } from '../contracts/calls.ts';

const events = mockClient(EventBridgeClient);
beforeEach(() => events.reset());
const world = testWorld();
const bus = eventBridge({
  client: new EventBridgeClient({ region: 'us-east-1' }),
  bus: 'stillflow',
  sleep: async () => undefined,
});
const told = (data: unknown = {}) =>
  tell(callIn('relayed0'), { type: 'test.thing.changed', subject: 'a', data }, undefined, world);
const sizes = () =>
  events.commandCalls(PutEventsCommand).map(({ args }) => args[0].input.Entries?.length);

test('ten entries a request, and no request over 256 KB', async () => {
  events.on(PutEventsCommand).resolves({ FailedEntryCount: 0 });
  await bus.publish(Array.from({ length: 23 }, () => told()));
  expect(sizes()).toEqual([10, 10, 3]);
  events.resetHistory();
  await bus.publish(Array.from({ length: 3 }, () => told('x'.repeat(200_000))));
  expect(sizes()).toEqual([1, 1, 1]);
  await bus.publish([]);
  expect(sizes()).toHaveLength(3);
});

test('of a request that failed in part only the failed entries are sent again', async () => {
  const entries = [told(), told(), told()];
  const bad = { ErrorCode: 'ThrottlingException', ErrorMessage: 'later' };
  events
    .on(PutEventsCommand)
    .resolvesOnce({ FailedEntryCount: 2, Entries: [{ EventId: '1' }, bad, bad] })
    .resolvesOnce({ FailedEntryCount: 1, Entries: [{ EventId: '2' }, bad] })
    .resolves({ FailedEntryCount: 0 });
  await bus.publish(entries);
  expect(sizes()).toEqual([3, 2, 1]);
  const last = events.commandCalls(PutEventsCommand).at(-1)?.args[0].input.Entries?.[0];
  expect(JSON.parse(last?.Detail ?? '')).toEqual(entries[2]);
});

test('what fails each time is unavailable, so that the stream asks again', async () => {
  const Entries = [{ ErrorCode: 'InternalFailure', ErrorMessage: 'no' }];
  events.on(PutEventsCommand).resolves({ FailedEntryCount: 1, Entries });
  await expect(bus.publish([told()])).rejects.toMatchObject({ code: 'unavailable' });
});

test('a stream is read as items and events: of any kind of value, without what was removed', async () => {
  const entry = told({ z: 1, a: 2 });
  const records = [
    {
      eventName: 'INSERT' as const,
      dynamodb: {
        SequenceNumber: '1',
        NewImage: {
          pk: { S: 'relayed0#E#a' },
          sk: { S: '@000000000001' },
          told: { S: JSON.stringify(entry) },
        },
      },
    },
    {
      eventName: 'MODIFY' as const,
      dynamodb: {
        SequenceNumber: '2',
        NewImage: {
          pk: { S: 'relayed0#R#1' },
          sk: { S: 'LOG#1' },
          _ttl: { N: '1' },
          raw: { B: Buffer.from([1, 255]).toString('base64') },
          list: { L: [{ N: '1.5' }, { BOOL: true }, { NULL: true }, { M: { x: { S: '' } } }] },
        },
      },
    },
    { eventName: 'REMOVE' as const, dynamodb: { SequenceNumber: '3' } },
  ];
  expect(streamedEvents(records)).toEqual([entry]);
  expect(streamedItems(records)[1]).toEqual({
    sequence: '2',
    workspace: 'relayed0',
    item: {
      pk: 'R#1',
      sk: 'LOG#1',
      raw: new Uint8Array([1, 255]),
      list: [1.5, true, null, { x: '' }],
    },
  });
  events.on(PutEventsCommand).resolves({ FailedEntryCount: 0 });
  expect(await relay(bus)({ Records: records })).toEqual({ batchItemFailures: [] });
  expect(sizes()).toEqual([1]);
});
