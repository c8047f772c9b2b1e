import type { Json } from '../../kernel/json.ts';
import { Problem } from '../../kernel/problem.ts';
import type { JobSpec } from '../ports.ts';
import { chipsOf, isNeuron } from './instances.ts';
import { cloudName } from './names.ts';
import { tagsOf } from './tags.ts';
import { channelsOf, type TrainingPlace } from './training.ts';

/** The request for AWS Batch on EKS as a pure function; golden in test/golden/requests. */

/** Queue and job definition of lib/eks-jobs.ts. */
export const BATCH_NAME = 'stillflow-jobs';

/**
 * What SageMaker does before a container starts: it lays the channels out below /opt/ml. Then start.py is the job.
 * The image has python3 and boto3.
 */
export const FETCH = `import os, sys, boto3
base = os.environ.get("STILLFLOW_BASE", "/opt/ml") + "/input/data/"
s3 = boto3.client("s3")
for one in sys.argv[1:]:
    name, uri = one.split("=", 1)
    bucket, _, prefix = uri[len("s3://"):].partition("/")
    root = prefix.rstrip("/") + "/"
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for found in page.get("Contents", []):
            key = found["Key"]
            rest = key[len(root):] if key.startswith(root) else os.path.basename(key) if key == prefix else ""
            if not rest or rest.endswith("/") or ".." in rest.split("/"):
                continue
            path = base + name + "/" + rest
            os.makedirs(os.path.dirname(path), exist_ok=True)
            s3.download_file(bucket, key, path)
os.execv(sys.executable, [sys.executable, base + "stillflow/start.py"])
`;

const MIB = 2 ** 20;
/** Of a pod that asks for nothing. */
const USUAL = { cpus: 1, memoryBytes: 2048 * MIB } as const;

/**
 * Arguments of `batch:submitJob.sync`. Checkpoints are the program's own business here, and metrics are not read off the
 * log. Source: AWS Batch API, SubmitJob, EksContainerOverride: memory is a whole number of MiB, the same as request and
 * limit. Not verified on a cluster.
 */
export function batchRequest(spec: JobSpec, place: TrainingPlace, image: string): Json {
  const { cpus = USUAL.cpus, memoryBytes = USUAL.memoryBytes, accelerator } = spec.resources;
  const gpus = accelerator?.count ?? 0;
  const any = gpus === 0 || (chipsOf(accelerator?.type ?? '')?.length ?? 0) > 1;
  if (!any || isNeuron(spec.resources))
    throw new Problem(
      'invalid',
      `Job '${spec.name}': a cluster gives nvidia.com/gpu, and its nodes say which; '${accelerator?.type}' cannot be chosen.`,
      { field: 'resources.accelerator.type' },
    );
  const channels = channelsOf(spec, place).map(
    ({ ChannelName, DataSource }) => `${ChannelName}=${DataSource.S3DataSource.S3Uri}`,
  );
  const amounts = {
    cpu: String(cpus),
    memory: `${Math.ceil(memoryBytes / MIB)}Mi`,
    ...(gpus > 0 ? { 'nvidia.com/gpu': String(gpus) } : {}),
  };
  return {
    JobName: cloudName(place.workspace, spec.name),
    JobQueue: BATCH_NAME,
    JobDefinition: BATCH_NAME,
    EksPropertiesOverride: {
      PodProperties: {
        Containers: [
          {
            Name: 'job',
            Image: image,
            Command: ['python3', '-c', FETCH, ...channels],
            Resources: { Limits: amounts, Requests: amounts },
          },
        ],
      },
    },
    Timeout: { AttemptDurationSeconds: Math.max(60, spec.deadlineSeconds) },
    Tags: Object.fromEntries(tagsOf(place.workspace).map(({ Key, Value }) => [Key, Value])),
  };
}
