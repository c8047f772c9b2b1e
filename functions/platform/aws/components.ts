import {
  CreateInferenceComponentCommand,
  DeleteInferenceComponentCommand,
  DescribeInferenceComponentCommand,
  type DescribeInferenceComponentCommandOutput,
  type SageMakerClient,
  UpdateInferenceComponentCommand,
} from '@aws-sdk/client-sagemaker';
import type { EndpointSpec, EndpointState, EndpointStatus } from '../ports.ts';
import { isAbsentOf, isTaken, problemOf } from './faults.ts';
import { componentName, componentRequest, componentSpecification } from './hosting.ts';

export type Component = DescribeInferenceComponentCommandOutput;

/**
 * The inference component of an endpoint: what holds a revision where instances scale to none. It bears the endpoint's
 * name; another revision is an update of it, during which the old one answers.
 * Source: SageMaker API, CreateInferenceComponent, UpdateInferenceComponent. Not verified on an account.
 */
export function components(client: () => SageMakerClient) {
  async function find(workspace: string, name: string): Promise<Component | undefined> {
    const InferenceComponentName = componentName(workspace, name);
    try {
      return await client().send(new DescribeInferenceComponentCommand({ InferenceComponentName }));
    } catch (error) {
      if (isAbsentOf(error)) return undefined;
      throw problemOf(error, `Endpoint '${name}'`);
    }
  }

  return {
    find,

    async create(workspace: string, spec: EndpointSpec, model: string): Promise<void> {
      try {
        const request = componentRequest(spec, workspace, model);
        await client().send(new CreateInferenceComponentCommand(request));
      } catch (error) {
        if (!isTaken(error)) throw problemOf(error, `Endpoint '${spec.name}'`);
      }
    },

    /** One copy after the other; back to the old ones by itself where the new do not come up. */
    async update(workspace: string, spec: EndpointSpec, model: string): Promise<void> {
      try {
        await client().send(
          new UpdateInferenceComponentCommand({
            InferenceComponentName: componentName(workspace, spec.name),
            Specification: componentSpecification(spec, model),
            DeploymentConfig: {
              RollingUpdatePolicy: {
                MaximumBatchSize: { Type: 'COPY_COUNT', Value: 1 },
                WaitIntervalInSeconds: 0,
              },
            },
          }),
        );
      } catch (error) {
        throw problemOf(error, `Endpoint '${spec.name}'`);
      }
    },

    /** True if it is still there: its end takes minutes, and an endpoint outlives its components. */
    async remove(workspace: string, name: string): Promise<boolean> {
      const InferenceComponentName = componentName(workspace, name);
      const found = await find(workspace, name);
      if (!found) return false;
      if (found.InferenceComponentStatus === 'Deleting') return true;
      try {
        await client().send(new DeleteInferenceComponentCommand({ InferenceComponentName }));
      } catch (error) {
        if (isAbsentOf(error)) return false;
        throw problemOf(error, `Endpoint '${name}'`);
      }
      return (await find(workspace, name)) !== undefined;
    },
  };
}

const STATES: Readonly<Record<string, EndpointState>> = {
  InService: 'in-service',
  Creating: 'creating',
  Updating: 'updating',
  Deleting: 'updating',
  Failed: 'failed',
};

export interface Seen {
  readonly target: EndpointSpec;
  readonly component: Component | undefined;
  /** Of the model that the component names. */
  readonly named: EndpointSpec | undefined;
  /** The one that was in service last. */
  readonly before: EndpointSpec | undefined;
  /** Whether the component was asked for the target and has come back. */
  readonly asked: boolean;
}

const WENT_BACK = 'The new revision did not come up, and SageMaker went back to the one before.';

/** What an endpoint of a component is, once the endpoint itself is in service. */
export function componentStatus({ target, component, named, before, asked }: Seen): EndpointStatus {
  const state = STATES[component?.InferenceComponentStatus ?? 'Creating'] ?? 'updating';
  const revision =
    state === 'in-service' ? named?.revision : state === 'updating' ? before?.revision : undefined;
  const back = state === 'in-service' && asked && revision !== target.revision;
  const failure = component?.FailureReason ?? (back ? WENT_BACK : undefined);
  return {
    name: target.name,
    revision,
    target: target.revision,
    state,
    ...(failure && (back || state === 'failed') ? { failure } : {}),
    copies: component?.RuntimeConfig?.CurrentCopyCount ?? 0,
  };
}
