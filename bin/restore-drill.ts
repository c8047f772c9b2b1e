import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { S3Client } from '@aws-sdk/client-s3';
import { realWorld } from '../functions/platform/aws/platform.ts';
import { examine } from '../local/doctor_checks.ts';
import { drillChecks } from './restore.ts';

/**
 * `npm run restore:drill -- --table NAME --bucket NAME`: restores the table beside itself and holds the copy against the
 * bucket. Deletes nothing. Exit 1 if something would be lost.
 */
try {
  const { values } = parseArgs({
    options: {
      table: { type: 'string' },
      bucket: { type: 'string' },
      at: { type: 'string' },
      copy: { type: 'string' },
      made: { type: 'boolean', default: false },
      digests: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  });
  const { table, bucket, json } = values;
  if (!table || !bucket)
    throw new Error('give --table and --bucket (the outputs TableName and BucketName)');
  if (values.made && !values.copy)
    throw new Error('give --copy, the name of the table that is there');
  const at = values.at === undefined ? undefined : Date.parse(values.at);
  if (Number.isNaN(at))
    throw new Error(`--at is no time such as 2026-11-24T12:00:00Z: ${values.at}`);
  const stamp = new Date(realWorld.now()).toISOString().replace(/\D/g, '').slice(0, 12);
  const copy = values.copy ?? `${table}-drill-${stamp}`.slice(-255);
  const checks = drillChecks(
    { dynamodb: new DynamoDBClient({}), s3: new S3Client({}) },
    {
      ...{
        table,
        bucket,
        copy,
        at,
        made: values.made,
        digests: values.digests,
        world: realWorld,
        sleep,
      },
      tell: (line) => process.stderr.write(`${line}\n`),
    },
  );
  const whole = await examine(checks, { write: (line) => process.stdout.write(`${line}\n`), json });
  process.stderr.write(
    `The copy stays and is billed: aws dynamodb delete-table --table-name ${copy} takes it away. What restoring in earnest asks: docs/guides/operations.md\n`,
  );
  process.exitCode = whole ? 0 : 1;
} catch (error) {
  process.stderr.write(`stillflow: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
