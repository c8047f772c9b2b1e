import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs';
import { SageMakerClient } from '@aws-sdk/client-sagemaker';
import { expect, test } from 'vitest';
import { FETCH } from '../../functions/platform/aws/batch.ts';
import { awsJobs } from '../../functions/platform/aws/jobs.ts';
import type { JobSpec } from '../../functions/platform/ports.ts';
import { call } from '../jobs/local.ts';
import { memoryBlobs } from './memory-blobs.ts';

const region = 'eu-central-1';
const jobs = (cluster: boolean) =>
  awsJobs(
    { region, bucket: 'bucket', jobRole: 'arn:aws:iam::123456789012:role/job', cluster },
    {
      sagemaker: new SageMakerClient({ region }),
      logs: new CloudWatchLogsClient({ region }),
      blobs: memoryBlobs('bucket'),
    },
  );
const spec = (resources: JobSpec['resources'] = {}, more: Partial<JobSpec> = {}): JobSpec => ({
  name: 'train',
  interpreter: 'python',
  command: ['python3', '-V'],
  env: {},
  inputs: [],
  outputs: [],
  resources: { runner: 'batch', ...resources },
  nodes: 1,
  deadlineSeconds: 600,
  ...more,
});

test('without a cluster it is refused with what to deploy', async () => {
  await expect(jobs(false).prepare(call, spec())).rejects.toMatchObject({
    code: 'unsupported',
    message: expect.stringContaining('-c eksJobs=NAME'),
  });
});

test.each([
  [spec({ accelerator: { type: 'A100', count: 1 } }), 'resources.accelerator.type'],
  [spec({ accelerator: { type: 'tpu', count: 1 } }), 'resources.accelerator.type'],
  [spec({}, { nodes: 2 }), 'nodes'],
  [spec({ spot: true }), 'resources.spot'],
])('what a cluster cannot give is refused by its field (%#)', async (asked, field) => {
  await expect(jobs(true).prepare(call, asked)).rejects.toMatchObject({ code: 'invalid', field });
});

test('a pod lays out its channels as SageMaker does, and runs start.py', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'stillflow-pod-'));
  try {
    const kept: Record<string, string> = {
      'runtime/launcher/start.py': 'import sys; print("started", sys.argv)',
      'default0/jobs/train/spec/spec.json': '{}',
      'default0/jobs/train/spec/../../../../escaped': 'no',
      'default0/data/sales/a.csv': '1',
      'default0/data/sales/deep/b.csv': '2',
      'default0/data/salesman.csv': 'of a longer name',
    };
    // boto3's part in it: pages of a listing and a download.
    await mkdir(join(folder, 'modules'));
    await writeFile(
      join(folder, 'modules', 'boto3.py'),
      `import json
KEPT = json.loads(${JSON.stringify(JSON.stringify(kept))})
class Client:
    def get_paginator(self, name):
        assert name == "list_objects_v2"
        return self
    def paginate(self, Bucket, Prefix):
        assert Bucket == "bucket"
        for key in sorted(KEPT):
            if key.startswith(Prefix):
                yield {"Contents": [{"Key": key}]}
        yield {}
    def download_file(self, bucket, key, path):
        with open(path, "w") as file:
            file.write(KEPT[key])
def client(name):
    assert name == "s3"
    return Client()
`,
    );
    const { stdout } = await promisify(execFile)(
      'python3',
      [
        '-c',
        FETCH,
        'stillflow=s3://bucket/runtime/launcher/',
        'stillflow-job=s3://bucket/default0/jobs/train/spec/',
        'sales=s3://bucket/default0/data/sales',
        'one=s3://bucket/default0/data/salesman.csv',
      ],
      { env: { ...process.env, PYTHONPATH: join(folder, 'modules'), STILLFLOW_BASE: folder } },
    );
    expect(stdout).toContain('started');
    const read = (path: string) =>
      readFile(join(folder, 'input/data', path), 'utf8').catch(() => undefined);
    expect(
      await Promise.all(
        [
          'stillflow-job/spec.json',
          'sales/a.csv',
          'sales/deep/b.csv',
          'one/salesman.csv',
          'sales/salesman.csv',
        ].map(read),
      ),
    ).toEqual(['{}', '1', '2', 'of a longer name', undefined]);
    expect(await readFile(join(folder, 'escaped'), 'utf8').catch(() => undefined)).toBeUndefined();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
