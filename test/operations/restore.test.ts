import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  DeleteTableCommand,
  DescribeContinuousBackupsCommand,
  DescribeTableCommand,
  DynamoDBClient,
  RestoreTableToPointInTimeCommand,
} from '@aws-sdk/client-dynamodb';
import {
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import {
  DynamoDBDocumentClient,
  GetCommand,
  QueryCommand,
  ScanCommand,
} from '@aws-sdk/lib-dynamodb';
import { mockClient } from 'aws-sdk-client-mock';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type DrillAsked, drillChecks } from '../../bin/restore.ts';
import { governanceRoom } from '../../functions/governance/index.ts';
import type { Item } from '../../functions/platform/ports.ts';
import { examine, type Finding } from '../../local/doctor_checks.ts';
import { openTable } from '../../local/table.ts';
import { testCall, testWorld } from '../world.ts';
import { fault } from './account.ts';

const settings = {
  region: 'eu-central-1',
  credentials: { accessKeyId: 'x', secretAccessKey: 'x' },
};
const clients = { dynamodb: new DynamoDBClient(settings), s3: new S3Client(settings) };
const dynamo = mockClient(clients.dynamodb);
const documents = mockClient(DynamoDBDocumentClient);
const s3 = mockClient(clients.s3);

const HOUR = 3_600_000;
const EARLIEST = Date.UTC(2026, 10, 1);
const LATEST = Date.UTC(2026, 10, 24, 11, 55);
const call = testCall();
const folder = mkdtempSync(join(tmpdir(), 'restore-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const SPEC = '{"a":1}';
const DIGEST = createHash('sha256').update(SPEC).digest('hex');
const SPEC_KEY = `default0/kfp/specs/${DIGEST}.json`;

/** What the copy holds, as DynamoDB would: real records with real chains, made by the local table. */
let restored: Record<string, unknown>[];
beforeAll(async () => {
  const world = testWorld(2);
  const table = openTable({ folder, world, noSync: true });
  const event = (n: number) => ({
    type: 'pipelines.run.created' as const,
    subject: 'runs/1',
    data: { n },
  });
  const run = { pk: 'KFP#runs', sk: '1', version: 1, record: JSON.stringify({ spec: DIGEST }) };
  await table.commit(call, [{ put: run }], event(1));
  await table.commit(call, [{ put: { pk: 'OTHER', sk: 'x' } }], event(2));
  // Which chains there are is noted by who hears of them.
  const [anchor] = governanceRoom({ table, world, secret: new Uint8Array(32) }).followers;
  await anchor?.runMany?.(call, (await table.entries(call, 'runs/1')).entries);
  const items = table.root.openDB<Item, Buffer>({ name: 'items', keyEncoding: 'binary' });
  restored = [...items.getRange({})].map(({ value }) => ({ ...value, pk: `default0#${value.pk}` }));
  await table.close();
});

interface Kept {
  readonly body: string;
  readonly at: number;
}
let objects: Map<string, Kept>;
let older: { Key: string; VersionId: string; Size: number; LastModified: Date }[];
let states: string[];

beforeEach(() => {
  for (const mock of [dynamo, documents, s3]) mock.reset();
  objects = new Map([[SPEC_KEY, { body: SPEC, at: EARLIEST }]]);
  older = [];
  states = ['CREATING', 'CREATING', 'ACTIVE'];
  dynamo.on(DescribeContinuousBackupsCommand).resolves({
    ContinuousBackupsDescription: {
      ContinuousBackupsStatus: 'ENABLED',
      PointInTimeRecoveryDescription: {
        PointInTimeRecoveryStatus: 'ENABLED',
        EarliestRestorableDateTime: new Date(EARLIEST),
        LatestRestorableDateTime: new Date(LATEST),
      },
    },
  });
  dynamo.on(RestoreTableToPointInTimeCommand).resolves({});
  dynamo.on(DescribeTableCommand).callsFake(async () => ({
    Table: { TableStatus: states.length > 1 ? states.shift() : states[0] },
  }));
  documents
    .on(ScanCommand)
    .callsFake(async ({ ExclusiveStartKey }) =>
      ExclusiveStartKey
        ? { Items: restored.slice(1) }
        : { Items: restored.slice(0, 1), LastEvaluatedKey: { pk: 'x', sk: 'x' } },
    );
  documents.on(GetCommand).callsFake(async ({ Key: { pk, sk } }) => ({
    Item: restored.find((item) => item['pk'] === pk && item['sk'] === sk),
  }));
  documents.on(QueryCommand).callsFake(async ({ ExpressionAttributeValues: values }) => ({
    Items: restored.filter(
      (item) =>
        item['pk'] === values[':pk'] &&
        String(item['sk']) >= (values[':low'] ?? '') &&
        String(item['sk']) <= (values[':high'] ?? '\u{10ffff}'),
    ),
  }));
  const missing = () => fault('NotFound');
  s3.on(HeadObjectCommand).callsFake(async ({ Key }) => {
    const found = objects.get(Key);
    if (!found) throw missing();
    return { ContentLength: found.body.length, ETag: 'e', LastModified: new Date(found.at) };
  });
  s3.on(GetObjectCommand).callsFake(async ({ Key }) => {
    const found = objects.get(Key);
    if (!found) throw fault('NoSuchKey');
    return {
      ...{ ContentLength: found.body.length, ETag: 'e', LastModified: new Date(found.at) },
      Body: { transformToWebStream: () => new Response(found.body).body },
    };
  });
  s3.on(ListObjectsV2Command).callsFake(async ({ Prefix }) => ({
    Contents: [...objects]
      .filter(([Key]) => Key.startsWith(Prefix))
      .map(([Key, { body, at }]) => ({
        ...{ Key, Size: body.length, ETag: 'e', LastModified: new Date(at) },
      })),
  }));
  s3.on(ListObjectVersionsCommand).callsFake(async () => ({ Versions: older }));
});

async function drilled(more: Partial<DrillAsked> = {}) {
  const world = testWorld(3, LATEST);
  const lines: string[] = [];
  const told: string[] = [];
  const asked: DrillAsked = {
    ...{
      table: 'live',
      bucket: 'bucket',
      copy: 'copy',
      made: false,
      at: undefined,
      digests: false,
    },
    world,
    sleep: async (ms) => world.pass(ms),
    tell: (line) => void told.push(line),
    ...more,
  };
  const write = (line: string) => void lines.push(line);
  const whole = await examine(drillChecks(clients, asked), { write, json: true });
  const { findings } = JSON.parse(lines.join('')) as { findings: Finding[] };
  return { whole, told, of: (check: string) => findings.find((one) => one.check === check) };
}

test('restores the latest time to a new name, waits until it is there, finds it whole, and deletes nothing', async () => {
  const { whole, told, of } = await drilled();
  expect(whole).toBe(true);
  expect(
    dynamo.commandCalls(RestoreTableToPointInTimeCommand).map(({ args }) => args[0].input),
  ).toEqual([
    {
      ...{
        SourceTableName: 'live',
        TargetTableName: 'copy',
        BillingModeOverride: 'PAY_PER_REQUEST',
      },
      RestoreDateTime: new Date(LATEST),
    },
  ]);
  expect(told).toEqual(['copy is CREATING since 0 s', 'copy is CREATING since 20 s']);
  expect(of('restore')?.said).toBe('copy is there after 40 s, as of 2026-11-24T11:55:00.000Z');
  expect(of('blobs')?.said).toBe(`${restored.length} records name 1 files and folders, all there`);
  expect(of('audit')?.said).toBe('2 entries of 1 workspaces: nothing amiss');
  const commands = [dynamo, documents, s3].flatMap((mock) =>
    mock.calls().map(({ args }) => args[0].constructor.name),
  );
  expect(
    commands.filter((name) => !/^(Describe|Restore|Scan|Get|Query|Head|List)/.test(name)),
  ).toEqual([]);
  expect(dynamo.commandCalls(DeleteTableCommand)).toHaveLength(0);
  for (const { args } of documents.commandCalls(ScanCommand))
    expect(args[0].input.TableName).toBe('copy');
});

test('a file that a restored record names and that is gone is found, with the version that would do', async () => {
  objects.clear();
  older = [
    { Key: SPEC_KEY, VersionId: 'too-new', Size: 7, LastModified: new Date(LATEST + HOUR) },
    { Key: `${SPEC_KEY}.other`, VersionId: 'another', Size: 7, LastModified: new Date(EARLIEST) },
    { Key: SPEC_KEY, VersionId: 'good', Size: SPEC.length, LastModified: new Date(EARLIEST) },
  ];
  const { whole, of } = await drilled();
  expect(whole).toBe(false);
  expect(of('blobs')).toMatchObject({
    result: 'fail',
    said: expect.stringMatching(/1 missing.*KFP#runs 1.*its version good would do/),
  });
});

test('other bytes are found by their digest where that is asked for, and only then read', async () => {
  objects.set(SPEC_KEY, { body: '{"a":2}', at: EARLIEST });
  expect((await drilled()).whole).toBe(true);
  expect(s3.commandCalls(GetObjectCommand)).toHaveLength(0);
  expect((await drilled({ digests: true })).of('blobs')).toMatchObject({ result: 'fail' });
});

test('a file from before that no record leads to is told; one put after that time is none', async () => {
  objects.set('default0/kfp/specs/newer.json', { body: '{}', at: LATEST + 1 });
  expect((await drilled()).of('strays')).toMatchObject({ result: 'ok' });
  objects.set('default0/kfp/specs/older.json', { body: '{}', at: LATEST - 1 });
  expect((await drilled()).of('strays')).toMatchObject({
    result: 'warn',
    said: expect.stringContaining('default0/kfp/specs/older.json'),
  });
});

test('a restored chain that was changed is found', async () => {
  const kept = restored;
  restored = restored.map((item) =>
    String(item['told']).includes('"n":1')
      ? { ...item, told: String(item['told']).replace('"ada"', '"eve"') }
      : item,
  );
  const { whole, of } = await drilled();
  restored = kept;
  expect(whole).toBe(false);
  expect(of('audit')).toMatchObject({ result: 'fail', said: expect.stringMatching(/runs\/1/) });
});

describe('what cannot be restored', () => {
  test('recovery is off', async () => {
    dynamo.on(DescribeContinuousBackupsCommand).resolves({});
    const { whole, of } = await drilled();
    expect(whole).toBe(false);
    expect(of('recovery')).toMatchObject({ result: 'fail', said: expect.stringMatching(/is off/) });
    expect(of('restore')).toMatchObject({ result: 'skipped' });
    expect(of('blobs')).toMatchObject({ result: 'skipped', said: 'there is no copy to look at' });
    expect(dynamo.commandCalls(RestoreTableToPointInTimeCommand)).toHaveLength(0);
  });

  test('a time outside of what can be had', async () => {
    const { of } = await drilled({ at: EARLIEST - 1 });
    expect(of('recovery')).toMatchObject({ result: 'fail', fix: 'give --at within it' });
    expect(dynamo.commandCalls(RestoreTableToPointInTimeCommand)).toHaveLength(0);
  });

  test('a name that is taken; with --made it is looked at instead', async () => {
    dynamo
      .on(RestoreTableToPointInTimeCommand)
      .rejects(fault('TableAlreadyExistsException', 'it exists: copy'));
    const { whole, of } = await drilled();
    expect(whole).toBe(false);
    expect(of('restore')).toMatchObject({ result: 'fail', said: 'it exists: copy' });
    const again = await drilled({ made: true });
    expect(again.whole).toBe(true);
    expect(again.of('recovery')).toMatchObject({ result: 'skipped' });
    expect(again.of('blobs')).toMatchObject({ result: 'ok' });
  });

  test('a copy that fails to come up', async () => {
    states = ['CREATING', 'DELETING'];
    expect((await drilled()).of('restore')).toMatchObject({
      result: 'fail',
      said: 'copy is DELETING',
    });
  });
});
