import type { DescribeEndpointCommandOutput } from '@aws-sdk/client-sagemaker';
import type { EndpointSpec, EndpointState, EndpointStatus } from '../ports.ts';

const STATES: Readonly<Record<string, EndpointState>> = {
  Creating: 'creating',
  Updating: 'updating',
  SystemUpdating: 'updating',
  RollingBack: 'updating',
  InService: 'in-service',
  Failed: 'failed',
  OutOfService: 'failed',
  UpdateRollbackFailed: 'failed',
};

/** Where an endpoint is going, else where it stands. Source: SageMaker API, DescribeEndpoint, PendingDeploymentSummary. */
export const headedFor = (found: DescribeEndpointCommandOutput | undefined): string | undefined =>
  found?.PendingDeploymentSummary?.EndpointConfigName ?? found?.EndpointConfigName;

export function statusFrom(
  name: string,
  found: DescribeEndpointCommandOutput,
  target: EndpointSpec | undefined,
  current: EndpointSpec | undefined,
): EndpointStatus {
  const state = STATES[found.EndpointStatus ?? ''] ?? 'updating';
  const serves = state === 'in-service' || state === 'updating';
  return {
    name,
    revision: serves ? current?.revision : undefined,
    target: target?.revision ?? current?.revision ?? '',
    state,
    ...(found.FailureReason ? { failure: found.FailureReason } : {}),
    // Of a serverless one SageMaker does not say: it is one as long as it answers.
    copies: found.ProductionVariants?.[0]?.CurrentInstanceCount ?? (serves ? 1 : 0),
  };
}
