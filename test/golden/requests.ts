import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs';
import { SageMakerClient } from '@aws-sdk/client-sagemaker';
import { awsJobs } from '../../functions/platform/aws/jobs.ts';
import { type TuningSpec, tuningRequest } from '../../functions/platform/aws/tuning.ts';
import type { JobSpec } from '../../functions/platform/ports.ts';
import { memoryBlobs } from '../aws/memory-blobs.ts';
import { call } from '../jobs/local.ts';

/** One call that we make: botocore's name of the service, its operation, and what is sent. */
export interface Request {
  readonly service: 'sagemaker' | 'application-autoscaling' | 'cloudwatch' | 'batch';
  readonly operation: string;
  readonly input: object;
}

export const FOLDER = join(import.meta.dirname, 'requests');
export const goldenNames = (): string[] =>
  readdirSync(FOLDER)
    .filter((name) => name.endsWith('.json'))
    .map((name) => name.slice(0, -'.json'.length));
export const golden = (name: string): Request[] =>
  JSON.parse(readFileSync(join(FOLDER, `${name}.json`), 'utf8')) as Request[];

const region = 'eu-central-1';
export const KEY = 'arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab';
const roleArn = 'arn:aws:iam::123456789012:role/stillflow-job';
const uri = (path: string) => `s3://bucket/${call.workspace}/${path}`;

const nothingSent = () => ({
  sagemaker: new SageMakerClient({ region }),
  logs: new CloudWatchLogsClient({ region }),
  blobs: memoryBlobs('bucket'),
});

const train = (more: Partial<JobSpec>): JobSpec => ({
  name: 'train',
  interpreter: 'python',
  command: ['python3', '-m', 'train', '--epochs', '3'],
  env: { SEED: '1' },
  inputs: [{ name: 'train', uri: uri('data/sales') }],
  outputs: [{ name: 'model', uri: uri('pipelines/demand/model') }],
  resources: {},
  nodes: 1,
  deadlineSeconds: 3600,
  metrics: [{ name: 'loss', regex: 'loss=(\\S+)' }],
  ...more,
});

async function job(spec: JobSpec, volumeKey?: string): Promise<Request[]> {
  const jobs = awsJobs(
    {
      region,
      bucket: 'bucket',
      jobRole: roleArn,
      cluster: true,
      ...(volumeKey ? { volumeKey } : {}),
    },
    nothingSent(),
  );
  const input = (await jobs.prepare(call, spec)) as object;
  if ('JobQueue' in input)
    return [{ service: 'batch', operation: 'SubmitJob', input: asBatch(input) as object }];
  const operation = 'ProcessingJobName' in input ? 'CreateProcessingJob' : 'CreateTrainingJob';
  return [{ service: 'sagemaker', operation, input }];
}

/** Step Functions words the fields of a request in Pascal case, and AWS Batch in camel case; names in maps stay. */
function asBatch(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(asBatch);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, one]) => [
      name.replace(/^[A-Z]/, (letter) => letter.toLowerCase()),
      ['Tags', 'Limits', 'Requests'].includes(name) ? one : asBatch(one),
    ]),
  );
}

const TUNING: TuningSpec = {
  name: 'demand',
  strategy: 'bayesian',
  objective: { metric: 'loss', goal: 'minimize' },
  parameters: [
    { name: 'rate', from: 0.0001, to: 0.1, scale: 'log' },
    { name: 'depth', from: 2, to: 9, integer: true },
    { name: 'optimizer', values: ['adam', 'sgd'] },
  ],
  trials: 20,
  parallel: 4,
  seed: 7,
  trial: (({ name: _, ...spec }) => spec)(train({ outputs: [] })),
};
const tune = (more: Partial<TuningSpec>, volumeKey?: string): Request[] => [
  {
    service: 'sagemaker',
    operation: 'CreateHyperParameterTuningJob',
    input: tuningRequest(
      { ...TUNING, ...more },
      {
        workspace: call.workspace,
        region,
        roleArn,
        runtimeUri: 's3://bucket/runtime/launcher/',
        specUri: `${uri('jobs/demand/spec')}/`,
        outputUri: uri('jobs/demand/archives'),
        ...(volumeKey ? { volumeKey } : {}),
      },
    ),
  },
];

/** What each golden file is made from, by our own code. */
export const JOB_REQUESTS: Readonly<Record<string, () => Promise<Request[]> | Request[]>> = {
  'training-cpu-with-key': () => job(train({ resources: { runner: 'sagemaker', cpus: 4 } }), KEY),
  'training-1-gpu': () =>
    job(train({ resources: { accelerator: { type: 'nvidia.com/gpu', count: 1 } } }), KEY),
  'training-8-gpu-spot-checkpoints': () =>
    job(
      train({
        resources: { accelerator: { type: 'nvidia.com/gpu', count: 8 }, spot: true },
        checkpoint: uri('jobs/train/checkpoints'),
        deadlineSeconds: 86_400,
      }),
    ),
  'training-2-nodes-efa': () =>
    job(
      train({
        resources: { accelerator: { type: 'nvidia.com/gpu', count: 8 }, network: 'fast' },
        nodes: 2,
      }),
    ),
  'training-warm-pool': () =>
    job(
      train({
        resources: { accelerator: { type: 'nvidia.com/gpu', count: 1 }, keepAliveSeconds: 1800 },
      }),
    ),
  'training-tpu-as-trainium': () =>
    job(train({ resources: { accelerator: { type: 'cloud-tpus.google.com/v3', count: 1 } } })),
  processing: () =>
    job(
      (({ metrics: _, ...spec }) => spec)(
        train({
          name: 'clean',
          nodes: 2,
          resources: { runner: 'processing', cpus: 8 },
          outputs: [{ name: 'clean', uri: uri('pipelines/demand/clean') }],
        }),
      ),
      KEY,
    ),
  'batch-on-eks-gpu': () =>
    job(
      train({
        resources: {
          runner: 'batch',
          cpus: 4,
          memoryBytes: 16 * 2 ** 30,
          accelerator: { type: 'nvidia.com/gpu', count: 1 },
        },
      }),
    ),
  'tuning-bayesian': () => tune({}, KEY),
  'tuning-random-gpu-spot': () =>
    tune({
      strategy: 'random',
      trial: {
        ...TUNING.trial,
        resources: { accelerator: { type: 'nvidia.com/gpu', count: 1 }, spot: true },
        checkpoint: uri('jobs/demand/checkpoints'),
      },
    }),
  'tuning-grid': () =>
    tune({
      strategy: 'grid',
      parameters: [
        { name: 'rate', values: [0.001, 0.01, 0.1] },
        { name: 'depth', values: [3, 6] },
      ],
    }),
};
