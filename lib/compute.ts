import { Stack, type StackProps } from 'aws-cdk-lib';
import { Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import {
  Architecture,
  Code,
  Function as Lambda,
  LayerVersion,
  Runtime,
} from 'aws-cdk-lib/aws-lambda';
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import { Asset } from 'aws-cdk-lib/aws-s3-assets';
import { BucketDeployment, Source } from 'aws-cdk-lib/aws-s3-deployment';
import { Construct } from 'constructs';
import { RUNTIME_PREFIX } from '../functions/platform/aws/jobs.ts';
import { functionName, RUN_STEP } from '../statemachines/resources.ts';
import type { DataStack } from './data.ts';
import { logGroup, loggedRole, seconds } from './function.ts';
import { bytesOf, give, machineGrants, type PassedRoles, sagemakerLogs } from './grants.ts';
import { builtLayer, launcherFolder, runStepFolder } from './layers.ts';

export interface ComputeProps extends StackProps {
  readonly data: DataStack;
  /** Names of the rooms' tasks that machines invoke: `begin-task`. */
  readonly tasks: readonly string[];
  /** Whether pipelines are deployed: without them there is no launcher, and no layer is needed. */
  readonly runsSteps: boolean;
}

/** Where steps run: the zip Lambda of light Python steps, and the roles of jobs and of machines. */
export class ComputeStack extends Stack {
  readonly roles: PassedRoles;

  constructor(scope: Construct, id: string, props: ComputeProps) {
    super(scope, id, props);
    const job = this.sagemakerRole('JobRole', 'job', props.data);
    const endpoint = this.sagemakerRole('EndpointRole', 'endpoint', props.data);
    const machine = new Role(this, 'MachineRole', {
      assumedBy: new ServicePrincipal('states.amazonaws.com', {
        conditions: { StringEquals: { 'aws:SourceAccount': this.account } },
      }),
    });
    const steps = props.runsSteps ? [RUN_STEP] : [];
    give(machine, machineGrants(this, job, [...props.tasks.map(functionName), ...steps]));
    this.roles = { machine, job, endpoint };
    if (!props.runsSteps) return;
    this.runStep(props.data);
    this.launcher(props.data);
  }

  /** What a SageMaker job or endpoint may do; workspaces are told apart by prefix, not by role. */
  private sagemakerRole(id: string, kind: 'job' | 'endpoint', data: DataStack): Role {
    const role = new Role(this, id, {
      assumedBy: new ServicePrincipal('sagemaker.amazonaws.com', {
        conditions: { StringEquals: { 'aws:SourceAccount': this.account } },
      }),
    });
    give(role, [
      ...bytesOf(data, kind),
      {
        actions: ['logs:CreateLogGroup', 'logs:CreateLogStream', 'logs:PutLogEvents'],
        resources: sagemakerLogs(this, kind),
      },
      {
        actions: [
          'ecr:BatchGetImage',
          'ecr:GetDownloadUrlForLayer',
          'ecr:BatchCheckLayerAvailability',
        ],
        resources: [this.formatArn({ service: 'ecr', account: '*', resource: 'repository/*' })],
      },
      { actions: ['ecr:GetAuthorizationToken', 'cloudwatch:PutMetricData'], resources: ['*'] },
    ]);
    return role;
  }

  /** Puts the launcher where jobs read it: below no workspace, so that none of them can change it for another. */
  private launcher(data: DataStack): void {
    const asset = new Asset(this, 'LauncherFiles', { path: launcherFolder() });
    const logs = logGroup(new Construct(this, 'LauncherLogs'));
    const role = loggedRole(new Construct(this, 'LauncherRole'), logs);
    const target = data.bucket.arnForObjects(`${RUNTIME_PREFIX}/*`);
    give(role, [
      { actions: ['s3:GetObject'], resources: [asset.bucket.arnForObjects(asset.s3ObjectKey)] },
      { actions: ['s3:GetObject', 's3:PutObject'], resources: [target] },
      { actions: ['s3:ListBucket'], resources: [data.bucket.bucketArn] },
    ]);
    new BucketDeployment(this, 'Launcher', {
      sources: [Source.bucket(asset.bucket, asset.s3ObjectKey)],
      destinationBucket: data.bucket as IBucket,
      destinationKeyPrefix: RUNTIME_PREFIX,
      prune: false,
      retainOnDelete: true,
      // The construct would add rights on both whole buckets.
      role: role.withoutPolicyUpdates(),
      logGroup: logs,
    });
  }

  private runStep(data: DataStack): void {
    const layer = new LayerVersion(this, 'Kfp', {
      code: Code.fromAsset(builtLayer()),
      compatibleRuntimes: [Runtime.PYTHON_3_13],
      compatibleArchitectures: [Architecture.ARM_64],
      description: 'kfp, mlflow-skinny and what they need',
    });
    const logs = logGroup(this, RUN_STEP);
    const role = loggedRole(new Construct(this, 'RunStepRole'), logs);
    give(role, bytesOf(data, 'step'));
    new Lambda(this, 'RunStep', {
      functionName: RUN_STEP,
      runtime: Runtime.PYTHON_3_13,
      architecture: Architecture.ARM_64,
      code: Code.fromAsset(runStepFolder()),
      handler: 'handler.handler',
      layers: [layer],
      memorySize: 2048,
      timeout: seconds(900),
      role,
      logGroup: logs,
    });
  }
}
