import { randomBytes } from 'node:crypto';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { EventBridgeClient } from '@aws-sdk/client-eventbridge';
import { SFNClient } from '@aws-sdk/client-sfn';
import { systemCall } from '../../kernel/call.ts';
import type { WorkspaceId } from '../../kernel/ids.ts';
import type { World } from '../../kernel/world.ts';
import {
  type Blobs,
  type Bus,
  type Endpoints,
  type Jobs,
  type Machines,
  type Platform,
  Refused,
  type Table,
} from '../ports.ts';
import { eventBridge } from './bus.ts';
import { awsEndpoints } from './endpoints.ts';
import { awsJobs } from './jobs.ts';
import { lazyBlobs } from './lazy_blobs.ts';
import { stepFunctions } from './machines.ts';
import { dynamoTable } from './table.ts';

/** What the stacks tell a function of the installation, by environment. */
export interface Settings {
  readonly region: string;
  readonly account: string;
  readonly table: string;
  readonly bucket: string;
  readonly bus: string;
  readonly url: string;
  readonly machineRole: string;
  readonly jobRole: string;
  readonly endpointRole: string;
  /** As `EndpointSettings` has it; context `servingImage` of the stacks. */
  readonly servingImage?: string;
  /** Whether jobs may ask for the cluster of lib/eks-jobs.ts. */
  readonly cluster: boolean;
  readonly artifacts: Platform['artifacts'];
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Each variable is read where it is used: a function is told only what its room needs. Throws naming the missing one. */
export function settingsOf(environment: Environment = process.env): Settings {
  const of = (name: string): string => {
    const value = environment[name];
    if (!value) throw new Error(`The environment variable ${name} is not set`);
    return value;
  };
  return {
    get region() {
      return of('AWS_REGION');
    },
    get account() {
      return of('STILLFLOW_ACCOUNT');
    },
    get table() {
      return of('STILLFLOW_TABLE');
    },
    get bucket() {
      return of('STILLFLOW_BUCKET');
    },
    get bus() {
      return of('STILLFLOW_BUS');
    },
    get url() {
      return of('STILLFLOW_URL');
    },
    get machineRole() {
      return of('STILLFLOW_MACHINE_ROLE');
    },
    get jobRole() {
      return of('STILLFLOW_JOB_ROLE');
    },
    get endpointRole() {
      return of('STILLFLOW_ENDPOINT_ROLE');
    },
    get servingImage(): string {
      return environment['STILLFLOW_SERVING_IMAGE'] ?? '';
    },
    get cluster() {
      return Boolean(environment['STILLFLOW_EKS_JOBS']);
    },
    get artifacts() {
      return environment['STILLFLOW_ARTIFACTS'] === 'proxy' ? 'proxy' : 'direct';
    },
  };
}

export const realWorld: World = {
  now: () => Date.now(),
  randomBytes: (count) => randomBytes(count),
};

export const awsTable = (settings: Settings): Table =>
  dynamoTable({ client: new DynamoDBClient({}), table: settings.table, world: realWorld });

/** For a port that a room does not use: touching it is a mistake of ours, which its role would refuse as well. */
const absent = <Port extends object>(): Port =>
  new Proxy({} as Port, {
    get: (_, method) => () => {
      throw new Error(`This room's function has no port for ${String(method)}`);
    },
  });

export const blobsOf = ({ bucket }: Settings): Blobs => lazyBlobs(bucket);

export const machinesOf = ({ region, account, machineRole }: Settings): Machines =>
  stepFunctions({
    client: new SFNClient({}),
    arn: `arn:aws:states:${region}:${account}`,
    roleArn: machineRole,
  });

export const jobsOf = (settings: Settings): Jobs => awsJobs(settings);
export const endpointsOf = (settings: Settings): Endpoints => awsEndpoints(settings, realWorld);
export const busOf = (settings: Settings): Bus =>
  eventBridge({ client: new EventBridgeClient({}), bus: settings.bus });

type Adapters = {
  readonly [port in 'blobs' | 'machines' | 'jobs' | 'endpoints']?: (
    settings: Settings,
  ) => Platform[port];
};

/** The platform of one room: the table, and those adapters that it uses. */
export async function awsPlatform(adapters: Adapters, settings = settingsOf()): Promise<Platform> {
  const { blobs = absent, machines = absent, jobs = absent, endpoints = absent } = adapters;
  const table = awsTable(settings);
  return {
    world: realWorld,
    table,
    blobs: blobs(settings),
    machines: machines(settings),
    jobs: jobs(settings),
    endpoints: endpoints(settings),
    secret: await installationSecret(table, realWorld),
    url: settings.url,
    artifacts: settings.artifacts,
  };
}

/** No person's: what the installation keeps on its own account. */
const INSTALLATION = 'install0' as WorkspaceId;
const SECRET = { pk: 'INSTALLATION', sk: 'secret' };

/** 32 bytes of this installation's own, made by whichever function comes first; in no template and no variable. */
export async function installationSecret(table: Table, world: World): Promise<Uint8Array> {
  const call = systemCall(INSTALLATION, 'installation', 'secret', world.now() + 8000);
  const read = async () => (await table.get(call, SECRET))?.['bytes'];
  let bytes = await read();
  if (bytes === undefined) {
    try {
      await table.commit(call, [
        { put: { ...SECRET, bytes: world.randomBytes(32) }, if: 'absent' },
      ]);
    } catch (error) {
      if (!(error instanceof Refused)) throw error; // another function was first
    }
    bytes = await read();
  }
  if (!(bytes instanceof Uint8Array) || bytes.length !== 32)
    throw new Error('The secret of this installation is damaged');
  return bytes;
}
