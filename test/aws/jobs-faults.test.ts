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
      instanceOf(whole) ?? 'ml.m5.large',
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
    { TrainingJobStatus: 'Failed', FailureReason: 'CapacityError: none left' },
    { state: 'failed', failure: 'CapacityError: none left' },
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
    const request = processingRequest(whole, place, 'image', 'ml.m5.large');
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
