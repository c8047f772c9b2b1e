import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildApp } from '../../functions/app.ts';
import { allow } from '../../functions/governance/policy.ts';
import { hears, type Told } from '../../functions/kernel/event.ts';
import { mount } from '../../functions/kernel/hallway.ts';
import type { Json } from '../../functions/kernel/json.ts';
import { dynamoTable } from '../../functions/platform/aws/table.ts';
import type {
  Blobs,
  Item,
  JobSpec,
  Jobs,
  Platform,
  Table,
} from '../../functions/platform/ports.ts';
import { workspacesRoom } from '../../functions/workspaces/index.ts';
import { CALLS_FILE, type Counted, readCalls } from '../../lib/estimate.ts';
import { openBlobs } from '../../local/blobs.ts';
import { localMachines } from '../../local/machines.ts';
import { openTable } from '../../local/table.ts';
import { RUN_STEP } from '../../statemachines/resources.ts';
import { answer, memoryEndpoints } from '../serving/endpoints.ts';
import { testCall, testWorld } from '../world.ts';
import { openDynamo } from './dynamo.ts';

/**
 * What each main call asks of the account, with all that follows from it until nothing moves any more: the whole
 * product on the real Table adapter, with DynamoDB Local saying what each request consumed. `npm run estimate` puts
 * prices to it. STILLFLOW_GOLDEN=1 writes lib/calls.json anew.
 */
const world = testWorld(5);
const call = testCall();
const folder = mkdtempSync(join(tmpdir(), 'stillflow-calls-'));
const NONE: Counted = {
  ...{ requests: 0, functions: 0, followers: 0, tasks: 0, steps: 0, folds: 0 },
  ...{ reads: 0, writes: 0, gets: 0, puts: 0, states: 0, events: 0 },
};
let count = { ...NONE };
const closing: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const close of closing.reverse()) await close();
  rmSync(folder, { recursive: true, force: true });
});

/** A client whose answers say what they consumed. Source: DynamoDB API reference, ReturnConsumedCapacity. */
function meteredClient(url: string): DynamoDBClient {
  const client = new DynamoDBClient({
    ...{ endpoint: url, region: 'us-east-1' },
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  });
  client.middlewareStack.add(
    (next, context) => async (given) => {
      Object.assign(given.input, { ReturnConsumedCapacity: 'TOTAL' });
      const told = await next(given);
      const { ConsumedCapacity } = told.output as { ConsumedCapacity?: unknown };
      const units = [ConsumedCapacity]
        .flat()
        .reduce(
          (sum: number, one) => sum + ((one as { CapacityUnits?: number })?.CapacityUnits ?? 0),
          0,
        );
      const { commandName = '' } = context as { commandName?: string };
      const reads = /Get|Query/.test(commandName);
      // A read that finds nothing is billed as one, whatever DynamoDB Local says.
      count[reads ? 'reads' : 'writes'] += reads ? Math.max(1, units) : units;
      return told;
    },
    { step: 'initialize', name: 'meter' },
  );
  return client;
}

/** The same port; S3 bills a GET for each head and get, a PUT for each put and list. */
const meteredBlobs = (blobs: Blobs): Blobs =>
  new Proxy(blobs, {
    get(target, name, receiver) {
      const found: unknown = Reflect.get(target, name, receiver);
      const kind = { put: 'puts', list: 'puts', get: 'gets', head: 'gets' }[String(name)];
      if (typeof found !== 'function' || !kind) return found;
      return (...given: unknown[]) => {
        count[kind as 'puts' | 'gets'] += 1;
        return found.apply(target, given);
      };
    },
  });

/** Tells `heard` each event once it is committed, and `folded` each item of the log. */
function streaming(
  table: Table,
  seen: Table,
  heard: (told: Told) => void,
  folded: (item: Item) => void,
): Table {
  return {
    ...table,
    async commit(asked, writes, event, options) {
      await table.commit(asked, writes, event, options);
      for (const write of writes)
        if ('put' in write && write.put.sk.startsWith('LOG#')) folded(write.put);
      if (!event) return;
      let after: string | undefined;
      let newest: Told | undefined;
      do {
        const page = await seen.entries(asked, event.subject, after);
        newest = page.entries.at(-1) ?? newest;
        after = page.next;
      } while (after !== undefined);
      if (newest) heard(newest);
    },
  };
}

/** Steps that do nothing but leave their result, as the launcher does. */
function replayed() {
  const specs = new Map<string, JobSpec>();
  const jobs: Jobs = {
    submit: () => Promise.reject(new Error('machines start jobs')),
    async prepare(_call, spec) {
      specs.set(spec.name, spec);
      return { job: spec.name };
    },
    describe: async (_call, name) => ({ name, state: 'succeeded', metrics: [] }),
    stop: async () => undefined,
    logs: async () => ({ lines: [], next: '' }),
  };
  async function run(args: Json): Promise<Json> {
    count.steps += 1;
    const { job } = args as { job: string };
    const file = JSON.parse(await readFile(specs.get(job)?.command[1] ?? '', 'utf8'));
    await mkdir(dirname(file.result), { recursive: true });
    const left = { format: 1, state: 'succeeded', exitCode: 0, error: '', artifacts: {} };
    await writeFile(file.result, JSON.stringify({ ...left, parameterValues: { out: 1 } }));
    return { job, state: 'succeeded' };
  }
  return { jobs, run };
}

let ask: (method: string, path: string, body?: unknown) => Promise<Record<string, never>>;
let quiet: () => Promise<void>;
/** Of all machines that were started since it was last asked. */
let statesEntered: () => Promise<number>;
let tick: () => Promise<unknown>;

beforeAll(async () => {
  const dynamo = await openDynamo();
  const client = meteredClient(dynamo.url);
  closing.push(dynamo.stop, async () => client.destroy());
  const unmetered = dynamoTable({ client: dynamo.client, table: 'core', world });
  const waiting: (() => Promise<void>)[] = [];
  const { jobs, run } = replayed();

  function heard(told: Told) {
    count.events += 1;
    for (const follower of app.followers) {
      if (follower.here || !hears(follower.hears, told.type)) continue;
      waiting.push(async () => {
        count.followers += 1;
        count.functions += 1;
        const asked = { ...call, requestId: told.id as never };
        await (follower.runMany ? follower.runMany(asked, [told]) : follower.run(asked, told));
      });
    }
  }
  const folded = (item: Item) => {
    for (const line of app.folders)
      if (item.sk.startsWith(line.prefix))
        waiting.push(async () => {
          count.folds += 1;
          count.functions += 1;
          await line.fold(call, [item]);
        });
  };
  const table = streaming(
    dynamoTable({ client, table: 'core', world }),
    ...([unmetered, heard, folded] as const),
  );
  const kept = openTable({ folder: join(folder, 'machines'), world, noSync: true });
  // Executions live in Step Functions and not in our table; what ends is told all the same.
  const machines = localMachines({
    table: streaming(kept, kept, heard, () => undefined),
    world,
    written: {
      'deploy-endpoint': JSON.parse(readFileSync('statemachines/deploy-endpoint.asl.json', 'utf8')),
    },
  });
  const started: [machine: string, execution: string][] = [];
  statesEntered = async () => {
    let entered = 0;
    for (const [machine, execution] of started.splice(0))
      for (const { type } of await machines.history(call, machine, execution))
        if (type.endsWith('StateEntered')) entered += 1;
    return entered;
  };
  const held = memoryEndpoints(new Map([['*', () => answer({ predictions: [1] })]]));
  const noted = {
    ...machines,
    start: (...given: Parameters<typeof machines.start>) => {
      started.push([given[1], given[2]]);
      return machines.start(...given);
    },
  };
  const secret = new Uint8Array(32).fill(7);
  const url = 'http://localhost';
  const platform: Platform = {
    ...{
      world,
      table,
      machines: noted,
      jobs,
      secret,
      url,
      artifacts: 'direct',
      endpoints: held.port,
    },
    blobs: meteredBlobs(openBlobs({ folder: join(folder, 'blobs'), world, secret, url })),
  };
  const app = buildApp(platform, { runsImage: () => ({ ok: true }) });
  const tasks = Object.fromEntries(
    Object.entries(app.tasks).map(([name, task]) => [
      name,
      async (asked: typeof call, input: Json) => {
        count.tasks += 1;
        count.functions += 1;
        return task(asked, input);
      },
    ]),
  );
  await machines.serve({
    tasks,
    functions: { [RUN_STEP]: async (_call, args) => run(args) },
    integrations: {},
    workspaces: [call.workspace],
  });
  closing.push(
    () => kept.close(),
    () => machines.close(),
  );
  const workspaces = workspacesRoom({ table, world }).service;
  const { token } = await workspaces.createToken(call, { name: 'ada' as never, role: 'admin' });
  const server = mount(app.routes, {
    ...app.hallway(undefined),
    guard: () => url,
    log: () => undefined,
    allow,
  });
  quiet = async () => {
    const end = Date.now() + 60_000;
    while (waiting.length > 0 || machines.running() > 0) {
      if (Date.now() > end) throw new Error('it never came to rest');
      const next = waiting.shift();
      if (next) await next();
      else await new Promise((done) => setImmediate(done));
    }
  };
  tick = () => app.rooms.triggers.tick(call);
  ask = async (method, path, body) => {
    world.pass(1);
    // The authorizer looks the token up, and the room's function answers.
    count.requests += 1;
    count.functions += 2;
    const answered = await server.request(`${url}${path}`, {
      method,
      headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answered.text();
    expect(answered.status, `${path}: ${text}`).toBe(200);
    return JSON.parse(text);
  };
});

const step = (name: string, after?: string) => ({
  cachingOptions: {},
  componentRef: { name: 'comp' },
  taskInfo: { name },
  inputs: {
    parameters: {
      given: after
        ? { taskOutputParameter: { producerTask: after, outputParameterKey: 'out' } }
        : { runtimeValue: { constant: 1 } },
    },
  },
  ...(after ? { dependentTasks: [after] } : {}),
});
const PIPELINE = {
  schemaVersion: '2.1.0',
  sdkVersion: 'kfp-2.14.0',
  pipelineInfo: { name: 'two' },
  root: { dag: { tasks: { first: step('first'), second: step('second', 'first') } } },
  components: {
    comp: {
      executorLabel: 'exec',
      inputDefinitions: { parameters: { given: { parameterType: 'NUMBER_INTEGER' } } },
      outputDefinitions: { parameters: { out: { parameterType: 'NUMBER_INTEGER' } } },
    },
  },
  deploymentSpec: {
    executors: { exec: { container: { image: 'python:3.11', command: ['step'] } } },
  },
};

/** What it comes to, one after the other; the same calls were made once before, so that nothing is made for the first time. */
async function measured(): Promise<Record<string, Counted>> {
  const found: Record<string, Counted> = {};
  const mlflow = (path: string, body: unknown) => ask('POST', `/api/2.0/mlflow/${path}`, body);
  const measure = async (name: string, work: () => Promise<unknown>) => {
    await work();
    await quiet();
    await statesEntered();
    count = { ...NONE };
    await work();
    await quiet();
    found[name] = { ...count, states: await statesEntered() };
  };
  const created = (await mlflow('runs/create', {
    experiment_id: '0',
    start_time: 1,
  })) as unknown as {
    run: { info: { run_id: string } };
  };
  const { run_id } = created.run.info;
  const points = (total: number) => ({
    run_id,
    metrics: Array.from({ length: total }, (_, at) => ({
      ...{ key: `metric-${at % 50}`, value: Math.sqrt(at), timestamp: world.now() + at, step: at },
    })),
  });
  await measure('log_batch of 1 metric', () => mlflow('runs/log-batch', points(1)));
  await measure('log_batch of 1,000 points', () => mlflow('runs/log-batch', points(1000)));
  await measure('get_run', () => ask('GET', `/api/2.0/mlflow/runs/get?run_id=${run_id}`));
  for (let more = 0; more < 99; more++)
    await mlflow('runs/create', { experiment_id: '0', start_time: more });
  await quiet();
  await measure('search of 100 runs', () =>
    mlflow('runs/search', {
      experiment_ids: ['0'],
      filter: 'metrics.`metric-0` > -1',
      max_results: 20,
    }),
  );
  await measure('create_run of 2 steps', () =>
    ask('POST', '/apis/v2beta1/runs', {
      display_name: 'a run',
      pipeline_spec: PIPELINE,
      runtime_config: {},
    }),
  );
  await mlflow('registered-models/create', { name: 'm' });
  await mlflow('model-versions/create', {
    ...{ name: 'm', run_id },
    source: `${(created.run.info as { artifact_uri?: string }).artifact_uri}/model`,
  });
  await ask('PUT', '/api/endpoints/m', { model: 'models:/m/1' });
  await quiet();
  await measure('predict', () => ask('POST', '/v1/models/m:predict', { instances: [[1, 2]] }));
  await measure('a tick of the clock', tick);
  return found;
}

test('each main call asks for what lib/calls.json says, from which the estimate is made (STILLFLOW_GOLDEN=1 writes it)', async () => {
  const found = await measured();
  if (process.env['STILLFLOW_GOLDEN'])
    writeFileSync(CALLS_FILE, `${JSON.stringify(found, null, 2)}\n`);
  expect(found).toEqual(readCalls());
}, 120_000);
