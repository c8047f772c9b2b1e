import { CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs';
import { SageMakerClient } from '@aws-sdk/client-sagemaker';
import { awsJobs } from '../../functions/platform/aws/jobs.ts';
import type { JobSpec, Jobs } from '../../functions/platform/ports.ts';
import { localJobs } from '../../local/jobs.ts';
import { type JobsWorld, jobsContract } from '../contracts/jobs.ts';
import { call, dataFolder, jobOptions, stranger } from '../jobs/local.ts';
import { sagemakerSkin } from '../oracles/sagemaker.ts';
import { memoryBlobs } from './memory-blobs.ts';

/** The contract's commands are no light Python steps: all of them go to SageMaker. */
const open = (kind: 'sagemaker' | 'processing') => async (): Promise<JobsWorld> => {
  const folder = await dataFolder();
  const files = new Map<string, Uint8Array>();
  const uri = (prefix: string) => `s3://bucket/${call.workspace}/${prefix}`;
  const runner = localJobs(jobOptions(folder.data, { cores: 4 }));
  const skin = await sagemakerSkin({
    jobs: runner,
    call,
    files,
    folder: (of) => folder.uri(of.replace(/^s3:\/\/[^/]+\/[^/]+\//, '')),
  });
  const client = {
    region: 'eu-central-1',
    endpoint: skin.endpoint,
    credentials: { accessKeyId: 'x', secretAccessKey: 'x' },
  };
  const jobs: Jobs = awsJobs(
    { region: 'eu-central-1', bucket: 'bucket', jobRole: 'arn:aws:iam::123456789012:role/job' },
    {
      sagemaker: new SageMakerClient(client),
      logs: new CloudWatchLogsClient(client),
      blobs: memoryBlobs('bucket', files),
    },
  );
  const heavy = (spec: JobSpec): JobSpec => ({
    ...spec,
    resources: { ...spec.resources, runner: kind },
  });
  return {
    ...folder,
    uri,
    call,
    stranger,
    jobs: {
      ...jobs,
      submit: (of, spec) => jobs.submit(of, heavy(spec)),
      prepare: (of, spec) => jobs.prepare(of, heavy(spec)),
    },
    async close() {
      await skin.close();
      await runner.close();
      await folder.remove();
    },
  };
};

const SHAPE = 'shape only, not independent: a skin over the local runner';
jobsContract(`SageMaker training (${SHAPE})`, open('sagemaker'), {
  metrics: 'DescribeTrainingJob tells the last value of each metric only; all are in CloudWatch',
});
jobsContract(`SageMaker processing (${SHAPE})`, open('processing'), {
  metrics: 'a processing job has no metrics',
  checkpoint: 'a processing job has no checkpoint, by which these cases see into a running job',
});
