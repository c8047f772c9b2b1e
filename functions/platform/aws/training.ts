import type {
  CreateTrainingJobCommandInput,
  DescribeTrainingJobCommandOutput,
  TrainingInstanceType,
} from '@aws-sdk/client-sagemaker';
import type { WorkspaceId } from '../../kernel/ids.ts';
import { failureOf, LATE, NEVER_CAME, shortageOf } from '../failure.ts';
import type { Job, JobSpec } from '../ports.ts';
import { type Instance, instancesFor, isNeuron } from './instances.ts';
import { cloudName } from './names.ts';
import { tagsOf } from './tags.ts';

/** Requests and answers of SageMaker's training API as pure functions; golden in test/aws. */

export interface TrainingPlace {
  readonly workspace: WorkspaceId;
  readonly region: string;
  readonly roleArn: string;
  /** The launcher's and start.py's folder. */
  readonly runtimeUri: string;
  /** The folder that holds the job's spec.json. */
  readonly specUri: string;
  /** Where SageMaker puts its own archives. */
  readonly outputUri: string;
  /** A KMS key for the disks of jobs; AWS's own without it. */
  readonly volumeKey?: string;
}

/**
 * AWS's published images by region: its own account there. Source: sagemaker-python-sdk
 * src/sagemaker/image_uri_config/pytorch.json and sklearn.json (verify the account of a region that is new).
 */
const DEEP_LEARNING_ACCOUNT = '763104351884';

/** What python images and `interpreter` run on: a published image with Python 3.10 or 3.11 and boto3. */
export function publishedImage(region: string, on: 'cpu' | 'gpu' | 'neuron'): string {
  return `${DEEP_LEARNING_ACCOUNT}.dkr.ecr.${region}.amazonaws.com/${PUBLISHED[on]}`;
}
/** Source: aws/deep-learning-containers available_images.md, and AWS's samples for Trainium (verify the newest). */
const PUBLISHED = {
  cpu: 'pytorch-training:2.5.1-cpu-py311-ubuntu22.04-sagemaker',
  gpu: 'pytorch-training:2.5.1-gpu-py311-cu124-ubuntu22.04-sagemaker',
  neuron: 'pytorch-training-neuronx:2.5.1-neuronx-py310-sdk2.22.0-ubuntu22.04',
} as const;

const PYTHON = /(^|\/)python(:[\w.-]+)?(@sha256:[0-9a-f]{64})?$/;
const ECR =
  /^\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?\/[\w./-]+(:[\w.-]+|@sha256:[0-9a-f]{64})$/;

/** The image that SageMaker pulls, or undefined: it pulls from ECR alone. */
export function imageOf(spec: JobSpec, region: string): string | undefined {
  if (spec.image === undefined || PYTHON.test(spec.image))
    return publishedImage(
      region,
      isNeuron(spec.resources) ? 'neuron' : hasChips(spec) ? 'gpu' : 'cpu',
    );
  return ECR.test(spec.image) ? spec.image : undefined;
}

const hasChips = ({ resources }: JobSpec) => (resources.accelerator?.count ?? 0) > 0;

/** The first that is tried for a node, or undefined if none holds it. */
export const instanceOf = ({ resources }: JobSpec): string | undefined =>
  instancesFor(resources, resources.runner === 'processing' ? 'processing' : 'training')[0]?.type;

/**
 * Script mode on `image`: the command, its environment (values beyond SageMaker's 512 characters included) and the
 * launcher come as two channels from Blobs, and start.py runs them. Source: aws.md sections 4.1 and 4.2.
 */
export function trainingRequest(
  spec: JobSpec,
  place: TrainingPlace,
  image: string,
  instances: readonly Instance[],
): CreateTrainingJobCommandInput {
  return {
    TrainingJobName: cloudName(place.workspace, spec.name),
    RoleArn: place.roleArn,
    AlgorithmSpecification: {
      TrainingImage: image,
      TrainingInputMode: 'File',
      ContainerEntrypoint: ['python3', '/opt/ml/input/data/stillflow/start.py'],
      ...definitionsOf(spec),
    },
    InputDataConfig: channelsOf(spec, place),
    OutputDataConfig: { S3OutputPath: place.outputUri },
    ResourceConfig: clusterOf(spec, place, instances),
    StoppingCondition: stoppingOf(spec),
    ...conditionsOf(spec),
    Tags: tagsOf(place.workspace),
  };
}

/** The launcher, the job's spec.json, and its own inputs. */
export const channelsOf = ({ inputs }: JobSpec, { runtimeUri, specUri }: TrainingPlace) => {
  const channel = (name: string, uri: string) => ({
    ChannelName: name,
    InputMode: 'File' as const,
    DataSource: {
      S3DataSource: {
        S3DataType: 'S3Prefix' as const,
        S3Uri: uri,
        S3DataDistributionType: 'FullyReplicated' as const,
      },
    },
  });
  return [
    channel('stillflow', runtimeUri),
    channel('stillflow-job', specUri),
    ...inputs.map(({ name, uri }) => channel(name, uri)),
  ];
};

export const definitionsOf = ({ metrics }: JobSpec) =>
  metrics?.length
    ? { MetricDefinitions: metrics.map(({ name, regex }) => ({ Name: name, Regex: regex })) }
    : {};

/** How long a job may run, and a spot job wait and run. */
export const stoppingOf = ({ deadlineSeconds, resources: { spot } }: JobSpec) => ({
  MaxRuntimeInSeconds: deadlineSeconds,
  ...(spot ? { MaxWaitTimeInSeconds: longestWait(deadlineSeconds) } : {}),
});

/** What training jobs have in common however they are started. */
export const conditionsOf = (spec: JobSpec) => ({
  ...(spec.resources.spot ? { EnableManagedSpotTraining: true } : {}),
  ...(spec.nodes > 1 ? { EnableInterContainerTrafficEncryption: true } : {}),
  ...(spec.resources.network === 'fast' ? { Environment: FAST } : {}),
  ...(spec.checkpoint === undefined
    ? {}
    : { CheckpointConfig: { S3Uri: spec.checkpoint, LocalPath: '/opt/ml/checkpoints' } }),
});

/** What libfabric needs to use EFA. Source: aws/aws-ofi-nccl README; the images hold the rest (verify). */
const FAST = { FI_PROVIDER: 'efa', FI_EFA_USE_DEVICE_RDMA: '1', FI_EFA_FORK_SAFE: '1' } as const;

const DAY_SECONDS = 86_400;
/** Source: SageMaker API, StoppingCondition: at least the run time, at most 28 days. A spot job waits up to a day more. */
const longestWait = (seconds: number) => Math.min(28 * DAY_SECONDS, seconds + DAY_SECONDS);

/**
 * SageMaker itself goes down the list when an instance has no capacity. It does so neither for spot, where waiting is the
 * deal, nor for a warm pool, which is found by its one type. Source: SageMaker API, ResourceConfig, InstancePreferences.
 */
function clusterOf(
  { nodes, resources: { spot, keepAliveSeconds } }: JobSpec,
  { volumeKey }: TrainingPlace,
  instances: readonly Instance[],
): NonNullable<CreateTrainingJobCommandInput['ResourceConfig']> {
  const types = instances.map(({ type }) => ({ InstanceType: type as TrainingInstanceType }));
  const fixed = types.length === 1 || spot || keepAliveSeconds !== undefined;
  return {
    ...(fixed ? types[0] : { InstancePreferences: types }),
    InstanceCount: nodes,
    ...volumeOf(instances, volumeKey),
    ...(keepAliveSeconds === undefined ? {} : { KeepAlivePeriodInSeconds: keepAliveSeconds }),
  };
}

export const VOLUME_GB = 30;

/** Disks that an instance brings along are its own, encrypted by its own hardware. Source: ibid., VolumeKmsKeyId. */
export const volumeOf = (instances: readonly Instance[], volumeKey: string | undefined) =>
  instances.some(({ nvme }) => nvme)
    ? {}
    : { VolumeSizeInGB: VOLUME_GB, ...(volumeKey ? { VolumeKmsKeyId: volumeKey } : {}) };

const STATES = {
  InProgress: 'running',
  Completed: 'succeeded',
  Failed: 'failed',
  Stopping: 'running',
  Stopped: 'stopped',
  Deleting: 'running',
} as const satisfies Record<string, Job['state']>;

/** What DescribeTrainingJob says, as a Job. */
export function jobFrom(name: string, told: DescribeTrainingJobCommandOutput): Job {
  const status = told.TrainingJobStatus ?? 'InProgress';
  const late = told.SecondaryStatus === 'MaxRuntimeExceeded';
  const never = told.SecondaryStatus === 'MaxWaitTimeExceeded';
  const state = (late || never) && status === 'Stopped' ? 'failed' : STATES[status];
  const waiting = state === 'running' && told.TrainingStartTime === undefined;
  const said = failureOf(told.FailureReason);
  const exitCode = state === 'succeeded' ? 0 : said.exitCode;
  const short = shortageOf({ ...told });
  const failure = (late ? LATE : never ? NEVER_CAME : (short ?? said.failure))?.slice(0, 1024);
  return {
    name,
    state: waiting ? 'pending' : state,
    ...(exitCode === undefined ? {} : { exitCode }),
    ...(state === 'failed' && failure ? { failure } : {}),
    ...(told.TrainingStartTime ? { startedAt: told.TrainingStartTime.getTime() } : {}),
    ...(told.TrainingEndTime ? { endedAt: told.TrainingEndTime.getTime() } : {}),
    metrics: (told.FinalMetricDataList ?? []).flatMap(({ MetricName, Value, Timestamp }) =>
      MetricName === undefined || Value === undefined
        ? []
        : [{ name: MetricName, value: Value, at: Timestamp?.getTime() ?? 0 }],
    ),
  };
}
