import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ASSUMED, MONTH_SECONDS, PRICES } from './prices.ts';

/** What a call asks of the account, counted by test/aws/calls.test.ts; table units as DynamoDB says them. */
export interface Counted {
  /** Of the HTTP API. */
  readonly requests: number;
  /** Calls of functions: authorizer and room of each request, followers, folds and tasks. */
  readonly functions: number;
  readonly followers: number;
  readonly tasks: number;
  /** Steps of pipelines, each in the zip runner. */
  readonly steps: number;
  readonly folds: number;
  readonly reads: number;
  readonly writes: number;
  readonly gets: number;
  readonly puts: number;
  readonly states: number;
  readonly events: number;
}

export const CALLS_FILE = join(import.meta.dirname, 'calls.json');
export const readCalls = (): Record<string, Counted> =>
  JSON.parse(readFileSync(CALLS_FILE, 'utf8'));
/** Among the calls: what the clock does each minute, asked by nobody. */
export const TICK = 'a tick of the clock';

export interface Resource {
  readonly Type: string;
  readonly Properties?: Readonly<Record<string, unknown>>;
}
/** Stack name to its template. */
export type Templates = Readonly<
  Record<string, { readonly Resources: Readonly<Record<string, Resource>> }>
>;

/** One line of what a deployment costs while nobody uses it. */
export interface IdleLine {
  readonly what: string;
  readonly count: number;
  /** How much of it a month, in words. */
  readonly basis: string;
  readonly dollars: number;
}

/** What is made once and billed by what it does, or not at all. */
const BY_USE = new Set([
  'AWS::ApiGatewayV2::Api',
  'AWS::ApiGatewayV2::Authorizer',
  'AWS::ApiGatewayV2::Integration',
  'AWS::ApiGatewayV2::Route',
  'AWS::ApiGatewayV2::Stage',
  'AWS::Events::EventBus',
  'AWS::Events::Rule',
  'AWS::IAM::Policy',
  'AWS::IAM::Role',
  'AWS::Lambda::Alias',
  'AWS::Lambda::Function',
  'AWS::Lambda::LayerVersion',
  'AWS::Lambda::Permission',
  'AWS::Lambda::Url',
  'AWS::Lambda::Version',
  'AWS::S3::BucketPolicy',
  'AWS::SNS::Topic',
  'AWS::SNS::TopicPolicy',
  'AWS::SQS::Queue',
  'AWS::SQS::QueuePolicy',
  'AWS::StepFunctions::StateMachine',
  'AWS::StepFunctions::StateMachineAlias',
  'AWS::StepFunctions::StateMachineVersion',
  'AWS::CodeBuild::Project',
  'AWS::ECR::PullThroughCacheRule',
  'AWS::CloudFormation::CustomResource',
  'AWS::CDK::Metadata',
  'Custom::CDKBucketDeployment',
]);
/** Billed a month, or by something that goes on while nobody asks; each has its line. */
const WITH_A_LINE = new Set([
  'AWS::CloudWatch::Alarm',
  'AWS::CloudWatch::Dashboard',
  'AWS::DynamoDB::GlobalTable',
  'AWS::KMS::Key',
  'AWS::Lambda::EventSourceMapping',
  'AWS::Logs::LogGroup',
  'AWS::S3::Bucket',
  'AWS::Scheduler::Schedule',
  'AWS::SecretsManager::Secret',
]);
/** What makes one of these types bill by the hour. */
const HOURLY =
  /^(ProvisionedConcurrencyConfig|ProvisionedConcurrentExecutions|ProvisionedPollerConfig|ProvisionedThroughput|WriteProvisionedThroughputSettings|VpcConfig|SnapStart)$/;

interface Placed extends Resource {
  readonly at: string;
}

const placed = (templates: Templates): Placed[] =>
  Object.entries(templates).flatMap(([stack, { Resources }]) =>
    Object.entries(Resources).map(([id, resource]) => ({ ...resource, at: `${stack}/${id}` })),
  );

/** What is not known to be billed by use alone, or is known to be billed by the hour: one line a finding. */
export function unpriced(templates: Templates): string[] {
  return placed(templates).flatMap(({ at, Type, Properties }) => {
    if (!BY_USE.has(Type) && !WITH_A_LINE.has(Type))
      return [`${at}: nobody has said what ${Type} costs while it stands; see lib/estimate.ts`];
    return [...fieldsOf(Properties)]
      .filter((name) => HOURLY.test(name))
      .map((name) => `${at}: ${Type} with ${name} is billed by the hour`);
  });
}

function* fieldsOf(value: unknown): Generator<string> {
  if (typeof value !== 'object' || value === null) return;
  for (const [name, inner] of Object.entries(value)) {
    if (!Array.isArray(value)) yield name;
    yield* fieldsOf(inner);
  }
}

const millions = (count: number, each: number) => (count / 1_000_000) * each;
const beyond = (count: number, free: number) => Math.max(0, count - free);

type Free = Readonly<Record<keyof typeof PRICES.free, number>>;
/** For an account that has used up elsewhere what AWS gives it. */
export const NOTHING_FREE = Object.fromEntries(
  Object.keys(PRICES.free).map((name) => [name, 0]),
) as Free;

/** What it costs a month while nobody asks anything and nothing is kept. Throws naming what it has no price for. */
export function idleLines(
  templates: Templates,
  free: Free = PRICES.free,
  calls = readCalls(),
): IdleLine[] {
  const without = unpriced(templates);
  if (without.length > 0) throw new Error(without.join('\n'));
  const all = placed(templates);
  const of = (type: string) => all.filter(({ Type }) => Type === type);
  const { month, million } = PRICES;
  const ticks = of('AWS::Scheduler::Schedule').reduce((sum, { at, Properties }) => {
    return sum + callsAMonth(at, String(Properties?.['ScheduleExpression'] ?? ''));
  }, 0);
  const queues = of('AWS::Lambda::EventSourceMapping').filter(({ Properties }) =>
    readsQueue(Properties),
  );
  const polls = (MONTH_SECONDS / ASSUMED.pollSeconds) * ASSUMED.pollers * queues.length;
  const alarms = of('AWS::CloudWatch::Alarm').length;
  const dashboards = of('AWS::CloudWatch::Dashboard').length;
  const keys = of('AWS::KMS::Key').length;
  const secrets = of('AWS::SecretsManager::Secret').length;
  const groups = of('AWS::Logs::LogGroup');
  const forever = groups.filter(({ Properties }) => Properties?.['RetentionInDays'] === undefined);
  const logGb = (ticks * ASSUMED.logBytes) / 1e9;
  const tick = calls[TICK];
  const line = (what: string, count: number, basis: string, dollars: number): IdleLine => ({
    what,
    count,
    basis,
    dollars,
  });
  return [
    line(
      'alarms',
      alarms,
      `${beyond(alarms, free.alarms)} beyond ${free.alarms} free`,
      beyond(alarms, free.alarms) * month.alarm,
    ),
    line(
      'queues that Lambda polls',
      queues.length,
      `${count(polls)} empty polls, ${count(free.queueRequests)} free`,
      millions(beyond(polls, free.queueRequests), million.queueRequests),
    ),
    line(
      'schedules',
      of('AWS::Scheduler::Schedule').length,
      `${count(ticks)} calls of a function`,
      millions(beyond(ticks, free.scheduledCalls), million.scheduledCalls) +
        functionDollars(ticks, ASSUMED.milliseconds.tick, tickMemory(all), free),
    ),
    line(
      'table',
      of('AWS::DynamoDB::GlobalTable').length,
      `the clock reads ${count(ticks * (tick?.reads ?? 0))} and writes ${count(ticks * (tick?.writes ?? 0))} units`,
      millions(ticks * (tick?.reads ?? 0), million.tableReads) +
        millions(ticks * (tick?.writes ?? 0), million.tableWrites),
    ),
    line(
      'log groups',
      groups.length,
      `${logGb.toFixed(3)} GB of the clock's own lines; ${forever.length} kept for ever`,
      logGb * (PRICES.gb.logsTaken + PRICES.gb.logsKept),
    ),
    line('keys of KMS', keys, 'each by the month', keys * month.key),
    line('secrets', secrets, 'each by the month', secrets * month.secret),
    line(
      'dashboards',
      dashboards,
      `${beyond(dashboards, free.dashboards)} beyond ${free.dashboards} free`,
      beyond(dashboards, free.dashboards) * month.dashboard,
    ),
    line('buckets', of('AWS::S3::Bucket').length, 'by what is kept', 0),
  ];
}

const readsQueue = (properties: Resource['Properties']): boolean =>
  properties?.['StartingPosition'] === undefined;

/** Of `rate(1 minute)` and `cron(5 * * * ? *)`, in a month of 30 days. Throws on a form that it cannot count. */
export function callsAMonth(at: string, expression: string): number {
  const [, number, unit] = /^rate\((\d+) (minute|hour|day)s?\)$/.exec(expression) ?? [];
  const seconds = { minute: 60, hour: 3_600, day: 86_400 } as const;
  if (number && unit)
    return MONTH_SECONDS / (Number(number) * seconds[unit as keyof typeof seconds]);
  if (/^cron\(\d+ \* \* \* \? \*\)$/.test(expression)) return MONTH_SECONDS / seconds.hour;
  if (/^cron\(\d+ \d+ \* \* \? \*\)$/.test(expression)) return MONTH_SECONDS / seconds.day;
  throw new Error(`${at}: how often is '${expression}'? see lib/estimate.ts`);
}

/** The functions with a clock are as large as all others of ours. */
const tickMemory = (all: readonly Placed[]): number => {
  const sizes = all.flatMap(({ Type, Properties }) =>
    Type === 'AWS::Lambda::Function' ? [Number(Properties?.['MemorySize'] ?? 128)] : [],
  );
  return sizes.sort((a, b) => a - b)[Math.floor(sizes.length / 2)] ?? 128;
};

function functionDollars(
  calls: number,
  milliseconds: number,
  memoryMb: number,
  free: Pick<Free, 'functionCalls' | 'functionGbSeconds'> = NOTHING_FREE,
): number {
  const gbSeconds = calls * (milliseconds / 1000) * (memoryMb / 1024);
  return (
    millions(beyond(calls, free.functionCalls), PRICES.million.functionCalls) +
    beyond(gbSeconds, free.functionGbSeconds) * PRICES.functionGbSecond
  );
}

/** What a thousand of each call cost, by part, without anything free. */
export interface CallLine {
  readonly call: string;
  readonly counted: Counted;
  readonly table: number;
  readonly functions: number;
  readonly api: number;
  readonly bytes: number;
  readonly flow: number;
  readonly dollars: number;
}

export function callLines(templates: Templates, calls = readCalls()): CallLine[] {
  const all = placed(templates);
  const memory = tickMemory(all);
  const stepMemory = all.find(
    ({ Type, Properties }) =>
      Type === 'AWS::Lambda::Function' && Properties?.['FunctionName'] === 'stillflow-run-step',
  )?.Properties?.['MemorySize'];
  return Object.entries(calls)
    .filter(([name]) => name !== TICK)
    .map(([call, counted]) => callLine(call, counted, memory, Number(stepMemory ?? memory)));
}

function callLine(call: string, counted: Counted, memoryMb: number, stepMb: number): CallLine {
  const { million } = PRICES;
  const ms = ASSUMED.milliseconds;
  const many = (count: number) => count * 1000;
  const run = (count: number, milliseconds: number, mb = memoryMb) =>
    functionDollars(many(count), milliseconds, mb);
  const table =
    millions(many(counted.reads), million.tableReads) +
    millions(many(counted.writes), million.tableWrites);
  const functions =
    run(counted.requests, ms.requests) +
    run(counted.requests, ms.authorizer) +
    run(counted.followers, ms.followers) +
    run(counted.folds, ms.folds) +
    // The relay hears each event, at worst one at a time.
    run(counted.events, ms.relay) +
    run(counted.tasks, ms.tasks) +
    run(counted.steps, ms.steps, stepMb);
  const api = millions(many(counted.requests), million.httpRequests);
  const bytes =
    millions(many(counted.gets), million.blobGets) + millions(many(counted.puts), million.blobPuts);
  const flow =
    millions(many(counted.states), million.states) +
    millions(many(counted.events), million.busEvents) +
    // Sent, received and deleted, at worst one at a time.
    millions(many(counted.followers * 3), million.queueRequests);
  return {
    call,
    counted,
    table,
    functions,
    api,
    bytes,
    flow,
    dollars: table + functions + api + bytes + flow,
  };
}

/** `10,368,000`. */
export const count = (value: number): string =>
  value.toLocaleString('en-US', { maximumFractionDigits: 1 });
