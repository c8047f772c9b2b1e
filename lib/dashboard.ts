import { Duration, type Stack } from 'aws-cdk-lib';
import {
  Alarm,
  AlarmStatusWidget,
  Dashboard,
  GraphWidget,
  type IMetric,
  Metric,
} from 'aws-cdk-lib/aws-cloudwatch';
import { Construct } from 'constructs';
import { DEPLOYED, WRITTEN } from '../statemachines/resources.ts';
import type { ApiStack } from './api.ts';
import { arns } from './grants.ts';

export interface DashboardProps {
  readonly api: ApiStack;
  /** Where the alarms are. */
  readonly events: Stack;
  readonly rooms: readonly string[];
}

/** An account has three dashboards for nothing, of up to 50 metrics each. Source: Amazon CloudWatch pricing, free tier. */
export const MOST_METRICS = 50;

/**
 * What one looks at first, one dashboard an account: whether requests are answered, how long that takes, whether
 * machines and functions fail, and which alarm says so. The alarms tell what waits or is late.
 */
export class DashboardOf extends Construct {
  constructor(scope: Construct, id: string, { api, events }: DashboardProps) {
    super(scope, id);
    const alarms = events.node.findAll().filter((one) => one instanceof Alarm);
    const ofApis = (metricName: string, statistic: string) =>
      [
        ['token', api.tokenApiId],
        ['sigv4', api.signedApiId],
      ].map(([label, ApiId]) =>
        metric('AWS/ApiGateway', metricName, statistic, { ApiId: ApiId ?? '' }, label),
      );
    const functions = (metricName: string) => [
      metric('AWS/Lambda', metricName, 'Sum', {}, `${metricName} of all functions here`),
    ];
    new Dashboard(this, 'Dashboard', {
      dashboardName: 'stillflow',
      defaultInterval: Duration.hours(24),
      widgets: [
        [
          graph('Requests', ofApis('Count', 'Sum')),
          graph('Answers of 400 and above', [...ofApis('4xx', 'Sum'), ...ofApis('5xx', 'Sum')]),
          graph('Time to answer, ms', [...ofApis('Latency', 'p50'), ...ofApis('Latency', 'p95')]),
        ],
        [
          graph('Executions that failed', machines(events, 'ExecutionsFailed')),
          graph('Executions that succeeded', machines(events, 'ExecutionsSucceeded')),
          graph('Errors and throttles of functions', [
            ...functions('Errors'),
            ...functions('Throttles'),
          ]),
        ],
        [new AlarmStatusWidget({ title: 'Alarms', alarms, width: 24, height: 4 })],
      ],
    });
  }
}

const machines = (stack: Stack, metricName: string): IMetric[] =>
  WRITTEN.map((name) => {
    const StateMachineArn = arns(stack).machine(`${DEPLOYED}${name}`);
    return metric('AWS/States', metricName, 'Sum', { StateMachineArn }, name);
  });

const metric = (
  namespace: string,
  metricName: string,
  statistic: string,
  dimensionsMap: Record<string, string>,
  label = metricName,
): IMetric =>
  new Metric({
    namespace,
    metricName,
    statistic,
    dimensionsMap,
    period: Duration.minutes(5),
    label:
      /^p\d+$/.test(statistic) || /^[45]xx$/.test(metricName)
        ? `${label} ${metricName} ${statistic}`
        : label,
  });

const graph = (title: string, left: IMetric[]): GraphWidget =>
  new GraphWidget({ title, left, width: 8, height: 6 });
