import { CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs';
import {
  CreateProcessingJobCommand,
  CreateTrainingJobCommand,
  DescribeProcessingJobCommand,
  DescribeTrainingJobCommand,
  SageMakerClient,
  StopProcessingJobCommand,
  StopTrainingJobCommand,
} from '@aws-sdk/client-sagemaker';
import { mockClient } from 'aws-sdk-client-mock';
import { beforeEach, describe, expect, test } from 'vitest';
import type { Call } from '../../functions/kernel/call.ts';
import { instancesFor } from '../../functions/platform/aws/instances.ts';
import { awsJobs } from '../../functions/platform/aws/jobs.ts';
import { processedFrom, processingRequest } from '../../functions/platform/aws/processing.ts';
import {
  imageOf,
  instanceOf,
  jobFrom,
  trainingRequest,
} from '../../functions/platform/aws/training.ts';
import type { JobSpec } from '../../functions/platform/ports.ts';
import { call } from '../jobs/local.ts';
import { memoryBlobs } from './memory-blobs.ts';

const mock = mockClient(SageMakerClient);
const fault = (name: string, message = name) => Object.assign(new Error(message), { name });
const absent = fault('ValidationException', 'Requested resource not found.');
const spec = (more: Partial<JobSpec> = {}): JobSpec => ({
  name: 'train',
  interpreter: 'python',
  command: ['stillflow-launcher', 's3://bucket/default0/task.json'],
  env: { A: 'b' },
  inputs: [],
  outputs: [],
  resources: { runner: 'sagemaker' },
  nodes: 1,
  deadlineSeconds: 3600,
  ...more,
});

let jobs: ReturnType<typeof awsJobs>;
beforeEach(() => {
  mock.reset();
  jobs = awsJobs(
    { region: 'eu-central-1', bucket: 'bucket', jobRole: 'arn:aws:iam::123456789012:role/job' },
    {
      sagemaker: new SageMakerClient({ region: 'eu-central-1' }),
      logs: new CloudWatchLogsClient({ region: 'eu-central-1' }),
      blobs: memoryBlobs('bucket'),
    },
  );
});

describe('submit', () => {
  test('right after Create the job is not found, and is pending', async () => {
    mock.on(CreateTrainingJobCommand).resolves({});
    mock.on(DescribeTrainingJobCommand).rejects(absent);
    expect(await jobs.submit(call, spec())).toMatchObject({ state: 'pending' });
    expect(await jobs.describe(call, 'train')).toMatchObject({ state: 'pending' });
    expect(await jobs.describe(call, 'other')).toBeUndefined();
  });

  test('an answer that was lost is found by name', async () => {
    mock.on(CreateTrainingJobCommand).rejectsOnce(fault('TimeoutError'));
    await expect(jobs.submit(call, spec())).rejects.toMatchObject({
      code: 'unavailable',
      retryAfterSeconds: 5,
    });
    mock.on(CreateTrainingJobCommand).rejects(fault('ResourceInUse', 'Training job exists'));
    mock.on(DescribeTrainingJobCommand).resolves({ TrainingJobStatus: 'Completed' });
    expect(await jobs.submit(call, spec())).toMatchObject({ state: 'succeeded', exitCode: 0 });
  });

  test('a second spec under the name asks for the first again', async () => {
    mock.on(CreateTrainingJobCommand).resolves({});
    mock.on(DescribeTrainingJobCommand).rejects(absent);
    await jobs.submit(call, spec());
    await jobs.submit(call, spec({ nodes: 7 }));
    const counts = mock
      .commandCalls(CreateTrainingJobCommand)
      .map(({ args }) => args[0].input.ResourceConfig?.InstanceCount);
    expect(counts).toEqual([1, 1]);
  });

  test.each([
    ['ResourceLimitExceeded', 'exhausted'],
    ['ThrottlingException', 'unavailable'],
    ['InternalFailure', 'unavailable'],
    ['AccessDeniedException', 'internal'],
    ['ValidationException', 'invalid'],
  ])('%s is %s', async (name, code) => {
    mock.on(CreateTrainingJobCommand).rejects(fault(name));
    await expect(jobs.submit(call, spec())).rejects.toMatchObject({ code });
  });

  test('an image that SageMaker cannot pull is refused before anything is written', async () => {
    const image = spec({ image: 'ghcr.io/acme/train:1' });
    const { interpreter: _, ...bad } = image;
    await expect(jobs.submit(call, bad)).rejects.toMatchObject({ code: 'invalid', field: 'image' });
    expect(mock.calls()).toHaveLength(0);
    mock.on(CreateTrainingJobCommand).resolves({});
    mock.on(DescribeTrainingJobCommand).rejects(absent);
    await jobs.submit(call, spec());
  });
});

test('stop is quiet about jobs that are not there or have ended, and not about throttles', async () => {
  mock.on(StopTrainingJobCommand).rejectsOnce(absent);
  await jobs.stop(call, 'train');
  mock
    .on(StopTrainingJobCommand)
    .rejectsOnce(
      fault(
        'ValidationException',
        'The request was rejected because the training job is in the Completed state',
      ),
    );
  await jobs.stop(call, 'train');
  mock.on(StopTrainingJobCommand).rejects(fault('ThrottlingException'));
  await expect(jobs.stop(call, 'train')).rejects.toMatchObject({ code: 'unavailable' });
});

test('a light step is prepared for the function, what it leaves is the job', async () => {
  const { runner: _, ...resources } = spec().resources;
  const light = spec({ resources, deadlineSeconds: 600 });
  expect(await jobs.prepare(call, light)).toEqual({
    job: 'train',
    folder: 's3://bucket/default0/jobs/train',
  });
  mock.on(DescribeTrainingJobCommand).rejects(absent);
  expect(await jobs.describe(call, 'train')).toBeUndefined();
});

const place = {
  workspace: call.workspace as Call['workspace'],
  region: 'eu-central-1',
  roleArn: 'role',
  runtimeUri: 's3://bucket/runtime/launcher/',
  specUri: 's3://bucket/default0/jobs/train/spec/',
  outputUri: 's3://bucket/default0/jobs/train/archives',
};

test('the request, whole', () => {
  const whole = spec({
    nodes: 2,
    resources: { accelerator: { type: 'nvidia.com/gpu', count: 1 } },
    inputs: [{ name: 'train', uri: 's3://bucket/default0/data' }],
    checkpoint: 's3://bucket/default0/ckpt',
    metrics: [{ name: 'loss', regex: 'loss=(.*)' }],
  });
  expect(
    trainingRequest(
      whole,
      place,
      imageOf(whole, place.region) ?? '',
      instancesFor(whole.resources),
    ),
  ).toMatchSnapshot();
});

test('the smallest instance that holds a node, or none', () => {
  const of = (resources: JobSpec['resources']) => instanceOf(spec({ resources }));
  expect(of({})).toBe('ml.m5.large');
  expect(of({ cpus: 3 })).toBe('ml.m5.xlarge');
  expect(of({ memoryBytes: 300 * 2 ** 30 })).toBe('ml.m5.24xlarge');
  expect(of({ accelerator: { type: 'gpu', count: 2 } })).toBe('ml.g5.12xlarge');
  expect(of({ accelerator: { type: 'gpu', count: 64 } })).toBeUndefined();
});

describe('instances in the order in which they are tried', () => {
  const types = (resources: JobSpec['resources']) =>
    instancesFor(resources).map(({ type }) => type.replace('ml.', ''));
  const ask = (type: string, count: number, more: JobSpec['resources'] = {}) =>
    types({ accelerator: { type, count }, ...more });

  test('stand in for each other and are never of a dearer class', () => {
    expect(types({ cpus: 3 })).toEqual(['m5.xlarge', 'm6i.xlarge', 'm7i.xlarge']);
    expect(ask('nvidia.com/gpu', 1)).toEqual([
      'g5.xlarge',
      'g6.xlarge',
      'g6e.xlarge',
      'g4dn.xlarge',
    ]);
    expect(ask('nvidia.com/gpu', 8)).toEqual(['g5.48xlarge', 'g6.48xlarge', 'g6e.48xlarge']);
    expect(ask('NVIDIA_TESLA_A100', 8)).toEqual(['p4d.24xlarge', 'p4de.24xlarge']);
    expect(ask('H100', 1)).toEqual(['p5.4xlarge']);
    expect(ask('T4', 2)).toEqual(['g4dn.12xlarge']);
  });

  test('the fast network comes with the largest sizes only', () => {
    expect(ask('gpu', 1, { network: 'fast' })).toEqual(['p4d.24xlarge', 'p4de.24xlarge']);
    expect(ask('H100', 1, { network: 'fast' })).toEqual(['p5.48xlarge']);
    expect(types({ network: 'fast' })).toEqual(['c5n.18xlarge']);
  });

  test('a TPU is Trainium, on an image that knows it', () => {
    for (const type of [
      'tpu',
      'google.com/tpu',
      'cloud-tpus.google.com/v3',
      'tpu-v5-lite-podslice',
    ])
      expect(ask(type, 1), type).toEqual(['trn1.2xlarge']);
    const tpu = spec({ resources: { accelerator: { type: 'tpu', count: 8 } } });
    expect(types(tpu.resources)).toEqual(['trn1.32xlarge', 'trn1n.32xlarge']);
    expect(imageOf(tpu, 'eu-central-1')).toContain('/pytorch-training-neuronx:');
  });

  test.each([
    ['amd.com/gpu', 1, "accelerator 'amd.com/gpu' is none that SageMaker has"],
    ['NVIDIA_TESLA_K80', 1, "accelerator 'NVIDIA_TESLA_K80' is none that SageMaker has"],
    ['nvidia.com/gpu', 9, 'no instance has what it asks for on one node: 9 nvidia.com/gpu'],
  ])('%s x %i is refused by name before anything is written', async (type, count, words) => {
    const asked = spec({ resources: { accelerator: { type, count } } });
    await expect(jobs.prepare(call, asked)).rejects.toMatchObject({
      code: 'invalid',
      field: 'resources',
      message: expect.stringContaining(words),
    });
    await expect(jobs.submit(call, asked)).rejects.toMatchObject({ code: 'invalid' });
    expect(mock.calls()).toHaveLength(0);
  });

  test('SageMaker gets the list, but one type where spot waits or a warm pool is looked for', async () => {
    const cluster = async (name: string, resources: JobSpec['resources']) =>
      (await jobs.prepare(call, spec({ name, resources }))) as {
        ResourceConfig: { InstanceType?: string; InstancePreferences?: object[] };
      };
    const accelerator = { type: 'gpu', count: 1 };
    const { ResourceConfig } = await cluster('a', { accelerator });
    expect(ResourceConfig.InstanceType).toBeUndefined();
    expect(ResourceConfig.InstancePreferences).toHaveLength(4);
    for (const [name, more] of [
      ['b', { spot: true }],
      ['c', { keepAliveSeconds: 60 }],
    ] as const)
      expect((await cluster(name, { accelerator, ...more })).ResourceConfig).toMatchObject({
        InstanceType: 'ml.g5.xlarge',
        InstanceCount: 1,
      });
  });
});

test.each([
  [{ spot: true, keepAliveSeconds: 60 }, 'resources.keepAliveSeconds'],
  [{ runner: 'processing', spot: true }, 'resources.spot'],
  [{ runner: 'lambda', network: 'fast' }, 'resources.network'],
  [{ keepAliveSeconds: 3601 }, 'resources.keepAliveSeconds'],
] as [JobSpec['resources'], string][])('%j is refused, naming %s', async (resources, field) => {
  await expect(jobs.submit(call, spec({ resources }))).rejects.toMatchObject({
    code: 'invalid',
    field,
  });
});

test("a quota that is used up is told by its name, and the job's name is free for the next try", async () => {
  const message =
    "The account-level service limit 'ml.g5.xlarge for training job usage' is 0 Instances, with current utilization of 0 Instances and a request delta of 1 Instances. Please use AWS Service Quotas to request an increase for this quota.";
  mock.on(CreateTrainingJobCommand).rejectsOnce(fault('ResourceLimitExceeded', message));
  await expect(jobs.submit(call, spec())).rejects.toMatchObject({
    code: 'exhausted',
    retryAfterSeconds: 60,
    message: expect.stringContaining(
      "The quota 'ml.g5.xlarge for training job usage' of this account is 0, 0 of it in use, and this asks for 1 more. New accounts begin with 0 here: ask for more in the Service Quotas console",
    ),
  });
  mock.on(CreateTrainingJobCommand).resolves({});
  mock.on(DescribeTrainingJobCommand).resolves({ TrainingJobStatus: 'InProgress' });
  expect(await jobs.submit(call, spec())).toMatchObject({ state: 'pending' });
});

test('a job that found none of its instances names all that were tried', async () => {
  mock.on(DescribeTrainingJobCommand).resolves({
    TrainingJobStatus: 'Failed',
    FailureReason: 'CapacityError: Unable to provision requested ML compute capacity.',
    ResourceConfig: {
      InstanceCount: 1,
      InstancePreferences: [{ InstanceType: 'ml.g5.xlarge' }, { InstanceType: 'ml.g6.xlarge' }],
    },
  });
  expect(await jobs.describe(call, 'train')).toMatchObject({
    state: 'failed',
    failure: expect.stringContaining(
      'SageMaker had no ml.g5.xlarge and no ml.g6.xlarge free in this region',
    ),
  });
  mock.on(DescribeTrainingJobCommand).resolves({
    TrainingJobStatus: 'Failed',
    FailureReason: 'AlgorithmError: CapacityError: my own words, exit code: 3',
  });
  expect(await jobs.describe(call, 'train')).toMatchObject({
    failure: 'CapacityError: my own words',
    exitCode: 3,
  });
});

test.each([
  [{ TrainingJobStatus: 'InProgress' }, { state: 'pending' }],
  [
    { TrainingJobStatus: 'InProgress', TrainingStartTime: new Date(5) },
    { state: 'running', startedAt: 5 },
  ],
  [
    { TrainingJobStatus: 'Failed', FailureReason: 'AlgorithmError: too hot, exit code: 7' },
    { state: 'failed', exitCode: 7, failure: 'too hot' },
  ],
  [
    { TrainingJobStatus: 'Failed', FailureReason: 'InternalServerError: try again' },
    { state: 'failed', failure: 'InternalServerError: try again' },
  ],
  [
    { TrainingJobStatus: 'Stopped', SecondaryStatus: 'MaxWaitTimeExceeded' },
    {
      state: 'failed',
      failure:
        'No spot machine came in the time that the job could wait. Start it again later, or without spot.',
    },
  ],
  [
    { TrainingJobStatus: 'Stopped', SecondaryStatus: 'MaxRuntimeExceeded' },
    { state: 'failed', failure: 'The job ran past its deadline and was stopped.' },
  ],
  [{ TrainingJobStatus: 'Stopped', SecondaryStatus: 'Stopped' }, { state: 'stopped' }],
] as const)('%j reads as %j', (told, job) => {
  expect(jobFrom('train', told as unknown as Parameters<typeof jobFrom>[1])).toMatchObject(job);
});

describe('a processing job', () => {
  const clean = (more: Partial<JobSpec> = {}) =>
    spec({ name: 'clean', resources: { runner: 'processing' }, ...more });

  test('the request, whole; its entrypoint fits whatever the command is', async () => {
    const whole = clean({
      nodes: 2,
      command: ['python3', '-c', 'x'.repeat(5000)],
      inputs: [{ name: 'raw', uri: 's3://bucket/default0/raw' }],
      outputs: [{ name: 'clean', uri: 's3://bucket/default0/clean' }],
    });
    const request = processingRequest(whole, place, 'image', instancesFor({}, 'processing'));
    expect(request).toMatchSnapshot();
    const words = request.AppSpecification?.ContainerEntrypoint ?? [];
    expect(Math.max(...words.map((word) => word.length))).toBeLessThanOrEqual(256);
    expect(await jobs.prepare(call, whole)).toMatchObject({
      ProcessingJobName: 'sf-default0-clean',
    });
  });

  test('is created, described and stopped as one; a lost answer is found by name', async () => {
    mock.on(DescribeTrainingJobCommand).rejects(absent);
    mock.on(DescribeProcessingJobCommand).rejects(absent);
    mock.on(CreateProcessingJobCommand).rejectsOnce(fault('TimeoutError'));
    await expect(jobs.submit(call, clean())).rejects.toMatchObject({ code: 'unavailable' });
    expect(await jobs.describe(call, 'clean')).toMatchObject({ state: 'pending' });
    mock.on(CreateProcessingJobCommand).rejects(fault('ResourceInUse', 'exists'));
    mock.on(DescribeProcessingJobCommand).resolves({
      ProcessingJobStatus: 'Failed',
      FailureReason: 'AlgorithmError: , exit code: 2',
      ExitMessage: 'no such column',
    });
    expect(await jobs.submit(call, clean())).toMatchObject({
      state: 'failed',
      exitCode: 2,
      failure: 'no such column',
    });
    await jobs.stop(call, 'clean');
    expect(mock.commandCalls(StopProcessingJobCommand)).toHaveLength(1);
    expect(mock.commandCalls(StopTrainingJobCommand)).toHaveLength(0);
    expect(mock.commandCalls(CreateTrainingJobCommand)).toHaveLength(0);
  });

  test.each([
    ['checkpoint', { checkpoint: 's3://bucket/default0/ckpt' }],
    ['metrics', { metrics: [{ name: 'loss', regex: 'loss=(.*)' }] }],
    ['deadlineSeconds', { deadlineSeconds: 604_801 }],
    [
      'inputs',
      { inputs: [...'abcdefghi'].map((name) => ({ name, uri: 's3://bucket/default0/x' })) },
    ],
  ] as [string, Partial<JobSpec>][])(
    'has no %s beyond what SageMaker gives it',
    async (field, more) => {
      await expect(jobs.submit(call, clean(more))).rejects.toMatchObject({
        code: 'invalid',
        field,
      });
      expect(mock.calls()).toHaveLength(0);
    },
  );

  test.each([
    [{ ProcessingJobStatus: 'InProgress' }, { state: 'pending' }],
    [{ ProcessingJobStatus: 'Completed' }, { state: 'succeeded', exitCode: 0 }],
    [{ ProcessingJobStatus: 'Stopped' }, { state: 'stopped' }],
    [
      {
        ProcessingJobStatus: 'Stopped',
        ProcessingStartTime: new Date(0),
        ProcessingEndTime: new Date(61_000),
        StoppingCondition: { MaxRuntimeInSeconds: 60 },
      },
      { state: 'failed', failure: 'The job ran past its deadline and was stopped.' },
    ],
  ] as const)('%j reads as %j', (told, job) => {
    const read = processedFrom('clean', told as unknown as Parameters<typeof processedFrom>[1]);
    expect(read).toMatchObject(job);
  });
});
