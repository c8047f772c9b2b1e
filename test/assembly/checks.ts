import { createHash } from 'node:crypto';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { systemCall } from '../../functions/kernel/call.ts';
import { DEFAULT_WORKSPACE } from '../../functions/kernel/ids.ts';
import { realWorld } from '../../functions/platform/aws/platform.ts';
import { dynamoTable } from '../../functions/platform/aws/table.ts';
import { ENTRY_PREFIX } from '../../functions/platform/records.ts';
import { workspacesRoom } from '../../functions/workspaces/index.ts';
import { readRooms } from '../../lib/rooms.ts';
import { REGION } from './stack/intrinsics.ts';
import { sign } from './stack/sigv4.ts';
import type { Stack } from './stack/stack.ts';
import { fields, list, text } from './stack/values.ts';

/** What a suite asks of a running stack: `deep` waits for it; each throws in words that name what is broken. */
export interface Check {
  readonly name: string;
  run(stack: Stack, token: string): Promise<void>;
}

const app = readRooms();
const DEADLINE_MS = 30_000;

/** The first token, by the deployer's own credentials, as `npm run token:aws` makes it. */
export async function firstToken(stack: Stack): Promise<string> {
  const client = new DynamoDBClient({
    endpoint: stack.gateway,
    region: REGION,
    credentials: credentialsOf(stack),
  });
  const table = dynamoTable({
    client,
    table: text(stack.outputs['stillflow-data.TableName']),
    world: realWorld,
  });
  const { service } = workspacesRoom({ table, world: realWorld });
  const call = systemCall(DEFAULT_WORKSPACE, 'deployer', 'token', realWorld.now() + 30_000);
  return (await service.createToken(call, { name: 'suite', role: 'admin' })).token;
}

export const credentialsOf = ({ access }: Stack) => ({
  accessKeyId: access.admin.keys.accessKeyId,
  secretAccessKey: access.admin.keys.secretAccessKey,
});

/** What it finds once it finds it. What is denied meanwhile ends the wait: nothing that a suite waits for may be. */
export async function until<T>(
  stack: Stack,
  what: string,
  find: () => T | undefined | false | Promise<T | undefined | false>,
  deadlineMs = DEADLINE_MS,
): Promise<T> {
  const last = Date.now() + deadlineMs;
  for (;;) {
    const found = await find();
    if (found) return found;
    if (stack.access.denials.length) throw new Error(`${what}: denied${refusals(stack)}`);
    if (Date.now() > last)
      throw new Error(`${what}: not within ${deadlineMs} ms${refusals(stack)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** What was denied and what failed so far, one a line. */
export function refusals({ access, host }: Stack): string {
  const denied = access.denials.map(
    ({ who, action, resource }) => `\n  denied: ${who} may not ${action} on ${resource}`,
  );
  const failed = host.failures.map(
    ({ at, errorType, errorMessage }) => `\n  failed: ${at}: ${errorType}: ${errorMessage}`,
  );
  return [...new Set([...denied, ...failed])].join('');
}

/** A request with a token; the answer's JSON, or an error with its words. */
export async function ask(
  stack: Stack,
  token: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<unknown> {
  const bytes = body instanceof Uint8Array || typeof body === 'string';
  const answer = await fetch(`${stack.outputs['stillflow-api.Url']}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': bytes ? 'text/csv' : 'application/json',
    },
    ...(body === undefined ? {} : { body: bytes ? (body as string) : JSON.stringify(body) }),
  });
  const said = await answer.text();
  if (!answer.ok)
    throw new Error(`${method} ${path}: ${answer.status} ${said.slice(0, 300)}${refusals(stack)}`);
  return said === '' ? undefined : JSON.parse(said);
}

/** Puts an object past us, as anybody with rights on the bucket may. */
export async function drop(stack: Stack, key: string, body: string): Promise<void> {
  const path = `/${stack.outputs['stillflow-data.BucketName']}/${key}`;
  const content = createHash('sha256').update(body).digest('hex');
  const headers = { host: new URL(stack.gateway).host };
  const scope = { region: REGION, service: 's3', now: new Date(), content };
  const signed = sign({ method: 'PUT', url: path, headers }, credentialsOf(stack), scope);
  const answer = await fetch(stack.gateway + path, { method: 'PUT', headers: signed, body });
  if (!answer.ok) throw new Error(`PUT ${key}: ${answer.status} ${await answer.text()}`);
}

/** A path of a route as a client asks for it. */
const sample = (path: string) => path.replace(/\{\w+\*\}/, 'a/b').replace(/\{\w+\}/g, 'v-1');

const followerRules = Object.values(app.rooms).flatMap(({ followers }) =>
  followers.filter(({ here }) => !here),
);

/** Every function, some at once: 47 cold starts. `only` names those that a test cares for. */
export const everyFunctionStarts = (only = ''): Check => ({
  name: 'every function starts',
  async run({ host }) {
    // The deployment's own function carries the AWS CLI for another processor; the stack does its work itself.
    const waiting = host.functions.filter(
      ({ at }) => at.includes(only) && !at.includes('CustomCDKBucketDeployment'),
    );
    const wrong: string[] = [];
    const lane = async () => {
      for (let next = waiting.shift(); next; next = waiting.shift())
        await host.initialise(next).catch((error: unknown) => wrong.push(String(error)));
    };
    await Promise.all([lane(), lane()]);
    if (wrong.length) throw new Error(`functions that do not start:\n${wrong.join('\n')}`);
  },
});

/** Nobody's request is refused in a protocol's own words; only the gateway itself says `Not Found` without an id. */
export const everyRouteIsAnswered: Check = {
  name: 'every route reaches a room',
  async run({ outputs }) {
    const wrong: string[] = [];
    for (const { method, path } of app.routes) {
      const answer = await fetch(`${outputs['stillflow-api.Url']}${sample(path)}`, {
        method,
        redirect: 'manual',
      });
      await answer.arrayBuffer();
      if (!answer.headers.has('x-request-id'))
        wrong.push(`${method} ${path}: ${answer.status} from the gateway`);
    }
    if (wrong.length) throw new Error(`routes that reach no room:\n${wrong.join('\n')}`);
  },
};

/** A little of each room's daily work; nothing may be denied on the way. */
export const dailyWork: Check = {
  name: 'daily work is granted',
  async run(stack, token) {
    const post = (path: string, body: unknown) =>
      ask(stack, token, 'POST', `/api/2.0/mlflow/${path}`, body);
    const name = `work-${Date.now()}`;
    const { experiment_id } = fields(await post('experiments/create', { name }));
    const { run } = fields(await post('runs/create', { experiment_id }));
    const run_id = text(fields(fields(run)['info'])['run_id']);
    const metrics = [{ key: 'worst', value: 1, timestamp: 1, step: 0 }];
    await post('runs/log-batch', { run_id, metrics, params: [{ key: 'depth', value: '3' }] });
    await post('runs/search', { experiment_ids: [experiment_id], filter: 'metrics.worst = 1' });
    await ask(stack, token, 'PUT', `/api/data/work/${name}.csv`, 'x,y\n1,2\n');
    await post('registered-models/create', { name });
    const source = text(fields(fields(run)['info'])['artifact_uri']);
    await post('model-versions/create', { name, source: `${source}/model`, run_id });
    await post('registered-models/alias', { name, alias: 'champion', version: '1' });
    for (const path of [
      '/apis/v2beta1/pipelines',
      '/api/endpoints',
      '/api/rules',
      '/api/retrainings',
      '/api/tokens',
    ])
      await ask(stack, token, 'GET', path);
    await ask(stack, token, 'PUT', `/api/rules/${name}`, {
      on: { data: { prefix: `nowhere-${name}/` } },
      start: {
        machine: 'retraining',
        pipeline: 'none',
        parameters: {},
        gate: { model: name, metric: 'worst', direction: 'lower', version: 'register.Output' },
      },
    }).catch((error: unknown) => {
      if (!/ 40[04] /.test(String(error))) throw error; // the pipeline is not there, which it says
    });
    await until(stack, 'registry.alias.set on the bus', () =>
      stack.buses.heard.some(
        ({ detailType, detail }) =>
          detailType === 'registry.alias.set' && JSON.stringify(detail).includes(name),
      ),
    );
    if (stack.access.denials.length) throw new Error(`daily work was denied:${refusals(stack)}`);
  },
};

/** Each follower's function is invoked by an event that it hears. */
export const everyFollowerHears: Check = {
  name: 'every follower hears its events',
  async run(stack) {
    const functionOf = (name: string) =>
      stack.host.functions.find(({ environment }) => environment['STILLFLOW_FOLLOWER'] === name);
    for (const { name, hears } of followerRules) {
      const spec = functionOf(name);
      if (!spec) throw new Error(`there is no function of the follower ${name}`);
      const before = stack.host.calls(spec.at);
      const type = text(hears[0]).replace('*', 'suite.heard');
      // Of another workspace, where it finds nothing to do.
      const told = {
        id: `01SUITE${name}`,
        type,
        subject: 'suite/none',
        workspace: 'nobody00',
        caller: 'suite:run',
        action: 'suite:run',
        requestId: 'suite',
        at: Date.now(),
        data: {},
        sequence: 0,
        previous: '',
        hash: '',
      };
      stack.buses.emit('stillflow', { source: 'stillflow', detailType: type, detail: told });
      await until(
        stack,
        `the follower ${name} (rule, target, queue, mapping) hears ${type}`,
        () => stack.host.calls(spec.at) > before,
        15_000,
      );
    }
  },
};

/** S3 tells EventBridge, a rule tells a function, the function tells our bus. */
export const dropIsTold: Check = {
  name: 'a file put into the bucket is told',
  async run(stack) {
    const path = `suite/${Date.now()}.csv`;
    await drop(stack, `default0/data/${path}`, 'x,y\n1,2\n');
    await until(
      stack,
      `artifacts.data.arrived for ${path}, by the S3 notification of ${stack.outputs['stillflow-data.BucketName']} and its rule`,
      () =>
        stack.buses.heard.some(
          ({ detailType, detail }) =>
            detailType === 'artifacts.data.arrived' && JSON.stringify(detail).includes(path),
        ),
      15_000,
    );
  },
};

/** Each reader of the table's stream is given what it filters for, and nothing else: Lambda bills the rest. */
export const readersGetTheirOwn: Check = {
  name: 'the readers of the stream get their own records',
  async run(stack, token) {
    await dailyWork.run(stack, token);
    const folders = Object.values(app.rooms).flatMap(({ folders }) =>
      folders.map(({ prefix }) => prefix),
    );
    const wanted: Record<string, readonly string[]> = { relay: [ENTRY_PREFIX], compactor: folders };
    for (const [reader, prefixes] of Object.entries(wanted)) {
      const own = () =>
        stack.mappings.given.filter(({ at }) => at.startsWith(`stillflow-events/${reader}`));
      await until(stack, `the ${reader} is given a record of the stream`, () => own().length > 0);
      for (const { at, record } of own()) {
        const key = text(fields(fields(fields(fields(record)['dynamodb'])['Keys'])['sk'])['S']);
        if (!prefixes.some((prefix) => key.startsWith(prefix)))
          throw new Error(
            `the stream filter of ${at} lets ${key} through; it is for ${prefixes.join(', ')}`,
          );
      }
    }
  },
};

/** Each schedule may invoke what it is for, and that runs. */
export const schedulesRun: Check = {
  name: 'every schedule runs its function',
  async run(stack) {
    for (const at of stack.schedules.all) {
      const before = stack.host.failures.length + stack.access.denials.length;
      await stack.schedules.fire(at);
      if (stack.host.failures.length + stack.access.denials.length > before)
        throw new Error(`the schedule ${at} did not run:${refusals(stack)}`);
    }
  },
};

/** Each written machine may invoke what its definition names. */
export const machinesMay: Check = {
  name: 'every written machine may call what it names',
  async run(stack) {
    for (const { at, properties } of stack.account.of('AWS::StepFunctions::StateMachine')) {
      const caller = stack.states.roleOf(text(properties['StateMachineName']));
      for (const [, name = ''] of text(properties['DefinitionString']).matchAll(
        /"FunctionName":"([\w-]+)"/g,
      )) {
        const spec = stack.host.find(name);
        if (!spec) throw new Error(`${at} invokes ${name}, which is not deployed`);
        if (!stack.access.may(caller, { action: 'lambda:InvokeFunction', resource: spec.arn }))
          throw new Error(`${at} may not lambda:InvokeFunction on ${name}`);
      }
    }
    if (!list(stack.account.of('AWS::StepFunctions::StateMachine')).length)
      throw new Error('there is no machine');
  },
};
