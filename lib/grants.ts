import { ArnFormat, type Stack } from 'aws-cdk-lib';
import { Effect, type IRole, PolicyStatement } from 'aws-cdk-lib/aws-iam';
import { RUNTIME_PREFIX } from '../functions/platform/aws/jobs.ts';
import { cloudName } from '../functions/platform/aws/names.ts';
import { DEPLOYED, RESOURCES, RULE_ACTIONS } from '../statemachines/resources.ts';
import type { DataStack } from './data.ts';
import type { Use } from './rooms.ts';

/** What a role is granted. */
export interface Grant {
  readonly actions: readonly string[];
  readonly resources: readonly string[];
  /** For a service that the role is passed to. */
  readonly passedTo?: string;
  /** Only lists below these prefixes; with `orNone` also those that name no prefix. */
  readonly below?: { readonly prefixes: readonly string[]; readonly orNone: boolean };
  /** Only where these condition keys have these values. */
  readonly where?: Readonly<Record<string, string>>;
}

/** The roles that rooms hand to services. */
export interface PassedRoles {
  readonly machine: IRole;
  /** User code in SageMaker jobs. */
  readonly job: IRole;
  /** Model servers. */
  readonly endpoint: IRole;
}

/** A workspace's id has 8 characters; IAM cannot say which. */
const WORKSPACE = '????????';
/** All that is made at run time: `sf-default0-train-4f..`. */
const MADE_NAMES = cloudName(WORKSPACE, '*');
/** An execution below its machine: `default0-4f..`. */
const EXECUTIONS = `${WORKSPACE}-*`;

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
    alarm: (name: string) => arn('cloudwatch', `alarm:${name}`),
    scalableTarget: (id: string) => arn('application-autoscaling', `scalable-target/${id}`),
  };
}

/** What stacks deployed, a pipeline's versions too, and what workspaces made. */
const machines = (arn: (name: string) => string): string[] => [`${DEPLOYED}*`, MADE_NAMES].map(arn);

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

const STEPS = ['kfp/steps', 'pipelines', 'artifacts'].map((folder) => `${folder}/*`);

/**
 * Where in a workspace user code reads and writes: its own job, what pipelines and runs made, and data that arrived;
 * nothing that rooms keep for themselves, and no file of the launcher. Whoever has its role has it in every workspace.
 */
const REACH = {
  /** `stillflow-run-step`: the launcher in a Lambda, which leaves its end and its log in the job's folder. */
  step: {
    reads: ['jobs/*', ...STEPS, 'data/*'],
    writes: ['jobs/*/done.json', 'jobs/*/log', ...STEPS],
  },
  /** A SageMaker job, whose archives SageMaker itself puts there. */
  job: { reads: ['jobs/*', ...STEPS, 'data/*'], writes: ['jobs/*/archives/*', ...STEPS] },
  /** A model server: SageMaker fetches its archive. */
  endpoint: { reads: ['endpoints/*'], writes: [] },
} as const satisfies Record<string, { reads: readonly string[]; writes: readonly string[] }>;

/** What user code may do with bytes: read, write, list; never delete. */
export function bytesOf(data: DataStack, kind: keyof typeof REACH): Grant[] {
  const inWorkspace = (paths: readonly string[]) => paths.map((path) => `${WORKSPACE}/${path}`);
  const { reads, writes } = REACH[kind];
  const shared = kind === 'job' ? [`${RUNTIME_PREFIX}/*`] : [];
  const read = [...inWorkspace(reads), ...shared];
  const objects = (paths: readonly string[]) =>
    paths.map((path) => data.bucket.arnForObjects(path));
  const written: Grant = {
    actions: ['s3:PutObject', 's3:AbortMultipartUpload'],
    resources: objects(inWorkspace(writes)),
  };
  return [
    { actions: ['s3:GetObject'], resources: objects(read) },
    ...(writes.length > 0 ? [written] : []),
    {
      actions: ['s3:ListBucket'],
      resources: [data.bucket.bucketArn],
      // A read of what is not there names no prefix; without the right to list, S3 answers it 403 in place of 404.
      below: { prefixes: read, orNone: kind === 'step' },
    },
  ];
}

const JOB_LOGS = ['/aws/sagemaker/TrainingJobs', '/aws/sagemaker/ProcessingJobs'];

/** The log groups that SageMaker writes with the role of a job or an endpoint. */
export const sagemakerLogs = (stack: Stack, kind: 'job' | 'endpoint'): string[] =>
  kind === 'job'
    ? JOB_LOGS.map((group) => arns(stack).logGroup(`${group}:*`))
    : [arns(stack).logGroup(`/aws/sagemaker/Endpoints/${MADE_NAMES}`)];

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
          resources: [data.bucket.arnForObjects(`${WORKSPACE}/*`)],
        },
        // Held to no prefix: see bytesOf.
        { actions: ['s3:ListBucket'], resources: [data.bucket.bucketArn] },
      ];
    case 'machines':
      return [
        {
          actions: ['states:CreateStateMachine', 'states:DeleteStateMachine'],
          resources: [at.machine(MADE_NAMES)],
        },
        {
          actions: ['states:DescribeStateMachine', 'states:StartExecution'],
          resources: machines(at.machine),
        },
        {
          actions: [
            'states:DescribeExecution',
            'states:GetExecutionHistory',
            'states:StopExecution',
          ],
          resources: machines((name) => at.execution(name, EXECUTIONS)),
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
            'sagemaker:AddTags',
          ],
          resources: [at.sagemaker('training-job', MADE_NAMES)],
        },
        {
          actions: [
            'sagemaker:CreateProcessingJob',
            'sagemaker:DescribeProcessingJob',
            'sagemaker:StopProcessingJob',
            'sagemaker:AddTags',
          ],
          resources: [at.sagemaker('processing-job', MADE_NAMES)],
        },
        {
          actions: ['logs:DescribeLogStreams'],
          resources: JOB_LOGS.map((group) => at.logGroup(`${group}:*`)),
        },
        {
          actions: ['logs:GetLogEvents'],
          resources: JOB_LOGS.map((group) => at.logGroup(`${group}:log-stream:${MADE_NAMES}`)),
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
            at.sagemaker('endpoint', MADE_NAMES),
            at.sagemaker('endpoint-config', MADE_NAMES),
          ],
        },
        {
          actions: ['Create', 'Describe', 'Delete'].map(
            (verb) => `sagemaker:${verb}EndpointConfig`,
          ),
          resources: [at.sagemaker('endpoint-config', MADE_NAMES)],
        },
        {
          actions: ['Create', 'Describe', 'Delete'].map((verb) => `sagemaker:${verb}Model`),
          resources: [at.sagemaker('model', MADE_NAMES)],
        },
        {
          actions: ['sagemaker:InvokeEndpoint'],
          resources: [
            at.sagemaker('endpoint', MADE_NAMES),
            at.sagemaker('inference-component', MADE_NAMES),
          ],
        },
        {
          actions: ['sagemaker:AddTags'],
          resources: ['endpoint', 'endpoint-config', 'model', 'inference-component'].map((kind) =>
            at.sagemaker(kind, MADE_NAMES),
          ),
        },
        ...componentGrants(stack),
        ...scalingGrants(stack),
        {
          actions: ['logs:GetLogEvents', 'logs:DescribeLogStreams'],
          resources: [at.logGroup(`/aws/sagemaker/Endpoints/${MADE_NAMES}`)],
        },
        passing(roles.endpoint, 'sagemaker.amazonaws.com'),
      ];
  }
}

/** Asked of the endpoint that holds it too. Source: Service authorization reference, Amazon SageMaker. */
const componentGrants = (stack: Stack): Grant[] => [
  {
    actions: ['Create', 'Describe', 'Update', 'Delete'].map(
      (verb) => `sagemaker:${verb}InferenceComponent`,
    ),
    resources: ['inference-component', 'endpoint'].map((kind) =>
      arns(stack).sagemaker(kind, MADE_NAMES),
    ),
  },
];

const SCALER = 'sagemaker.application-autoscaling.amazonaws.com';

/**
 * The number of copies of an endpoint. A scalable target bears an id that AWS makes up, so only its service can be named;
 * the role that AWS scales with is made by the first who asks for it.
 * Source: Service authorization reference, AWS Application Auto Scaling; its user guide, "Service-linked roles".
 */
function scalingGrants(stack: Stack): Grant[] {
  const at = arns(stack);
  return [
    {
      actions: ['RegisterScalableTarget', 'DeregisterScalableTarget', 'PutScalingPolicy'].map(
        (verb) => `application-autoscaling:${verb}`,
      ),
      resources: [at.scalableTarget('*')],
      where: { 'application-autoscaling:service-namespace': 'sagemaker' },
    },
    {
      actions: ['PutMetricAlarm', 'DeleteAlarms', 'TagResource'].map(
        (verb) => `cloudwatch:${verb}`,
      ),
      resources: [at.alarm(MADE_NAMES)],
    },
    {
      actions: ['iam:CreateServiceLinkedRole'],
      resources: [
        stack.formatArn({
          service: 'iam',
          region: '',
          resource: 'role',
          resourceName: `aws-service-role/${SCALER}/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint`,
        }),
      ],
      where: { 'iam:AWSServiceName': SCALER },
    },
  ];
}

/** What the machines' role may do: what `statemachines/resources.ts` lists, on our own names. */
export function machineGrants(stack: Stack, job: IRole, tasks: readonly string[]): Grant[] {
  const at = arns(stack);
  const objects: Readonly<Record<string, readonly string[]>> = {
    'lambda:InvokeFunction': tasks.map((name) => at.task(name)),
    'sagemaker:CreateTrainingJob': [at.sagemaker('training-job', MADE_NAMES)],
    'sagemaker:DescribeTrainingJob': [at.sagemaker('training-job', MADE_NAMES)],
    'sagemaker:StopTrainingJob': [at.sagemaker('training-job', MADE_NAMES)],
    'sagemaker:CreateProcessingJob': [at.sagemaker('processing-job', MADE_NAMES)],
    'sagemaker:DescribeProcessingJob': [at.sagemaker('processing-job', MADE_NAMES)],
    'sagemaker:StopProcessingJob': [at.sagemaker('processing-job', MADE_NAMES)],
    'sagemaker:AddTags': [
      at.sagemaker('training-job', MADE_NAMES),
      at.sagemaker('processing-job', MADE_NAMES),
    ],
    'states:StartExecution': machines(at.machine),
    'states:DescribeExecution': machines((name) => at.execution(name, EXECUTIONS)),
    'states:StopExecution': machines((name) => at.execution(name, EXECUTIONS)),
  };
  const always = RESOURCES.filter(({ optional }) => optional === undefined);
  const actions = [...new Set(always.flatMap((resource) => resource.actions))];
  const byObjects = actions.flatMap((action) => {
    const resources = objects[action];
    if (!resources) throw new Error(`lib/grants.ts does not say on what machines may ${action}`);
    // A part without tasks has no function to invoke.
    return resources.length > 0 ? [{ actions: [action], resources }] : [];
  });
  const rules = always.flatMap(({ rule }) => rule ?? []).map((rule) => at.rule(rule));
  return [
    ...byObjects,
    { actions: RULE_ACTIONS, resources: rules },
    passing(job, 'sagemaker.amazonaws.com'),
  ];
}

/** Puts grants on a role. */
export function give(role: IRole, grants: readonly Grant[]): void {
  for (const grant of grants)
    role.addToPrincipalPolicy(
      new PolicyStatement({
        effect: Effect.ALLOW,
        actions: [...grant.actions],
        resources: [...grant.resources],
        conditions: conditionsOf(grant),
      }),
    );
}

function conditionsOf({ passedTo, below, where }: Grant): Record<string, Record<string, unknown>> {
  if (where) return { StringEquals: where };
  if (passedTo) return { StringEquals: { 'iam:PassedToService': passedTo } };
  if (!below) return {};
  const operator = below.orNone ? 'StringLikeIfExists' : 'StringLike';
  return { [operator]: { 's3:prefix': below.prefixes } };
}
