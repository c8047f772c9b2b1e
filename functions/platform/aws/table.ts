import {
  ConditionalCheckFailedException,
  type DynamoDBClient,
  TransactionCanceledException,
} from '@aws-sdk/client-dynamodb';
import {
  BatchGetCommand,
  DeleteCommand,
  DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  QueryCommand,
  TransactWriteCommand,
  type TransactWriteCommandInput,
} from '@aws-sdk/lib-dynamodb';
import type { Call } from '../../kernel/call.ts';
import { type ChainHead, type Event, tell } from '../../kernel/event.ts';
import { hex } from '../../kernel/ids.ts';
import { Problem } from '../../kernel/problem.ts';
import {
  type Found,
  type Item,
  type Key,
  type Query,
  Refused,
  Repeated,
  type Table,
  type Write,
} from '../ports.ts';
import {
  answerOf,
  COUNTER_KEY,
  checkedWrites,
  ENTRY_PREFIX,
  entryItem,
  headKey,
  isKey,
  keyOf,
  MAX_GET_KEYS,
  retryItem,
  retryKey,
  toldOf,
} from '../records.ts';
import { conditionExpression, keyExpression, rangeOf } from './expressions.ts';
import { backOff, outcomeOf, type Patience, persist } from './retry.ts';

export interface DynamoTableOptions extends Patience {
  readonly client: DynamoDBClient;
  /** Keys `pk` and `sk`, both strings; time to live on `_ttl`, seconds since the epoch; a stream of new images. */
  readonly table: string;
}

type Transact = NonNullable<TransactWriteCommandInput['TransactItems']>[number];
type Stored = Record<string, unknown>;

const BATCH = 100;
const WORKSPACE = 9;

/** What DynamoDB keeps: the workspace before the partition key, the expiry once more in seconds. */
function storedItem(call: Call, item: Item): Stored {
  const expires = item['expiresAt'];
  return {
    ...item,
    pk: `${call.workspace}#${item.pk}`,
    ...(typeof expires === 'number' ? { _ttl: Math.ceil(expires / 1000) } : {}),
  };
}

/** The item as its room knows it. Also for the images of a stream. */
export function itemOf(stored: Stored): Item {
  const { _ttl, _write, ...item } = stored;
  return { ...item, pk: String(stored['pk']).slice(WORKSPACE) } as Item;
}

/** The Table in an account: one DynamoDB table, strong reads, transactions only where one write will not do. */
export function dynamoTable(options: DynamoTableOptions): Table {
  const { table, world } = options;
  const client = DynamoDBDocumentClient.from(options.client, {
    // Doubles beyond 2^53 are printed with all digits that they have.
    marshallOptions: { removeUndefinedValues: true, allowImpreciseNumbers: true },
    // Every number was a double when it was put, whatever it looks like now.
    unmarshallOptions: { wrapNumbers: Number },
  });
  const owned = (call: Call, { pk, sk }: Key) => ({ pk: `${call.workspace}#${pk}`, sk });
  const token = () => hex(world.randomBytes(16));
  const alive = (stored: Stored | undefined): Item | undefined => {
    const until = stored?.['expiresAt'];
    if (!stored || (typeof until === 'number' && until <= world.now())) return undefined;
    return itemOf(stored);
  };

  async function read(call: Call, key: Key): Promise<Item | undefined> {
    if (!isKey(key)) return undefined;
    const command = { TableName: table, Key: owned(call, key), ConsistentRead: true };
    const { Item } = await persist(call, options, () => client.send(new GetCommand(command)));
    return alive(Item);
  }

  async function readBatch(call: Call, keys: readonly Key[]): Promise<Item[]> {
    const found: Item[] = [];
    let left: Stored[] = keys.map((key) => owned(call, key));
    for (let attempt = 0; left.length > 0; attempt++) {
      const RequestItems = { [table]: { Keys: left, ConsistentRead: true } };
      const answer = await persist(call, options, () =>
        client.send(new BatchGetCommand({ RequestItems })),
      );
      for (const stored of answer.Responses?.[table] ?? []) {
        const item = alive(stored);
        if (item) found.push(item);
      }
      left = answer.UnprocessedKeys?.[table]?.Keys ?? [];
      if (left.length > 0) await backOff(call, attempt, new Error('unprocessed keys'), options);
    }
    return found;
  }

  async function page(call: Call, query: Query): Promise<Found> {
    const { limit = Number.POSITIVE_INFINITY, reverse = false, after } = query;
    if (!(limit >= 1)) throw new Error('A query asks for at least one item.');
    const range = rangeOf(query);
    if (!range || !isKey({ pk: query.pk, sk: '-' })) return { items: [] };
    // Backwards the range ends with `after` itself, which is then left out.
    const more = reverse && after !== undefined ? 1 : 0;
    const command = new QueryCommand({
      TableName: table,
      ConsistentRead: true,
      ScanIndexForward: !reverse,
      ...keyExpression(`${call.workspace}#${query.pk}`, range),
      ...(Number.isFinite(limit) ? { Limit: limit + more } : {}),
    });
    const answer = await persist(call, options, () => client.send(command));
    const items = (answer.Items ?? [])
      .map(alive)
      .filter((item) => item !== undefined && !(more && item.sk === after)) as Item[];
    const kept = items.slice(0, limit);
    const next = kept.length < items.length ? kept.at(-1)?.sk : answer.LastEvaluatedKey?.['sk'];
    return next === undefined ? { items: kept } : { items: kept, next: String(next) };
  }

  /**
   * One write alone, without a transaction. It bears a mark, by which a write whose answer was lost is told from
   * somebody else's when it is sent again and its own condition no longer holds.
   */
  async function single(call: Call, write: Write): Promise<void> {
    const condition = conditionExpression(write.if, world.now());
    const mark = token();
    let unknown = false;
    for (let attempt = 0; ; attempt++) {
      try {
        if ('put' in write)
          await client.send(
            new PutCommand({
              TableName: table,
              Item: { ...storedItem(call, write.put), ...(write.if ? { _write: mark } : {}) },
              ...condition,
              ...(write.if ? { ReturnValuesOnConditionCheckFailure: 'ALL_OLD' } : {}),
            }),
          );
        else
          await client.send(
            new DeleteCommand({ TableName: table, Key: owned(call, keyOf(write)) }),
          );
        return;
      } catch (error) {
        if (error instanceof ConditionalCheckFailedException) {
          if (markOf(error) === mark) return;
          // The SDK may have sent it more than once by itself.
          if (unknown || (error.$metadata.attempts ?? 1) > 1) throw unclear(error);
          throw new Refused(0);
        }
        const outcome = outcomeOf(error);
        if (outcome === 'final') throw asOurs(error);
        unknown ||= outcome === 'unknown';
        await backOff(call, attempt, error, options);
      }
    }
  }

  const transact = (call: Call, write: Write): Transact => {
    const condition = conditionExpression(write.if, world.now());
    if ('put' in write)
      return { Put: { TableName: table, Item: storedItem(call, write.put), ...condition } };
    const Key = owned(call, keyOf(write));
    if ('remove' in write) return { Delete: { TableName: table, Key, ...condition } };
    return {
      ConditionCheck: {
        TableName: table,
        Key,
        ...condition,
        // `newer` of nothing always holds.
        ConditionExpression:
          condition.ConditionExpression ?? 'attribute_type(pk, :s) OR NOT attribute_type(pk, :s)',
        ...(condition.ConditionExpression ? {} : { ExpressionAttributeValues: { ':s': 'S' } }),
      },
    };
  };

  /** What goes beside the writes, made from what stands now; each is refused if that has moved meanwhile. */
  async function beside(call: Call, event: Event | undefined, counted: boolean) {
    const [head, counter] = await Promise.all([
      event ? read(call, headKey(event.subject)) : undefined,
      counted ? read(call, COUNTER_KEY) : undefined,
    ]);
    const change = counted ? Number(counter?.['value'] ?? 0) + 1 : undefined;
    const writes: Write[] = [];
    const retry = event && call.retry;
    if (retry) writes.push({ put: retryItem(call, event, world), if: 'absent' });
    if (event) {
      const told = tell(call, event, head as ChainHead | undefined, world);
      const { sequence, hash } = told;
      writes.push(
        {
          put: { ...headKey(event.subject), sequence, hash },
          if: head ? { equal: { hash: String(head['hash']) } } : 'absent',
        },
        { put: entryItem(told), if: 'absent' },
      );
    }
    if (change !== undefined)
      writes.push({
        put: { ...COUNTER_KEY, value: change },
        if: counter ? { equal: { value: change - 1 } } : 'absent',
      });
    return { writes, change, retry: Boolean(retry) };
  }

  async function together(
    call: Call,
    given: readonly Write[],
    event: Event | undefined,
    counted: boolean,
  ): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      const added = await beside(call, event, counted);
      const stamped = given.map((write) =>
        'put' in write && added.change !== undefined
          ? { ...write, put: { ...write.put, _change: added.change } }
          : write,
      );
      const TransactItems = [...stamped, ...added.writes].map((write) => transact(call, write));
      // One token for one text: sent again after a lost answer, it lands once. Source: API_TransactWriteItems.
      const command = new TransactWriteCommand({ TransactItems, ClientRequestToken: token() });
      try {
        await persist(call, options, () => client.send(command));
        return;
      } catch (error) {
        if (!(error instanceof TransactionCanceledException)) throw asOurs(error);
        const codes = (error.CancellationReasons ?? []).map(({ Code }) => Code ?? 'None');
        const refused = codes.indexOf('ConditionalCheckFailed');
        if (refused >= 0 && refused < given.length) throw new Refused(refused);
        if (added.retry && codes[given.length] === 'ConditionalCheckFailed') throw new Repeated();
        // Another commit of this subject or counter came first, or the items are busy: read again, try again.
        if (refused < 0 && !codes.some((code) => PASSING.has(code))) throw asOurs(error);
        await backOff(call, attempt, error, options);
      }
    }
  }

  return {
    get: read,

    async getMany(call, keys) {
      if (keys.length > MAX_GET_KEYS) throw new Error(`At most ${MAX_GET_KEYS} keys at once.`);
      const once = new Map(keys.filter(isKey).map((key) => [`${key.pk}\0${key.sk}`, key]));
      const all = [...once.values()];
      const batches = Array.from({ length: Math.ceil(all.length / BATCH) }, (_, i) =>
        readBatch(call, all.slice(i * BATCH, (i + 1) * BATCH)),
      );
      return (await Promise.all(batches)).flat();
    },

    query: page,

    async commit(call, writes, event, commitOptions = {}) {
      const counted = commitOptions.counted ?? false;
      const checked = checkedWrites(call, writes, event, counted);
      const [only, ...more] = checked;
      // One write needs no transaction, which would cost twice; a conditional remove bears no mark, so it has one.
      const alone = only && more.length === 0 && !event && !counted;
      if (alone && ('put' in only || ('remove' in only && !only.if))) await single(call, only);
      else await together(call, checked, event && plain(event), counted);
    },

    async entries(call, subject, after) {
      const { pk } = headKey(subject);
      const range = { pk, prefix: ENTRY_PREFIX, ...(after === undefined ? {} : { after }) };
      const found = await page(call, range);
      const entries = found.items.map(toldOf);
      return found.next === undefined ? { entries } : { entries, next: found.next };
    },

    async repeated(call) {
      const kept = call.retry && (await read(call, retryKey(call.retry.key)));
      return kept && answerOf(call, kept);
    },
  };
}

const PASSING = new Set([
  'TransactionConflict',
  'ThrottlingError',
  'ProvisionedThroughputExceeded',
  'RequestLimitExceeded',
]);

/** As JSON will give it back, so that the hash holds for what is read later. */
const plain = (event: Event): Event => ({
  ...event,
  data: JSON.parse(JSON.stringify(event.data ?? null)),
});

/** The mark of the item that refused us; the document client leaves items of errors as they came. */
function markOf(error: ConditionalCheckFailedException): string | undefined {
  const mark: unknown = error.Item?.['_write'];
  return typeof mark === 'string' ? mark : (mark as { S?: string } | undefined)?.S;
}

const unclear = (cause: unknown) =>
  new Problem('unavailable', 'It is not known whether this write landed; read and try again.', {
    cause,
    retryAfterSeconds: 1,
  });

/** DynamoDB's own count of an item is the last word on its size. */
function asOurs(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const reasons = error instanceof TransactionCanceledException ? error.CancellationReasons : [];
  const words = [error.message, ...(reasons ?? []).map(({ Message }) => Message ?? '')].join(' ');
  return /item size (to update )?has exceeded|collection size/i.test(words)
    ? new Problem('too_large', 'A record is larger than 400 KB.', { cause: error })
    : error;
}
