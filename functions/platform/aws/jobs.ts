import { CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs';
import { S3Client } from '@aws-sdk/client-s3';
import {
  CreateProcessingJobCommand,
  type CreateProcessingJobCommandInput,
  CreateTrainingJobCommand,
  type CreateTrainingJobCommandInput,
  DescribeProcessingJobCommand,
  DescribeTrainingJobCommand,
  SageMakerClient,
  StopProcessingJobCommand,
  StopTrainingJobCommand,
} from '@aws-sdk/client-sagemaker';
import type { Call } from '../../kernel/call.ts';
import type { Json } from '../../kernel/json.ts';
import { Problem } from '../../kernel/problem.ts';
import { checkJobSpec, checkName, runnerOf } from '../job_spec.ts';
import type { Blobs, Job, JobSpec, Jobs } from '../ports.ts';
import { s3Blobs } from './blobs.ts';
import { isAbsentOf, isTaken, problemOf } from './faults.ts';
import { instancesFor, noneFor } from './instances.ts';
import { readStreams } from './logs.ts';
import { cloudName } from './names.ts';
import { processedFrom, processingRequest } from './processing.ts';
import { imageOf, jobFrom, trainingRequest } from './training.ts';

export interface JobSettings {
  readonly region: string;
  readonly bucket: string;
  readonly jobRole: string;
  /** A KMS key for the disks of jobs; AWS's own without it. */
  readonly volumeKey?: string;
  /** Whether lib/eks-jobs.ts was given a cluster. */
  readonly cluster?: boolean;
}
export interface JobClients {
  readonly sagemaker: SageMakerClient;
  readonly logs: CloudWatchLogsClient;
  readonly blobs: Blobs;
}

const clientsOf = ({ bucket }: JobSettings): JobClients => ({
  sagemaker: new SageMakerClient({}),
  logs: new CloudWatchLogsClient({}),
  blobs: s3Blobs({ client: new S3Client({}), bucket }),
});

/** Nobody's workspace: the stack puts runtimes/launcher there. Workspaces have eight characters, this has seven. */
export const RUNTIME_PREFIX = 'runtime/launcher';

/**
 * Jobs as SageMaker training or processing jobs in script mode, and as payloads of the function `stillflow-run-step`. A job's
 * folder in Blobs holds `spec.json`, which the first who names a job writes; `submitted`, so that a Describe that does
 * not find the job yet (it may, right after Create) says pending; and what the function leaves: `done.json`, `log`.
 */
export function awsJobs(settings: JobSettings, clients?: JobClients): Jobs {
  let made = clients;
  const use = () => {
    made ??= clientsOf(settings);
    return made;
  };

  const path = (name: string, file: string) => `jobs/${name}/${file}`;

  async function request(
    call: Call,
    spec: JobSpec,
  ): Promise<Json | CreateTrainingJobCommandInput | CreateProcessingJobCommandInput> {
    const image = imageOf(spec, settings.region);
    if (image === undefined)
      throw new Problem(
        'invalid',
        `Job '${spec.name}': image '${spec.image}' is not in ECR, from which alone SageMaker pulls; use a python image, or push it there.`,
        { field: 'image' },
      );
    const runner = runnerOf(spec);
    if (runner === 'batch' && !settings.cluster)
      throw new Problem('unsupported', `Job '${spec.name}': ${NO_CLUSTER}`);
    const processing = runner === 'processing';
    const { blobs } = use();
    const place = {
      workspace: call.workspace,
      region: settings.region,
      roleArn: settings.jobRole,
      runtimeUri: `s3://${settings.bucket}/${RUNTIME_PREFIX}/`,
      specUri: `${blobs.locate(call, path(spec.name, 'spec'))}/`,
      outputUri: blobs.locate(call, path(spec.name, 'archives')),
      ...(settings.volumeKey ? { volumeKey: settings.volumeKey } : {}),
    };
    // Loaded on first use: hardly any installation has a cluster.
    if (runner === 'batch') return (await import('./batch.ts')).batchRequest(spec, place, image);
    const instances = instancesFor(spec.resources, processing ? 'processing' : 'training');
    if (instances.length === 0)
      throw new Problem('invalid', `Job '${spec.name}': ${noneFor(spec.resources)}`, {
        field: 'resources',
      });
    return processing
      ? processingRequest(spec, place, image, instances)
      : trainingRequest(spec, place, image, instances);
  }

  async function readJson<T>(call: Call, file: string): Promise<T | undefined> {
    const blob = await use().blobs.get(call, file);
    return blob && ((await new Response(blob.body).json()) as T);
  }

  /** The spec that this name stands for: the first one kept. */
  async function keep(call: Call, spec: JobSpec): Promise<JobSpec> {
    checkName(spec.name);
    const file = path(spec.name, 'spec/spec.json');
    const found = await readJson<JobSpec>(call, file);
    if (found) return found;
    checkJobSpec(spec);
    checkUris(call, spec);
    if (runnerOf(spec) !== 'lambda') await request(call, spec);
    try {
      await use().blobs.put(call, file, Buffer.from(JSON.stringify(spec)), 'absent');
      return spec;
    } catch (error) {
      if (!(error instanceof Problem && error.code === 'conflict')) throw error;
      return (await readJson<JobSpec>(call, file)) ?? spec;
    }
  }

  function checkUris(call: Call, spec: JobSpec): void {
    const uris = [...spec.inputs, ...spec.outputs].map(({ uri }) => uri);
    if (spec.checkpoint !== undefined) uris.push(spec.checkpoint);
    for (const uri of uris)
      if (use().blobs.pathOf(call, uri) === undefined)
        throw new Problem('invalid', `Job '${spec.name}': ${uri} is not in this workspace.`, {
          field: 'uri',
        });
  }

  /** Only who asked for a processing job has one; its kept spec says so. */
  async function isProcessing(call: Call, name: string): Promise<boolean> {
    const spec = await readJson<JobSpec>(call, path(name, 'spec/spec.json'));
    return spec !== undefined && runnerOf(spec) === 'processing';
  }

  async function ask<Told>(name: string, act: () => Promise<Told>): Promise<Told | undefined> {
    try {
      return await act();
    } catch (error) {
      if (isAbsentOf(error)) return undefined;
      throw problemOf(error, `Job '${name}'`);
    }
  }

  async function describe(call: Call, name: string): Promise<Job | undefined> {
    const { sagemaker, blobs } = use();
    const TrainingJobName = cloudName(call.workspace, name);
    const trained = await ask(name, () =>
      sagemaker.send(new DescribeTrainingJobCommand({ TrainingJobName })),
    );
    if (trained) return jobFrom(name, trained);
    if (await isProcessing(call, name)) {
      const ProcessingJobName = TrainingJobName;
      const processed = await ask(name, () =>
        sagemaker.send(new DescribeProcessingJobCommand({ ProcessingJobName })),
      );
      if (processed) return processedFrom(name, processed);
    }
    const done = await readJson<Job>(call, path(name, 'done.json'));
    if (done) return done;
    const submitted = await blobs.head(call, path(name, 'submitted'));
    return submitted && { name, state: 'pending', metrics: [] };
  }

  return {
    async submit(call, spec) {
      const kept = await keep(call, spec);
      const { sagemaker, blobs } = use();
      await blobs.put(call, path(kept.name, 'submitted'), new Uint8Array());
      try {
        const asked = (await request(call, kept)) as object;
        if (runnerOf(kept) === 'batch')
          throw new Problem(
            'unsupported',
            `Job '${kept.name}': only machines start jobs of a cluster.`,
          );
        if ('ProcessingJobName' in asked)
          await sagemaker.send(
            new CreateProcessingJobCommand(asked as CreateProcessingJobCommandInput),
          );
        else
          await sagemaker.send(
            new CreateTrainingJobCommand(asked as CreateTrainingJobCommandInput),
          );
      } catch (error) {
        // Names are unique for ever: what has this one is the first submit, or ours whose answer was lost.
        if (error instanceof Problem) throw error;
        if (!isTaken(error)) throw problemOf(error, `Job '${kept.name}'`);
      }
      return (
        (await describe(call, kept.name)) ?? { name: kept.name, state: 'pending', metrics: [] }
      );
    },
    async prepare(call, spec) {
      const kept = await keep(call, spec);
      if (runnerOf(kept) !== 'lambda') return (await request(call, kept)) as unknown as Json;
      return { job: kept.name, folder: use().blobs.locate(call, `jobs/${kept.name}`) };
    },
    async describe(call, name) {
      checkName(name);
      return describe(call, name);
    },
    async stop(call, name) {
      checkName(name);
      const full = cloudName(call.workspace, name);
      const { sagemaker } = use();
      try {
        if (await isProcessing(call, name))
          await sagemaker.send(new StopProcessingJobCommand({ ProcessingJobName: full }));
        else await sagemaker.send(new StopTrainingJobCommand({ TrainingJobName: full }));
      } catch (error) {
        // Neither one that is not there nor one that has ended can be stopped, and both are as was asked.
        if (!isAbsentOf(error) && !hasEnded(error)) throw problemOf(error, `Job '${name}'`);
      }
    },
    async logs(call, name, after) {
      checkName(name);
      const { logs, blobs } = use();
      const offset = Number(after?.startsWith('b') ? after.slice(1) : 0) || 0;
      const head = after?.startsWith('s') ? undefined : await blobs.head(call, path(name, 'log'));
      if (!head)
        return readStreams(logs, {
          group: `/aws/sagemaker/${(await isProcessing(call, name)) ? 'Processing' : 'Training'}Jobs`,
          prefix: `${cloudName(call.workspace, name)}/`,
          after: after?.startsWith('s') ? after : undefined,
        });
      if (head.sizeBytes <= offset) return { lines: [], next: `b${offset}` };
      const blob = await blobs.get(call, path(name, 'log'), { first: offset });
      const text = blob ? await new Response(blob.body).text() : '';
      const lines = text.replace(/\n$/, '').split('\n');
      return { lines, next: `b${offset + Buffer.byteLength(text)}` };
    },
  };
}

const NO_CLUSTER =
  'this installation was given no cluster: deploy the stacks with -c eksJobs=NAME (docs/guides/gpu.md), or use the runner sagemaker.';

const hasEnded = (error: unknown) =>
  error instanceof Error && /cannot be stopped|in the \w+ state|already/i.test(error.message);
