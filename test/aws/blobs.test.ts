import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll } from 'vitest';
import { s3Blobs } from '../../functions/platform/aws/blobs.ts';
import { blobsContract } from '../contracts/blobs.ts';
import { type Oracle, S3_KEYS, startMoto, startVersity } from '../oracles/oracle.ts';

const started: { oracle: Oracle; client: S3Client }[] = [];

afterAll(async () => {
  for (const { oracle, client } of started) {
    client.destroy();
    await oracle.stop();
  }
});

async function open(start: () => Promise<Oracle>) {
  const oracle = await start();
  const client = new S3Client({
    endpoint: oracle.url,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: S3_KEYS,
  });
  started.push({ oracle, client });
  await client.send(new CreateBucketCommand({ Bucket: 'stillflow' }));
  return { blobs: s3Blobs({ client, bucket: 'stillflow' }), fetch: globalThis.fetch };
}

const runs = Number(process.env['STILLFLOW_RUNS'] ?? 5);
blobsContract({
  on: 'versitygw',
  open: () => open(startVersity),
  runs,
  skip: {
    'of many that change the same one exactly one does':
      'its posix store looks at If-Match before it writes, not in one step: two of eight won, seldom. moto holds it',
  },
});
blobsContract({
  on: 'moto',
  open: () => open(startMoto),
  runs,
  skip: {
    'a signed URL reads one blob, whole or in a range': 'moto checks no signature: it answers 200',
    'a signed URL answers with the headers that it was signed for, and no others':
      'moto checks no signature: it answers 200',
  },
});
