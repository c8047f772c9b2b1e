import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { realWorld } from '../../../functions/platform/aws/platform.ts';
import { localEndpoints, pythonServer } from '../../../local/endpoints.ts';
import { localJobs } from '../../../local/jobs.ts';
import { openTable } from '../../../local/table.ts';
import { PROCESSING_JOB, TRAINING_JOB } from '../../../statemachines/resources.ts';
import { steps } from '../../clients/venv.ts';
import { serviceModel } from '../../oracles/model.ts';
import { type Oracle, S3_KEYS, startDynamo, startVersity } from '../../oracles/oracle.ts';
import { accessTo } from './access.ts';
import { type Account, deployedAccount } from './account.ts';
import { serveApis } from './apis.ts';
import { type Assembly, ROOT } from './assembly.ts';
import { eventBuses } from './bus.ts';
import { dynamoOn } from './dynamo.ts';
import { openFronts } from './front.ts';
import { functionsOf, mayLog } from './functions.ts';
import { openGateway, Raw } from './gateway.ts';
import { sagemakerHosting } from './hosting.ts';
import { sagemakerJobs } from './jobs.ts';
import { type Host, lambdaHost } from './lambda.ts';
import { logsService } from './logs.ts';
import { startMappings } from './mappings.ts';
import { pythonOf } from './python.ts';
import { openQueues } from './queues.ts';
import { type S3, s3On } from './s3.ts';
import { startSchedules } from './schedules.ts';
import { stepFunctions } from './states.ts';
import { fields, list, text, texts } from './values.ts';

/** Where tables and objects lie; several stacks may share them, each under names of its own templates. */
export interface Oracles {
  readonly dynamo: Oracle;
  readonly s3: Oracle;
  stop(): Promise<void>;
}

export interface StackOptions {
  readonly assembly: Assembly;
  /** Kept between starts: tables, objects, executions, jobs. Queues are not; streams are read again from their begin. */
  readonly data: string;
  /** Of the first API; 0 for free ones. */
  readonly port: number;
  readonly log: (line: Record<string, unknown>) => void;
  /** Of another stack, to be shared. */
  readonly oracles?: Oracles;
  /** Goes into the names that CloudFormation makes up. */
  readonly salt?: string;
  /** Caps SQS visibility time-outs and the waits between retries, for suites; AWS's own if absent. */
  readonly hurryMs?: number;
}

export async function startOracles(data?: string): Promise<Oracles> {
  const folder = (name: string) => data && made(join(data, name));
  const [dynamo, s3] = await Promise.all([
    startDynamo(folder('dynamodb')),
    startVersity(folder('s3')),
  ]);
  return {
    dynamo,
    s3,
    async stop() {
      await Promise.all([dynamo.stop(), s3.stop()]);
    },
  };
}

function made(path: string): string {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return path;
}

/** The account that `cdk deploy` of this assembly makes, on this machine. Ready when it resolves. */
export async function startStack({
  assembly,
  data,
  port,
  log,
  hurryMs,
  salt = '',
  ...options
}: StackOptions) {
  const world = realWorld;
  const folder = (name: string) => made(join(data, name));
  const closers: (() => Promise<void> | void)[] = [];
  const close = async () => {
    for (const one of closers.splice(0).reverse()) await one();
  };
  try {
    const fronts = await openFronts(assembly.templates, port, log);
    closers.push(fronts.close);
    const gateway = await openGateway(log);
    closers.push(gateway.close);
    const account = deployedAccount(assembly, { url: fronts.url, gateway: gateway.url }, salt);
    const access = accessTo(account, log);
    const functions = functionsOf(account, assembly, access);

    const oracles = options.oracles ?? (await startOracles(data));
    if (!options.oracles) closers.push(oracles.stop);
    const { bin } = await steps.interpreter();
    rmSync(join(data, 'python'), { recursive: true, force: true });
    const host = await lambdaHost(functions, {
      gateway: gateway.url,
      scratch: folder('lambda'),
      python: pythonOf(folder('python'), bin),
      log,
    });
    closers.push(host.close);
    const queues = openQueues(account, access, hurryMs);
    const buses = eventBuses(account, { access, host, queues, retryMs: hurryMs ?? 60_000, log });
    const dynamo = dynamoOn(oracles.dynamo.url);
    const s3 = s3On(oracles.s3.url, S3_KEYS, { account, access, buses });
    await Promise.all([dynamo.create(account), s3.create()]);
    await deployFiles(account, assembly, host, s3);

    const anywhere = { pathOf: (_: unknown, uri: string) => uri };
    const check = serviceModel('sagemaker', '2017-07-24');
    const runner = localJobs({
      world,
      dir: folder('jobs'),
      blobs: anywhere,
      interpreter: () => steps.interpreter(),
      launcher: join(ROOT, 'runtimes/launcher/launcher.py'),
      log,
      graceMs: 1000,
    });
    closers.push(runner.close);
    const servers = localEndpoints({
      world,
      dir: folder('endpoints'),
      blobs: anywhere,
      commandFor: pythonServer(
        () => steps.interpreter(),
        join(ROOT, 'runtimes/model_server/server.py'),
      ),
      log,
    });
    closers.push(servers.close);
    const shared = { access, s3, world, check };
    const pythonPath = join(data, 'python/runtime');
    const channels = folder('channels');
    const jobs = sagemakerJobs({
      ...shared,
      jobs: runner,
      folder: channels,
      gateway: gateway.url,
      pythonPath,
    });
    closers.push(jobs.stop);
    const hosting = sagemakerHosting({ ...shared, endpoints: servers, folder: folder('models') });

    const table = openTable({ folder: folder('machines'), world, feeds: [], noSync: true });
    closers.push(table.close);
    const states = await stepFunctions({
      account,
      access,
      host,
      buses,
      table,
      world,
      log,
      integrations: {
        [TRAINING_JOB]: jobs.sync('Training'),
        [PROCESSING_JOB]: jobs.sync('Processing'),
      },
    });
    closers.push(states.close);

    const sagemaker: Record<string, (typeof hosting.operations)[string]> = {
      ...jobs.operations,
      ...hosting.operations,
    };
    gateway.open(access, {
      json: {
        async dynamodb(caller, operation, body) {
          const { status, body: answer } = await dynamo.answer(access, caller, operation, body);
          return new Raw(status, answer);
        },
        events: async (caller, operation, body) => {
          if (operation !== 'PutEvents')
            throw new Error(`npm run stack does not know events:${operation}`);
          return buses.put(
            caller,
            list(fields(JSON.parse(body.toString()))['Entries']).map(fields),
          );
        },
        states: states.answer,
        logs: logsService(access, jobs, hosting),
        async sagemaker(caller, operation, body) {
          const operate = Object.hasOwn(sagemaker, operation) ? sagemaker[operation] : undefined;
          if (!operate) throw new Error(`npm run stack does not know sagemaker:${operation}`);
          return operate(caller, fields(JSON.parse(body.toString())));
        },
      },
      http: { s3: s3.answer, sagemaker: hosting.invoke },
    });
    for (const spec of functions) mayLog(access, spec);
    serveApis({ account, access, host, fronts });
    const retryMs = Math.min(1000, hurryMs ?? 1000);
    const mappings = startMappings(account, {
      access,
      host,
      queues,
      streams: dynamo.streams,
      retryMs,
      log,
    });
    closers.push(mappings.stop);
    const schedules = startSchedules(account, { access, buses, log });
    closers.push(schedules.stop);

    return {
      account,
      access,
      host,
      queues,
      buses,
      s3,
      mappings,
      states,
      schedules,
      gateway: gateway.url,
      /** Where boto3 lies, for clients that speak to S3 themselves. */
      pythonPath,
      outputs: account.outputs,
      fronts,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
export type Stack = Awaited<ReturnType<typeof startStack>>;

/** What CDK's BucketDeployment does at deployment, by the rights of its function's role. */
async function deployFiles(
  account: Account,
  assembly: Assembly,
  host: Host,
  s3: S3,
): Promise<void> {
  for (const { at, properties } of account.of('Custom::CDKBucketDeployment')) {
    const provider = host.find(text(properties['ServiceToken']));
    if (!provider) throw new Error(`${at} is made by a function that is not there`);
    if (properties['Prune'] !== false)
      throw new Error(`${at} prunes, which npm run stack does not`);
    const [bucket, prefix] = [
      text(properties['DestinationBucketName']),
      text(properties['DestinationBucketKeyPrefix']),
    ];
    for (const [index, key] of texts(properties['SourceObjectKeys']).entries()) {
      const from = assembly.assets.get(key);
      if (!from || !statSync(from).isDirectory())
        throw new Error(`${at} is of an asset ${key} that is no folder`);
      const source = texts(properties['SourceBucketNames'])[index];
      s3.mayRead(provider.caller, source ?? '', key);
      for (const file of readdirSync(from, { recursive: true, withFileTypes: true }))
        if (file.isFile()) {
          const path = join(file.parentPath, file.name);
          const name = `${prefix}/${path.slice(from.length + 1)}`;
          await s3.write(provider.caller, bucket, name, readFileSync(path));
        }
    }
  }
}
