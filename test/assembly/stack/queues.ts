import { randomUUID } from 'node:crypto';
import { type Access, AwsError, type Caller } from './access.ts';
import type { Account } from './account.ts';
import { fields, number, text } from './values.ts';

export interface Message {
  readonly id: string;
  readonly body: string;
  readonly sentAt: number;
  receives: number;
  visibleAt: number;
  receipt: string;
}

export interface Queue {
  readonly at: string;
  readonly arn: string;
  readonly url: string;
  readonly name: string;
  /** What lies in it, seen or not. */
  readonly messages: readonly Message[];
  /** How many were ever sent to it. */
  sent(): number;
  put(body: string): string;
  /** Up to `most` that nobody holds; resolves empty when the signal aborts. */
  receive(most: number, signal: AbortSignal): Promise<Message[]>;
  remove(receipt: string): void;
}

const MESSAGE_BYTES = 1024 * 1024;
const MOST_WAIT_MS = 60_000;

/**
 * SQS in memory: visibility, receive counts, dead letters. `longestHiddenMs` caps the visibility time-out, so that a
 * suite need not wait the minutes that a template rightly says.
 */
export function openQueues(
  account: Account,
  access: Access,
  longestHiddenMs = Number.POSITIVE_INFINITY,
) {
  const queues: Queue[] = account.of('AWS::SQS::Queue').map(({ at, arn, ref, properties }) => {
    const { deadLetterTargetArn, maxReceiveCount } = fields(properties['RedrivePolicy']);
    const hiddenMs = Math.min(longestHiddenMs, number(properties['VisibilityTimeout'], 30) * 1000);
    const messages: Message[] = [];
    const bells = new Set<() => void>();
    let sent = 0;
    const ring = () => {
      for (const bell of bells) bell();
    };
    /** Those that nobody holds; what was received too often goes to the dead letters first. */
    function ready(): Message[] {
      const now = Date.now();
      for (const message of messages.filter(({ visibleAt }) => visibleAt <= now))
        if (deadLetterTargetArn && message.receives >= Number(maxReceiveCount)) {
          messages.splice(messages.indexOf(message), 1);
          byArn(text(deadLetterTargetArn)).put(message.body);
        }
      return messages.filter(({ visibleAt }) => visibleAt <= now);
    }
    return {
      at,
      arn,
      url: ref,
      name: arn.split(':').at(-1) ?? '',
      messages,
      sent: () => sent,
      put(body) {
        if (Buffer.byteLength(body) > MESSAGE_BYTES)
          throw new AwsError(
            'InvalidParameterValue',
            'One or more parameters are invalid. Message too long.',
          );
        const id = randomUUID();
        messages.push({ id, body, sentAt: Date.now(), receives: 0, visibleAt: 0, receipt: '' });
        sent += 1;
        ring();
        return id;
      },
      async receive(most, signal) {
        for (;;) {
          if (signal.aborted) return [];
          const found = ready().slice(0, most);
          for (const message of found) {
            message.receives += 1;
            message.visibleAt = Date.now() + hiddenMs;
            message.receipt = randomUUID();
          }
          if (found.length) return found;
          const next = Math.min(
            MOST_WAIT_MS,
            ...messages.map(({ visibleAt }) => visibleAt - Date.now()),
          );
          await new Promise<void>((resolve) => {
            const done = () => {
              clearTimeout(timer);
              bells.delete(done);
              signal.removeEventListener('abort', done);
              resolve();
            };
            const timer = setTimeout(done, Math.max(1, next));
            bells.add(done);
            signal.addEventListener('abort', done, { once: true });
          });
        }
      },
      remove(receipt) {
        const at = messages.findIndex((message) => message.receipt === receipt);
        if (at >= 0) messages.splice(at, 1);
      },
    };
  });

  function byArn(arn: string): Queue {
    const found = queues.find((queue) => queue.arn === arn);
    if (!found)
      throw new AwsError('QueueDoesNotExist', `The specified queue ${arn} does not exist.`);
    return found;
  }

  return {
    queues,
    byArn,
    /** As a caller sends it, if its role or the queue's policy says so. */
    send(caller: Caller, arn: string, body: string, sourceArn?: string): string {
      const context = sourceArn ? { 'aws:sourcearn': sourceArn } : {};
      access.check(caller, { action: 'sqs:SendMessage', resource: arn, context });
      return byArn(arn).put(body);
    },
  };
}
export type Queues = ReturnType<typeof openQueues>;
