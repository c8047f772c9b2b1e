import { CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs';
import {
  CreateEndpointCommand,
  CreateEndpointConfigCommand,
  CreateModelCommand,
  DeleteEndpointCommand,
  DeleteEndpointConfigCommand,
  DeleteModelCommand,
  DescribeEndpointCommand,
  SageMakerClient,
  UpdateEndpointCommand,
} from '@aws-sdk/client-sagemaker';
import {
  InvokeEndpointCommand,
  ModelError,
  SageMakerRuntimeClient,
} from '@aws-sdk/client-sagemaker-runtime';
import { mockClient } from 'aws-sdk-client-mock';
import { beforeEach, describe, expect, test } from 'vitest';
import { awsEndpoints } from '../../functions/platform/aws/endpoints.ts';
import { revisionName } from '../../functions/platform/aws/hosting.ts';
import { variantOf } from '../../functions/platform/aws/invocations.ts';
import type { EndpointSpec } from '../../functions/platform/ports.ts';
import { call, realWorld } from '../jobs/local.ts';
import { memoryBlobs } from './memory-blobs.ts';

const control = mockClient(SageMakerClient);
const runtime = mockClient(SageMakerRuntimeClient);
const fault = (name: string, message = name) => Object.assign(new Error(message), { name });
const absent = fault('ValidationException', 'Could not find endpoint "sf-default0-churn".');
const taken = fault('ValidationException', 'Cannot create already existing model "x".');
const spec = (revision: string): EndpointSpec => ({
  name: 'churn',
  revision,
  modelUri: `s3://bucket/default0/models/${revision}`,
  env: { A: 'b' },
  scale: { minimum: 0, maximum: 2, concurrency: 10, idleSeconds: 300 },
});
const region = 'eu-central-1';
const settings = { region, bucket: 'bucket', endpointRole: 'role', servingImage: 'image' };

let endpoints: ReturnType<typeof awsEndpoints>;
let blobs: ReturnType<typeof memoryBlobs>;
beforeEach(async () => {
  control.reset();
  runtime.reset();
  blobs = memoryBlobs('bucket');
  for (const revision of ['v1', 'v2', 'v3'])
    await blobs.put(call, `models/${revision}/MLmodel`, Buffer.from(revision));
  endpoints = awsEndpoints(settings, realWorld, {
    sagemaker: new SageMakerClient({ region }),
    runtime: new SageMakerRuntimeClient({ region }),
    logs: new CloudWatchLogsClient({ region }),
    blobs,
  });
});
const name = (revision: string) => revisionName(call.workspace, spec(revision));

describe('deploy', () => {
  test('the first makes model, configuration and endpoint; its name is never longer than 63', async () => {
    control.on(DescribeEndpointCommand).rejects(absent);
    await endpoints.deploy(call, spec('v1'));
    expect(control.commandCalls(CreateEndpointCommand)[0]?.args[0].input).toMatchObject({
      EndpointName: 'sf-default0-churn',
      EndpointConfigName: name('v1'),
    });
    expect(name('v1').length).toBeLessThanOrEqual(63);
    expect(control.commandCalls(UpdateEndpointCommand)).toHaveLength(0);
  });

  test('a repeat after a lost answer finds everything made and changes nothing', async () => {
    control.on(CreateModelCommand).rejects(taken);
    control.on(CreateEndpointConfigCommand).rejects(taken);
    control
      .on(DescribeEndpointCommand)
      .resolves({ EndpointConfigName: name('v1'), EndpointStatus: 'Creating' });
    await endpoints.deploy(call, spec('v1'));
    expect(control.commandCalls(CreateEndpointCommand)).toHaveLength(0);
    expect(control.commandCalls(UpdateEndpointCommand)).toHaveLength(0);
    expect(await endpoints.describe(call, 'churn')).toMatchObject({
      state: 'creating',
      target: 'v1',
      revision: undefined,
    });
  });

  test('another revision updates; one that is still changing says when to come again', async () => {
    control
      .on(DescribeEndpointCommand)
      .resolves({ EndpointConfigName: name('v1'), EndpointStatus: 'InService' });
    await endpoints.deploy(call, spec('v1'));
    await endpoints.deploy(call, spec('v2'));
    expect(control.commandCalls(UpdateEndpointCommand)).toHaveLength(1);
    expect(await endpoints.describe(call, 'churn')).toMatchObject({
      state: 'in-service',
      revision: 'v1',
      target: 'v2',
    });
    control
      .on(UpdateEndpointCommand)
      .rejects(fault('ValidationException', 'Cannot update in-progress endpoint "x".'));
    await expect(endpoints.deploy(call, spec('v3'))).rejects.toMatchObject({
      code: 'unavailable',
      retryAfterSeconds: 30,
    });
  });

  test('a revision that is being left is asked for again, one that is being taken up is not', async () => {
    control.on(DescribeEndpointCommand).resolves({
      EndpointConfigName: name('v1'),
      EndpointStatus: 'Updating',
      PendingDeploymentSummary: { EndpointConfigName: name('v2') },
    });
    await endpoints.deploy(call, spec('v2'));
    expect(control.commandCalls(UpdateEndpointCommand)).toHaveLength(0);
    await endpoints.deploy(call, spec('v1'));
    expect(control.commandCalls(UpdateEndpointCommand)).toHaveLength(1);
  });

  test('one that never came up is cleared first, then made anew', async () => {
    control
      .on(DescribeEndpointCommand)
      .resolves({ EndpointConfigName: name('v1'), EndpointStatus: 'Failed' });
    await expect(endpoints.deploy(call, spec('v2'))).rejects.toMatchObject({
      code: 'unavailable',
    });
    expect(control.commandCalls(DeleteEndpointCommand)).toHaveLength(1);
    control.on(DescribeEndpointCommand).rejects(absent);
    await endpoints.deploy(call, spec('v2'));
    expect(control.commandCalls(CreateEndpointCommand)).toHaveLength(1);
  });

  test.each([
    ['ResourceLimitExceeded', 'exhausted'],
    ['ThrottlingException', 'unavailable'],
    ['ValidationException', 'invalid'],
  ])('%s is %s', async (fails, code) => {
    control.on(CreateEndpointConfigCommand).rejects(fault(fails));
    await expect(endpoints.deploy(call, spec('v1'))).rejects.toMatchObject({ code });
  });

  test('an installation that cannot serve says so', async () => {
    const { servingImage: _, ...bare } = settings;
    const none = awsEndpoints(bare, realWorld, {
      sagemaker: new SageMakerClient({ region }),
      runtime: new SageMakerRuntimeClient({ region }),
      logs: new CloudWatchLogsClient({ region }),
      blobs: memoryBlobs('bucket'),
    });
    await expect(none.deploy(call, spec('v1'))).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('-c servingImage='),
    });
    expect(control.calls()).toHaveLength(0);
  });
});

describe('invoke', () => {
  const ask = () =>
    endpoints.invoke(call, 'churn', {
      path: '/invocations',
      contentType: 'text/csv',
      body: Buffer.from('1'),
    });

  test('the bytes come back as they are', async () => {
    runtime.on(InvokeEndpointCommand).resolves({
      Body: Buffer.from('{}') as never,
      ContentType: 'application/json',
    });
    const answer = await ask();
    expect([answer.status, answer.contentType, String(answer.body)]).toEqual([
      200,
      'application/json',
      '{}',
    ]);
  });

  test.each([
    ['r-01HZX', '01HZX'],
    ['all', undefined],
    [undefined, undefined],
  ])(
    'variant %s is revision %s: what SageMaker does not say is left out',
    async (variant, revision) => {
      runtime.on(InvokeEndpointCommand).resolves({
        Body: Buffer.from('{}') as never,
        ...(variant ? { InvokedProductionVariant: variant } : {}),
      });
      expect((await ask()).revision).toBe(revision);
    },
  );

  test.each([
    ['01HZXA', 'r-01HZXA'],
    ['a_b', 'all'],
    ['a-', 'all'],
    ['x'.repeat(61), `r-${'x'.repeat(61)}`],
    ['x'.repeat(62), 'all'],
  ])('revision %s is variant %s, which SageMaker takes', (revision, variant) => {
    expect(variantOf(revision)).toBe(variant);
    expect(variant).toMatch(/^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$/);
    expect(variant.length).toBeLessThanOrEqual(63);
  });

  test('a refusal of the model is its answer, a crash is not', async () => {
    const refusal = (OriginalStatusCode: number) =>
      new ModelError({
        message: 'm',
        $metadata: {},
        OriginalStatusCode,
        OriginalMessage: '{"e":1}',
      });
    runtime.on(InvokeEndpointCommand).rejectsOnce(refusal(400));
    const answer = await ask();
    expect([answer.status, String(answer.body)]).toEqual([400, '{"e":1}']);
    runtime.on(InvokeEndpointCommand).rejects(refusal(500));
    await expect(ask()).rejects.toMatchObject({ code: 'unavailable' });
  });

  test.each([
    [fault('ValidationError', 'Endpoint sf-default0-churn of account not found.'), 'missing'],
    [fault('ThrottlingException'), 'exhausted'],
    [fault('ServiceUnavailable'), 'unavailable'],
  ])('%s is %s', async (error, code) => {
    runtime.on(InvokeEndpointCommand).rejects(error);
    await expect(ask()).rejects.toMatchObject({ code });
  });
});

test('remove takes away every revision, and again finds nothing', async () => {
  control
    .on(DescribeEndpointCommand)
    .resolves({ EndpointConfigName: name('v1'), EndpointStatus: 'InService' });
  await endpoints.deploy(call, spec('v1'));
  await endpoints.deploy(call, spec('v2'));
  await endpoints.remove(call, 'churn');
  const removed = control
    .commandCalls(DeleteModelCommand)
    .map(({ args }) => args[0].input.ModelName);
  expect(new Set(removed)).toEqual(new Set([name('v1'), name('v2')]));
  control.on(DeleteEndpointCommand).rejects(absent);
  control.on(DeleteEndpointConfigCommand).rejects(absent);
  await endpoints.remove(call, 'churn');
  expect(control.commandCalls(DeleteModelCommand)).toHaveLength(2);
});
