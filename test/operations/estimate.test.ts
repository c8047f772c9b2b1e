import { describe, expect, test } from 'vitest';
import {
  type Counted,
  callLines,
  callsAMonth,
  idleLines,
  NOTHING_FREE,
  type Resource,
  type Templates,
  TICK,
  unpriced,
} from '../../lib/estimate.ts';
import { PRICES } from '../../lib/prices.ts';

const stack = (Resources: Record<string, Resource>): Templates => ({
  'stillflow-tiny': { Resources },
});
const alarms = (count: number) =>
  Object.fromEntries(
    Array.from({ length: count }, (_, at) => [`A${at}`, { Type: 'AWS::CloudWatch::Alarm' }]),
  );
const none: Counted = {
  ...{ requests: 0, functions: 0, followers: 0, tasks: 0, steps: 0, folds: 0 },
  ...{ reads: 0, writes: 0, gets: 0, puts: 0, states: 0, events: 0 },
};
const lambda = (MemorySize: number, FunctionName?: string): Resource => ({
  Type: 'AWS::Lambda::Function',
  Properties: { MemorySize, ...(FunctionName ? { FunctionName } : {}) },
});

/** Twelve alarms, two queues and a stream that Lambda reads, a clock every five minutes, a key. */
const TINY = stack({
  ...alarms(12),
  Key: { Type: 'AWS::KMS::Key' },
  Table: { Type: 'AWS::DynamoDB::GlobalTable', Properties: { BillingMode: 'PAY_PER_REQUEST' } },
  One: { Type: 'AWS::Lambda::EventSourceMapping', Properties: { EventSourceArn: 'queue' } },
  Two: { Type: 'AWS::Lambda::EventSourceMapping', Properties: { EventSourceArn: 'queue' } },
  Stream: {
    Type: 'AWS::Lambda::EventSourceMapping',
    Properties: { EventSourceArn: 'stream', StartingPosition: 'TRIM_HORIZON' },
  },
  Clock: {
    Type: 'AWS::Scheduler::Schedule',
    Properties: { ScheduleExpression: 'rate(5 minutes)' },
  },
  Run: lambda(2048),
});

describe('idle', () => {
  const dollarsOf = (lines: ReturnType<typeof idleLines>) =>
    Object.fromEntries(lines.map(({ what, dollars }) => [what, Number(dollars.toFixed(6))]));

  test('the figures of a tiny template, by hand', () => {
    expect(
      dollarsOf(idleLines(TINY, undefined, { [TICK]: { ...none, reads: 2, writes: 1 } })),
    ).toEqual({
      alarms: 0.2, // 12 - 10 free, at $0.10
      // 2 queues x 5 at a time x 2,592,000 s / 20 s = 1,296,000; less a million, at $0.40 a million
      'queues that Lambda polls': 0.1184,
      schedules: 0, // 8,640 calls of 0.1 s at 2 GB are free
      table: 0.00756, // 8,640 x (2 x $0.125 + 1 x $0.625) a million
      'log groups': 0.002748, // 8,640 x 600 bytes = 0.005184 GB, at $0.53 taken in and kept
      'keys of KMS': 1,
      ...{ secrets: 0, dashboards: 0, buckets: 0 },
    });
  });

  test('the same where nothing is free any more', () => {
    expect(dollarsOf(idleLines(TINY, NOTHING_FREE, {}))).toMatchObject({
      alarms: 1.2,
      'queues that Lambda polls': 0.5184,
      // 8,640 calls: $1 a million scheduled, $0.20 a million called, 1,728 GB-seconds at $0.0000133334
      schedules: 0.033408,
    });
  });

  test.each([
    ['rate(1 minute)', 43_200],
    ['rate(5 minutes)', 8_640],
    ['rate(1 day)', 30],
    ['cron(5 * * * ? *)', 720],
    ['cron(5 2 * * ? *)', 30],
  ])('%s is %d calls in 30 days', (expression, calls) => {
    expect(callsAMonth('x', expression)).toBe(calls);
  });
  test('an expression that it cannot count is an error that names the schedule', () => {
    expect(() => callsAMonth('stillflow-tiny/Clock', 'cron(0/7 1-3 ? * MON *)')).toThrow(
      /stillflow-tiny\/Clock: how often/,
    );
  });
});

describe('what has no price turns it red, by name', () => {
  const planted: [Type: string, Properties?: Record<string, unknown>][] = [
    ['AWS::EC2::NatGateway'],
    ['AWS::EC2::Instance'],
    ['AWS::SageMaker::Endpoint'],
    ['AWS::SageMaker::NotebookInstance'],
    ['AWS::ElasticLoadBalancingV2::LoadBalancer'],
    ['AWS::RDS::DBInstance'],
    ['AWS::DynamoDB::Table'],
  ];
  test.each(planted)('a planted %s', (Type) => {
    const templates = stack({ Planted: { Type } });
    expect(unpriced(templates)).toEqual([
      expect.stringContaining(`stillflow-tiny/Planted: nobody has said what ${Type}`),
    ]);
    expect(() => idleLines(templates)).toThrow(Type);
  });

  test.each([
    [
      'AWS::Lambda::Alias',
      { ProvisionedConcurrencyConfig: { ProvisionedConcurrentExecutions: 1 } },
    ],
    ['AWS::Lambda::Function', { VpcConfig: { SubnetIds: ['s'] } }],
    ['AWS::Lambda::EventSourceMapping', { ProvisionedPollerConfig: { MinimumPollers: 1 } }],
    ['AWS::DynamoDB::GlobalTable', { WriteProvisionedThroughputSettings: {} }],
  ])('%s that is billed by the hour', (Type, Properties) => {
    const found = unpriced(stack({ Planted: { Type, Properties } }));
    expect(found.length).toBeGreaterThan(0);
    expect(found[0]).toMatch(/stillflow-tiny\/Planted: .* is billed by the hour/);
  });

  test('nothing of the tiny template', () => expect(unpriced(TINY)).toEqual([]));
});

test('a thousand calls of each part, by hand', () => {
  const templates = stack({
    ...{ A: lambda(1024), B: lambda(1024) },
    Step: lambda(2048, 'stillflow-run-step'),
  });
  const of = (counted: Partial<Counted>) => {
    const [line] = callLines(templates, { x: { ...none, ...counted }, [TICK]: none });
    if (!line) throw new Error('no line');
    const { table, functions, api, bytes, flow, dollars } = line;
    expect(dollars).toBeCloseTo(table + functions + api + bytes + flow, 12);
    return [table, functions, api, bytes, flow].map((each) => Number(each.toFixed(8)));
  };
  expect(of({ reads: 4, writes: 2 })).toEqual([0.00175, 0, 0, 0, 0]); // 4,000 x .125 + 2,000 x .625 a million
  expect(of({ gets: 3, puts: 1 })).toEqual([0, 0, 0, 0.0062, 0]); // 3,000 x .4 + 1,000 x 5 a million
  expect(of({ states: 22 })).toEqual([0, 0, 0, 0, 0.55]); // 22,000 x $25 a million
  // Two calls at 1 GB, 60 and 15 ms: 75 GB-seconds and 2 x 1,000 x .2 a million; the API $1 a million
  expect(of({ requests: 1 })).toEqual([0, 0.00140001, 0.001, 0, 0]);
  // 5 s at 2 GB: 10,000 GB-seconds, and 1,000 x .2 a million
  expect(of({ steps: 1 })).toEqual([0, 0.133534, 0, 0, 0]);
  // The bus $1 a million, and the relay's 50 ms
  expect(of({ events: 1 })).toEqual([0, 0.00086667, 0, 0, 0.001]);
  // Three requests of its queue, and 100 ms
  expect(of({ followers: 1 })).toEqual([0, 0.00153334, 0, 0, 0.0012]);
});

test('prices are dated, and none is nought', () => {
  expect(PRICES.asOf).toMatch(/^[A-Z][a-z]+ 20\d\d$/);
  const leaves = (value: unknown): unknown[] =>
    typeof value === 'object' && value !== null ? Object.values(value).flatMap(leaves) : [value];
  for (const value of leaves(PRICES)) expect(value).toBeTruthy();
});
