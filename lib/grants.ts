import { ArnFormat, type Stack } from 'aws-cdk-lib';
import { Effect, type IRole, PolicyStatement } from 'aws-cdk-lib/aws-iam';
import { DEPLOYED, RESOURCES, RULE_ACTIONS, WRITTEN } from '../statemachines/resources.ts';
import type { DataStack } from './data.ts';
import type { Use } from './rooms.ts';

/** What a role is granted. */
export interface Grant {
  readonly actions: readonly string[];
  readonly resources: readonly string[];
  /** For a service that the role is passed to. */
  readonly passedTo?: string;
}

/** The roles that rooms hand to services. */
export interface PassedRoles {
  readonly machine: IRole;
  readonly job: IRole;
}

/** Names made at run time start with the workspace's 8 characters: `default0-train-4f..`. */
const OF_A_WORKSPACE = '????????-*';

/** ARNs in this account and region, so that nothing of another one is ever named. */
export function arns(stack: Stack) {
  const arn = (service: string, resource: string) =>
    stack.formatArn({ service, resource, arnFormat: ArnFormat.NO_RESOURCE_NAME });
  return {
    task: (name: string) => arn('lambda', `function:${name}`),
    machine: (name: string) => arn('states', `stateMachine:${name}`),
    execution: (machine: string, name: string) => arn('states', `execution:${machine}:${name}`),
    rule: (name: string) => arn('events', `rule/${name}`),
    sagemaker: (kind: string, name: string) => arn('sagemaker', `${kind}/${name}`),
    logGroup: (name: string) => arn('logs', `log-group:${name}`),
  };
}

/** The written machines, and those that workspaces made. */
const machines = (arn: (name: string) => string): string[] =>
  [...WRITTEN.map((name) => `${DEPLOYED}${name}`), OF_A_WORKSPACE].map(arn);

/** What the table asks for: no scan, no index, no table administration. */
export const tableGrant = (table: DataStack['table']): Grant => ({
  actions: [
    'dynamodb:GetItem',
    'dynamodb:BatchGetItem',
    'dynamodb:Query',
    'dynamodb:PutItem',
    'dynamodb:UpdateItem',
    'dynamodb:DeleteItem',
    'dynamodb:ConditionCheckItem',
  ],
  resources: [table.tableArn],
});

const passing = (role: IRole, service: string): Grant => ({
  actions: ['iam:PassRole'],
  resources: [role.roleArn],
  passedTo: service,
});

/** What user code in a job may do with bytes: read, write, list; never delete. */
export const jobBytes = (data: DataStack): Grant[] => [
  {
    actions: ['s3:GetObject', 's3:PutObject', 's3:AbortMultipartUpload'],
    resources: [data.bucket.arnForObjects('*')],
  },
  { actions: ['s3:ListBucket'], resources: [data.bucket.bucketArn] },
];

/** What each use of the account comes to, as narrow as the names allow. */
export function grantsOf(stack: Stack, data: DataStack, roles: PassedRoles, use: Use): Grant[] {
  const at = arns(stack);
  switch (use) {
    case 'blobs':
      return [
        {
          actions: [
            's3:GetObject',
            's3:PutObject',
            's3:DeleteObject',
            's3:AbortMultipartUpload',
            's3:ListMultipartUploadParts',
          ],
          resources: [data.bucket.arnForObjects('*')],
        },
        { actions: ['s3:ListBucket'], resources: [data.bucket.bucketArn] },
      ];
    case 'machines':
      return [
        {
          actions: [
            'states:CreateStateMachine',
            'states:DescribeStateMachine',
            'states:DeleteStateMachine',
            'states:StartExecution',
          ],
          resources: machines(at.machine),
        },
        {
          actions: [
            'states:DescribeExecution',
            'states:GetExecutionHistory',
            'states:StopExecution',
          ],
          resources: machines((name) => at.execution(name, OF_A_WORKSPACE)),
        },
        passing(roles.machine, 'states.amazonaws.com'),
      ];
    case 'jobs':
      return [
        {
          actions: [
            'sagemaker:CreateTrainingJob',
            'sagemaker:DescribeTrainingJob',
            'sagemaker:StopTrainingJob',
          ],
          resources: [at.sagemaker('training-job', OF_A_WORKSPACE)],
        },
        {
          actions: [
            'sagemaker:CreateProcessingJob',
            'sagemaker:DescribeProcessingJob',
            'sagemaker:StopProcessingJob',
          ],
          resources: [at.sagemaker('processing-job', OF_A_WORKSPACE)],
        },
        {
          actions: ['logs:GetLogEvents', 'logs:DescribeLogStreams'],
          resources: [
            at.logGroup('/aws/sagemaker/TrainingJobs:*'),
            at.logGroup('/aws/sagemaker/ProcessingJobs:*'),
          ],
        },
        passing(roles.job, 'sagemaker.amazonaws.com'),
      ];
    case 'endpoints':
      return [
        {
          actions: ['Create', 'Describe', 'Update', 'Delete'].map(
            (verb) => `sagemaker:${verb}Endpoint`,
          ),
          resources: [
            at.sagemaker('endpoint', OF_A_WORKSPACE),
            at.sagemaker('endpoint-config', OF_A_WORKSPACE),
          ],
        },
        {
          actions: ['Create', 'Describe', 'Delete'].map(
            (verb) => `sagemaker:${verb}EndpointConfig`,
          ),
          resources: [at.sagemaker('endpoint-config', OF_A_WORKSPACE)],
        },
        {
          actions: ['Create', 'Describe', 'Delete'].map((verb) => `sagemaker:${verb}Model`),
          resources: [at.sagemaker('model', OF_A_WORKSPACE)],
        },
        {
          actions: ['sagemaker:InvokeEndpoint'],
          resources: [at.sagemaker('endpoint', OF_A_WORKSPACE)],
        },
        {
          actions: ['logs:GetLogEvents', 'logs:DescribeLogStreams'],
          resources: [at.logGroup(`/aws/sagemaker/Endpoints/${OF_A_WORKSPACE}`)],
        },
        passing(roles.job, 'sagemaker.amazonaws.com'),
      ];
  }
}

/** What the machines' role may do: what `statemachines/resources.ts` lists, on our own names. */
export function machineGrants(stack: Stack, job: IRole, tasks: readonly string[]): Grant[] {
  const at = arns(stack);
  const objects: Readonly<Record<string, readonly string[]>> = {
    'lambda:InvokeFunction': tasks.map((name) => at.task(name)),
    'sagemaker:CreateTrainingJob': [at.sagemaker('training-job', OF_A_WORKSPACE)],
    'sagemaker:DescribeTrainingJob': [at.sagemaker('training-job', OF_A_WORKSPACE)],
    'sagemaker:StopTrainingJob': [at.sagemaker('training-job', OF_A_WORKSPACE)],
    'sagemaker:CreateProcessingJob': [at.sagemaker('processing-job', OF_A_WORKSPACE)],
    'sagemaker:DescribeProcessingJob': [at.sagemaker('processing-job', OF_A_WORKSPACE)],
    'sagemaker:StopProcessingJob': [at.sagemaker('processing-job', OF_A_WORKSPACE)],
    'sagemaker:AddTags': [
      at.sagemaker('training-job', OF_A_WORKSPACE),
      at.sagemaker('processing-job', OF_A_WORKSPACE),
    ],
    'states:StartExecution': machines(at.machine),
    'states:DescribeExecution': machines((name) => at.execution(name, OF_A_WORKSPACE)),
    'states:StopExecution': machines((name) => at.execution(name, OF_A_WORKSPACE)),
  };
  const actions = [...new Set(RESOURCES.flatMap((resource) => resource.actions))];
  const byObjects = actions.map((action) => {
    const resources = objects[action];
    if (!resources) throw new Error(`lib/grants.ts does not say on what machines may ${action}`);
    return { actions: [action], resources };
  });
  const rules = RESOURCES.flatMap(({ rule }) => rule ?? []).map((rule) => at.rule(rule));
  return [
    ...byObjects,
    { actions: RULE_ACTIONS, resources: rules },
    passing(job, 'sagemaker.amazonaws.com'),
  ];
}

/** Puts grants on a role. */
export function give(role: IRole, grants: readonly Grant[]): void {
  for (const { actions, resources, passedTo } of grants)
    role.addToPrincipalPolicy(
      new PolicyStatement({
        effect: Effect.ALLOW,
        actions: [...actions],
        resources: [...resources],
        ...(passedTo ? { conditions: { StringEquals: { 'iam:PassedToService': passedTo } } } : {}),
      }),
    );
}
