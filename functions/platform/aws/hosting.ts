import { createHash } from 'node:crypto';
import type {
  PutScalingPolicyCommandInput,
  RegisterScalableTargetCommandInput,
} from '@aws-sdk/client-application-auto-scaling';
import type { PutMetricAlarmCommandInput } from '@aws-sdk/client-cloudwatch';
import type {
  CreateEndpointConfigCommandInput,
  CreateInferenceComponentCommandInput,
  CreateModelCommandInput,
  InferenceComponentSpecification,
  ProductionVariant,
  ProductionVariantInstanceType,
} from '@aws-sdk/client-sagemaker';
import { Problem } from '../../kernel/problem.ts';
import type { EndpointSpec } from '../ports.ts';
import { type Instance, instancesFor, noneFor } from './instances.ts';
import { cloudName } from './names.ts';
import { tagsOf } from './tags.ts';

/** Requests of SageMaker's hosting API as pure functions; golden in test/golden/requests. */

/**
 * `serverless`: billed by the call, no GPU, at most 6 GB. `instances`: some always run. `component`: an inference
 * component, the one kind with instances of its own that scales to none.
 */
export type Kind = 'serverless' | 'instances' | 'component';

/** Source: SageMaker developer guide, "Serverless endpoints": 1 to 6 GB in steps of 1 GB, 200 at once. */
const SERVERLESS = { leastMb: 1024, usualMb: 3072, mostMb: 6144, atOnce: 200 } as const;
const MIB = 2 ** 20;

export function kindOf({ scale, resources = {} }: EndpointSpec): Kind {
  if (scale.minimum > 0) return 'instances';
  const light =
    (resources.memoryBytes ?? 0) <= SERVERLESS.mostMb * MIB && (resources.cpus ?? 0) <= 6;
  return (resources.accelerator?.count ?? 0) === 0 && light ? 'serverless' : 'component';
}

/** Throws `invalid`, naming what SageMaker has not. */
function instanceOf(spec: EndpointSpec): Instance {
  const [instance] = instancesFor(spec.resources ?? {}, 'hosting');
  if (!instance)
    throw new Problem('invalid', `Endpoint '${spec.name}': ${noneFor(spec.resources ?? {})}`, {
      field: 'resources',
    });
  return instance;
}

/** Pulling a GPU image and a large model takes its time. */
const START_SECONDS = 1200;

const onInstances = (
  instance: Instance,
  count: number,
): Omit<ProductionVariant, 'VariantName'> => ({
  InstanceType: instance.type as ProductionVariantInstanceType,
  InitialInstanceCount: count,
  ModelDataDownloadTimeoutInSeconds: START_SECONDS,
  ContainerStartupHealthCheckTimeoutInSeconds: START_SECONDS,
  RoutingConfig: { RoutingStrategy: 'LEAST_OUTSTANDING_REQUESTS' },
});

export interface HostingPlace {
  readonly workspace: string;
  readonly roleArn: string;
  /** A KMS key for the disks of instances; AWS's own without it. */
  readonly volumeKey?: string;
}

/** A revision as part of a cloud name: a model and an endpoint's configuration are made once for each. */
export const revisionName = (workspace: string, { name, revision }: EndpointSpec): string =>
  cloudName(
    workspace,
    createHash('sha256').update(`${name}\0${revision}`).digest('hex').slice(0, 40),
  );

/**
 * `image`: a container that serves an MLmodel folder at /opt/ml/model. `archiveUri`: that folder as a gzipped tar, which
 * SageMaker unpacks there; a folder as it is (ModelDataSource) is not for serverless endpoints.
 * Source: SageMaker API, ContainerDefinition, ModelDataSource. Not verified on an account.
 */
export function modelRequest(
  spec: EndpointSpec,
  modelName: string,
  { workspace, roleArn }: HostingPlace,
  image: string,
  archiveUri: string,
): CreateModelCommandInput {
  return {
    ModelName: modelName,
    ExecutionRoleArn: roleArn,
    PrimaryContainer: {
      Image: image,
      ModelDataUrl: archiveUri,
      Environment: { ...spec.env },
    },
    Tags: tagsOf(workspace),
  };
}

/** `model`: what is served; `running`: how many copies the endpoint has while this is made, which stay. */
export function configRequest(
  spec: EndpointSpec,
  place: HostingPlace,
  { config, model, variant }: { config: string; model: string; variant: string },
  running = 0,
): CreateEndpointConfigCommandInput {
  const { minimum, maximum } = spec.scale;
  const common = { EndpointConfigName: config, Tags: tagsOf(place.workspace) };
  const kind = kindOf(spec);
  if (kind === 'serverless')
    return {
      ...common,
      ProductionVariants: [
        { VariantName: variant, ModelName: model, ServerlessConfig: serverless(spec) },
      ],
    };
  const instance = instanceOf(spec);
  const key = place.volumeKey && !instance.nvme ? { KmsKeyId: place.volumeKey } : {};
  if (kind === 'instances')
    return {
      ...common,
      ...key,
      ProductionVariants: [
        {
          VariantName: variant,
          ModelName: model,
          ...onInstances(instance, Math.max(minimum, Math.min(maximum, running))),
        },
      ],
    };
  return {
    ...common,
    ...key,
    // The model has its role too; without a model the variant needs one.
    ExecutionRoleArn: place.roleArn,
    ProductionVariants: [
      {
        VariantName: COMPONENT_VARIANT,
        ...onInstances(instance, 1),
        ManagedInstanceScaling: {
          Status: 'ENABLED',
          MinInstanceCount: 0,
          MaxInstanceCount: maximum,
        },
      },
    ],
  };
}

function serverless({ scale, resources }: EndpointSpec) {
  const asked = Math.ceil((resources?.memoryBytes ?? 0) / MIB / 1024) * 1024;
  return {
    MemorySizeInMB: asked === 0 ? SERVERLESS.usualMb : Math.max(SERVERLESS.leastMb, asked),
    MaxConcurrency: Math.min(SERVERLESS.atOnce, scale.maximum * scale.concurrency),
  };
}

/** Its endpoint stays while revisions come and go in the component. */
const COMPONENT_VARIANT = 'all';

/** The configuration of a component's endpoint: another one only where the instances change. */
export function hardwareName(workspace: string, spec: EndpointSpec): string {
  const { type } = instanceOf(spec);
  const text = `${spec.name}\0hardware\0${type}\0${spec.scale.maximum}`;
  return cloudName(workspace, createHash('sha256').update(text).digest('hex').slice(0, 40));
}

export const componentName = (workspace: string, endpoint: string): string =>
  cloudName(workspace, endpoint);

/** What one copy takes of an instance: without a word on memory, half of what comes with its accelerators. */
export function componentSpecification(
  spec: EndpointSpec,
  model: string,
): InferenceComponentSpecification {
  const { gib, chips } = instanceOf(spec);
  const { cpus, memoryBytes, accelerator } = spec.resources ?? {};
  const count = accelerator?.count ?? 0;
  const share = count > 0 ? count / chips : 1;
  return {
    ModelName: model,
    StartupParameters: {
      ModelDataDownloadTimeoutInSeconds: START_SECONDS,
      ContainerStartupHealthCheckTimeoutInSeconds: START_SECONDS,
    },
    ComputeResourceRequirements: {
      MinMemoryRequiredInMb: memoryBytes
        ? Math.ceil(memoryBytes / MIB)
        : Math.floor(gib * 512 * share),
      ...(count > 0 ? { NumberOfAcceleratorDevicesRequired: count } : {}),
      ...(cpus === undefined ? {} : { NumberOfCpuCoresRequired: cpus }),
    },
  };
}

export const componentRequest = (
  spec: EndpointSpec,
  workspace: string,
  model: string,
): CreateInferenceComponentCommandInput => ({
  InferenceComponentName: componentName(workspace, spec.name),
  EndpointName: cloudName(workspace, spec.name),
  VariantName: COMPONENT_VARIANT,
  Specification: componentSpecification(spec, model),
  RuntimeConfig: { CopyCount: 1 },
  Tags: tagsOf(workspace),
});

/** What Application Auto Scaling counts, by which it is found again. */
export interface Scaled {
  readonly ServiceNamespace: 'sagemaker';
  readonly ResourceId: string;
  readonly ScalableDimension:
    | 'sagemaker:variant:DesiredInstanceCount'
    | 'sagemaker:inference-component:DesiredCopyCount';
}
export const scaledOf = (
  kind: Exclude<Kind, 'serverless'>,
  workspace: string,
  name: string,
  variant: string,
): Scaled =>
  kind === 'instances'
    ? {
        ServiceNamespace: 'sagemaker',
        ResourceId: `endpoint/${cloudName(workspace, name)}/variant/${variant}`,
        ScalableDimension: 'sagemaker:variant:DesiredInstanceCount',
      }
    : {
        ServiceNamespace: 'sagemaker',
        ResourceId: `inference-component/${componentName(workspace, name)}`,
        ScalableDimension: 'sagemaker:inference-component:DesiredCopyCount',
      };

export interface ScalingRequests {
  readonly target: RegisterScalableTargetCommandInput;
  readonly load: PutScalingPolicyCommandInput;
  /** From none to one; `alarm` waits for the policy's ARN. */
  readonly wake?: {
    readonly policy: PutScalingPolicyCommandInput;
    readonly alarm: PutMetricAlarmCommandInput;
  };
}

export const wakeName = (workspace: string, name: string): string =>
  `${cloudName(workspace, name)}-wake`;

/** Longer than a target takes to be counted; below it the number would swing. */
const LEAST_COOLDOWN_SECONDS = 60;

/**
 * Target tracking of requests at once a copy, as one machine does it too (local/endpoint_scaling.ts). A component of no
 * copies has no load to track: the request that finds none raises an alarm, which starts the first.
 * Source: SageMaker developer guide, "Scale an endpoint to zero instances". Not verified on an account.
 */
export function scalingRequests(
  spec: EndpointSpec,
  workspace: string,
  variant: string,
): ScalingRequests {
  const kind = kindOf(spec) === 'component' ? 'component' : 'instances';
  const { name, scale } = spec;
  const scaled = scaledOf(kind, workspace, name, variant);
  const named = cloudName(workspace, name);
  const tracking = {
    target: { ...scaled, MinCapacity: scale.minimum, MaxCapacity: scale.maximum },
    load: {
      ...scaled,
      PolicyName: `${named}-load`,
      PolicyType: 'TargetTrackingScaling',
      TargetTrackingScalingPolicyConfiguration: {
        TargetValue: scale.concurrency,
        PredefinedMetricSpecification: {
          PredefinedMetricType:
            kind === 'instances'
              ? 'SageMakerVariantConcurrentRequestsPerModelHighResolution'
              : 'SageMakerInferenceComponentConcurrentRequestsPerCopyHighResolution',
        },
        ScaleOutCooldown: LEAST_COOLDOWN_SECONDS,
        ScaleInCooldown: Math.max(LEAST_COOLDOWN_SECONDS, scale.idleSeconds),
      },
    },
  } as const;
  if (kind === 'instances') return tracking;
  return {
    ...tracking,
    wake: {
      policy: {
        ...scaled,
        PolicyName: wakeName(workspace, name),
        PolicyType: 'StepScaling',
        StepScalingPolicyConfiguration: {
          AdjustmentType: 'ChangeInCapacity',
          MetricAggregationType: 'Maximum',
          Cooldown: LEAST_COOLDOWN_SECONDS,
          StepAdjustments: [{ MetricIntervalLowerBound: 0, ScalingAdjustment: 1 }],
        },
      },
      alarm: {
        AlarmName: wakeName(workspace, name),
        AlarmDescription: `Starts the first copy of ${name} when a request found none.`,
        Namespace: 'AWS/SageMaker',
        MetricName: 'NoCapacityInvocationFailures',
        Dimensions: [{ Name: 'InferenceComponentName', Value: componentName(workspace, name) }],
        Statistic: 'Maximum',
        Period: 30,
        EvaluationPeriods: 1,
        DatapointsToAlarm: 1,
        Threshold: 1,
        ComparisonOperator: 'GreaterThanOrEqualToThreshold',
        TreatMissingData: 'missing',
        Tags: tagsOf(workspace),
      },
    },
  };
}
