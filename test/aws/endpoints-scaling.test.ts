import {
  ApplicationAutoScalingClient,
  DeregisterScalableTargetCommand,
  PutScalingPolicyCommand,
  RegisterScalableTargetCommand,
} from '@aws-sdk/client-application-auto-scaling';
import {
  CloudWatchClient,
  DeleteAlarmsCommand,
  PutMetricAlarmCommand,
} from '@aws-sdk/client-cloudwatch';
import { CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs';
import {
  CreateEndpointConfigCommand,
  CreateInferenceComponentCommand,
  DeleteEndpointCommand,
  DeleteEndpointConfigCommand,
  DeleteInferenceComponentCommand,
  DescribeEndpointCommand,
  DescribeInferenceComponentCommand,
  SageMakerClient,
  UpdateEndpointCommand,
  UpdateInferenceComponentCommand,
} from '@aws-sdk/client-sagemaker';
import { InvokeEndpointCommand, SageMakerRuntimeClient } from '@aws-sdk/client-sagemaker-runtime';
import { mockClient } from 'aws-sdk-client-mock';
import { beforeEach, describe, expect, test } from 'vitest';
import { awsEndpoints } from '../../functions/platform/aws/endpoints.ts';
import { hardwareName, kindOf, revisionName } from '../../functions/platform/aws/hosting.ts';
import { awsScaling } from '../../functions/platform/aws/scaling.ts';
import type { EndpointSpec } from '../../functions/platform/ports.ts';
import { call, realWorld } from '../jobs/local.ts';
import { memoryBlobs } from './memory-blobs.ts';

const control = mockClient(SageMakerClient);
const runtime = mockClient(SageMakerRuntimeClient);
const autoscaling = mockClient(ApplicationAutoScalingClient);
const cloudwatch = mockClient(CloudWatchClient);
const fault = (name: string, message = name) => Object.assign(new Error(message), { name });
const absent = fault('ValidationException', 'Could not find endpoint "x".');
const gpu = { accelerator: { type: 'nvidia.com/gpu', count: 1 } };

const of = (revision: string, minimum: number, resources?: EndpointSpec['resources']) => ({
  name: 'churn',
  revision,
  modelUri: 's3://bucket/default0/models/churn',
  env: {},
  scale: { minimum, maximum: 4, concurrency: 8, idleSeconds: 300 },
  ...(resources ? { resources } : {}),
});
const warm = (revision: string) => of(revision, 1);
const asleep = (revision: string) => of(revision, 0, gpu);
const model = (spec: EndpointSpec) => revisionName(call.workspace, spec);

let endpoints: ReturnType<typeof awsEndpoints>;
const complete = () => endpoints.complete?.(call, 'churn');
const sent = (mock: typeof autoscaling | typeof control, command: never) =>
  mock.commandCalls(command).map(({ args }) => (args[0] as { input: object }).input);

beforeEach(async () => {
  for (const mock of [control, runtime, autoscaling, cloudwatch]) mock.reset();
  autoscaling.on(PutScalingPolicyCommand).resolves({ PolicyARN: 'arn:policy' });
  const region = 'eu-central-1';
  const blobs = memoryBlobs('bucket');
  await blobs.put(call, 'models/churn/MLmodel', Buffer.from('x'));
  endpoints = awsEndpoints(
    { region, bucket: 'bucket', endpointRole: 'role', servingImage: 'image' },
    realWorld,
    {
      sagemaker: new SageMakerClient({ region }),
      runtime: new SageMakerRuntimeClient({ region }),
      logs: new CloudWatchLogsClient({ region }),
      blobs,
      scaling: awsScaling(
        new ApplicationAutoScalingClient({ region }),
        new CloudWatchClient({ region }),
      ),
    },
  );
});

const serves = (config: string, more: object = {}) =>
  control
    .on(DescribeEndpointCommand)
    .resolves({ EndpointStatus: 'InService', EndpointConfigName: config, ...more });
const holds = (of: EndpointSpec, status: string, more: object = {}) =>
  control.on(DescribeInferenceComponentCommand).resolves({
    InferenceComponentStatus: status as 'InService',
    Specification: { ModelName: model(of) },
    RuntimeConfig: { CurrentCopyCount: 1 },
    ...more,
  });
const none = () => {
  control.on(DescribeEndpointCommand).rejects(absent);
  control.on(DescribeInferenceComponentCommand).rejects(absent);
};

test.each([
  [0, {}, 'serverless'],
  [0, { memoryBytes: 6 * 2 ** 30 }, 'serverless'],
  [0, { memoryBytes: 7 * 2 ** 30 }, 'component'],
  [0, gpu, 'component'],
  [1, {}, 'instances'],
  [1, gpu, 'instances'],
  [0, { accelerator: { type: 'gpu', count: 0 } }, 'serverless'],
] as const)('a minimum of %i with %j is %s', (minimum, resources, kind) => {
  expect(kindOf(of('a', minimum, resources))).toBe(kind);
});

test('what no instance has is refused by name, and nothing is made', async () => {
  none();
  const asked = of('a', 0, { accelerator: { type: 'tpu', count: 1 } });
  await expect(endpoints.deploy(call, asked)).rejects.toMatchObject({
    code: 'invalid',
    field: 'resources',
  });
  expect(control.commandCalls(CreateEndpointConfigCommand)).toHaveLength(0);
});

test('an endpoint does not become one of another kind in place', async () => {
  none();
  await endpoints.deploy(call, of('a', 0));
  serves(model(of('a', 0)));
  await expect(endpoints.deploy(call, warm('b'))).rejects.toMatchObject({
    code: 'invalid',
    field: 'scale',
    message: expect.stringContaining('is serverless and would become one of instances'),
  });
  expect(control.commandCalls(UpdateEndpointCommand)).toHaveLength(0);
});

describe('instances that always run', () => {
  test('scale by load once they are in service, and not before', async () => {
    none();
    await endpoints.deploy(call, warm('a'));
    control.on(DescribeEndpointCommand).resolves({ EndpointStatus: 'Creating' });
    await complete();
    expect(autoscaling.calls()).toHaveLength(0);
    serves(model(warm('a')));
    await complete();
    await complete();
    expect(sent(autoscaling, RegisterScalableTargetCommand as never)).toMatchObject([
      { ResourceId: 'endpoint/sf-default0-churn/variant/r-a', MinCapacity: 1, MaxCapacity: 4 },
    ]);
    expect(autoscaling.commandCalls(PutScalingPolicyCommand)).toHaveLength(1);
    expect(cloudwatch.calls()).toHaveLength(0);
  });

  test('a refusal in the middle is told and made good by the next call', async () => {
    none();
    await endpoints.deploy(call, warm('a'));
    serves(model(warm('a')));
    for (const name of ['ConcurrentUpdateException', 'ThrottlingException']) {
      autoscaling.on(PutScalingPolicyCommand).rejects(fault(name));
      await expect(complete()).rejects.toMatchObject({ code: 'unavailable' });
    }
    autoscaling.on(PutScalingPolicyCommand).resolves({});
    await complete();
    await complete();
    expect(autoscaling.commandCalls(PutScalingPolicyCommand)).toHaveLength(3);
  });

  test('an update takes the old target away first, keeps the number, and scales the new variant', async () => {
    none();
    await endpoints.deploy(call, warm('a'));
    serves(model(warm('a')));
    await complete();
    serves(model(warm('a')), {
      ProductionVariants: [{ VariantName: 'r-a', CurrentInstanceCount: 3 }],
    });
    await endpoints.deploy(call, warm('b'));
    expect(sent(autoscaling, DeregisterScalableTargetCommand as never)).toMatchObject([
      { ResourceId: 'endpoint/sf-default0-churn/variant/r-a' },
    ]);
    const configs = sent(control, CreateEndpointConfigCommand as never) as {
      ProductionVariants: { InitialInstanceCount: number }[];
    }[];
    expect(configs.map((one) => one.ProductionVariants[0]?.InitialInstanceCount)).toEqual([1, 3]);
    await complete();
    expect(autoscaling.commandCalls(RegisterScalableTargetCommand)).toHaveLength(1);
    serves(model(warm('b')));
    await complete();
    expect(sent(autoscaling, RegisterScalableTargetCommand as never)).toMatchObject([
      {},
      { ResourceId: 'endpoint/sf-default0-churn/variant/r-b' },
    ]);
  });

  test('going back to the old revision scales it again', async () => {
    none();
    await endpoints.deploy(call, warm('a'));
    serves(model(warm('a')));
    await complete();
    await endpoints.deploy(call, warm('b'));
    await endpoints.deploy(call, warm('a'));
    expect(sent(autoscaling, RegisterScalableTargetCommand as never)).toHaveLength(2);
  });

  test('remove takes target and endpoint away; what is gone already is no fault', async () => {
    none();
    await endpoints.deploy(call, warm('a'));
    serves(model(warm('a')));
    await complete();
    autoscaling.on(DeregisterScalableTargetCommand).rejects(fault('ObjectNotFoundException'));
    await endpoints.remove(call, 'churn');
    expect(autoscaling.commandCalls(DeregisterScalableTargetCommand)).toHaveLength(1);
    expect(control.commandCalls(DeleteEndpointCommand)).toHaveLength(1);
    await endpoints.remove(call, 'churn');
    expect(autoscaling.commandCalls(DeregisterScalableTargetCommand)).toHaveLength(1);
  });
});

describe('a component that scales to none', () => {
  const hardware = hardwareName(call.workspace, asleep('a'));
  async function first() {
    none();
    await endpoints.deploy(call, asleep('a'));
    serves(hardware);
    await complete();
    holds(asleep('a'), 'Creating');
    await complete();
    expect(await endpoints.describe(call, 'churn')).toMatchObject({
      state: 'creating',
      revision: undefined,
      target: 'a',
    });
    expect(autoscaling.calls()).toHaveLength(0);
    holds(asleep('a'), 'InService');
    await complete();
  }

  test('comes after its endpoint, and its alarm after it', async () => {
    await first();
    expect(control.commandCalls(CreateInferenceComponentCommand)).toHaveLength(1);
    expect(await endpoints.describe(call, 'churn')).toMatchObject({
      state: 'in-service',
      revision: 'a',
      copies: 1,
    });
    expect(sent(autoscaling, RegisterScalableTargetCommand as never)).toMatchObject([
      { ResourceId: 'inference-component/sf-default0-churn', MinCapacity: 0 },
    ]);
    expect(
      cloudwatch.commandCalls(PutMetricAlarmCommand).map(({ args }) => args[0].input),
    ).toMatchObject([{ AlarmName: 'sf-default0-churn-wake', AlarmActions: ['arn:policy'] }]);
  });

  test('another revision updates it in place, and the old one answers meanwhile', async () => {
    await first();
    await endpoints.deploy(call, asleep('b'));
    expect(control.commandCalls(UpdateEndpointCommand)).toHaveLength(0);
    expect(sent(control, UpdateInferenceComponentCommand as never)).toMatchObject([
      { Specification: { ModelName: model(asleep('b')) } },
    ]);
    holds(asleep('b'), 'Updating');
    await complete();
    expect(await endpoints.describe(call, 'churn')).toMatchObject({
      state: 'updating',
      revision: 'a',
      target: 'b',
    });
    holds(asleep('b'), 'InService');
    await complete();
    expect(await endpoints.describe(call, 'churn')).toMatchObject({ revision: 'b' });
    expect(control.commandCalls(UpdateInferenceComponentCommand)).toHaveLength(1);
  });

  test('a revision that SageMaker took back is told, not asked for again, until it is deployed again', async () => {
    await first();
    await endpoints.deploy(call, asleep('b'));
    await complete();
    expect(await endpoints.describe(call, 'churn')).toMatchObject({
      state: 'in-service',
      revision: 'a',
      target: 'b',
      failure: expect.stringContaining('went back'),
    });
    expect(control.commandCalls(UpdateInferenceComponentCommand)).toHaveLength(1);
    await endpoints.deploy(call, asleep('b'));
    expect(control.commandCalls(UpdateInferenceComponentCommand)).toHaveLength(2);
    await endpoints.deploy(call, asleep('a'));
    const status = await endpoints.describe(call, 'churn');
    expect(status).toMatchObject({ revision: 'a', target: 'a' });
    expect(status?.failure).toBeUndefined();
  });

  test('is named to the runtime once it asks for a name, and says when it wakes', async () => {
    const ask = () =>
      endpoints.invoke(call, 'churn', {
        path: '/invocations',
        contentType: 'text/csv',
        body: Buffer.from('1'),
      });
    runtime
      .on(InvokeEndpointCommand)
      .rejects(
        fault('ValidationError', 'Inference Component Name header is required for endpoints'),
      )
      .on(InvokeEndpointCommand, { InferenceComponentName: 'sf-default0-churn' })
      .resolves({ Body: Buffer.from('2') as never });
    expect(String((await ask()).body)).toBe('2');
    await ask();
    expect(runtime.calls()).toHaveLength(3);
    runtime
      .on(InvokeEndpointCommand, { InferenceComponentName: 'sf-default0-churn' })
      .rejects(
        fault('ValidationError', 'Inference Component has no capacity to process this request.'),
      );
    await expect(ask()).rejects.toMatchObject({ code: 'unavailable', retryAfterSeconds: 60 });
    expect(runtime.calls()).toHaveLength(4);
  });

  test('remove takes alarm, target and component away, and then the endpoint', async () => {
    await first();
    await expect(endpoints.remove(call, 'churn')).rejects.toMatchObject({
      code: 'unavailable',
      retryAfterSeconds: 30,
    });
    expect(
      cloudwatch.commandCalls(DeleteAlarmsCommand).map(({ args }) => args[0].input.AlarmNames),
    ).toEqual([['sf-default0-churn-wake']]);
    expect(autoscaling.commandCalls(DeregisterScalableTargetCommand)).toHaveLength(1);
    expect(control.commandCalls(DeleteInferenceComponentCommand)).toHaveLength(1);
    expect(control.commandCalls(DeleteEndpointCommand)).toHaveLength(0);
    control.on(DescribeInferenceComponentCommand).rejects(absent);
    await endpoints.remove(call, 'churn');
    expect(control.commandCalls(DeleteEndpointCommand)).toHaveLength(1);
    expect(sent(control, DeleteEndpointConfigCommand as never)).toContainEqual({
      EndpointConfigName: hardware,
    });
  });
});
