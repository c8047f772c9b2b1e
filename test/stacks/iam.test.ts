import { describe, expect, test } from 'vitest';
import { statements } from './checks.ts';
import { allows, BUCKET, type Context, TABLE } from './iam.ts';
import { synthesize } from './templates.ts';

const { templates } = synthesize();
const own = (service: string, name: string) => `arn:aws:${service}:eu-west-1:111122223333:${name}`;
const role = (name: string) => `arn:aws:iam::111122223333:role/${name}`;
const key = (path: string) => `${BUCKET}/${path}`;
const sagemaker = (name: string) => own('sagemaker', name);
const states = (name: string) => own('states', name);
const below = (prefix: string): Context => ({ 's3:prefix': prefix });
const to = (service: string): Context => ({ 'iam:PassedToService': `${service}.amazonaws.com` });

const SCALER = 'sagemaker.application-autoscaling.amazonaws.com';
const LINKED = `aws-service-role/${SCALER}/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint`;
const SCALED = own('application-autoscaling', 'scalable-target/0ec5');
const OF_SAGEMAKER: Context = { 'application-autoscaling:service-namespace': 'sagemaker' };

type Asked = readonly [action: string, resource: string, context?: Context];
interface Case {
  readonly role: string;
  readonly may: readonly Asked[];
  readonly mayNot: readonly Asked[];
}

const stepReads = [
  'jobs/train-1/spec/spec.json',
  'kfp/steps/r/t/1-0/task.json',
  'pipelines/demand/r/train/1-0/model',
  'artifacts/0/r/artifacts/model/MLmodel',
  'data/drops/sales.csv',
].map((path): Asked => ['s3:GetObject', key(`default0/${path}`)]);
const stepWrites = [
  'kfp/steps/r/t/1-0/executor_output.json',
  'pipelines/demand/r/train/1-0/model',
  'artifacts/0/r/artifacts/model/MLmodel',
].map((path): Asked => ['s3:PutObject', key(`default0/${path}`)]);
/** What no user code may touch, in whatever it runs. */
const notForSteps: readonly Asked[] = [
  ['s3:PutObject', key('runtime/launcher/start.py')],
  ['s3:PutObject', key('default0/data/drops/sales.csv')],
  ['s3:PutObject', key('default0/endpoints/churn/target.json')],
  ['s3:PutObject', key('default0/jobs/train-1/spec/spec.json')],
  ['s3:PutObject', key('default0/kfp/specs/abc.json')],
  ['s3:PutObject', key('default0/tracking/blocks/x')],
  ['s3:GetObject', key('default0/tracking/datasets/x/y.json')],
  ['s3:GetObject', key('default0/endpoints/churn/target.json')],
  ['s3:GetObject', key('elsewhere')],
  ['s3:DeleteObject', key('default0/artifacts/0/r/artifacts/x')],
  ['s3:ListBucket', BUCKET, below('')],
  ['s3:ListBucket', BUCKET, below('default0/tracking/')],
  ['s3:ListBucket', 'arn:aws:s3:::other', below('default0/artifacts/')],
  ['dynamodb:GetItem', TABLE],
  ['sagemaker:CreateTrainingJob', sagemaker('training-job/sf-default0-x')],
  ['iam:PassRole', role('JobRole'), to('sagemaker')],
];

const cases: readonly Case[] = [
  {
    role: 'JobRole',
    may: [
      ...stepReads,
      ...stepWrites,
      ['s3:GetObject', key('runtime/launcher/start.py')],
      ['s3:ListBucket', BUCKET, below('runtime/launcher/')],
      ['s3:ListBucket', BUCKET, below('default0/jobs/train-1/spec/')],
      ['s3:ListBucket', BUCKET, below('default0/artifacts/0/r/artifacts/model')],
      ['s3:PutObject', key('default0/jobs/train-1/archives/train-1/output/model.tar.gz')],
      ['s3:AbortMultipartUpload', key('default0/artifacts/0/r/artifacts/model/data')],
      [
        'logs:PutLogEvents',
        own('logs', 'log-group:/aws/sagemaker/TrainingJobs:log-stream:x/algo-1'),
      ],
      ['ecr:BatchGetImage', 'arn:aws:ecr:eu-west-1:763104351884:repository/pytorch-training'],
    ],
    mayNot: [
      ...notForSteps,
      ['s3:ListBucket', BUCKET],
      ['s3:PutObject', key('default0/jobs/train-1/done.json')],
      ['logs:PutLogEvents', own('logs', 'log-group:/aws/lambda/x:log-stream:y')],
      [
        'logs:GetLogEvents',
        own('logs', 'log-group:/aws/sagemaker/TrainingJobs:log-stream:x/algo-1'),
      ],
      ['ecr:PutImage', own('ecr', 'repository/mine')],
    ],
  },
  {
    role: 'RunStep',
    may: [
      ...stepReads,
      ...stepWrites,
      ['s3:PutObject', key('default0/jobs/train-1/done.json')],
      ['s3:PutObject', key('default0/jobs/train-1/log')],
      ['s3:ListBucket', BUCKET, below('default0/data/drops')],
      // Without it S3 says 403, not 404, of a done.json that is not there yet.
      ['s3:ListBucket', BUCKET],
    ],
    mayNot: [
      ...notForSteps,
      ['s3:GetObject', key('runtime/launcher/start.py')],
      ['s3:PutObject', key('default0/jobs/train-1/archives/x')],
    ],
  },
  {
    role: 'EndpointRole',
    may: [
      ['s3:GetObject', key('default0/endpoints/churn/sf-default0-ab.tar.gz')],
      ['s3:ListBucket', BUCKET, below('default0/endpoints/churn/sf-default0-ab.tar.gz')],
      ['logs:PutLogEvents', own('logs', 'log-group:/aws/sagemaker/Endpoints/sf-default0-churn:x')],
      ['ecr:BatchGetImage', own('ecr', 'repository/serving')],
    ],
    mayNot: [
      ['s3:PutObject', key('default0/endpoints/churn/target.json')],
      ['s3:GetObject', key('default0/artifacts/0/r/artifacts/model/MLmodel')],
      ['s3:GetObject', key('default0/data/drops/sales.csv')],
      ['s3:ListBucket', BUCKET],
      ['logs:PutLogEvents', own('logs', 'log-group:/aws/sagemaker/Endpoints/payments:x')],
      ['dynamodb:GetItem', TABLE],
    ],
  },
  {
    role: 'MachineRole',
    may: [
      ['lambda:InvokeFunction', own('lambda', 'function:stillflow-begin-task')],
      ['lambda:InvokeFunction', own('lambda', 'function:stillflow-run-step')],
      ['sagemaker:CreateTrainingJob', sagemaker('training-job/sf-default0-train-4f')],
      ['sagemaker:AddTags', sagemaker('processing-job/sf-default0-clean')],
      ['states:StartExecution', states('stateMachine:sf-default0-demand-4f')],
      ['states:StopExecution', states('execution:sf-default0-demand-4f:default0-r-1')],
      ['sagemaker:DescribeTrainingJob', sagemaker('training-job/sf-default0-train-4f')],
      ['sagemaker:StopTrainingJob', sagemaker('training-job/sf-default0-train-4f')],
      ['sagemaker:CreateProcessingJob', sagemaker('processing-job/sf-default0-clean')],
      ['sagemaker:DescribeProcessingJob', sagemaker('processing-job/sf-default0-clean')],
      ['sagemaker:StopProcessingJob', sagemaker('processing-job/sf-default0-clean')],
      ['states:DescribeExecution', states('execution:sf-default0-demand-4f:default0-r-1')],
      ['iam:PassRole', role('JobRole'), to('sagemaker')],
      ['events:PutRule', own('events', 'rule/StepFunctionsGetEventsForSageMakerTrainingJobsRule')],
    ],
    mayNot: [
      ['lambda:InvokeFunction', own('lambda', 'function:payments')],
      ['lambda:InvokeFunction', own('lambda', 'function:stillflow-unknown')],
      ['sagemaker:CreateTrainingJob', sagemaker('training-job/payments-train')],
      ['sagemaker:CreateTrainingJob', sagemaker('training-job/default0-train')],
      ['sagemaker:CreateModel', sagemaker('model/sf-default0-x')],
      ['states:StartExecution', states('stateMachine:payments-nightly')],
      ['states:StartExecution', 'arn:aws:states:eu-west-1:999999999999:stateMachine:sf-default0-x'],
      ['states:DescribeExecution', states('execution:payments-nightly:default0-r-1')],
      ['iam:PassRole', role('JobRole'), to('lambda')],
      ['iam:PassRole', role('EndpointRole'), to('sagemaker')],
      ['iam:PassRole', role('MachineRole'), to('states')],
      ['events:PutRule', own('events', 'rule/other')],
    ],
  },
  {
    role: 'pipelineshttp',
    may: [
      ['dynamodb:Query', TABLE],
      ['s3:GetObject', key('default0/kfp/specs/abc.json')],
      ['s3:ListBucket', BUCKET],
      ['states:CreateStateMachine', states('stateMachine:sf-default0-demand-4f')],
      ['states:StartExecution', states('stateMachine:stillflow-retraining')],
      // A version of a pipeline that a stack made, and its executions.
      ['states:StartExecution', states('stateMachine:stillflow-demand:3')],
      ['states:StopExecution', states('execution:stillflow-demand:default0-r-1')],
      ['states:GetExecutionHistory', states('execution:sf-default0-demand-4f:default0-r-1')],
      ['sagemaker:StopTrainingJob', sagemaker('training-job/sf-default0-train-4f')],
      ['sagemaker:AddTags', sagemaker('training-job/sf-default0-train-4f')],
      [
        'logs:GetLogEvents',
        own('logs', 'log-group:/aws/sagemaker/TrainingJobs:log-stream:sf-default0-t/algo-1'),
      ],
      ['logs:DescribeLogStreams', own('logs', 'log-group:/aws/sagemaker/ProcessingJobs:x')],
      ['iam:PassRole', role('MachineRole'), to('states')],
      ['iam:PassRole', role('JobRole'), to('sagemaker')],
    ],
    mayNot: [
      ['dynamodb:Scan', TABLE],
      ['dynamodb:GetItem', own('dynamodb', 'table/other')],
      ['s3:PutObject', key('runtime/launcher/start.py')],
      ['s3:GetObject', key('runtime/launcher/start.py')],
      ['states:DeleteStateMachine', states('stateMachine:stillflow-demand')],
      ['states:CreateStateMachine', states('stateMachine:stillflow-demand')],
      ['states:DeleteStateMachine', states('stateMachine:payments-nightly')],
      ['states:DeleteStateMachine', states('stateMachine:default0-nightly')],
      ['sagemaker:StopTrainingJob', sagemaker('training-job/payments0-nightly')],
      ['sagemaker:InvokeEndpoint', sagemaker('endpoint/sf-default0-churn')],
      [
        'logs:GetLogEvents',
        own('logs', 'log-group:/aws/sagemaker/TrainingJobs:log-stream:payments/algo-1'),
      ],
      ['iam:PassRole', role('JobRole'), to('ec2')],
    ],
  },
  {
    role: 'servinghttp',
    may: [
      ['sagemaker:InvokeEndpoint', sagemaker('endpoint/sf-default0-churn')],
      ['sagemaker:CreateEndpoint', sagemaker('endpoint/sf-default0-churn')],
      ['sagemaker:CreateEndpoint', sagemaker('endpoint-config/sf-default0-ab')],
      ['sagemaker:CreateEndpointConfig', sagemaker('endpoint-config/sf-default0-ab')],
      ['sagemaker:DeleteModel', sagemaker('model/sf-default0-ab')],
      ['sagemaker:AddTags', sagemaker('endpoint-config/sf-default0-ab')],
      ['sagemaker:InvokeEndpoint', sagemaker('inference-component/sf-default0-churn')],
      ['sagemaker:CreateInferenceComponent', sagemaker('inference-component/sf-default0-churn')],
      ['sagemaker:CreateInferenceComponent', sagemaker('endpoint/sf-default0-churn')],
      ['application-autoscaling:RegisterScalableTarget', SCALED, OF_SAGEMAKER],
      ['application-autoscaling:DeregisterScalableTarget', SCALED, OF_SAGEMAKER],
      ['application-autoscaling:PutScalingPolicy', SCALED, OF_SAGEMAKER],
      ['cloudwatch:PutMetricAlarm', own('cloudwatch', 'alarm:sf-default0-churn-wake')],
      ['cloudwatch:DeleteAlarms', own('cloudwatch', 'alarm:sf-default0-churn-wake')],
      ['iam:CreateServiceLinkedRole', role(LINKED), { 'iam:AWSServiceName': SCALER }],
      ['iam:PassRole', role('EndpointRole'), to('sagemaker')],
      [
        'logs:GetLogEvents',
        own('logs', 'log-group:/aws/sagemaker/Endpoints/sf-default0-churn:log-stream:x'),
      ],
    ],
    mayNot: [
      ['sagemaker:InvokeEndpoint', sagemaker('endpoint/payments-risk')],
      ['sagemaker:DeleteEndpoint', sagemaker('endpoint/default0-churn')],
      ['sagemaker:DeleteInferenceComponent', sagemaker('inference-component/payments-risk')],
      ['application-autoscaling:RegisterScalableTarget', SCALED],
      [
        'application-autoscaling:RegisterScalableTarget',
        SCALED,
        { 'application-autoscaling:service-namespace': 'dynamodb' },
      ],
      ['cloudwatch:DeleteAlarms', own('cloudwatch', 'alarm:payments-down')],
      ['cloudwatch:DeleteAlarms', own('cloudwatch', 'alarm:stillflow-letters')],
      ['iam:CreateServiceLinkedRole', role(LINKED), { 'iam:AWSServiceName': 'ecs.amazonaws.com' }],
      ['iam:CreateServiceLinkedRole', role('aws-service-role/ecs.amazonaws.com/x')],
      ['sagemaker:CreateTrainingJob', sagemaker('training-job/sf-default0-x')],
      ['iam:PassRole', role('JobRole'), to('sagemaker')],
      [
        'logs:GetLogEvents',
        own('logs', 'log-group:/aws/sagemaker/Endpoints/payments-risk:log-stream:x'),
      ],
    ],
  },
  {
    role: 'front',
    may: [
      ['dynamodb:Query', TABLE],
      ['dynamodb:PutItem', TABLE], // a refusal is kept for the audit
      ['s3:GetObject', key('default0/artifacts/0/r/artifacts/model/MLmodel')],
      ['s3:ListBucket', BUCKET],
      ['sagemaker:InvokeEndpoint', sagemaker('endpoint/sf-default0-churn')],
      ['sagemaker:DescribeTrainingJob', sagemaker('training-job/sf-default0-train-4f')],
      [
        'logs:GetLogEvents',
        own('logs', 'log-group:/aws/sagemaker/TrainingJobs:log-stream:sf-default0-t/algo-1'),
      ],
    ],
    mayNot: [
      ['s3:PutObject', key('default0/artifacts/0/r/artifacts/model/MLmodel')],
      ['s3:DeleteObject', key('default0/artifacts/0/r/artifacts/model/MLmodel')],
      ['s3:GetObject', key('runtime/launcher/start.py')],
      ['sagemaker:CreateTrainingJob', sagemaker('training-job/sf-default0-x')],
      ['sagemaker:StopTrainingJob', sagemaker('training-job/sf-default0-x')],
      ['sagemaker:DeleteEndpoint', sagemaker('endpoint/sf-default0-churn')],
      ['sagemaker:InvokeEndpoint', sagemaker('endpoint/payments-risk')],
      ['states:StartExecution', states('stateMachine:stillflow-retraining')],
      ['iam:PassRole', role('JobRole'), to('sagemaker')],
    ],
  },
  {
    role: 'sitehttp',
    may: [['dynamodb:GetItem', TABLE]],
    mayNot: [
      ['s3:GetObject', key('default0/artifacts/x')],
      ['states:StartExecution', states('stateMachine:stillflow-retraining')],
    ],
  },
  {
    role: 'trackinghttp',
    may: [
      ['dynamodb:PutItem', TABLE],
      ['s3:DeleteObject', key('default0/tracking/blocks/x')],
    ],
    mayNot: [
      ['s3:PutObject', key('runtime/launcher/start.py')],
      ['states:StartExecution', states('stateMachine:sf-default0-x')],
      ['sagemaker:InvokeEndpoint', sagemaker('endpoint/sf-default0-churn')],
      ['iam:PassRole', role('JobRole'), to('sagemaker')],
    ],
  },
  {
    role: 'authorizer',
    may: [['dynamodb:GetItem', TABLE]],
    mayNot: [
      ['dynamodb:PutItem', TABLE],
      ['dynamodb:Query', TABLE],
      ['s3:GetObject', key('default0/artifacts/x')],
    ],
  },
  {
    role: 'relay',
    may: [['events:PutEvents', own('events', 'event-bus/stillflow')]],
    mayNot: [
      ['events:PutEvents', own('events', 'event-bus/default')],
      ['dynamodb:GetItem', TABLE],
    ],
  },
];

describe.each(cases)('$role', ({ role: who, may, mayNot }) => {
  for (const [verdict, asked] of [
    [true, may],
    [false, mayNot],
  ] as const)
    for (const [action, resource, context] of asked)
      test(`${verdict ? 'may' : 'may not'} ${action} on ${resource} ${JSON.stringify(context ?? '')}`, () => {
        expect(allows(templates, who, action, resource, context)).toBe(verdict);
      });
});

test('no grant on objects, jobs, machines or roles stands without an example above', () => {
  const asked = new Set(cases.flatMap(({ may }) => may.map(([action]) => action)));
  const services = new Set(['s3', 'sagemaker', 'states', 'iam']);
  const granted = statements(templates)
    .filter(({ actions }) => services.has(actions[0]?.split(':')[0] ?? ''))
    .map(({ actions }) => actions.join());
  expect(granted.length).toBeGreaterThan(20);
  const unasked = [...new Set(granted)].filter(
    (actions) => !actions.split(',').some((action) => asked.has(action)),
  );
  expect(unasked).toEqual([]);
});

test('a condition that nobody evaluates denies', () => {
  const planted = {
    planted: {
      Resources: {
        Policy: {
          Type: 'AWS::IAM::Policy',
          Properties: {
            Roles: [{ Ref: 'Some' }],
            PolicyDocument: {
              Statement: [
                {
                  Action: 's3:GetObject',
                  Resource: '*',
                  Condition: { IpAddress: { 'aws:SourceIp': '10.0.0.0/8' } },
                },
              ],
            },
          },
        },
      },
    },
  };
  expect(allows(planted, 'Some', 's3:GetObject', key('x'))).toBe(false);
});
