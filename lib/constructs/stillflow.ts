import { type Environment, Stack, type StackProps, Tags } from 'aws-cdk-lib';
import { Grant, type IGrantable } from 'aws-cdk-lib/aws-iam';
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import { Construct } from 'constructs';
import type { App } from '../../functions/app.ts';
import { ApiStack } from '../api.ts';
import { ComputeStack } from '../compute.ts';
import { DashboardOf } from '../dashboard.ts';
import { DataStack } from '../data.ts';
import { EksJobsStack, type EksJobsTarget } from '../eks-jobs.ts';
import { EventsStack } from '../events.ts';
import type { Grant as Granted } from '../grants.ts';
import { partOf, readRooms } from '../rooms.ts';
import { WorkflowsStack } from '../workflows.ts';

/** What may be said of a deployment. Without any it is the whole product. */
export interface StillflowProps {
  /**
   * Only these rooms and what they stand on: `['tracking', 'registry']`. All of them if absent. The names are those of
   * the folders in `functions/`: artifacts, tracking, registry, pipelines, serving, triggers, loops.
   */
  readonly rooms?: readonly string[];
  /**
   * `direct`: artifacts have `s3://` addresses and clients use AWS credentials; `proxy`: bytes come through the API.
   * `direct` if absent.
   */
  readonly artifacts?: 'direct' | 'proxy';
  /** The image in ECR that serves models. Without it nothing can be deployed to an endpoint, and whoever tries is told. */
  readonly servingImage?: string;
  /** At most so many requests of the streaming front at once, 1 to 1000; as many as the account allows if absent. */
  readonly streamConcurrency?: number;
  /**
   * A cluster of EKS that is there already, for jobs that ask for the runner `batch`. It makes a sixth stack,
   * `stillflow-eks-jobs`; without it there is nothing of this.
   */
  readonly eksJobs?: EksJobsTarget;
  /** Account and region of the stacks; those of the scope if absent. */
  readonly env?: Environment;
}

/** Of the rooms that take declarations, the function that CloudFormation calls. */
export type DeclaringRoom = 'pipelines' | 'serving' | 'triggers';

/**
 * The whole product, as five stacks below any App, Stage or Stack: `stillflow-data`, `-compute`, `-api`, `-workflows`
 * and `-events`. Only the first outlives the rest: `cdk destroy` leaves its table and bucket. It fits once into an
 * account and region, since machines and functions find each other by fixed names.
 *
 * Tags are put on the five stacks and nothing else of the app. Nothing depends on an account, a region or a look-up.
 *
 * @example
 * const app = new App();
 * const stillflow = new Stillflow(app, 'Stillflow', { artifacts: 'proxy' });
 */
export class Stillflow extends Construct {
  /** `https://<id>.execute-api.<region>.amazonaws.com`, which takes tokens: `MLFLOW_TRACKING_URI`. */
  readonly url: string;
  /** The same for clients that sign with AWS credentials (SigV4). */
  readonly signedUrl: string;
  /** The address of what streams: followed logs, watches. Undefined where no deployed room streams. */
  readonly streamUrl: string | undefined;
  /** The five stacks, by what they hold. */
  readonly stacks: Readonly<Record<'data' | 'compute' | 'api' | 'workflows' | 'events', Stack>>;
  /** The names of the rooms that are deployed. */
  readonly rooms: readonly string[];
  private readonly own: Stacks;
  private readonly parts: App['rooms'];

  constructor(scope: Construct, id: string, props: StillflowProps = {}) {
    super(scope, id);
    checkProps(props);
    this.parts = partOf(readRooms().rooms, props.rooms);
    this.rooms = Object.keys(this.parts);
    const rooms = this.parts;
    const env = props.env ?? envOf(scope);
    const of = (name: string): StackProps => ({
      stackName: name,
      ...(env === undefined ? {} : { env }),
    });
    // Beside this construct and not below it, so that their names in the assembly stay short.
    const data = new DataStack(scope, 'stillflow-data', of('stillflow-data'));
    const tasks = Object.values(rooms).flatMap((room) => Object.keys(room.tasks));
    const runsSteps = 'pipelines' in rooms;
    const compute = new ComputeStack(scope, 'stillflow-compute', {
      ...of('stillflow-compute'),
      ...{ data, tasks, runsSteps },
    });
    const { roles } = compute;
    if (props.eksJobs) {
      const settings = { ...of('stillflow-eks-jobs'), data, roles, target: props.eksJobs };
      Tags.of(new EksJobsStack(scope, 'stillflow-eks-jobs', settings)).add('stillflow', '0.1.0');
    }
    const environment = {
      STILLFLOW_ACCOUNT: data.account,
      STILLFLOW_TABLE: data.table.tableName,
      STILLFLOW_BUCKET: data.bucket.bucketName,
      STILLFLOW_MACHINE_ROLE: roles.machine.roleArn,
      STILLFLOW_JOB_ROLE: roles.job.roleArn,
      STILLFLOW_ENDPOINT_ROLE: roles.endpoint.roleArn,
      ...(props.servingImage ? { STILLFLOW_SERVING_IMAGE: props.servingImage } : {}),
      ...(props.eksJobs ? { STILLFLOW_EKS_JOBS: props.eksJobs.cluster } : {}),
      STILLFLOW_ARTIFACTS: props.artifacts ?? 'direct',
    };
    const api = new ApiStack(scope, 'stillflow-api', {
      ...of('stillflow-api'),
      ...{ data, roles, rooms, environment },
      streamConcurrency: props.streamConcurrency,
    });
    const further = { data, roles, rooms, environment: { ...environment, STILLFLOW_URL: api.url } };
    const workflows = new WorkflowsStack(scope, 'stillflow-workflows', {
      ...of('stillflow-workflows'),
      ...further,
    });
    const events = new EventsStack(scope, 'stillflow-events', {
      ...of('stillflow-events'),
      ...further,
    });
    new DashboardOf(events, 'Dashboard', { api, events, rooms: this.rooms });
    this.own = { data, compute, api, workflows, events };
    this.stacks = this.own;
    for (const stack of Object.values(this.stacks)) Tags.of(stack).add('stillflow', '0.1.0');
    this.url = api.url;
    this.signedUrl = api.signedUrl;
    this.streamUrl = api.streamUrl;
  }

  /** Lets a principal call every route of the signed API, as one who writes. */
  grantInvoke(grantee: IGrantable): Grant {
    return this.grantRoutes(grantee, ['*']);
  }

  /**
   * Lets a principal call the routes of the signed API that change nothing: all GET and HEAD, and those that ask by POST
   * (a search of runs). With `artifacts: 'direct'` reading an artifact needs `grantReadArtifacts` as well.
   */
  grantRead(grantee: IGrantable): Grant {
    const asking = Object.values(this.parts).flatMap(({ routes }) =>
      routes
        .filter(({ method, action }) => action.endsWith(':read') && !/^(GET|HEAD)$/.test(method))
        .map(({ method, path }) => `${method}${path.replace(/\{[^}]*\}/g, '*')}`),
    );
    return this.grantRoutes(grantee, ['GET/*', 'HEAD/*', ...new Set(asking)]);
  }

  /** Lets a principal read the artifacts of all workspaces' runs and models in the bucket, for `s3://` addresses. */
  grantReadArtifacts(grantee: IGrantable): Grant {
    return this.grantBytes(grantee, [
      { actions: ['s3:GetObject'], resources: [this.objects('artifacts/*')] },
    ]);
  }

  /** Lets a principal put files below `data/`, which rules hear of: the drop that a retraining starts from. */
  grantDropData(grantee: IGrantable): Grant {
    return this.grantBytes(grantee, [
      {
        actions: ['s3:PutObject', 's3:AbortMultipartUpload'],
        resources: [this.objects('data/*')],
      },
    ]);
  }

  /** Where files are dropped: `s3://<bucket>/default0/data/`, with what comes behind it. */
  dataUrl(path = ''): string {
    return `s3://${this.own.data.bucket.bucketName}/default0/data/${path}`;
  }

  /** @internal The function that records what a stack declares; made when first asked for. */
  declaring(room: DeclaringRoom): IFunction {
    if (!this.rooms.includes(room))
      throw new Error(`The room '${room}' is not deployed: add it to the rooms of Stillflow`);
    return this.own.workflows.declaring(room);
  }

  /** @internal The role of all machines. */
  get machineRoleArn(): string {
    return this.own.compute.roles.machine.roleArn;
  }

  private objects(path: string): string {
    return this.own.data.bucket.arnForObjects(`????????/${path}`);
  }

  private grantRoutes(grantee: IGrantable, routes: readonly string[]): Grant {
    const { api } = this.own;
    return Grant.addToPrincipal({
      grantee,
      actions: ['execute-api:Invoke'],
      resourceArns: routes.map((route) =>
        api.formatArn({
          service: 'execute-api',
          resource: api.signedApiId,
          resourceName: `$default/${route}`,
        }),
      ),
    });
  }

  private grantBytes(grantee: IGrantable, grants: readonly Granted[]): Grant {
    return grants
      .map(({ actions, resources }) =>
        Grant.addToPrincipal({
          grantee,
          actions: [...actions],
          resourceArns: [...resources],
        }),
      )
      .reduce((all, one) => all.combine(one));
  }
}

interface Stacks {
  readonly data: DataStack;
  readonly compute: ComputeStack;
  readonly api: ApiStack;
  readonly workflows: WorkflowsStack;
  readonly events: EventsStack;
}

/** A stack inside a stack goes where that goes; an App's or a Stage's stacks find it themselves. */
function envOf(scope: Construct): Environment | undefined {
  const parent = scope.node.scopes.findLast((one) => Stack.isStack(one));
  if (!parent) return undefined;
  const { account, region } = Stack.of(parent);
  return { account, region };
}

function checkProps({ servingImage: image, streamConcurrency: count, artifacts }: StillflowProps) {
  // SageMaker pulls from ECR alone.
  if (
    image !== undefined &&
    !/^\d{12}\.dkr\.ecr\.[\w.-]+\/[\w./-]+(:[\w.-]+|@sha256:\w{64})$/.test(image)
  )
    throw new Error(`servingImage is no image with a tag in ECR: ${image}`);
  if (count !== undefined && (!Number.isInteger(count) || count < 1 || count > 1000))
    throw new Error(`streamConcurrency is no number of 1 to 1000: ${count}`);
  if (artifacts !== undefined && artifacts !== 'direct' && artifacts !== 'proxy')
    throw new Error(`artifacts is neither 'direct' nor 'proxy': ${String(artifacts)}`);
}
