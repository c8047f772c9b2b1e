import { CfnOutput, Duration, Stack, type StackProps } from 'aws-cdk-lib';
import {
  Alarm,
  ComparisonOperator,
  type IMetric,
  TreatMissingData,
} from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import type { ITable } from 'aws-cdk-lib/aws-dynamodb';
import { EventBus, type EventPattern, Rule, RuleTargetInput } from 'aws-cdk-lib/aws-events';
import { LambdaFunction, SqsQueue } from 'aws-cdk-lib/aws-events-targets';
import { Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { FilterCriteria, StartingPosition } from 'aws-cdk-lib/aws-lambda';
import { DynamoEventSource, SqsDlq, SqsEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import { CfnSchedule } from 'aws-cdk-lib/aws-scheduler';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
import type { Construct } from 'constructs';
import type { App } from '../functions/app.ts';
import { MADE } from '../functions/platform/aws/names.ts';
import type { Follower } from '../functions/platform/ports.ts';
import { ENTRY_PREFIX } from '../functions/platform/records.ts';
import { DEPLOYED } from '../statemachines/resources.ts';
import { roomGrants } from './api.ts';
import type { DataStack } from './data.ts';
import { OurFunction, seconds } from './function.ts';
import { arns, type Grant, give, grantsOf, type PassedRoles, tableGrant } from './grants.ts';

export interface EventsProps extends StackProps {
  readonly data: DataStack;
  readonly roles: PassedRoles;
  readonly rooms: App['rooms'];
  readonly environment: Readonly<Record<string, string>>;
}

/** The bus that our events go to; the relay publishes, and nobody else of ours may. */
export const BUS = 'stillflow';
/** Our events' `source`. */
export const SOURCE = 'stillflow';

/** A follower's patterns as EventBridge filters them: `registry.alias.set`, `pipelines.run.*`. */
export const detailTypes = (hears: readonly string[]): unknown[] =>
  hears.map((pattern) => (pattern.endsWith('*') ? { prefix: pattern.slice(0, -1) } : pattern));

/** What a follower hears at once that hears many together. */
const GATHERED = { batchSize: 100, maxBatchingWindow: Duration.seconds(30) };

/** Facts on their way: the table's stream to the bus, the bus to a queue a follower, and the log to the compactor. */
export class EventsStack extends Stack {
  private readonly alarms: Topic;
  private readonly props: EventsProps;

  constructor(scope: Construct, id: string, props: EventsProps) {
    super(scope, id, props);
    this.props = props;
    this.alarms = new Topic(this, 'Alarms', { enforceSSL: true });
    const bus = new EventBus(this, 'Bus', { eventBusName: BUS });
    const publish: Grant = { actions: ['events:PutEvents'], resources: [bus.eventBusArn] };

    this.reader('relay', [publish], [ENTRY_PREFIX]);
    if (Object.values(props.rooms).some(({ folders }) => folders.length > 0))
      this.reader(
        'compactor',
        [tableGrant(props.data.table), ...grantsOf(this, props.data, props.roles, 'blobs')],
        Object.values(props.rooms).flatMap(({ folders }) => folders.map(({ prefix }) => prefix)),
      );
    const heard = Object.values(props.rooms)
      .flatMap(({ followers }) => followers)
      .flatMap(({ hears }) => hears);
    if (heard.includes('machines.execution.ended'))
      this.translator('ended', publish, {
        source: ['aws.states'],
        detailType: ['Step Functions Execution Status Change'],
        detail: {
          status: ['SUCCEEDED', 'FAILED', 'TIMED_OUT', 'ABORTED'],
          // Other machines of the account are no matter of ours.
          stateMachineArn: [DEPLOYED, MADE].map((start) => ({
            prefix: arns(this).machine(start),
          })),
        },
      });
    if (props.rooms['triggers'])
      this.translator('arrived', publish, {
        source: ['aws.s3'],
        detailType: ['Object Created'],
        detail: {
          bucket: { name: [props.data.bucket.bucketName] },
          object: { key: [{ wildcard: '*/data/*' }] },
        },
      });
    if (props.rooms['triggers'])
      this.clock('Tick', 'triggers', 'rate(1 minute)', 'Rules of stillflow that follow a clock');
    // Some minutes past, when what the hour's last events left has been noted.
    if (props.rooms['governance'])
      this.clock('Hour', 'governance', 'cron(5 * * * ? *)', 'Anchors of the audit of stillflow');
    for (const [room, { followers }] of Object.entries(props.rooms))
      for (const follower of followers) if (!follower.here) this.follower(bus, room, follower);
    new CfnOutput(this, 'AlarmTopic', { value: this.alarms.topicArn });
  }

  /** One of the two readers that a table's stream allows. A poisoned record is set aside, not stuck on. */
  private reader(
    name: 'relay' | 'compactor',
    grants: readonly Grant[],
    prefixes: readonly string[],
  ): void {
    const { lambda } = new OurFunction(this, name, {
      entry: `functions/handlers/${name}.ts`,
      exported: 'handler',
      environment: { ...this.props.environment, STILLFLOW_BUS: BUS },
      grants,
      timeout: seconds(60),
    });
    const failed = this.queue(`${name}-failed`, Duration.days(14));
    lambda.addEventSource(
      new DynamoEventSource(this.props.data.table as ITable, {
        startingPosition: StartingPosition.TRIM_HORIZON,
        batchSize: name === 'relay' ? 100 : 1000,
        maxBatchingWindow: name === 'relay' ? Duration.seconds(0) : Duration.seconds(5),
        bisectBatchOnError: true,
        reportBatchItemFailures: true,
        retryAttempts: 20,
        onFailure: new SqsDlq(failed),
        filters: [...new Set(prefixes)].map((prefix) =>
          FilterCriteria.filter({
            eventName: ['INSERT', 'MODIFY'],
            dynamodb: { Keys: { sk: { S: [{ prefix }] } } },
          }),
        ),
      }),
    );
    this.alarm(
      `${name}-late`,
      lambda.metric('IteratorAge', { statistic: 'max' }),
      900_000,
      `${name} is 15 minutes behind the table's stream`,
    );
    this.alarm(
      `${name}-failed-alarm`,
      failed.metricApproximateNumberOfMessagesVisible(),
      0,
      `${name} set records aside`,
    );
  }

  /** Rule, queue, dead letters, alarm and function of one follower. */
  private follower(bus: EventBus, room: string, { name, hears, runMany }: Follower): void {
    const dead = this.queue(`${name}-dead`, Duration.days(14));
    const queue = this.queue(name, Duration.days(4), dead);
    new Rule(this, `${name}-rule`, {
      eventBus: bus,
      eventPattern: { source: [SOURCE], detailType: detailTypes(hears) as string[] },
      targets: [
        new SqsQueue(queue, {
          message: RuleTargetInput.fromEventPath('$.detail'),
          deadLetterQueue: dead,
        }),
      ],
    });
    const { lambda } = new OurFunction(this, `${name}-follower`, {
      entry: `functions/${room}/handler.ts`,
      exported: 'follow',
      environment: { ...this.props.environment, STILLFLOW_FOLLOWER: name },
      grants: roomGrants(this, this.props.data, this.props.roles, room),
      timeout: seconds(60),
    });
    lambda.addEventSource(
      new SqsEventSource(queue, {
        ...(runMany ? GATHERED : { batchSize: 10 }),
        reportBatchItemFailures: true,
      }),
    );
    this.alarm(
      `${name}-dead-alarm`,
      dead.metricApproximateNumberOfMessagesVisible(),
      0,
      `${name} gave up on an event`,
    );
  }

  /** A rule on the account's own bus whose function tells the event on ours, in our words. */
  private translator(name: string, publish: Grant, eventPattern: EventPattern): void {
    const { lambda } = new OurFunction(this, name, {
      entry: `functions/handlers/${name}.ts`,
      exported: 'handler',
      environment: { ...this.props.environment, STILLFLOW_BUS: BUS },
      grants: [publish],
      timeout: seconds(30),
    });
    const dead = this.queue(`${name}-dead`, Duration.days(14));
    new Rule(this, `${name}-rule`, {
      eventPattern,
      targets: [new LambdaFunction(lambda, { deadLetterQueue: dead, retryAttempts: 185 })],
    });
    this.alarm(
      `${name}-dead-alarm`,
      dead.metricApproximateNumberOfMessagesVisible(),
      0,
      `${name} gave up on an event`,
    );
  }

  /** A room's own clock: what is due is done at each tick, and a tick that fails is made up by the next. */
  private clock(id: string, room: string, scheduleExpression: string, description: string): void {
    const { lambda } = new OurFunction(this, id.toLowerCase(), {
      entry: `functions/${room}/handler.ts`,
      exported: 'tick',
      environment: this.props.environment,
      grants: roomGrants(this, this.props.data, this.props.roles, room),
      timeout: seconds(55),
    });
    const role = new Role(this, `${id}Role`, {
      assumedBy: new ServicePrincipal('scheduler.amazonaws.com', {
        conditions: { StringEquals: { 'aws:SourceAccount': this.account } },
      }),
    });
    give(role, [{ actions: ['lambda:InvokeFunction'], resources: [lambda.functionArn] }]);
    new CfnSchedule(this, id, {
      description,
      scheduleExpression,
      flexibleTimeWindow: { mode: 'OFF' },
      target: {
        arn: lambda.functionArn,
        roleArn: role.roleArn,
        retryPolicy: { maximumRetryAttempts: 0 },
      },
    });
  }

  private queue(id: string, retentionPeriod: Duration, dead?: Queue): Queue {
    return new Queue(this, id, {
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      retentionPeriod,
      visibilityTimeout: Duration.minutes(6), // six times what its function may take
      ...(dead ? { deadLetterQueue: { queue: dead, maxReceiveCount: 8 } } : {}),
    });
  }

  private alarm(id: string, metric: IMetric, threshold: number, alarmDescription: string): void {
    new Alarm(this, id, {
      metric,
      threshold,
      // docs/runbooks has a page for each; test/stacks/runbooks.test.ts compares.
      alarmDescription: `${alarmDescription}. What to do: docs/runbooks/${id.replace(/-alarm$/, '')}.md`,
      evaluationPeriods: 1,
      comparisonOperator: ComparisonOperator.GREATER_THAN_THRESHOLD,
      treatMissingData: TreatMissingData.NOT_BREACHING,
    }).addAlarmAction(new SnsAction(this.alarms));
  }
}
