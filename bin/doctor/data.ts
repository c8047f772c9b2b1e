import {
  DescribeContinuousBackupsCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  type TableDescription,
} from '@aws-sdk/client-dynamodb';
import {
  GetBucketEncryptionCommand,
  GetBucketNotificationConfigurationCommand,
  GetBucketVersioningCommand,
  GetPublicAccessBlockCommand,
} from '@aws-sdk/client-s3';
import { type Check, fail, ok, type Verdict, warn } from '../../local/doctor_checks.ts';
import type { Clients } from '../doctor-aws.ts';
import { type Deployment, notDeployed } from './deployment.ts';

const REDEPLOY =
  'somebody changed it by hand: put it back in the console, or npx cdk deploy stillflow-data';

/** Table and bucket: there, encrypted, and able to give back what was lost. */
export function dataChecks({ dynamodb, s3 }: Clients, found: Deployment): Check[] {
  const onTable = async (look: (TableName: string) => Promise<Verdict>) => {
    const table = await found.only('AWS::DynamoDB::GlobalTable');
    return table ? look(table.physicalId) : notDeployed('table');
  };
  const onBucket = async (look: (Bucket: string) => Promise<Verdict>) => {
    const bucket = await found.only('AWS::S3::Bucket');
    return bucket ? look(bucket.physicalId) : notDeployed('bucket');
  };
  return [
    {
      name: 'table',
      looksAt: 'dynamodb:DescribeTable',
      run: () =>
        onTable(async (TableName) => {
          try {
            const { Table } = await dynamodb.send(new DescribeTableCommand({ TableName }));
            return tableVerdict(Table ?? {});
          } catch (error) {
            if (!isNamed(error, 'ResourceNotFoundException')) throw error;
            return fail(
              `${TableName} is gone`,
              'restore it to this name (docs/guides/operations.md, "Restore")',
            );
          }
        }),
    },
    {
      name: 'table recovery',
      looksAt: 'dynamodb:DescribeContinuousBackups',
      run: () =>
        onTable(async (TableName) => {
          const { ContinuousBackupsDescription: told } = await dynamodb.send(
            new DescribeContinuousBackupsCommand({ TableName }),
          );
          const recovery = told?.PointInTimeRecoveryDescription;
          if (recovery?.PointInTimeRecoveryStatus !== 'ENABLED')
            return fail('point-in-time recovery is off', REDEPLOY);
          const from = recovery.EarliestRestorableDateTime?.toISOString() ?? 'an unknown time';
          return ok(`any second since ${from} can be restored (npm run restore:drill)`);
        }),
    },
    {
      name: 'table expiry',
      looksAt: 'dynamodb:DescribeTimeToLive',
      run: () =>
        onTable(async (TableName) => {
          const { TimeToLiveDescription: told } = await dynamodb.send(
            new DescribeTimeToLiveCommand({ TableName }),
          );
          if (told?.TimeToLiveStatus === 'ENABLED' && told.AttributeName === '_ttl')
            return ok('what has expired is deleted by _ttl');
          return warn('what has expired is hidden but never deleted, and billed', REDEPLOY);
        }),
    },
    {
      name: 'bucket encryption',
      looksAt: 's3:GetEncryptionConfiguration',
      run: () =>
        onBucket(async (Bucket) => {
          const { ServerSideEncryptionConfiguration: told } = await s3.send(
            new GetBucketEncryptionCommand({ Bucket }),
          );
          const by = told?.Rules?.[0]?.ApplyServerSideEncryptionByDefault?.SSEAlgorithm;
          return by ? ok(`${Bucket} is encrypted by ${by}`) : fail('it is not encrypted', REDEPLOY);
        }),
    },
    {
      name: 'bucket versions',
      looksAt: 's3:GetBucketVersioning',
      run: () =>
        onBucket(async (Bucket) => {
          const { Status } = await s3.send(new GetBucketVersioningCommand({ Bucket }));
          return Status === 'Enabled'
            ? ok('what is overwritten or deleted is kept for 30 days')
            : fail('what is overwritten or deleted is lost at once', REDEPLOY);
        }),
    },
    {
      name: 'bucket access',
      looksAt: 's3:GetBucketPublicAccessBlock',
      run: () =>
        onBucket(async (Bucket) => {
          const { PublicAccessBlockConfiguration: told } = await s3.send(
            new GetPublicAccessBlockCommand({ Bucket }),
          );
          const open = [
            'BlockPublicAcls',
            'IgnorePublicAcls',
            'BlockPublicPolicy',
            'RestrictPublicBuckets',
          ].filter((name) => told?.[name as keyof typeof told] !== true);
          return open.length === 0
            ? ok('closed to the public')
            : fail(`${open.join(', ')} off: it can be opened to the public`, REDEPLOY);
        }),
    },
    {
      name: 'bucket events',
      looksAt: 's3:GetBucketNotification',
      run: () =>
        onBucket(async (Bucket) => {
          const told = await s3.send(new GetBucketNotificationConfigurationCommand({ Bucket }));
          return told.EventBridgeConfiguration
            ? ok('files that arrive are told to EventBridge')
            : fail('files that arrive start nothing', REDEPLOY);
        }),
    },
  ];
}

function tableVerdict(table: TableDescription): Verdict {
  if (table.TableStatus !== 'ACTIVE' && table.TableStatus !== 'UPDATING')
    return fail(`it is ${table.TableStatus}`, 'wait, or look at it in the DynamoDB console');
  const stream = table.StreamSpecification;
  if (!stream?.StreamEnabled || stream.StreamViewType !== 'NEW_IMAGE')
    return fail('its stream is off: no event is told and nothing folded', REDEPLOY);
  if (table.SSEDescription?.Status === 'UPDATING')
    return warn('its encryption is being changed', 'wait until it is done');
  if (table.SSEDescription?.InaccessibleEncryptionDateTime)
    return fail(
      'the key that encrypts it cannot be used',
      'enable the KMS key within seven days, or DynamoDB archives the table',
    );
  if (!table.DeletionProtectionEnabled)
    return warn('anybody who may delete tables can delete it', REDEPLOY);
  const key = table.SSEDescription?.KMSMasterKeyArn ?? "a key of AWS's own";
  return ok(
    `${table.TableName}, some ${table.ItemCount ?? 0} items, encrypted by ${key}, with stream and deletion protection`,
  );
}

export const isNamed = (error: unknown, ...names: string[]): boolean =>
  error instanceof Error && names.includes(error.name);
