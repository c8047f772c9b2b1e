import { type Access, AwsError } from './access.ts';
import type { Account, Resource } from './account.ts';
import type { FunctionSpec } from './functions.ts';
import { REGION } from './intrinsics.ts';
import type { Ended, Host } from './lambda.ts';
import { fits } from './pattern.ts';
import type { Message, Queues } from './queues.ts';
import { followStream, type StreamRecord, type StreamSource } from './streams.ts';
import { type Fields, fields, list, number, text, texts } from './values.ts';

export interface MappingParts {
  readonly access: Access;
  readonly host: Host;
  readonly queues: Queues;
  readonly streams: StreamSource;
  readonly retryMs: number;
  /** Told of every record of a stream that goes to a function. */
  readonly seen: (at: string, record: StreamRecord) => void;
  readonly log: (line: Fields) => void;
}

/** Event source mappings: Lambda's pollers of queues and streams, each with the rights of its function's role. */
export function startMappings(account: Account, own: Omit<MappingParts, 'seen'>) {
  const closing = new AbortController();
  const given: { at: string; record: StreamRecord }[] = [];
  const parts: MappingParts = { ...own, seen: (at, record) => void given.push({ at, record }) };
  const loops = account.of('AWS::Lambda::EventSourceMapping').map(async (mapping) => {
    const spec = parts.host.find(text(mapping.properties['FunctionName']));
    if (!spec) throw new Error(`${mapping.at} maps to a function that is not there`);
    if (mapping.properties['Enabled'] === false) return;
    const source = text(mapping.properties['EventSourceArn']);
    const follow = source.includes(':sqs:') ? followQueue : followTable;
    await follow(mapping, spec, parts, closing.signal).catch((error: unknown) => {
      if (!closing.signal.aborted)
        parts.log({
          level: 'error',
          message: 'mapping ended',
          at: mapping.at,
          error: String(error),
        });
    });
  });
  return {
    /** Each record of a stream that a function was given, by its mapping. */
    given,
    async stop(): Promise<void> {
      closing.abort();
      await Promise.all(loops);
    },
  };
}

const pause = (ms: number, signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
    signal.addEventListener('abort', done, { once: true });
  });

/** Waits, as the console shows it, until the function's role lets the poller in. */
async function allowed(
  at: string,
  { access, log }: MappingParts,
  { caller }: FunctionSpec,
  actions: readonly string[],
  resource: string,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    for (const action of actions) access.check(caller, { action, resource });
    return true;
  } catch (error) {
    if (!(error instanceof AwsError)) throw error;
    log({ level: 'error', message: 'mapping denied', at, error: error.message });
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    return false;
  }
}

const reports = ({ properties }: Resource) =>
  texts(properties['FunctionResponseTypes']).includes('ReportBatchItemFailures');

/** Ids that the function named as failed; undefined: all of the batch. */
function failedOf({ error, body }: Ended, mapping: Resource): string[] | undefined {
  if (error) return undefined;
  if (!reports(mapping)) return [];
  const answer = fields(JSON.parse(body.toString() || 'null'));
  return list(answer['batchItemFailures']).map((one) => text(fields(one)['itemIdentifier']));
}

async function followQueue(
  mapping: Resource,
  spec: FunctionSpec,
  parts: MappingParts,
  signal: AbortSignal,
): Promise<void> {
  const source = text(mapping.properties['EventSourceArn']);
  const queue = parts.queues.byArn(source);
  const most = number(mapping.properties['BatchSize'], 10);
  const rights = ['sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:GetQueueAttributes'];
  if (!(await allowed(mapping.at, parts, spec, rights, source, signal))) return;
  const record = (message: Message) => ({
    messageId: message.id,
    receiptHandle: message.receipt,
    body: message.body,
    attributes: {
      ApproximateReceiveCount: String(message.receives),
      SentTimestamp: String(message.sentAt),
    },
    messageAttributes: {},
    eventSource: 'aws:sqs',
    eventSourceARN: source,
    awsRegion: REGION,
  });
  while (!signal.aborted) {
    const messages = await queue.receive(most, signal);
    if (!messages.length) continue;
    const event = Buffer.from(JSON.stringify({ Records: messages.map(record) }));
    const failed = failedOf(await parts.host.invoke(spec, event), mapping);
    for (const message of messages)
      if (failed && !failed.includes(message.id)) queue.remove(message.receipt);
  }
}

async function followTable(
  mapping: Resource,
  spec: FunctionSpec,
  parts: MappingParts,
  signal: AbortSignal,
): Promise<void> {
  const { properties } = mapping;
  const source = text(properties['EventSourceArn']);
  const rights = [
    'dynamodb:DescribeStream',
    'dynamodb:GetRecords',
    'dynamodb:GetShardIterator',
    'dynamodb:ListStreams',
  ];
  if (!(await allowed(mapping.at, parts, spec, rights, source, signal))) return;
  const filters = list(fields(properties['FilterCriteria'])['Filters']).map((one): unknown =>
    JSON.parse(text(fields(one)['Pattern'])),
  );
  const wanted = (record: StreamRecord) =>
    filters.length === 0 || filters.some((one) => fits(one, record));
  const tries = number(properties['MaximumRetryAttempts'], -1);
  const onFailure = text(
    fields(fields(properties['DestinationConfig'])['OnFailure'])['Destination'],
  );

  async function perform(records: readonly StreamRecord[], attempt = 0): Promise<void> {
    if (!records.length || signal.aborted) return;
    if (attempt === 0) for (const record of records) parts.seen(mapping.at, record);
    const Records = records.map((one) => ({ ...one, eventSourceARN: source, awsRegion: REGION }));
    const ended = await parts.host.invoke(spec, Buffer.from(JSON.stringify({ Records })));
    const failed = failedOf(ended, mapping);
    const at =
      failed === undefined
        ? 0
        : records.findIndex(({ dynamodb }) => failed.includes(dynamodb.SequenceNumber));
    if (at < 0) return;
    const rest = records.slice(at);
    if (attempt >= tries && tries >= 0) return setAside(rest);
    await pause(parts.retryMs * 2 ** Math.min(attempt, 6), signal);
    if (properties['BisectBatchOnFunctionError'] !== true || rest.length === 1)
      return perform(rest, attempt + 1);
    const middle = Math.ceil(rest.length / 2);
    await perform(rest.slice(0, middle), attempt + 1);
    await perform(rest.slice(middle), attempt + 1);
  }

  function setAside(records: readonly StreamRecord[]): void {
    parts.log({
      level: 'error',
      message: 'records set aside',
      at: mapping.at,
      count: records.length,
    });
    if (!onFailure) return;
    const body = JSON.stringify({
      requestContext: { functionArn: spec.arn, condition: 'RetryAttemptsExhausted' },
      DDBStreamBatchInfo: {
        startSequenceNumber: records[0]?.dynamodb.SequenceNumber,
        endSequenceNumber: records.at(-1)?.dynamodb.SequenceNumber,
        batchSize: records.length,
        streamArn: source,
      },
    });
    parts.queues.send(spec.caller, onFailure, body);
  }

  await followStream(parts.streams, source, {
    batch: number(properties['BatchSize'], 100),
    windowMs: number(properties['MaximumBatchingWindowInSeconds'], 0) * 1000,
    latest: properties['StartingPosition'] === 'LATEST',
    wanted,
    perform,
    signal,
    pause: (ms) => pause(ms, signal),
  });
}
