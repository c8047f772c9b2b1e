import {
  CreateEventBusCommand,
  EventBridgeClient,
  PutRuleCommand,
  PutTargetsCommand,
} from '@aws-sdk/client-eventbridge';
import {
  CreateQueueCommand,
  DeleteMessageCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import { afterAll, beforeAll } from 'vitest';
import { systemCall } from '../../functions/kernel/call.ts';
import type { Told } from '../../functions/kernel/event.ts';
import { WorkspaceId } from '../../functions/kernel/ids.ts';
import { eventBridge } from '../../functions/platform/aws/bus.ts';
import type { Follower } from '../../functions/platform/ports.ts';
import { busContract } from '../contracts/bus.ts';
import { type Oracle, startMoto } from '../oracles/oracle.ts';

let moto: Oracle | undefined;
let opened = 0;

beforeAll(async () => {
  moto = await startMoto();
});
afterAll(() => moto?.stop());

/** As lib/events.ts wires it: a rule and a queue a follower; what moto leaves out is said below. */
busContract({
  on: 'EventBridge and SQS in moto',
  async open(followers) {
    const settings = {
      endpoint: moto?.url ?? '',
      region: 'us-east-1',
      credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    };
    const events = new EventBridgeClient(settings);
    const queues = new SQSClient(settings);
    const bus = `bus${++opened}`;
    await events.send(new CreateEventBusCommand({ Name: bus }));
    const lines: { follower: Follower; QueueUrl: string }[] = [];
    for (const follower of followers) {
      const name = `${bus}-${follower.name}`;
      const { QueueUrl = '' } = await queues.send(new CreateQueueCommand({ QueueName: name }));
      const asked = { QueueUrl, AttributeNames: ['QueueArn' as const] };
      const { Attributes } = await queues.send(new GetQueueAttributesCommand(asked));
      const types = follower.hears.map((pattern) =>
        pattern.endsWith('*') ? { prefix: pattern.slice(0, -1) } : pattern,
      );
      const EventPattern = JSON.stringify({ source: ['stillflow'], 'detail-type': types });
      const rule = { EventBusName: bus, Name: name };
      await events.send(new PutRuleCommand({ ...rule, EventPattern }));
      const target = { Id: '1', Arn: Attributes?.QueueArn ?? '', InputPath: '$.detail' };
      await events.send(
        new PutTargetsCommand({ EventBusName: bus, Rule: name, Targets: [target] }),
      );
      lines.push({ follower, QueueUrl });
    }

    /** What Lambda's event source does with a queue: deliver, delete what worked, give up after five times. */
    async function drain({ follower, QueueUrl }: (typeof lines)[number]): Promise<void> {
      for (;;) {
        const { Messages = [] } = await queues.send(
          new ReceiveMessageCommand({
            QueueUrl,
            MaxNumberOfMessages: 10,
            VisibilityTimeout: 0,
            MessageSystemAttributeNames: ['ApproximateReceiveCount'],
          }),
        );
        if (Messages.length === 0) return;
        for (const { Body = '', ReceiptHandle, Attributes } of Messages) {
          // moto knows no InputPath and sends the event whole.
          const { detail: told } = JSON.parse(Body) as { detail: Told };
          const call = systemCall(
            WorkspaceId.parse(told.workspace),
            follower.name,
            told.requestId,
            Number.MAX_SAFE_INTEGER,
          );
          const heard = await follower.run(call, told).then(
            () => true,
            () => false,
          );
          if (heard || Number(Attributes?.ApproximateReceiveCount) >= 5)
            await queues.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }));
        }
      }
    }

    const port = eventBridge({ client: events, bus });
    return {
      publish: port.publish,
      settled: async () => void (await Promise.all(lines.map(drain))),
      async close() {
        events.destroy();
        queues.destroy();
      },
    };
  },
});
