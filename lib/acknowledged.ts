import { type App, Validations } from 'aws-cdk-lib';

const own = (service: string, resource: string) =>
  `AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:${service}:<AWS::Region>:<AWS::AccountId>:${resource}]`;
const named =
  'Made at run time: the name starts with sf-, the 8 characters of a workspace and a dash.';
/** Cross-stack references show the bucket by its export. */
const objects = (path: string) =>
  `AwsSolutions-IAM5[Resource::stillflow-data:ExportsOutputFnGetAttBucket83908E77Arn063C8555/${path}]`;
const JOB_LOGS = ['/aws/sagemaker/TrainingJobs', '/aws/sagemaker/ProcessingJobs'];

/**
 * What cdk-nag finds and we mean, each finding by its whole id: a wider ARN is another finding and fails the synth.
 */
export const ACKNOWLEDGED: readonly { readonly id: string; readonly reason: string }[] = [
  ...[
    'training-job',
    'processing-job',
    'endpoint',
    'endpoint-config',
    'model',
    'inference-component',
  ].map((kind) => ({
    id: own('sagemaker', `${kind}/sf-????????-*`),
    reason: named,
  })),
  { id: own('states', 'stateMachine:sf-????????-*'), reason: named },
  { id: own('cloudwatch', 'alarm:sf-????????-*'), reason: named },
  {
    id: own('application-autoscaling', 'scalable-target/*'),
    reason:
      'AWS makes up the id of a scalable target; a condition holds the grant to those of SageMaker.',
  },
  {
    id: own('states', 'stateMachine:stillflow-*'),
    reason:
      'Started and described, never changed: the machines that stacks of this product deploy.',
  },
  ...['stillflow-*', 'sf-????????-*'].map((machine) => ({
    id: own('states', `execution:${machine}:????????-*`),
    reason: 'Below a machine of ours: the name starts with the 8 characters of a workspace.',
  })),
  ...[
    ...JOB_LOGS.flatMap((group) => [`${group}:*`, `${group}:log-stream:sf-????????-*`]),
    '/aws/sagemaker/Endpoints/sf-????????-*',
  ].map((group) => ({
    id: own('logs', `log-group:${group}`),
    reason: 'SageMaker names the log streams of a job themselves.',
  })),
  {
    id: objects('????????/*'),
    reason: 'The workspaces of our own bucket, which the adapter tells apart by prefix.',
  },
  ...[
    ...['jobs', 'kfp/steps', 'pipelines', 'artifacts', 'data', 'endpoints'].map(
      (folder) => `${folder}/*`,
    ),
    ...['archives/*', 'done.json', 'log'].map((file) => `jobs/*/${file}`),
  ].map((path) => ({
    id: objects(`????????/${path}`),
    reason: 'One folder of each workspace: what user code reads or writes, lib/grants.ts says why.',
  })),
  {
    id: 'AwsSolutions-IAM5[Resource::*]',
    reason:
      'dynamodb:ListStreams, ecr:GetAuthorizationToken and cloudwatch:PutMetricData know no resource; test/stacks allows these three only.',
  },
  {
    id: 'AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:ecr:<AWS::Region>:*:repository/*]',
    reason:
      "Jobs run on AWS's published images, which lie in accounts of AWS, and on the user's own.",
  },
  {
    id: objects('runtime/launcher/*'),
    reason: 'The files of the launcher, which the deployment puts there.',
  },
  {
    id: 'AwsSolutions-S1',
    reason: 'Each change is an audit entry in the table; access logs would need a second bucket.',
  },
  {
    id: 'AwsSolutions-SF1',
    reason:
      'Step Functions keeps each history whole for 90 days, and the run itself lies in our table.',
  },
  {
    id: 'AwsSolutions-SF2',
    reason: 'X-Ray is billed by the trace; the history tells the same times.',
  },
  {
    id: 'AwsSolutions-SQS3',
    reason:
      'Only dead-letter queues have no dead-letter queue; test/stacks holds the others to one.',
  },
  { id: 'AwsSolutions-L1', reason: 'Python stays at the version that the locked wheels are for.' },
];

export function acknowledge(app: App): void {
  Validations.of(app).acknowledge(...ACKNOWLEDGED);
}
