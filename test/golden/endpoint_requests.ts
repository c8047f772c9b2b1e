import {
  ApplicationAutoScalingClient,
  PutScalingPolicyCommand,
} from '@aws-sdk/client-application-auto-scaling';
import { CloudWatchClient } from '@aws-sdk/client-cloudwatch';
import { CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs';
import {
  DescribeEndpointCommand,
  DescribeInferenceComponentCommand,
  SageMakerClient,
} from '@aws-sdk/client-sagemaker';
import { SageMakerRuntimeClient } from '@aws-sdk/client-sagemaker-runtime';
import { mockClient } from 'aws-sdk-client-mock';
import { awsEndpoints } from '../../functions/platform/aws/endpoints.ts';
import { hardwareName, kindOf, revisionName } from '../../functions/platform/aws/hosting.ts';
import { awsScaling } from '../../functions/platform/aws/scaling.ts';
import type { EndpointSpec } from '../../functions/platform/ports.ts';
import { memoryBlobs } from '../aws/memory-blobs.ts';
import { call, realWorld } from '../jobs/local.ts';
import { KEY, type Request } from './requests.ts';

const region = 'eu-central-1';
const REVISION = '01JD8Q0000000000000000000A';
const absent = Object.assign(new Error('Could not find endpoint "x".'), {
  name: 'ValidationException',
});

const spec = (more: Partial<EndpointSpec>): EndpointSpec => ({
  name: 'churn',
  revision: REVISION,
  modelUri: `s3://bucket/${call.workspace}/models/churn`,
  env: { MODE: 'fast' },
  scale: { minimum: 0, maximum: 4, concurrency: 8, idleSeconds: 300 },
  ...more,
});

/** All that is sent from the first deploy until it is in service and scales by itself. */
async function deployed(asked: EndpointSpec, volumeKey?: string): Promise<Request[]> {
  const control = mockClient(SageMakerClient);
  const autoscaling = mockClient(ApplicationAutoScalingClient);
  const cloudwatch = mockClient(CloudWatchClient);
  try {
    const blobs = memoryBlobs('bucket');
    await blobs.put(call, 'models/churn/MLmodel', Buffer.from('flavors: {}'));
    const endpoints = awsEndpoints(
      {
        region,
        bucket: 'bucket',
        endpointRole: 'arn:aws:iam::123456789012:role/stillflow-endpoint',
        servingImage: '123456789012.dkr.ecr.eu-central-1.amazonaws.com/serving:1',
        ...(volumeKey ? { volumeKey } : {}),
      },
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
    const ModelName = revisionName(call.workspace, asked);
    control.on(DescribeEndpointCommand).rejects(absent);
    control.on(DescribeInferenceComponentCommand).rejects(absent);
    autoscaling.on(PutScalingPolicyCommand).callsFake(({ ResourceId, PolicyName }) => ({
      PolicyARN: `arn:aws:autoscaling:${region}:123456789012:scalingPolicy:6d:resource/sagemaker/${ResourceId}:policyName/${PolicyName}`,
    }));
    await endpoints.deploy(call, asked);
    const EndpointConfigName =
      kindOf(asked) === 'component' ? hardwareName(call.workspace, asked) : ModelName;
    control
      .on(DescribeEndpointCommand)
      .resolves({ EndpointStatus: 'InService', EndpointConfigName });
    await endpoints.complete?.(call, asked.name);
    control
      .on(DescribeInferenceComponentCommand)
      .resolves({ InferenceComponentStatus: 'InService', Specification: { ModelName } });
    await endpoints.complete?.(call, asked.name);
    await endpoints.complete?.(call, asked.name);
    const sent = [
      ['sagemaker', control],
      ['application-autoscaling', autoscaling],
      ['cloudwatch', cloudwatch],
    ] as const;
    return sent.flatMap(([service, mock]) =>
      mock
        .calls()
        .map(({ args: [command] }) => ({
          service,
          operation: command.constructor.name.replace(/Command$/, ''),
          input: command.input as object,
        }))
        .filter(({ operation }) => !operation.startsWith('Describe')),
    );
  } finally {
    for (const mock of [control, autoscaling, cloudwatch]) mock.restore();
  }
}

const gpu = { accelerator: { type: 'nvidia.com/gpu', count: 1 } };

export const ENDPOINT_REQUESTS: Readonly<Record<string, () => Promise<Request[]>>> = {
  'endpoint-serverless': () => deployed(spec({})),
  'endpoint-real-time': () =>
    deployed(
      spec({
        scale: { minimum: 1, maximum: 4, concurrency: 8, idleSeconds: 300 },
        resources: { cpus: 2, memoryBytes: 8 * 2 ** 30 },
      }),
      KEY,
    ),
  'endpoint-real-time-gpu': () =>
    deployed(
      spec({
        scale: { minimum: 2, maximum: 8, concurrency: 4, idleSeconds: 30 },
        resources: gpu,
      }),
      KEY,
    ),
  'endpoint-component-to-zero': () => deployed(spec({ resources: gpu })),
};
