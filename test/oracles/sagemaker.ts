import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Call } from '../../functions/kernel/call.ts';
import type { WorkspaceId } from '../../functions/kernel/ids.ts';
import type { Job, JobSpec } from '../../functions/platform/ports.ts';
import type { LocalJobs } from '../../local/jobs.ts';

/**
 * SageMaker's training API and the log calls beside it, over the local runner. *Shape only, not independent*: it
 * shows that the adapter speaks and understands the wire, not what SageMaker does. Its words for errors are those of
 * aws.md section 4.7.
 */
export interface SkinOptions {
  readonly jobs: LocalJobs;
  readonly call: Call;
  /** What lies in the bucket, by key. */
  readonly files: Map<string, Uint8Array>;
  /** `s3://bucket/key` as a folder of this machine. */
  folder(uri: string): string;
}
interface Skin extends SkinOptions {
  /** Of processing jobs, by name: these are no training jobs. */
  readonly limits: Map<string, Fields>;
}
export type Fields = Record<string, unknown>;

export class Refusal extends Error {
  readonly type: string;
  constructor(type: string, message: string) {
    super(message);
    this.type = type;
  }
}

export function sagemakerSkin(options: SkinOptions) {
  const skin: Skin = { ...options, limits: new Map() };
  return answering(async (request) => {
    const { action, asked } = await readAction(request);
    return own(ACTIONS, action)(skin, asked);
  });
}

/** A server whose answers are JSON, or a Refusal in AWS's words. */
export async function answering(
  answer: (request: IncomingMessage, response: ServerResponse) => Promise<Fields | undefined>,
) {
  const server = createServer((request, response) => {
    answer(request, response).then(
      (body) => response.end(body && JSON.stringify(body)),
      (error: unknown) => {
        const type = error instanceof Refusal ? error.type : 'InternalFailure';
        response.statusCode = error instanceof Refusal ? 400 : 500;
        response.setHeader('x-amzn-errortype', type);
        response.end(JSON.stringify({ __type: type, message: String((error as Error).message) }));
      },
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    endpoint: `http://127.0.0.1:${port}`,
    close: () => {
      server.closeAllConnections();
      return new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

export async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

export async function readAction(request: IncomingMessage) {
  const asked = JSON.parse((await bodyOf(request)).toString()) as Fields;
  return { action: String(request.headers['x-amz-target']).split('.')[1] ?? '', asked };
}

export function own<T>(actions: Record<string, T>, action: string): T {
  const act = actions[action];
  if (!act) throw new Refusal('UnknownOperationException', action);
  return act;
}

/** `sf-default0-train`: whose job it is, and its name. */
function split({ call }: SkinOptions, full: string): { call: Call; name: string } {
  const workspace = full.slice(3, 11) as WorkspaceId;
  return { call: { ...call, workspace }, name: full.slice(12) };
}

async function known(options: SkinOptions, asked: Fields) {
  const at = split(options, String(asked['TrainingJobName'] ?? asked['ProcessingJobName']));
  const job = await options.jobs.describe(at.call, at.name);
  if (!job) throw new Refusal('ValidationException', 'Requested resource not found.');
  return { ...at, job };
}

const ACTIONS: Record<string, (options: Skin, asked: Fields) => Promise<Fields>> = {
  async CreateTrainingJob(options, asked) {
    const { call, name } = split(options, String(asked['TrainingJobName']));
    if (await options.jobs.describe(call, name))
      throw new Refusal('ResourceInUse', `Training job ${name} already exists`);
    const channels = asked['InputDataConfig'] as {
      ChannelName: string;
      DataSource: { S3DataSource: { S3Uri: string } };
    }[];
    const uriOf = (channel: string) =>
      channels.find(({ ChannelName }) => ChannelName === channel)?.DataSource.S3DataSource.S3Uri ??
      '';
    const key = `${uriOf('stillflow-job').replace(/^s3:\/\/[^/]+\//, '')}spec.json`;
    const spec = JSON.parse(Buffer.from(options.files.get(key) ?? []).toString()) as JobSpec;
    const checkpoint = asked['CheckpointConfig'] as { S3Uri: string } | undefined;
    const { ResourceConfig, StoppingCondition } = asked as {
      ResourceConfig: { InstanceCount: number };
      StoppingCondition: { MaxRuntimeInSeconds: number };
    };
    await options.jobs.submit(call, {
      ...spec,
      inputs: spec.inputs.map((one) => ({ ...one, uri: options.folder(uriOf(one.name)) })),
      outputs: spec.outputs.map((one) => ({ ...one, uri: options.folder(one.uri) })),
      nodes: ResourceConfig.InstanceCount,
      deadlineSeconds: StoppingCondition.MaxRuntimeInSeconds,
      ...(checkpoint ? { checkpoint: options.folder(checkpoint.S3Uri) } : {}),
    });
    return { TrainingJobArn: `arn:aws:sagemaker:eu-central-1:123456789012:training-job/${name}` };
  },

  async DescribeTrainingJob(options, asked) {
    const { name, job } = await known(options, asked);
    if (options.limits.has(name))
      throw new Refusal('ValidationException', 'Requested resource not found.');
    return { TrainingJobName: asked['TrainingJobName'], ...worded(job) };
  },

  async StopTrainingJob(options, asked) {
    const { call, name, job } = await known(options, asked);
    if (job.endedAt !== undefined)
      throw new Refusal(
        'ValidationException',
        'The request was rejected because the training job is in the Completed state.',
      );
    await options.jobs.stop(call, name);
    return {};
  },

  async CreateProcessingJob(options, asked) {
    const { call, name } = split(options, String(asked['ProcessingJobName']));
    if (await options.jobs.describe(call, name))
      throw new Refusal('ResourceInUse', `Processing job ${name} already exists`);
    const inputs = asked['ProcessingInputs'] as {
      InputName: string;
      S3Input: { S3Uri: string; LocalPath: string };
    }[];
    const { ContainerEntrypoint } = asked['AppSpecification'] as { ContainerEntrypoint: string[] };
    const paths = inputs.map(({ S3Input }) => S3Input.LocalPath);
    if (ContainerEntrypoint.some((word) => word.length > 256) || inputs.length > 10)
      throw new Refusal('ValidationException', '1 validation error detected');
    if (paths.some((path) => !path.startsWith('/opt/ml/processing/')))
      throw new Refusal('ValidationException', 'LocalPath must be below /opt/ml/processing');
    const uriOf = (input: string) =>
      inputs.find(({ InputName }) => InputName === input)?.S3Input.S3Uri ?? '';
    const key = `${uriOf('stillflow-job').replace(/^s3:\/\/[^/]+\//, '')}spec.json`;
    const spec = JSON.parse(Buffer.from(options.files.get(key) ?? []).toString()) as JobSpec;
    const { ProcessingResources, StoppingCondition } = asked as {
      ProcessingResources: { ClusterConfig: { InstanceCount: number } };
      StoppingCondition: { MaxRuntimeInSeconds: number };
    };
    await options.jobs.submit(call, {
      ...spec,
      inputs: spec.inputs.map((one) => ({ ...one, uri: options.folder(uriOf(one.name)) })),
      outputs: spec.outputs.map((one) => ({ ...one, uri: options.folder(one.uri) })),
      nodes: ProcessingResources.ClusterConfig.InstanceCount,
      deadlineSeconds: StoppingCondition.MaxRuntimeInSeconds,
    });
    options.limits.set(name, StoppingCondition);
    return {
      ProcessingJobArn: `arn:aws:sagemaker:eu-central-1:123456789012:processing-job/${name}`,
    };
  },

  async DescribeProcessingJob(options, asked) {
    const { name, job } = await known(options, asked);
    const limit = options.limits.get(name);
    if (!limit) throw new Refusal('ValidationException', 'Requested resource not found.');
    const told = worded(job);
    return {
      ProcessingJobName: asked['ProcessingJobName'],
      ProcessingJobStatus: told['TrainingJobStatus'],
      FailureReason: told['FailureReason'],
      ProcessingStartTime: told['TrainingStartTime'],
      ProcessingEndTime: told['TrainingEndTime'],
      StoppingCondition: limit,
    };
  },

  async StopProcessingJob(options, asked) {
    return own(ACTIONS, 'StopTrainingJob')(options, asked);
  },

  async DescribeLogStreams(options, asked) {
    const full = String(asked['logStreamNamePrefix']).replace(/\/$/, '');
    const { call, name } = split(options, full);
    const { lines } = await options.jobs.logs(call, name);
    return { logStreams: lines.length ? [{ logStreamName: `${full}/algo-1-1` }] : [] };
  },

  async GetLogEvents(options, asked) {
    const full = String(asked['logStreamName']).split('/')[0] ?? '';
    const { call, name } = split(options, full);
    const token = asked['nextToken'] as string | undefined;
    const { lines, next } = await options.jobs.logs(call, name, token?.slice(2));
    return {
      events: lines.map((message) => ({ message, timestamp: 0 })),
      nextForwardToken: `f/${next}`,
    };
  },
};

function worded(job: Job): Fields {
  const late = job.failure?.includes('deadline') ?? false;
  const status = {
    pending: 'InProgress',
    running: 'InProgress',
    succeeded: 'Completed',
    failed: late ? 'Stopped' : 'Failed',
    stopped: 'Stopped',
  }[job.state];
  const reason =
    job.exitCode === undefined
      ? `ClientError: ${job.failure}`
      : `AlgorithmError: ${job.failure}, exit code: ${job.exitCode}`;
  return {
    TrainingJobStatus: status,
    SecondaryStatus: late ? 'MaxRuntimeExceeded' : status,
    ...(status === 'Failed' ? { FailureReason: reason } : {}),
    ...(job.startedAt === undefined ? {} : { TrainingStartTime: job.startedAt / 1000 }),
    ...(job.endedAt === undefined ? {} : { TrainingEndTime: job.endedAt / 1000 }),
  };
}
