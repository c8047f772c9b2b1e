import {
  callLines,
  count,
  type IdleLine,
  idleLines,
  NOTHING_FREE,
  type Templates,
} from './estimate.ts';
import { ASSUMED, PRICES } from './prices.ts';

const dollars = (value: number): string => {
  if (value === 0) return '$0';
  return `$${value.toFixed(value < 0.01 ? 4 : value < 0.1 ? 3 : 2)}`;
};
const sumOf = (lines: readonly IdleLine[]): number =>
  lines.reduce((total, line) => total + line.dollars, 0);
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string[] => [
  `| ${head.join(' | ')} |`,
  `| ${head.map(() => '---').join(' | ')} |`,
  ...rows.map((row) => `| ${row.join(' | ')} |`),
];

/** docs/guides/cost.md, and what `npm run estimate` prints: one text, made from the templates and lib/calls.json. */
export function costPage(templates: Templates): string {
  const idle = idleLines(templates);
  const calls = callLines(templates);
  const { gb, month, free, million } = PRICES;
  const sum = sumOf(idle);
  const [largest] = [...idle].sort((a, b) => b.dollars - a.dollars);
  const ms = ASSUMED.milliseconds;
  return [
    '# What a deployment costs',
    '',
    '**An estimate, not run here.** Written by `npm run estimate` from the synthesised templates and from counted requests; a test fails when this page is not what it prints.',
    `Prices: list prices of ${PRICES.region}, ${PRICES.asOf}, in lib/prices.ts, from memory and documentation; nobody has looked at a bill. Check them, and those of your region.`,
    '',
    '## Idle, a month',
    '',
    `Nothing is billed by the hour: a resource type that the estimate does not know fails it by name. What remains is ${dollars(sum)} a month; the largest part: ${largest?.what}, ${dollars(largest?.dollars ?? 0)}.`,
    '',
    ...table(
      ['what', 'how many', 'basis', 'a month'],
      [
        ...idle.map((line) => [line.what, String(line.count), line.basis, dollars(line.dollars)]),
        ['together', '', '', dollars(sum)],
      ],
    ),
    '',
    `Of what AWS gives each account for nothing, every month, counted here: ${free.alarms} alarms, ${count(free.queueRequests)} requests of queues, ${count(free.functionCalls)} calls and ${count(free.functionGbSeconds)} GB-seconds of functions. Whoever uses these up elsewhere pays ${dollars(sumOf(idleLines(templates, NOTHING_FREE)) - sum)} more.`,
    `Lambda is assumed to poll each queue with ${ASSUMED.pollers} requests every ${ASSUMED.pollSeconds} seconds (its documentation; verify).`,
    '',
    '## What is kept, a GB and month',
    '',
    ...table(
      ['what', 'price', 'how long'],
      [
        ['table', `${dollars(gb.table)} after the first ${free.tableGb} GB`, 'until it is deleted'],
        [
          'its point-in-time recovery',
          dollars(gb.tableRecovery),
          '35 days back, by the size of the table',
        ],
        ['bucket', dollars(gb.blobs), 'until it is deleted, and 30 days more as an old version'],
        [
          'logs',
          `${dollars(gb.logsTaken)} taken in, ${dollars(gb.logsKept)} kept`,
          'a month; SageMaker keeps its own for ever',
        ],
      ],
    ),
    '',
    '## A thousand calls',
    '',
    'With all that follows until nothing moves any more: authorizer, events, followers, folds, machines. Counted by `test/aws/calls.test.ts` on the real table adapter with DynamoDB Local saying what was consumed; nothing free is taken off, and every event is heard alone, which is the dearest way.',
    '',
    ...table(
      ['a thousand of', 'table', 'functions', 'API', 'files', 'machines, bus, queues', 'together'],
      calls.map((line) => [
        line.call,
        ...[line.table, line.functions, line.api, line.bytes, line.flow, line.dollars].map(dollars),
      ]),
    ),
    '',
    'Counted, each:',
    '',
    ...table(
      [
        'call',
        'table units read',
        'written',
        'S3 GET',
        'PUT',
        'functions',
        'states',
        'events',
        'followers',
      ],
      calls.map(({ call, counted: c }) => [
        call,
        ...[
          c.reads,
          c.writes,
          c.gets,
          c.puts,
          c.functions + c.steps,
          c.states,
          c.events,
          c.followers,
        ].map(count),
      ]),
    ),
    '',
    `How long functions run is assumed, since nobody has measured it on AWS: ${ms.requests} ms a request, ${ms.authorizer} an authorizer, ${ms.followers} a follower or fold, ${ms.relay} the relay, ${ms.tasks} a task of a machine, ${ms.steps / 1000} s a step in the zip runner.`,
    `Dearest by far is a state of a machine, ${dollars(million.states)} a million: a pipeline run of two steps enters as many as the table says.`,
    '',
    '## What is not in it',
    '',
    '- Jobs and endpoints of SageMaker: by the second of the instance, or of the serverless endpoint while it answers. Nothing of it stands idle, unless a deployment asks for a minimum of copies.',
    '- Transfer out of AWS, and between regions.',
    `- A key of your own (${dollars(month.key)} a month and by the request), which no stack here makes.`,
    '',
  ].join('\n');
}
