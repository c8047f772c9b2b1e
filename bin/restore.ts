import {
  DescribeContinuousBackupsCommand,
  DescribeTableCommand,
  type DynamoDBClient,
  RestoreTableToPointInTimeCommand,
} from '@aws-sdk/client-dynamodb';
import { ListObjectVersionsCommand, type S3Client } from '@aws-sdk/client-s3';
import { DynamoDBDocumentClient, ScanCommand } from '@aws-sdk/lib-dynamodb';
import { governanceRoom } from '../functions/governance/index.ts';
import type { Position } from '../functions/governance/verification.ts';
import { type Call, systemCall } from '../functions/kernel/call.ts';
import type { WorkspaceId } from '../functions/kernel/ids.ts';
import type { World } from '../functions/kernel/world.ts';
import { s3Blobs } from '../functions/platform/aws/blobs.ts';
import { dynamoTable, itemOf } from '../functions/platform/aws/table.ts';
import {
  type BlobsReport,
  checkBlobs,
  type Held,
  namedVerdict,
  type OlderBlob,
  strayVerdict,
} from '../local/doctor_blobs.ts';
import { type Check, fail, ok, reasonOf, skipped, type Verdict } from '../local/doctor_checks.ts';

export interface DrillClients {
  readonly dynamodb: DynamoDBClient;
  readonly s3: S3Client;
}

export interface DrillAsked {
  /** The live table and bucket, which are only read. */
  readonly table: string;
  readonly bucket: string;
  /** The name of the copy. */
  readonly copy: string;
  /** The copy is there already, of an earlier drill: only look. */
  readonly made: boolean;
  /** Milliseconds since the epoch; the latest that can be had when absent. */
  readonly at: number | undefined;
  /** Reads and hashes files whose digest is known: dear, and slow. */
  readonly digests: boolean;
  readonly world: World;
  readonly sleep: (ms: number) => Promise<void>;
  readonly tell: (line: string) => void;
}

const LOOK_MS = 20_000;
/** A restore takes minutes for little, hours for terabytes. */
const PATIENCE_MS = 12 * 3_600_000;
const CALL_MS = 60_000;

/**
 * The table as it was at a time, beside the live one, held against the files: what a restore would give back, tried
 * before anybody needs it. Nothing is deleted or overwritten; the copy stays, and is billed, until somebody deletes it.
 */
export function drillChecks(clients: DrillClients, asked: DrillAsked): Check[] {
  const { dynamodb } = clients;
  let restored = false;
  let at = asked.at;
  let walked: Promise<Walked> | undefined;
  /** A drill that could not look has not shown anything. */
  const walk = async (verdict: (walked: Walked) => Verdict | Promise<Verdict>) => {
    if (!restored) return skipped('there is no copy to look at');
    try {
      walked ??= inspected(clients, asked, at ?? asked.world.now());
      return await verdict(await walked);
    } catch (error) {
      return fail(
        `it could not be looked at: ${reasonOf(error)}`,
        'mend what it says, and look again with --made --copy',
      );
    }
  };
  return [
    {
      name: 'recovery',
      looksAt: `dynamodb:DescribeContinuousBackups ${asked.table}`,
      async run() {
        if (asked.made) return skipped('the copy is there already');
        const found = await windowOf(dynamodb, asked.table);
        if (typeof found === 'string')
          return fail(found, 'npx stillflow doctor --aws says how to switch it on');
        const [earliest, latest] = found;
        at ??= latest;
        const words = `${new Date(earliest).toISOString()} to ${new Date(latest).toISOString()}`;
        if (at >= earliest && at <= latest) return ok(`${words} can be had`);
        at = undefined;
        return fail(`only ${words} can be had`, 'give --at within it');
      },
    },
    {
      name: 'restore',
      looksAt: `dynamodb:RestoreTableToPointInTime ${asked.copy}`,
      async run() {
        try {
          if (!asked.made) {
            if (at === undefined) return skipped('no time to restore');
            await dynamodb.send(
              new RestoreTableToPointInTimeCommand({
                SourceTableName: asked.table,
                TargetTableName: asked.copy,
                RestoreDateTime: new Date(at),
                BillingModeOverride: 'PAY_PER_REQUEST',
              }),
            );
          }
          const took = await untilActive(dynamodb, asked);
          restored = true;
          const when = at === undefined ? '' : `, as of ${new Date(at).toISOString()}`;
          return ok(`${asked.copy} is there after ${Math.round(took / 1000)} s${when}`);
        } catch (error) {
          return fail(
            reasonOf(error),
            'mend what it says; with --made a copy that is there is looked at',
          );
        }
      },
    },
    {
      name: 'blobs',
      looksAt: `each file that a restored record names, in ${asked.bucket}`,
      run: () => walk(({ report }) => namedVerdict(report)),
    },
    {
      name: 'strays',
      looksAt: 'files from before that only records lead to',
      run: () => walk(({ report }) => strayVerdict(report)),
    },
    {
      name: 'audit',
      looksAt: 'the restored chains and anchors',
      run: () => walk(({ workspaces }) => audit(clients, asked, workspaces)),
    },
  ];
}

async function windowOf(
  client: DynamoDBClient,
  TableName: string,
): Promise<[number, number] | string> {
  const { ContinuousBackupsDescription: told } = await client.send(
    new DescribeContinuousBackupsCommand({ TableName }),
  );
  const found = told?.PointInTimeRecoveryDescription;
  const [earliest, latest] = [found?.EarliestRestorableDateTime, found?.LatestRestorableDateTime];
  if (found?.PointInTimeRecoveryStatus !== 'ENABLED' || !earliest || !latest)
    return 'point-in-time recovery is off: nothing can be restored';
  return [earliest.getTime(), latest.getTime()];
}

async function untilActive(
  client: DynamoDBClient,
  { copy, world, sleep, tell }: DrillAsked,
): Promise<number> {
  const began = world.now();
  for (;;) {
    const { Table } = await client.send(new DescribeTableCommand({ TableName: copy }));
    if (Table?.TableStatus === 'ACTIVE') return world.now() - began;
    if (Table?.TableStatus !== 'CREATING' && Table?.TableStatus !== 'UPDATING')
      throw new Error(`${copy} is ${Table?.TableStatus}`);
    if (world.now() - began > PATIENCE_MS) throw new Error(`${copy} is still ${Table.TableStatus}`);
    tell(`${copy} is ${Table.TableStatus} since ${Math.round((world.now() - began) / 1000)} s`);
    await sleep(LOOK_MS);
  }
}

interface Walked {
  readonly report: BlobsReport;
  readonly workspaces: readonly WorkspaceId[];
}

const callOf = (workspace: WorkspaceId, world: World): Call =>
  systemCall(workspace, 'drill', 'drill', world.now() + CALL_MS);

async function inspected(
  { dynamodb, s3 }: DrillClients,
  asked: DrillAsked,
  at: number,
): Promise<Walked> {
  const { bucket, copy, world, digests } = asked;
  const workspaces = new Set<WorkspaceId>();
  async function* records(): AsyncGenerator<Held> {
    const client = DynamoDBDocumentClient.from(dynamodb, {
      unmarshallOptions: { wrapNumbers: Number },
    });
    let ExclusiveStartKey: Record<string, unknown> | undefined;
    do {
      const page = await client.send(new ScanCommand({ TableName: copy, ExclusiveStartKey }));
      for (const stored of page.Items ?? []) {
        const until = stored['expiresAt'];
        if (typeof until === 'number' && until <= at) continue;
        const workspace = String(stored['pk']).slice(0, 8) as WorkspaceId;
        workspaces.add(workspace);
        yield { workspace, item: itemOf(stored) };
      }
      ExclusiveStartKey = page.LastEvaluatedKey;
    } while (ExclusiveStartKey);
  }
  const report = await checkBlobs({
    records: records(),
    blobs: s3Blobs({ client: s3, bucket }),
    callIn: (workspace) => callOf(workspace, world),
    digests,
    settledAt: at,
    older: (workspace, path) => versionsOf(s3, bucket, `${workspace}/${path}`, at),
  });
  return { report, workspaces: [...workspaces] };
}

/** Newest first, as S3 lists them; only what was there at the time. */
async function versionsOf(
  client: S3Client,
  Bucket: string,
  Key: string,
  at: number,
): Promise<OlderBlob[]> {
  const { Versions = [] } = await client.send(
    new ListObjectVersionsCommand({ Bucket, Prefix: Key, MaxKeys: 100 }),
  );
  return Versions.flatMap(({ Key: found, VersionId, Size = 0, LastModified }) => {
    const modifiedAt = LastModified?.getTime() ?? 0;
    return found === Key && VersionId && modifiedAt <= at
      ? [{ version: VersionId, sizeBytes: Size, modifiedAt }]
      : [];
  });
}

async function audit(
  { dynamodb }: DrillClients,
  { copy, world }: DrillAsked,
  workspaces: readonly WorkspaceId[],
): Promise<Verdict> {
  const table = dynamoTable({ client: dynamodb, table: copy, world });
  const { whole } = governanceRoom({ table, world, secret: new Uint8Array(32) }).service;
  const amiss: string[] = [];
  let entries = 0;
  for (const workspace of workspaces) {
    let position: Position | undefined;
    do {
      const page = await whole.page(callOf(workspace, world), position);
      entries += page.entries;
      amiss.push(...page.findings.map(({ subject, why }) => `${workspace} ${subject}: ${why}`));
      position = page.next;
    } while (position);
  }
  if (amiss.length === 0)
    return ok(`${entries} entries of ${workspaces.length} workspaces: nothing amiss`);
  return fail(
    `${amiss.length} amiss: ${amiss.slice(0, 3).join('; ')}`,
    'restore to an earlier time and compare',
  );
}
