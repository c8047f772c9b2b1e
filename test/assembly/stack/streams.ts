import { fields, list, text } from './values.ts';

/** A record as DynamoDB Streams gives it and Lambda passes it on. */
export interface StreamRecord {
  readonly eventID: string;
  readonly eventName: string;
  readonly dynamodb: { readonly SequenceNumber: string };
}

/** Calls DynamoDB Streams of the oracle: `GetRecords` with its arguments. */
export interface StreamSource {
  ask(action: string, body: unknown): Promise<unknown>;
  /** The oracle's own ARN of the stream of the table that this ARN names. */
  streamOf(arn: string): Promise<string>;
}

export interface StreamReader {
  readonly batch: number;
  readonly windowMs: number;
  readonly latest: boolean;
  wanted(record: StreamRecord): boolean;
  perform(records: readonly StreamRecord[]): Promise<void>;
  readonly signal: AbortSignal;
  pause(ms: number): Promise<void>;
}

const POLL_MS = 150;
const SHARDS_MS = 5000;

/** Reads every shard of a stream in its order, from where it begins, until the signal aborts. */
export async function followStream(
  source: StreamSource,
  arn: string,
  reader: StreamReader,
): Promise<void> {
  const StreamArn = await source.streamOf(arn);
  const known = new Set<string>();
  const readers: Promise<void>[] = [];
  while (!reader.signal.aborted) {
    const described = fields(await source.ask('DescribeStream', { StreamArn }));
    for (const shard of list(fields(described['StreamDescription'])['Shards']).map(fields)) {
      const ShardId = text(shard['ShardId']);
      if (known.has(ShardId)) continue;
      known.add(ShardId);
      readers.push(readShard(source, StreamArn, ShardId, reader));
    }
    await reader.pause(SHARDS_MS);
  }
  await Promise.all(readers);
}

async function readShard(
  source: StreamSource,
  StreamArn: string,
  ShardId: string,
  reader: StreamReader,
): Promise<void> {
  const ShardIteratorType = reader.latest ? 'LATEST' : 'TRIM_HORIZON';
  const begun = fields(
    await source.ask('GetShardIterator', { StreamArn, ShardId, ShardIteratorType }),
  );
  let iterator = text(begun['ShardIterator']);
  let waiting: StreamRecord[] = [];
  let since = 0;
  while (iterator && !reader.signal.aborted) {
    const page = fields(await source.ask('GetRecords', { ShardIterator: iterator, Limit: 1000 }));
    iterator = text(page['NextShardIterator']);
    const found = (list(page['Records']) as StreamRecord[]).filter((record) =>
      reader.wanted(record),
    );
    if (found.length && !waiting.length) since = Date.now();
    waiting.push(...found);
    while (
      waiting.length >= reader.batch ||
      (waiting.length && Date.now() - since >= reader.windowMs)
    ) {
      const batch = waiting.slice(0, reader.batch);
      waiting = waiting.slice(reader.batch);
      await reader.perform(batch);
    }
    if (!list(page['Records']).length) await reader.pause(POLL_MS);
  }
  if (waiting.length) await reader.perform(waiting);
}
