import { type App as CdkApp, Tags, Validations } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';
import type { App } from '../functions/app.ts';
import { acknowledge } from './acknowledged.ts';
import { ApiStack } from './api.ts';
import { ComputeStack } from './compute.ts';
import { DataStack } from './data.ts';
import { EventsStack } from './events.ts';
import { readRooms } from './rooms.ts';
import { WorkflowsStack } from './workflows.ts';

export interface Stacks {
  readonly data: DataStack;
  readonly compute: ComputeStack;
  readonly api: ApiStack;
  readonly workflows: WorkflowsStack;
  readonly events: EventsStack;
}

/** `-c servingImage=..`: without it nothing can be deployed to an endpoint, and whoever tries is told. */
function servingImage(app: CdkApp): Record<string, string> {
  const image: unknown = app.node.tryGetContext('servingImage');
  if (image === undefined) return {};
  // SageMaker pulls from ECR alone.
  if (
    typeof image !== 'string' ||
    !/^\d{12}\.dkr\.ecr\.[\w.-]+\/[\w./-]+(:[\w.-]+|@sha256:\w{64})$/.test(image)
  )
    throw new Error(`The context servingImage is no image with a tag in ECR: ${String(image)}`);
  return { STILLFLOW_SERVING_IMAGE: image };
}

/** `-c streamConcurrency=20`. A new account may have too few for any to be set aside, so none is without it. */
function streamConcurrency(app: CdkApp): number | undefined {
  const asked: unknown = app.node.tryGetContext('streamConcurrency');
  if (asked === undefined) return undefined;
  const count = Number(asked);
  if (!Number.isInteger(count) || count < 1 || count > 1000)
    throw new Error(`The context streamConcurrency is no number of 1 to 1000: ${String(asked)}`);
  return count;
}

/**
 * The whole product as five stacks. Only data outlives the rest: `cdk destroy` leaves the table and the bucket.
 * Nothing here depends on an account, a region or a look-up. Throws if cdk-nag finds what is not acknowledged.
 */
export function stillflow(app: CdkApp, rooms: App['rooms'] = readRooms().rooms): Stacks {
  const data = new DataStack(app, 'stillflow-data');
  const tasks = Object.values(rooms).flatMap((room) => Object.keys(room.tasks));
  const compute = new ComputeStack(app, 'stillflow-compute', { data, tasks });
  const { roles } = compute;
  const environment = {
    STILLFLOW_ACCOUNT: data.account,
    STILLFLOW_TABLE: data.table.tableName,
    STILLFLOW_BUCKET: data.bucket.bucketName,
    STILLFLOW_MACHINE_ROLE: roles.machine.roleArn,
    STILLFLOW_JOB_ROLE: roles.job.roleArn,
    STILLFLOW_ENDPOINT_ROLE: roles.endpoint.roleArn,
    ...servingImage(app),
    STILLFLOW_ARTIFACTS: app.node.tryGetContext('artifacts') === 'proxy' ? 'proxy' : 'direct',
  };
  const api = new ApiStack(app, 'stillflow-api', {
    ...{ data, roles, rooms, environment },
    streamConcurrency: streamConcurrency(app),
  });
  const further = { data, roles, rooms, environment: { ...environment, STILLFLOW_URL: api.url } };
  const workflows = new WorkflowsStack(app, 'stillflow-workflows', further);
  const events = new EventsStack(app, 'stillflow-events', further);
  Tags.of(app).add('stillflow', '0.1.0');
  acknowledge(app);
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
  return { data, compute, api, workflows, events };
}
