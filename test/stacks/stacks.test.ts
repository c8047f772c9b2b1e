import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { App, Stack, Validations } from 'aws-cdk-lib';
import { PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { AwsSolutionsChecks } from 'cdk-nag';
import { expect, test } from 'vitest';
import { ACKNOWLEDGED, acknowledge } from '../../lib/acknowledged.ts';
import { detailTypes } from '../../lib/events.ts';
import { LARGEST_LAYER_BYTES, layerFolder, layerLock, sizeBelow } from '../../lib/layers.ts';
import { readRooms } from '../../lib/rooms.ts';
import {
  type Check,
  dataIsClosed,
  dataIsKept,
  failuresAreHeard,
  grantsAreNarrow,
  nothingByTheHour,
  roomsStayApart,
  routesAreMounted,
  statements,
} from './checks.ts';
import {
  property,
  type Resource,
  resources,
  synthesize,
  type Templates,
  text,
} from './templates.ts';

const { rooms } = readRooms();
const { templates, folder } = synthesize();
const checks: Record<string, Check> = {
  nothingByTheHour,
  dataIsKept,
  dataIsClosed,
  failuresAreHeard,
  grantsAreNarrow,
  roomsStayApart: roomsStayApart(rooms),
  routesAreMounted: routesAreMounted(rooms),
};

test.each(Object.keys(checks))('%s holds for what is deployed', (name) => {
  expect(checks[name]?.(templates)).toEqual([]);
});

// ---------------------------------------------------------------- planted faults

type Mutable = Record<
  string,
  { Resources: Record<string, Resource & { Properties: Record<string, unknown> }> }
>;
const first = (planted: Mutable, type: string, id = '') => {
  const found = Object.values(planted)
    .flatMap(({ Resources }) => Object.entries(Resources))
    .find(([name, resource]) => resource.Type === type && name.startsWith(id));
  if (!found) throw new Error(`nothing of ${type} to plant a fault in`);
  return found[1];
};
const drop = (planted: Mutable, type: string) => {
  for (const { Resources } of Object.values(planted)) {
    const id = Object.keys(Resources).find((name) => Resources[name]?.Type === type);
    if (id) {
      delete Resources[id];
      return;
    }
  }
};
const widen = (planted: Mutable, id: string, statement: object) => {
  const policy = first(planted, 'AWS::IAM::Policy', id);
  (policy.Properties['PolicyDocument'] as { Statement: object[] }).Statement.push(statement);
};
const add = (planted: Mutable, resource: object) => {
  const data = planted['stillflow-data'];
  if (data) data.Resources['Planted'] = resource as never;
};

const faults: [string, string, (planted: Mutable) => void][] = [
  [
    'dataIsKept',
    'a bucket without retention',
    (planted) => {
      Object.assign(first(planted, 'AWS::S3::Bucket'), { DeletionPolicy: 'Delete' });
    },
  ],
  [
    'dataIsKept',
    'a table without protection',
    (planted) => {
      const [replica] = first(planted, 'AWS::DynamoDB::GlobalTable').Properties[
        'Replicas'
      ] as Record<string, unknown>[];
      if (replica) replica['DeletionProtectionEnabled'] = false;
    },
  ],
  [
    'dataIsClosed',
    'a bucket open to the public',
    (planted) => {
      first(planted, 'AWS::S3::Bucket').Properties['PublicAccessBlockConfiguration'] = {};
    },
  ],
  [
    'dataIsClosed',
    'a second function URL',
    (planted) =>
      add(planted, { Type: 'AWS::Lambda::Url', Properties: { InvokeMode: 'RESPONSE_STREAM' } }),
  ],
  [
    'nothingByTheHour',
    'a NAT gateway',
    (planted) => add(planted, { Type: 'AWS::EC2::NatGateway', Properties: {} }),
  ],
  [
    'nothingByTheHour',
    'a table with provisioned throughput',
    (planted) => {
      first(planted, 'AWS::DynamoDB::GlobalTable').Properties['BillingMode'] = 'PROVISIONED';
    },
  ],
  [
    'nothingByTheHour',
    'a Lambda in a network of its own',
    (planted) => {
      first(planted, 'AWS::Lambda::Function').Properties['VpcConfig'] = {};
    },
  ],
  ['failuresAreHeard', 'an alarm less', (planted) => drop(planted, 'AWS::CloudWatch::Alarm')],
  [
    'failuresAreHeard',
    'a queue without dead letters',
    (planted) => {
      for (const { Resources } of Object.values(planted))
        for (const one of Object.values(Resources))
          if (one.Type === 'AWS::SQS::Queue') delete one.Properties['RedrivePolicy'];
    },
  ],
  [
    'grantsAreNarrow',
    'a grant on everything',
    (planted) =>
      widen(planted, 'trackinghttp', { Effect: 'Allow', Action: 's3:GetObject', Resource: '*' }),
  ],
  [
    'grantsAreNarrow',
    'a grant of everything',
    (planted) =>
      widen(planted, 'trackinghttp', { Effect: 'Allow', Action: 'dynamodb:*', Resource: 'arn' }),
  ],
  [
    'grantsAreNarrow',
    'a role passed to anyone',
    (planted) =>
      widen(planted, 'pipelineshttp', { Effect: 'Allow', Action: 'iam:PassRole', Resource: 'arn' }),
  ],
  [
    'roomsStayApart',
    'tracking that may start a job',
    (planted) =>
      widen(planted, 'trackinghttp', {
        Effect: 'Allow',
        Action: 'sagemaker:CreateTrainingJob',
        Resource: 'arn',
      }),
  ],
  [
    'roomsStayApart',
    'a follower of the registry that may start a machine',
    (planted) =>
      widen(planted, 'registrysweepfollower', {
        Effect: 'Allow',
        Action: 'states:StartExecution',
        Resource: 'arn',
      }),
  ],
  ['routesAreMounted', 'a route less', (planted) => drop(planted, 'AWS::ApiGatewayV2::Route')],
  [
    'routesAreMounted',
    'a route without a credential',
    (planted) => {
      first(planted, 'AWS::ApiGatewayV2::Route').Properties['AuthorizationType'] = 'NONE';
    },
  ],
  [
    'routesAreMounted',
    'an authorizer that remembers',
    (planted) => {
      first(planted, 'AWS::ApiGatewayV2::Authorizer').Properties['AuthorizerResultTtlInSeconds'] =
        300;
    },
  ],
];

test.each(faults)('%s turns red for %s', (name, _what, plant) => {
  const planted = structuredClone(templates) as unknown as Mutable;
  plant(planted);
  expect(checks[name]?.(planted as Templates)).not.toEqual([]);
});

// ---------------------------------------------------------------- cdk-nag

test('cdk-nag fails the synth for a grant that nobody has a reason for', () => {
  const app = new App({ outdir: join(folder, 'nag') });
  const stack = new Stack(app, 'planted');
  const role = new Role(stack, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
  role.addToPolicy(new PolicyStatement({ actions: ['s3:*'], resources: ['arn:aws:s3:::b/*'] }));
  acknowledge(app);
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
  expect(() => app.synth()).toThrow(/[Vv]alidation/);
});

test('each acknowledgement has a reason of its own', () => {
  for (const { id, reason } of ACKNOWLEDGED) expect(reason.length, id).toBeGreaterThan(30);
  expect(new Set(ACKNOWLEDGED.map(({ id }) => id)).size).toBe(ACKNOWLEDGED.length);
});

// ---------------------------------------------------------------- what is derived from the rooms

test('each follower hears by a rule of its own what it says that it hears', () => {
  const rules = resources(templates, 'AWS::Events::Rule');
  const all = Object.values(rooms).flatMap(({ followers }) => followers);
  expect(all.length).toBeGreaterThan(5);
  expect(all.filter(({ here }) => here).map(({ name }) => name)).toEqual(['serving-routing']);
  for (const { name, hears, here } of all) {
    const rule = rules.find(({ id }) => id.startsWith(`${name.replaceAll('-', '')}rule`));
    // One that serves its own process only would do nothing behind a queue.
    if (here) expect(rule, name).toBeUndefined();
    if (here) continue;
    expect(rule && property(rule, 'EventPattern'), name).toEqual({
      source: ['stillflow'],
      'detail-type': detailTypes(hears),
    });
    expect(rule && text(property(rule, 'EventBusName'))).toMatch(/^\$\{Bus/);
  }
});

test('a room with a clock is ticked by a schedule: rules each minute, anchors each hour', () => {
  const schedules = resources(templates, 'AWS::Scheduler::Schedule');
  const found = schedules.map((one) => [
    property(one, 'ScheduleExpression'),
    text(property(one, 'Target', 'Arn')),
  ]);
  expect(found.sort()).toEqual([
    ['cron(5 * * * ? *)', expect.stringMatching(/hour/)],
    ['rate(1 minute)', expect.stringMatching(/tick/)],
  ]);
});

test('each task is a function that machines find by name, and may invoke', () => {
  const functions = resources(templates, 'AWS::Lambda::Function').map((one) =>
    property(one, 'FunctionName'),
  );
  const invoked = statements(templates)
    .filter(
      ({ role, actions }) =>
        role.startsWith('MachineRole') && actions.includes('lambda:InvokeFunction'),
    )
    .flatMap(({ resources: on }) => on);
  const tasks = Object.values(rooms).flatMap((room) => Object.keys(room.tasks));
  expect(tasks.length).toBeGreaterThan(5);
  for (const name of [...tasks, 'run-step'].map((task) => `stillflow-${task}`)) {
    expect(functions).toContain(name);
    expect(
      invoked.some((arn) => arn.endsWith(`:function:${name}`)),
      name,
    ).toBe(true);
  }
  expect(invoked).toHaveLength(tasks.length + 1);
});

test('no template holds a secret, an account or an address of this machine', () => {
  const all = JSON.stringify(templates);
  expect(all).not.toMatch(/sf_[a-z0-9]{8}|SecretString|password/i);
  expect(all).not.toContain(process.cwd());
  expect(all).not.toMatch(/arn:aws:[a-z]+:[a-z0-9-]*:\d{12}:/);
});

test('functions run on Node 24 and arm64, each with a log that ends', () => {
  for (const one of resources(templates, 'AWS::Lambda::Function')) {
    if (one.id.startsWith('CustomCDKBucketDeployment')) continue;
    expect(property(one, 'Runtime'), one.at).toBe(
      one.id.startsWith('RunStep') ? 'python3.13' : 'nodejs24.x',
    );
    expect(property(one, 'Architectures'), one.at).toEqual(['arm64']);
  }
  for (const logs of resources(templates, 'AWS::Logs::LogGroup'))
    expect(property(logs, 'RetentionInDays'), logs.at).toBe(30);
});

test('one URL streams, and as many requests at once as the context says', () => {
  expect(resources(templates, 'AWS::Lambda::Url')).toHaveLength(1);
  const reserved = (from: Templates) =>
    resources(from, 'AWS::Lambda::Function')
      .filter((one) => property(one, 'ReservedConcurrentExecutions') !== undefined)
      .map((one) => [one.id.slice(0, 5), property(one, 'ReservedConcurrentExecutions')]);
  expect(reserved(templates)).toEqual([]);
  expect(reserved(synthesize({ streamConcurrency: '20' }).templates)).toEqual([['front', 20]]);
  expect(() => synthesize({ streamConcurrency: 'many' })).toThrow('streamConcurrency');
});

test('a stack stays far below CloudFormation’s limit of 500 resources', () => {
  for (const [name, { Resources }] of Object.entries(templates))
    expect(Object.keys(Resources).length, name).toBeLessThan(300);
});

// ---------------------------------------------------------------- the layer

test('the layer fits a Lambda, holds kfp, and comes from pinned and hashed wheels', () => {
  expect(sizeBelow(layerFolder())).toBeLessThan(LARGEST_LAYER_BYTES);
  expect(existsSync(join(layerFolder(), 'python/kfp/dsl/executor_main.py'))).toBe(true);
  const lock = layerLock();
  expect(lock).toMatch(/^kfp==[\d.]+ --hash=sha256:/m);
  expect(lock).not.toMatch(/^scikit-learn|https?:/m);
});

test('a lock entry without a hash, or with a marker nobody reads, builds no layer', () => {
  expect(() => layerLock('kfp==2.17.0\n')).toThrow('does not pin and hash');
  const hash = `--hash=sha256:${'a'.repeat(64)}`;
  expect(() => layerLock(`kfp==2.17.0 ; extra == 'all' ${hash}\n`)).toThrow('marker');
  expect(
    layerLock(
      `a==1 ; python_full_version < '3.11' ${hash}\nb==2 ; python_full_version >= '3.12' ${hash}\n`,
    ),
  ).toBe(`b==2 ${hash}\n`);
});
