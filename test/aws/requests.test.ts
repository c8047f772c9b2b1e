import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { instancesFor, type Resources, type Use } from '../../functions/platform/aws/instances.ts';
import type { Fields } from '../assembly/stack/values.ts';
import { golden, goldenNames } from '../golden/requests.ts';
import { serviceModel, sitePackages } from '../oracles/model.ts';

const models = new Map<string, ReturnType<typeof serviceModel>>();
/** By AWS's own model of the service, as botocore publishes it. */
function wrongIn(service: string, operation: string, input: object): string | undefined {
  const [version = ''] = readdirSync(join(sitePackages(), 'botocore/data', service))
    .sort()
    .reverse();
  const model = models.get(service) ?? serviceModel(service, version);
  models.set(service, model);
  return model(operation, input as Fields);
}

describe('golden requests are valid by the model of the service', () => {
  test.each(goldenNames())('%s', (name) => {
    const requests = golden(name);
    expect(requests.length).toBeGreaterThan(0);
    for (const { service, operation, input } of requests)
      expect(wrongIn(service, operation, input)).toBeUndefined();
  });

  test('and a broken one is not', () => {
    const [request] = golden('training-1-gpu');
    const broken = { ...request?.input, RoleArn: 'no role' };
    expect(wrongIn('sagemaker', 'CreateTrainingJob', broken)).toContain('RoleArn');
    expect(wrongIn('sagemaker', 'CreateTrainingJob', { ...request?.input, Spot: true })).toContain(
      'Spot is no member',
    );
    const { RoleArn: _, ...without } = { ...request?.input } as Fields;
    expect(wrongIn('sagemaker', 'CreateTrainingJob', without)).toContain('RoleArn');
  });
});

/** Every instance of the table that an ask can lead to. */
const asks: readonly Resources[] = [1, 3, 7, 9, 33, 50, 65, 100].flatMap((cpus) => [
  { cpus },
  { cpus, network: 'fast' as const },
  ...['gpu', 'T4', 'A10G', 'L4', 'L40S', 'A100', 'H100', 'H200', 'tpu', 'trn2'].flatMap((type) =>
    [1, 4, 8, 16].map((count) => ({ cpus, accelerator: { type, count } })),
  ),
]);

test.each([
  ['training', 'CreateTrainingJob'],
  ['processing', 'CreateProcessingJob'],
  ['hosting', 'CreateEndpointConfig'],
] as [Use, string][])('SageMaker has every instance that %s may ask for', (use, operation) => {
  const types = new Set(asks.flatMap((ask) => instancesFor(ask, use).map(({ type }) => type)));
  expect(types.size).toBeGreaterThan(15);
  const [request] = golden(use === 'processing' ? 'processing' : 'training-1-gpu');
  for (const InstanceType of types) {
    const input =
      use === 'training'
        ? { ...request?.input, ResourceConfig: { InstanceType, InstanceCount: 1 } }
        : use === 'processing'
          ? {
              ...request?.input,
              ProcessingResources: {
                ClusterConfig: { InstanceType, InstanceCount: 1, VolumeSizeInGB: 1 },
              },
            }
          : { EndpointConfigName: 'x', ProductionVariants: [{ VariantName: 'all', InstanceType }] };
    expect(wrongIn('sagemaker', operation, input), InstanceType).toBeUndefined();
  }
});
