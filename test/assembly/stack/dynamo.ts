import { type Access, AwsError, arnOf, type Caller } from './access.ts';
import type { Account } from './account.ts';
import type { StreamSource } from './streams.ts';
import { type Fields, fields, list, text } from './values.ts';

/** What of a table one request touches. */
interface Touched {
  readonly action: string;
  readonly table: string;
  readonly index: string | undefined;
}

const ONE = [
  'GetItem',
  'PutItem',
  'UpdateItem',
  'DeleteItem',
  'Query',
  'Scan',
  'DescribeTable',
  'DescribeTimeToLive',
];
const WRITES = {
  Put: 'PutItem',
  Update: 'UpdateItem',
  Delete: 'DeleteItem',
  ConditionCheck: 'ConditionCheckItem',
};

/** Every table and index that a request touches, each with the action that IAM asks for. Pure. */
export function touchedBy(operation: string, body: Fields): Touched[] {
  const of = (action: string, target: Fields): Touched => ({
    action: `dynamodb:${action}`,
    table: text(target['TableName']),
    index: text(target['IndexName']) || undefined,
  });
  if (ONE.includes(operation)) return [of(operation, body)];
  if (operation === 'BatchGetItem' || operation === 'BatchWriteItem')
    return Object.keys(fields(body['RequestItems'])).map((TableName) =>
      of(operation, { TableName }),
    );
  if (operation === 'TransactWriteItems')
    return list(body['TransactItems']).flatMap((item) =>
      Object.entries(fields(item)).map(([kind, target]) =>
        of(WRITES[kind as keyof typeof WRITES] ?? kind, fields(target)),
      ),
    );
  if (operation === 'TransactGetItems')
    return list(body['TransactItems']).map((item) => of('GetItem', fields(fields(item)['Get'])));
  throw new AwsError(
    'UnknownOperationException',
    `npm run stack does not know dynamodb:${operation}`,
  );
}

export const tableArn = ({ table, index }: Omit<Touched, 'action'>): string =>
  table.startsWith('arn:')
    ? table
    : arnOf('dynamodb', `table/${table}${index ? `/index/${index}` : ''}`);

/** The account's tables on DynamoDB Local, which keeps its own limits: 400 KB items, 100 in a transaction, 1 MB pages. */
export function dynamoOn(url: string) {
  const authorization =
    'AWS4-HMAC-SHA256 Credential=stack/20260101/eu-central-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0';
  async function send(target: string, body: Uint8Array | string) {
    const answer = await fetch(url, {
      method: 'POST',
      headers: {
        'x-amz-target': target,
        'content-type': 'application/x-amz-json-1.0',
        authorization,
      },
      body: typeof body === 'string' ? body : Buffer.from(body),
    });
    return { status: answer.status, body: Buffer.from(await answer.arrayBuffer()) };
  }
  async function ask(target: string, body: unknown): Promise<Fields> {
    const answer = await send(target, JSON.stringify(body));
    const read = fields(JSON.parse(answer.body.toString()));
    if (answer.status !== 200)
      throw new Error(
        `${target}: ${text(read['__type'])} ${text(read['message'] ?? read['Message'])}`,
      );
    return read;
  }
  const version = 'DynamoDB_20120810';

  const streams: StreamSource = {
    ask: (action, body) => ask(`DynamoDBStreams_20120810.${action}`, body),
    async streamOf(arn) {
      const TableName = /:table\/([^/]+)\//.exec(arn)?.[1] ?? '';
      const { Table } = await ask(`${version}.DescribeTable`, { TableName });
      return text(fields(Table)['LatestStreamArn']);
    },
  };

  return {
    streams,
    /** Makes the tables that are not there yet, as their templates say. */
    async create(account: Account): Promise<void> {
      for (const { ref, properties } of account.of('AWS::DynamoDB::GlobalTable')) {
        const known = await send(`${version}.DescribeTable`, JSON.stringify({ TableName: ref }));
        if (known.status === 200) continue;
        const stream = fields(properties['StreamSpecification']);
        await ask(`${version}.CreateTable`, {
          TableName: ref,
          AttributeDefinitions: properties['AttributeDefinitions'],
          KeySchema: properties['KeySchema'],
          BillingMode: 'PAY_PER_REQUEST',
          ...(stream['StreamViewType']
            ? {
                StreamSpecification: {
                  StreamEnabled: true,
                  StreamViewType: stream['StreamViewType'],
                },
              }
            : {}),
        });
        const ttl = properties['TimeToLiveSpecification'];
        if (ttl)
          await ask(`${version}.UpdateTimeToLive`, {
            TableName: ref,
            TimeToLiveSpecification: ttl,
          });
      }
    },
    /** A request of a caller, checked and passed on as it is. */
    async answer(access: Access, caller: Caller, operation: string, bytes: Buffer) {
      const body = fields(JSON.parse(bytes.toString()));
      for (const touched of touchedBy(operation, body))
        access.check(caller, { action: touched.action, resource: tableArn(touched) });
      return send(`${version}.${operation}`, bytes);
    },
  };
}
export type Dynamo = ReturnType<typeof dynamoOn>;
