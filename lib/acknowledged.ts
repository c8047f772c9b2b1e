import { type App, Validations } from 'aws-cdk-lib';
import { WRITTEN } from '../statemachines/resources.ts';

const own = (service: string, resource: string) =>
  `AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:${service}:<AWS::Region>:<AWS::AccountId>:${resource}]`;
const named = 'Made at run time: the name starts with the 8 characters of a workspace and a dash.';

/**
 * What cdk-nag finds and we mean, each finding by its whole id: a wider ARN is another finding and fails the synth.
 */
export const ACKNOWLEDGED: readonly { readonly id: string; readonly reason: string }[] = [
  ...['training-job', 'processing-job', 'endpoint', 'endpoint-config', 'model'].map((kind) => ({
    id: own('sagemaker', `${kind}/????????-*`),
    reason: named,
  })),
  { id: own('states', 'stateMachine:????????-*'), reason: named },
  ...[...WRITTEN.map((name) => `stillflow-${name}`), '????????-*'].map((machine) => ({
    id: own('states', `execution:${machine}:????????-*`),
    reason: named,
  })),
  ...[
    '/aws/sagemaker/*',
    '/aws/sagemaker/TrainingJobs:*',
    '/aws/sagemaker/ProcessingJobs:*',
    '/aws/sagemaker/Endpoints/????????-*',
  ].map((group) => ({
    id: own('logs', `log-group:${group}`),
    reason: 'SageMaker names the log streams of a job themselves.',
  })),
  {
    id: 'AwsSolutions-IAM5[Resource::stillflow-data:ExportsOutputFnGetAttBucket83908E77Arn063C8555/*]',
    reason: 'The objects of our own bucket; workspaces are told apart by the adapter, by prefix.',
  },
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
    id: 'AwsSolutions-IAM5[Resource::stillflow-data:ExportsOutputFnGetAttBucket83908E77Arn063C8555/runtime/launcher/*]',
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
