import type {
  CreateProcessingJobCommandInput,
  DescribeProcessingJobCommandOutput,
  ProcessingInstanceType,
} from '@aws-sdk/client-sagemaker';
import { failureOf, LATE, shortageOf } from '../failure.ts';
import type { Job, JobSpec } from '../ports.ts';
import type { Instance } from './instances.ts';
import { cloudName } from './names.ts';
import { tagsOf } from './tags.ts';
import { type TrainingPlace, VOLUME_GB } from './training.ts';

/** Requests and answers of SageMaker's processing API as pure functions; golden in test/aws. */

/** Beside which start.py finds its channels: it takes the folder it lies in for the job's. */
const BASE = '/opt/ml/processing';

/**
 * A job that says `runner: 'processing'`: any command over inputs and outputs, without the checkpoint and the metrics
 * that only training has (job_spec.ts refuses them). As in training the command, its environment (values are at most
 * 256 characters here) and the launcher come from Blobs, and start.py takes the outputs to their places: what
 * ProcessingOutputConfig leaves open is those of a job that failed or was stopped.
 * Source: aws.md sections 4.1 and 4.4; SageMaker API, CreateProcessingJob: an entrypoint's words have at most 256
 * characters, LocalPath begins with /opt/ml/processing. Not verified on an account.
 */
export function processingRequest(
  spec: JobSpec,
  place: Omit<TrainingPlace, 'outputUri'>,
  image: string,
  instances: readonly Instance[],
): CreateProcessingJobCommandInput {
  const types = instances.map(({ type }) => ({ InstanceType: type as ProcessingInstanceType }));
  const nvme = instances.some((one) => one.nvme);
  const input = (name: string, uri: string) => ({
    InputName: name,
    S3Input: {
      S3Uri: uri,
      LocalPath: `${BASE}/input/data/${name}`,
      S3DataType: 'S3Prefix' as const,
      S3InputMode: 'File' as const,
      S3DataDistributionType: 'FullyReplicated' as const,
    },
  });
  return {
    ProcessingJobName: cloudName(place.workspace, spec.name),
    RoleArn: place.roleArn,
    AppSpecification: {
      ImageUri: image,
      ContainerEntrypoint: ['python3', `${BASE}/input/data/stillflow/start.py`],
    },
    ProcessingInputs: [
      input('stillflow', place.runtimeUri),
      input('stillflow-job', place.specUri),
      ...spec.inputs.map(({ name, uri }) => input(name, uri)),
    ],
    ProcessingResources: {
      ClusterConfig: {
        ...(types.length === 1 ? types[0] : { InstancePreferences: types }),
        InstanceCount: spec.nodes,
        // Must be there even where an instance has disks of its own.
        VolumeSizeInGB: VOLUME_GB,
        ...(place.volumeKey && !nvme ? { VolumeKmsKeyId: place.volumeKey } : {}),
      },
    },
    ...(spec.nodes > 1 ? { NetworkConfig: { EnableInterContainerTrafficEncryption: true } } : {}),
    StoppingCondition: { MaxRuntimeInSeconds: spec.deadlineSeconds },
    Tags: tagsOf(place.workspace),
  };
}

const STATES = {
  InProgress: 'running',
  Completed: 'succeeded',
  Failed: 'failed',
  Stopping: 'running',
  Stopped: 'stopped',
} as const satisfies Record<string, Job['state']>;

/**
 * What DescribeProcessingJob says, as a Job. It has no word for a deadline that was passed: a job that was stopped
 * after running that long is one. `ExitMessage` is what start.py left in output/message.
 */
export function processedFrom(name: string, told: DescribeProcessingJobCommandOutput): Job {
  const status = told.ProcessingJobStatus ?? 'InProgress';
  const [started, ended] = [told.ProcessingStartTime, told.ProcessingEndTime];
  const limit = told.StoppingCondition?.MaxRuntimeInSeconds;
  const ranMs = started && ended ? ended.getTime() - started.getTime() : 0;
  const late = status === 'Stopped' && limit !== undefined && ranMs >= limit * 1000;
  const state = late ? 'failed' : STATES[status];
  const waiting = state === 'running' && started === undefined;
  const said = failureOf(told.FailureReason, told.ExitMessage);
  const exitCode = state === 'succeeded' ? 0 : said.exitCode;
  const failure = (late ? LATE : (shortageOf({ ...told }) ?? said.failure))?.slice(0, 1024);
  return {
    name,
    state: waiting ? 'pending' : state,
    ...(exitCode === undefined ? {} : { exitCode }),
    ...(state === 'failed' && failure ? { failure } : {}),
    ...(started ? { startedAt: started.getTime() } : {}),
    ...(ended ? { endedAt: ended.getTime() } : {}),
    metrics: [],
  };
}
