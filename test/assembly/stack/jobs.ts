import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemCall } from '../../../functions/kernel/call.ts';
import type { Json } from '../../../functions/kernel/json.ts';
import { newUlid, type World } from '../../../functions/kernel/world.ts';
import type { Job } from '../../../functions/platform/ports.ts';
import { MachineError } from '../../../local/asl/errors.ts';
import type { LocalJobs } from '../../../local/jobs.ts';
import { type Access, AwsError, arnOf, type Caller } from './access.ts';
import { REGION } from './intrinsics.ts';
import { splitName } from './names.ts';
import type { S3 } from './s3.ts';
import { type Fields, fields, list, number, text } from './values.ts';

export interface JobParts {
  readonly access: Access;
  readonly s3: S3;
  readonly jobs: LocalJobs;
  readonly world: World;
  readonly folder: string;
  readonly gateway: string;
  /** Where boto3 lies, which AWS's images hold. */
  readonly pythonPath: string;
  readonly check: (operation: string, request: Fields) => string | undefined;
}
type Kind = 'Training' | 'Processing';
interface Known {
  readonly kind: Kind;
  readonly request: Fields;
  readonly made: number;
  failed?: string;
}

const EMULATED = 'npm run stack runs python3 on a file below /opt/ml, in our own pinned Python';

/**
 * SageMaker's training and processing jobs: requests are held against AWS's model, channels come from S3 and the
 * container's command runs through the local runner with the job role's own credentials. *Shape only* where it says what
 * SageMaker answers; the container is not pulled.
 */
export function sagemakerJobs({
  access,
  s3,
  jobs,
  world,
  folder,
  gateway,
  pythonPath,
  check,
}: JobParts) {
  const known = new Map<string, Known>();
  const split = (full: string) => {
    const { workspace, own } = splitName(full);
    return { call: systemCall(workspace, 'jobs', newUlid(world), world.now() + 60_000), name: own };
  };
  const arn = (kind: Kind, name: string) => arnOf('sagemaker', `${kind.toLowerCase()}-job/${name}`);

  function begin(caller: Caller, kind: Kind, request: Fields): string {
    const operation = `Create${kind}Job`;
    const name = text(request[`${kind}JobName`]);
    access.check(caller, { action: `sagemaker:${operation}`, resource: arn(kind, name) });
    if (list(request['Tags']).length)
      access.check(caller, { action: 'sagemaker:AddTags', resource: arn(kind, name) });
    const wrong = check(operation, request);
    if (wrong) throw new AwsError('ValidationException', `1 validation error detected: ${wrong}`);
    access.pass(caller, text(request['RoleArn']), 'sagemaker.amazonaws.com');
    if (known.has(name)) throw new AwsError('ResourceInUse', `${kind} job ${name} already exists`);
    const kept: Known = { kind, request, made: world.now() };
    known.set(name, kept);
    return name;
  }

  /** As SageMaker brings a container up: image, channels, command, all by the job's role. */
  async function launch(full: string): Promise<Job> {
    const kept = known.get(full);
    if (!kept) throw new Error(`${full} was never created`);
    const { kind, request } = kept;
    const role = access.assume(text(request['RoleArn']), `job ${full}`, 'sagemaker.amazonaws.com');
    const training = kind === 'Training';
    const container = fields(request[training ? 'AlgorithmSpecification' : 'AppSpecification']);
    checkPull(role, text(container[training ? 'TrainingImage' : 'ImageUri']), kind, full);
    const [program, file = ''] = list(container['ContainerEntrypoint']).map(text);
    if (program !== 'python3' || !file.startsWith('/opt/ml/')) throw new Error(EMULATED);
    const channels = training
      ? list(request['InputDataConfig'])
          .map(fields)
          .map((one) => ({
            name: text(one['ChannelName']),
            uri: text(fields(fields(one['DataSource'])['S3DataSource'])['S3Uri']),
          }))
      : list(request['ProcessingInputs'])
          .map(fields)
          .map((one) => ({
            name: text(one['InputName']),
            uri: text(fields(one['S3Input'])['S3Uri']),
          }));
    const inputs = [];
    for (const { name, uri } of channels)
      inputs.push({ name: `${CHANNEL}${name}`, uri: await stage(role, full, name, uri) });
    const cluster = fields(
      training
        ? request['ResourceConfig']
        : fields(request['ProcessingResources'])['ClusterConfig'],
    );
    const { call, name } = split(full);
    return jobs.submit(call, {
      name,
      interpreter: 'python',
      command: ['sh', '-c', SCRIPT, file.slice('/opt/ml'.length)],
      env: { ...(fields(request['Environment']) as Record<string, string>), ...credentials(role) },
      inputs,
      outputs: [],
      resources: {},
      nodes: number(cluster['InstanceCount'], 1),
      deadlineSeconds: number(fields(request['StoppingCondition'])['MaxRuntimeInSeconds'], 86_400),
    });
  }

  const credentials = ({ keys }: Caller): Record<string, string> => ({
    AWS_ENDPOINT_URL: gateway,
    AWS_REGION: REGION,
    AWS_DEFAULT_REGION: REGION,
    AWS_ACCESS_KEY_ID: keys.accessKeyId,
    AWS_SECRET_ACCESS_KEY: keys.secretAccessKey,
    AWS_SESSION_TOKEN: keys.sessionToken ?? '',
    PYTHONPATH: pythonPath,
  });

  function checkPull(role: Caller, image: string, kind: Kind, full: string): void {
    const [, account, region, repository] =
      /^(\d{12})\.dkr\.ecr\.([\w-]+)\.amazonaws\.com\/([^:@]+)/.exec(image) ?? [];
    access.check(role, { action: 'ecr:GetAuthorizationToken', resource: '*' });
    for (const action of ['ecr:BatchGetImage', 'ecr:GetDownloadUrlForLayer'])
      access.check(role, {
        action,
        resource: `arn:aws:ecr:${region}:${account}:repository/${repository}`,
      });
    for (const action of ['logs:CreateLogStream', 'logs:PutLogEvents'])
      access.check(role, {
        action,
        resource: arnOf('logs', `log-group:/aws/sagemaker/${kind}Jobs:log-stream:${full}`),
      });
  }

  async function stage(role: Caller, full: string, channel: string, uri: string): Promise<string> {
    const [, bucket = '', prefix = ''] = /^s3:\/\/([^/]+)\/(.*)$/.exec(uri) ?? [];
    const to = join(folder, full, channel);
    await mkdir(to, { recursive: true });
    const root = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    for (const key of await s3.list(role, bucket, prefix)) {
      if (key.endsWith('/')) continue;
      const path = join(to, key.slice(root.length));
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, (await s3.read(role, bucket, key)) ?? '');
    }
    return to;
  }

  /** What Describe tells: SageMaker's words for how far it is. */
  async function describe(kind: Kind, full: string): Promise<Fields> {
    const kept = known.get(full);
    if (kept?.kind !== kind)
      throw new AwsError('ValidationException', 'Requested resource not found.');
    const { call, name } = split(full);
    const job: Job | undefined = kept.failed
      ? { name, state: 'failed', failure: kept.failed, metrics: [], endedAt: kept.made }
      : await jobs.describe(call, name);
    const late = job?.failure?.includes('deadline') ?? false;
    const status = job === undefined ? 'InProgress' : late ? 'Stopped' : STATES[job.state];
    const reason =
      job?.exitCode === undefined
        ? `ClientError: ${job?.failure}`
        : `AlgorithmError: ${job.failure}, exit code: ${job.exitCode}`;
    const started =
      job?.startedAt === undefined ? {} : { [`${kind}StartTime`]: job.startedAt / 1000 };
    const ended = job?.endedAt === undefined ? {} : { [`${kind}EndTime`]: job.endedAt / 1000 };
    return {
      ...kept.request,
      [`${kind}JobArn`]: arn(kind, full),
      [`${kind}JobStatus`]: status,
      ...(kind === 'Training' ? { SecondaryStatus: late ? 'MaxRuntimeExceeded' : status } : {}),
      CreationTime: kept.made / 1000,
      ...started,
      ...ended,
      ...(status === 'Failed' ? { FailureReason: reason } : {}),
    };
  }

  /** Whatever keeps the container from coming up is the job's failure, not the request's. */
  function up(full: string): Promise<Job | undefined> {
    return launch(full).catch((error: unknown) => {
      const kept = known.get(full);
      if (kept) kept.failed = error instanceof Error ? error.message : String(error);
      return undefined;
    });
  }

  const operation = (kind: Kind) => ({
    async [`Create${kind}Job`](caller: Caller, request: Fields) {
      const full = begin(caller, kind, request);
      void up(full);
      return { [`${kind}JobArn`]: arn(kind, full) };
    },
    async [`Describe${kind}Job`](caller: Caller, request: Fields) {
      const full = text(request[`${kind}JobName`]);
      access.check(caller, { action: `sagemaker:Describe${kind}Job`, resource: arn(kind, full) });
      return describe(kind, full);
    },
    async [`Stop${kind}Job`](caller: Caller, request: Fields) {
      const full = text(request[`${kind}JobName`]);
      access.check(caller, { action: `sagemaker:Stop${kind}Job`, resource: arn(kind, full) });
      const status = text((await describe(kind, full))[`${kind}JobStatus`]);
      if (status !== 'InProgress')
        throw new AwsError(
          'ValidationException',
          `The request was rejected because the job is in the ${status} state.`,
        );
      const { call, name } = split(full);
      await jobs.stop(call, name);
      return {};
    },
  });

  /** `createTrainingJob.sync` of a machine: to the end, by the machine's role. A repeat after a restart waits on the first. */
  const sync =
    (kind: Kind) =>
    async (caller: Caller, args: Json, signal: AbortSignal): Promise<Json> => {
      const request = fields(args);
      const full = text(request[`${kind}JobName`]);
      const { call, name } = split(full);
      const running = await jobs.describe(call, name);
      if (!running) {
        begin(caller, kind, request);
        await up(full);
      } else if (!known.has(full)) known.set(full, { kind, request, made: world.now() });
      for (const action of [`Describe${kind}Job`, `Stop${kind}Job`])
        access.check(caller, { action: `sagemaker:${action}`, resource: arn(kind, full) });
      if (!known.get(full)?.failed) await jobs.run(call, { job: name }, signal);
      const told = await describe(kind, full);
      if (told[`${kind}JobStatus`] !== 'Completed')
        throw new MachineError('States.TaskFailed', JSON.stringify(told));
      return told as Json;
    };

  return {
    operations: { ...operation('Training'), ...operation('Processing') },
    sync,
    /** Ends what still runs: nobody would hear of its end. */
    async stop(): Promise<void> {
      for (const full of known.keys()) {
        const { call, name } = split(full);
        await jobs.stop(call, name);
      }
    },
    /** Lines of a job's log, as CloudWatch keeps them. */
    async lines(full: string, after?: string): Promise<{ lines: string[]; next: string }> {
      const { call, name } = split(full);
      return jobs.logs(call, name, after);
    },
  };
}

/** `stillflow` is a channel that the runner keeps for itself, so every channel comes under another name first. */
const CHANNEL = 'channel-';
/** Lays the container's /opt/ml out in the job's folder, for training and for processing, and runs its file. */
const SCRIPT = `
B=$SAGEMAKER_BASE_DIR
for path in "$B"/input/data/${CHANNEL}*; do ln -sfn "$path" "$B/input/data/\${path##*/${CHANNEL}}"; done
case "$0" in /processing/*) mkdir -p "$B/processing/input"; ln -sfn "$B/input/data" "$B/processing/input/data";; esac
exec python3 "$B$0"
`;

const STATES: Readonly<Record<Job['state'], string>> = {
  pending: 'InProgress',
  running: 'InProgress',
  succeeded: 'Completed',
  failed: 'Failed',
  stopped: 'Stopped',
};
