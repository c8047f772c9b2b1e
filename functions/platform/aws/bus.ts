import { type EventBridgeClient, PutEventsCommand } from '@aws-sdk/client-eventbridge';
import type { DynamoDBBatchResponse, DynamoDBStreamEvent } from 'aws-lambda';
import type { Told } from '../../kernel/event.ts';
import { Problem } from '../../kernel/problem.ts';
import type { Bus, Item } from '../ports.ts';
import { ENTRY_PREFIX, toldOf } from '../records.ts';
import { itemOf } from './table.ts';

export interface EventBridgeOptions {
  readonly client: EventBridgeClient;
  readonly bus: string;
  /** Waits between attempts; tests pass one that does not. */
  readonly sleep?: (ms: number) => Promise<void>;
}

const SOURCE = 'stillflow';
const MAX_ENTRIES = 10;
const MAX_REQUEST_BYTES = 250_000;
const ATTEMPTS = 6;
const FIRST_WAIT_MS = 50;

/**
 * The relay's way to the followers: one entry of EventBridge an event, its type as the detail's type, the whole `Told`
 * as the detail. Of a request that failed in part only the rest is sent again.
 */
export function eventBridge({ client, bus, sleep = sleepMs }: EventBridgeOptions): Bus {
  const entryOf = (told: Told) => ({
    EventBusName: bus,
    Source: SOURCE,
    DetailType: told.type,
    Detail: JSON.stringify(told),
    Time: new Date(told.at),
  });

  async function send(entries: ReturnType<typeof entryOf>[]): Promise<void> {
    let left = entries;
    for (let attempt = 0; left.length > 0; attempt++) {
      const answer = await client.send(new PutEventsCommand({ Entries: left }));
      if (!answer.FailedEntryCount) return;
      const failed = left.filter((_, i) => answer.Entries?.[i]?.ErrorCode !== undefined);
      if (attempt + 1 >= ATTEMPTS)
        throw new Problem('unavailable', `${failed.length} events could not be published.`, {
          cause: answer.Entries?.find(({ ErrorCode }) => ErrorCode)?.ErrorMessage,
        });
      left = failed;
      await sleep(FIRST_WAIT_MS * 2 ** attempt);
    }
  }

  return {
    async publish(entries) {
      let batch: ReturnType<typeof entryOf>[] = [];
      let bytes = 0;
      for (const told of entries) {
        const entry = entryOf(told);
        const size = Buffer.byteLength(entry.Detail) + 200;
        if (batch.length > 0 && (batch.length >= MAX_ENTRIES || bytes + size > MAX_REQUEST_BYTES)) {
          await send(batch);
          batch = [];
          bytes = 0;
        }
        batch.push(entry);
        bytes += size;
      }
      if (batch.length > 0) await send(batch);
    },
  };
}

type StreamRecord = DynamoDBStreamEvent['Records'][number];

/** An item that was put, with the workspace it lies in and its place in the stream. */
export interface Streamed {
  readonly sequence: string;
  readonly workspace: string;
  readonly item: Item;
}

/** What a stream says was put, in its order. Pure. */
export function streamedItems(records: readonly StreamRecord[]): Streamed[] {
  return records.flatMap(({ eventName, dynamodb }): Streamed[] => {
    const image = dynamodb?.NewImage;
    if (eventName === 'REMOVE' || !image) return [];
    const stored = plainOf({ M: image as Wire['M'] & object }) as Record<string, unknown>;
    const workspace = String(stored['pk']).slice(0, 8);
    return [{ sequence: dynamodb.SequenceNumber ?? '', workspace, item: itemOf(stored) }];
  });
}

/** The events among them: each audit entry as it was told. */
export const streamedEvents = (records: readonly StreamRecord[]): Told[] =>
  streamedItems(records)
    .filter(({ item }) => item.pk.startsWith('E#') && item.sk.startsWith(ENTRY_PREFIX))
    .map(({ item }) => toldOf(item));

/** The relay's entry: publishes a batch of the stream, or asks for all of it again. Followers mind no repeat. */
export function relay(bus: Bus) {
  return async (event: DynamoDBStreamEvent): Promise<DynamoDBBatchResponse> => {
    await bus.publish(streamedEvents(event.Records));
    return { batchItemFailures: [] };
  };
}

/** DynamoDB's JSON as Lambda passes it on: bytes in base64. */
interface Wire {
  readonly S?: string;
  readonly N?: string;
  readonly BOOL?: boolean;
  readonly NULL?: boolean;
  readonly B?: string;
  readonly L?: readonly Wire[];
  readonly M?: Readonly<Record<string, Wire>>;
}

function plainOf(wire: Wire): unknown {
  if (wire.S !== undefined) return wire.S;
  if (wire.N !== undefined) return Number(wire.N);
  if (wire.BOOL !== undefined) return wire.BOOL;
  if (wire.B !== undefined) return new Uint8Array(Buffer.from(wire.B, 'base64'));
  if (wire.L !== undefined) return wire.L.map(plainOf);
  if (wire.M !== undefined)
    return Object.fromEntries(
      Object.entries(wire.M).map(([name, value]) => [name, plainOf(value)]),
    );
  return null;
}

const sleepMs = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
