import { Stack, type StackProps, Validations } from 'aws-cdk-lib';
import { CfnComputeEnvironment, CfnJobDefinition, CfnJobQueue } from 'aws-cdk-lib/aws-batch';
import { CfnAccessEntry, CfnPodIdentityAssociation } from 'aws-cdk-lib/aws-eks';
import {
  CfnInstanceProfile,
  ManagedPolicy,
  PolicyStatement,
  Role,
  ServicePrincipal,
} from 'aws-cdk-lib/aws-iam';
import type { Construct } from 'constructs';
import { BATCH_NAME } from '../functions/platform/aws/batch.ts';
import { publishedImage } from '../functions/platform/aws/training.ts';
import { BATCH_JOB, RESOURCES, RULE_ACTIONS } from '../statemachines/resources.ts';
import type { DataStack } from './data.ts';
import { arns, bytesOf, give, type PassedRoles } from './grants.ts';

/** A cluster that is there already; none is made, and nothing of it is looked up. */
export interface EksJobsTarget {
  /** The cluster's name. */
  readonly cluster: string;
  /** Where its nodes may start: `subnet-..`. */
  readonly subnets: readonly string[];
  /** Of the nodes, the cluster's own among them: `sg-..`. */
  readonly securityGroups: readonly string[];
}

interface EksJobsProps extends StackProps {
  readonly data: DataStack;
  readonly roles: PassedRoles;
  readonly target: EksJobsTarget;
}

/** Namespace and service account of the jobs' pods in the cluster. */
const NAMESPACE = 'stillflow';
const SERVICE_ACCOUNT = 'stillflow-job';
const MOST_CPUS = 256;
/** CPUs only and GPUs; Batch chooses the size. As instances.ts prefers them. */
const FAMILIES = ['m5', 'm6i', 'g5', 'g6'];

/** Throws, naming what is wrong. */
export function checkTarget({ cluster, subnets, securityGroups }: EksJobsTarget): void {
  if (!/^[0-9A-Za-z][\w-]{0,99}$/.test(cluster))
    throw new Error(`eksJobs is no name of a cluster: ${cluster}`);
  if (subnets.length === 0 || !subnets.every((id) => /^subnet-[0-9a-f]+$/.test(id)))
    throw new Error(`eksJobs needs eksSubnets, as subnet-..,subnet-..: '${subnets.join()}'`);
  if (securityGroups.length === 0 || !securityGroups.every((id) => /^sg-[0-9a-f]+$/.test(id)))
    throw new Error(`eksJobs needs eksSecurityGroups, as sg-..: '${securityGroups.join()}'`);
}

/**
 * Jobs on a cluster that somebody already has: AWS Batch starts its own nodes there when a job waits and none when none
 * does. The cluster needs the Pod Identity agent and lets AWS Batch into the namespace `stillflow` (docs/guides/gpu.md).
 * Source: AWS Batch User Guide, "Getting started with AWS Batch on Amazon EKS". Not run on an account.
 */
export class EksJobsStack extends Stack {
  constructor(scope: Construct, id: string, props: EksJobsProps) {
    super(scope, id, props);
    checkTarget(props.target);
    this.podRole(props);
    const queue = this.queue(props.target);
    this.definition();
    this.machines(props.roles, [
      queue,
      ...['', ':*'].map((version) => this.batch(`job-definition/${BATCH_NAME}${version}`)),
    ]);
    Validations.of(this).acknowledge(
      ...FINDINGS.map(([finding, reason]) => ({ id: `AwsSolutions-${finding}`, reason })),
    );
  }

  private batch(resource: string): string {
    return this.formatArn({ service: 'batch', resource });
  }

  /** What user code may do with bytes is what it may in a SageMaker job. */
  private podRole({ data, target }: EksJobsProps): void {
    const pods = new ServicePrincipal('pods.eks.amazonaws.com', {
      conditions: { StringEquals: { 'aws:SourceAccount': this.account } },
    });
    const role = new Role(this, 'PodRole', { assumedBy: pods });
    role.assumeRolePolicy?.addStatements(
      new PolicyStatement({ actions: ['sts:TagSession'], principals: [pods] }),
    );
    give(role, bytesOf(data, 'job'));
    new CfnPodIdentityAssociation(this, 'PodIdentity', {
      clusterName: target.cluster,
      namespace: NAMESPACE,
      serviceAccount: SERVICE_ACCOUNT,
      roleArn: role.roleArn,
    });
  }

  private queue({ cluster, subnets, securityGroups }: EksJobsTarget): string {
    const nodes = new Role(this, 'NodeRole', {
      assumedBy: new ServicePrincipal('ec2.amazonaws.com'),
      managedPolicies: NODE_POLICIES.map((name) => ManagedPolicy.fromAwsManagedPolicyName(name)),
    });
    const profile = new CfnInstanceProfile(this, 'NodeProfile', { roles: [nodes.roleName] });
    const access = new CfnAccessEntry(this, 'NodeAccess', {
      clusterName: cluster,
      principalArn: nodes.roleArn,
      type: 'EC2_LINUX',
    });
    const environment = new CfnComputeEnvironment(this, 'Environment', {
      type: 'MANAGED',
      state: 'ENABLED',
      eksConfiguration: {
        eksClusterArn: this.formatArn({ service: 'eks', resource: `cluster/${cluster}` }),
        kubernetesNamespace: NAMESPACE,
      },
      computeResources: {
        type: 'EC2',
        allocationStrategy: 'BEST_FIT_PROGRESSIVE',
        minvCpus: 0,
        maxvCpus: MOST_CPUS,
        instanceTypes: FAMILIES,
        subnets: [...subnets],
        securityGroupIds: [...securityGroups],
        instanceRole: profile.attrArn,
      },
    });
    environment.addDependency(access);
    new CfnJobQueue(this, 'Queue', {
      jobQueueName: BATCH_NAME,
      priority: 1,
      computeEnvironmentOrder: [
        { order: 1, computeEnvironment: environment.attrComputeEnvironmentArn },
      ],
    });
    return this.batch(`job-queue/${BATCH_NAME}`);
  }

  /** What every job begins with; image, command and amounts are the job's own. */
  private definition(): void {
    const usual = { cpu: '1', memory: '2048Mi' };
    new CfnJobDefinition(this, 'Definition', {
      jobDefinitionName: BATCH_NAME,
      type: 'container',
      platformCapabilities: ['EC2'],
      propagateTags: true,
      retryStrategy: { attempts: 1 },
      eksProperties: {
        podProperties: {
          serviceAccountName: SERVICE_ACCOUNT,
          hostNetwork: false,
          containers: [
            {
              name: 'job',
              image: publishedImage(this.region, 'cpu'),
              resources: { limits: usual, requests: usual },
            },
          ],
        },
      },
    });
  }

  /** What machines do with a job, beside what they may anyway. */
  private machines({ machine }: PassedRoles, submitted: readonly string[]): void {
    const resource = RESOURCES.find(({ arn }) => arn === BATCH_JOB);
    const objects: Readonly<Record<string, readonly string[]>> = {
      'batch:SubmitJob': submitted,
      // It knows no resource. Source: Service authorization reference, AWS Batch.
      'batch:DescribeJobs': ['*'],
      'batch:TerminateJob': [this.batch('job/*')],
      'batch:TagResource': [this.batch('job/*')],
    };
    new ManagedPolicy(this, 'MachinePolicy', {
      roles: [machine],
      statements: [
        ...(resource?.actions ?? []).map((action) => {
          const resources = objects[action];
          if (!resources) throw new Error(`lib/eks-jobs.ts does not say on what to ${action}`);
          return new PolicyStatement({ actions: [action], resources: [...resources] });
        }),
        new PolicyStatement({
          actions: [...RULE_ACTIONS],
          resources: [arns(this).rule(resource?.rule ?? '')],
        }),
      ],
    });
  }
}

/** What a node of a cluster needs. Source: Amazon EKS User Guide, "Amazon EKS node IAM role". */
const NODE_POLICIES = [
  'AmazonEKSWorkerNodePolicy',
  'AmazonEKS_CNI_Policy',
  'AmazonEC2ContainerRegistryReadOnly',
];

const own = (resource: string) =>
  `IAM5[Resource::arn:<AWS::Partition>:batch:<AWS::Region>:<AWS::AccountId>:${resource}]`;
const FINDINGS: readonly (readonly [finding: string, reason: string])[] = [
  ...NODE_POLICIES.map(
    (name) =>
      [
        `IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/${name}]`,
        'What EKS asks of every node; it changes with EKS.',
      ] as const,
  ),
  [own('job/*'), 'AWS makes up the id of a job.'],
  [own(`job-definition/${BATCH_NAME}:*`), 'Each deployment that changes it makes a version of it.'],
];
