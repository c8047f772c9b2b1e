import type { Expression, Template } from './asl.ts';

/**
 * All that our machines may call. The compiler chooses from it, the stacks grant its actions to the machines' role,
 * and the local interpreter refuses the rest at `define`.
 */
export interface MachineResource {
  /** What stands in a Task's `Resource`. */
  readonly arn: string;
  /** Fields that `Arguments` must have. */
  readonly requires: readonly string[];
  /** What the machine's role needs to call it; the stacks choose the objects. */
  readonly actions: readonly string[];
  /** The rule that Step Functions keeps to hear of the end of a `.sync`; the role needs `RULE_ACTIONS` on it. */
  readonly rule?: string;
  /** True if the role must be able to pass the job's role to the service. */
  readonly passesRole?: boolean;
  /** Only where an installation was given a cluster; its stack grants the actions (lib/eks-jobs.ts). */
  readonly optional?: 'cluster';
}

/** On `rule/<MachineResource.rule>`. */
export const RULE_ACTIONS = ['events:PutTargets', 'events:PutRule', 'events:DescribeRule'] as const;

export const INVOKE = 'arn:aws:states:::lambda:invoke';
export const TRAINING_JOB = 'arn:aws:states:::sagemaker:createTrainingJob.sync';
export const PROCESSING_JOB = 'arn:aws:states:::sagemaker:createProcessingJob.sync';
/** A job of a cluster that somebody already has, through AWS Batch on EKS. */
export const BATCH_JOB = 'arn:aws:states:::batch:submitJob.sync';
export const START_EXECUTION = 'arn:aws:states:::states:startExecution.sync:2';

export const RESOURCES: readonly MachineResource[] = [
  {
    arn: INVOKE,
    requires: ['FunctionName', 'Payload'],
    actions: ['lambda:InvokeFunction'],
  },
  {
    arn: TRAINING_JOB,
    requires: ['TrainingJobName'],
    actions: [
      'sagemaker:CreateTrainingJob',
      'sagemaker:DescribeTrainingJob',
      'sagemaker:StopTrainingJob',
      'sagemaker:AddTags',
    ],
    rule: 'StepFunctionsGetEventsForSageMakerTrainingJobsRule',
    passesRole: true,
  },
  {
    arn: PROCESSING_JOB,
    requires: ['ProcessingJobName'],
    actions: [
      'sagemaker:CreateProcessingJob',
      'sagemaker:DescribeProcessingJob',
      'sagemaker:StopProcessingJob',
      'sagemaker:AddTags',
    ],
    rule: 'StepFunctionsGetEventsForSageMakerProcessingJobsRule',
    passesRole: true,
  },
  {
    arn: BATCH_JOB,
    requires: ['JobName', 'JobQueue', 'JobDefinition'],
    actions: ['batch:SubmitJob', 'batch:DescribeJobs', 'batch:TerminateJob', 'batch:TagResource'],
    rule: 'StepFunctionsGetEventsForBatchJobsRule',
    optional: 'cluster',
  },
  {
    arn: START_EXECUTION,
    // Without a name Step Functions makes one up, and a repeated call would start a second execution.
    requires: ['StateMachineArn', 'Name'],
    actions: ['states:StartExecution', 'states:DescribeExecution', 'states:StopExecution'],
    rule: 'StepFunctionsGetEventsForStepFunctionsExecutionRule',
  },
];

/** Machines that people wrote: deployed once as `stillflow-<name>`, shared by all workspaces. */
export const WRITTEN = ['retraining', 'deploy-endpoint'] as const;
export type WrittenMachine = (typeof WRITTEN)[number];
export const isWritten = (name: string): name is WrittenMachine =>
  (WRITTEN as readonly string[]).includes(name);

/**
 * The machine of a pipeline that a stack made, as rooms name it: `stillflow_demand_3` is the published version 3 of
 * `stillflow-demand`. What is made at run time has no `_` in its name.
 */
export const stackMachine = (pipeline: string, version: string): string =>
  `stillflow_${pipeline}_${version}`;

/** `demand` and `3` of `stillflow_demand_3`. Undefined: the machine is none of a stack's pipelines. */
export function readStackMachine(machine: string): { name: string; version: string } | undefined {
  const [, name, version] = /^stillflow_([a-z0-9-]+)_(\d+)$/.exec(machine) ?? [];
  return name === undefined || version === undefined ? undefined : { name, version };
}

/** What every deployed thing's name starts with: functions and written machines. */
export const DEPLOYED = 'stillflow-';

/** `begin-task` is deployed as `stillflow-begin-task`. */
export const functionName = (task: string): string => `${DEPLOYED}${task}`;

/** The function that runs a light Python step; its code is a job's, not a task of a room. */
export const RUN_STEP = functionName('run-step');

/** `<workspace id>-<execution>`: how a function knows whose execution invokes it. */
export const EXECUTION_NAME: Expression = '{% $states.context.Execution.Name %}';

/** The arguments of a Task state that runs one of `Room.tasks`; `execution` is ours, and the task reads all of it. */
export function invoke(
  task: string,
  payload: { readonly [name: string]: Template } = {},
): { FunctionName: string; Payload: { [name: string]: Template } } {
  return {
    FunctionName: functionName(task),
    Payload: { ...payload, execution: EXECUTION_NAME },
  };
}

/** What passes by itself: every state that invokes a function or starts a job should try these again, with jitter. */
export const PASSING_ERRORS = [
  'Lambda.ServiceException',
  'Lambda.AWSLambdaException',
  'Lambda.SdkClientException',
  'Lambda.TooManyRequestsException',
  'Problem.unavailable',
  'Problem.conflict',
  'Problem.exhausted',
] as const;

/** SageMaker's quotas and throttles are no failures of the job. Source: kfp.md section 5.1. */
export const PASSING_JOB_ERRORS = [
  'SageMaker.AmazonSageMakerException',
  'SageMaker.ResourceLimitExceededException',
  'SageMaker.ThrottlingException',
] as const;

/** Likewise of AWS Batch, which Step Functions words all by one name (verify). */
export const PASSING_BATCH_ERRORS = ['Batch.AWSBatchException'] as const;

/** A task's `Problem` as the error name that machines catch, in both worlds: `Problem.missing`. */
export const problemError = (code: string): string => `Problem.${code}`;
