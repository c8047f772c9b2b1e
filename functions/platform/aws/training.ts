import type {
  CreateTrainingJobCommandInput,
  DescribeTrainingJobCommandOutput,
} from '@aws-sdk/client-sagemaker';
import type { WorkspaceId } from '../../kernel/ids.ts';
import { failureOf, LATE } from '../failure.ts';
import type { Job, JobSpec } from '../ports.ts';
import { cloudName } from './names.ts';

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
}

/**
 * AWS's published images by region: its own account there. Source: sagemaker-python-sdk
 * src/sagemaker/image_uri_config/pytorch.json and sklearn.json (verify the account of a region that is new).
 */
const DEEP_LEARNING_ACCOUNT = '763104351884';

/** What python images and `interpreter` run on: a published image with Python 3.11 and boto3. */
export function publishedImage(region: string, accelerated: boolean): string {
  const tag = accelerated
    ? '2.5.1-gpu-py311-cu124-ubuntu22.04-sagemaker'
    : '2.5.1-cpu-py311-ubuntu22.04-sagemaker';
  return `${DEEP_LEARNING_ACCOUNT}.dkr.ecr.${region}.amazonaws.com/pytorch-training:${tag}`;
}

const PYTHON = /(^|\/)python(:[\w.-]+)?(@sha256:[0-9a-f]{64})?$/;
const ECR =
  /^\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?\/[\w./-]+(:[\w.-]+|@sha256:[0-9a-f]{64})$/;

/** The image that SageMaker pulls, or undefined: it pulls from ECR alone. */
export function imageOf(spec: JobSpec, region: string): string | undefined {
  const accelerated = (spec.resources.accelerator?.count ?? 0) > 0;
  if (spec.image === undefined || PYTHON.test(spec.image))
    return publishedImage(region, accelerated);
  return ECR.test(spec.image) ? spec.image : undefined;
}

const GIB = 2 ** 30;
/** Smallest first: vCPUs, memory, GPUs. Source: SageMaker's list of training instances (verify prices, not needed here). */
const INSTANCES = [
  ['ml.m5.large', 2, 8, 0],
  ['ml.m5.xlarge', 4, 16, 0],
  ['ml.m5.2xlarge', 8, 32, 0],
  ['ml.m5.4xlarge', 16, 64, 0],
  ['ml.m5.12xlarge', 48, 192, 0],
  ['ml.m5.24xlarge', 96, 384, 0],
  ['ml.g5.xlarge', 4, 16, 1],
  ['ml.g5.4xlarge', 16, 64, 1],
  ['ml.g5.12xlarge', 48, 192, 4],
  ['ml.g5.48xlarge', 192, 768, 8],
] as const;
type Instance = (typeof INSTANCES)[number][0];

/** The smallest instance that holds a node, or undefined if none does. */
export function instanceOf({ resources }: JobSpec): Instance | undefined {
  const { cpus = 1, memoryBytes = 0, accelerator } = resources;
  const gpus = accelerator?.count ?? 0;
  return INSTANCES.find(
    ([, cores, gib, cards]) =>
      cores >= cpus && gib * GIB >= memoryBytes && cards >= gpus && (gpus > 0 || cards === 0),
  )?.[0];
}

/**
 * Script mode on `image`: the command, its environment (values beyond SageMaker's 512 characters included) and the
 * launcher come as two channels from Blobs, and start.py runs them. Source: aws.md sections 4.1 and 4.2.
 */
export function trainingRequest(
  spec: JobSpec,
  place: TrainingPlace,
  image: string,
  instance: Instance,
): CreateTrainingJobCommandInput {
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
  return {
    TrainingJobName: cloudName(place.workspace, spec.name),
    RoleArn: place.roleArn,
    AlgorithmSpecification: {
      TrainingImage: image,
      TrainingInputMode: 'File',
      ContainerEntrypoint: ['python3', '/opt/ml/input/data/stillflow/start.py'],
      ...(spec.metrics?.length
        ? {
            MetricDefinitions: spec.metrics.map(({ name, regex }) => ({
              Name: name,
              Regex: regex,
            })),
          }
        : {}),
    },
    InputDataConfig: [
      channel('stillflow', place.runtimeUri),
      channel('stillflow-job', place.specUri),
      ...spec.inputs.map(({ name, uri }) => channel(name, uri)),
    ],
    OutputDataConfig: { S3OutputPath: place.outputUri },
    ResourceConfig: { InstanceType: instance, InstanceCount: spec.nodes, VolumeSizeInGB: 30 },
    StoppingCondition: { MaxRuntimeInSeconds: spec.deadlineSeconds },
    ...(spec.checkpoint === undefined
      ? {}
      : { CheckpointConfig: { S3Uri: spec.checkpoint, LocalPath: '/opt/ml/checkpoints' } }),
    Tags: [{ Key: 'stillflow:workspace', Value: place.workspace }],
  };
}

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
  const state = late && status === 'Stopped' ? 'failed' : STATES[status];
  const waiting = state === 'running' && told.TrainingStartTime === undefined;
  const said = failureOf(told.FailureReason);
  const exitCode = state === 'succeeded' ? 0 : said.exitCode;
  const failure = late ? LATE : said.failure?.slice(0, 1024);
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
