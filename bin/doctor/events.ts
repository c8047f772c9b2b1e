import { DescribeEventBusCommand, DescribeRuleCommand } from '@aws-sdk/client-eventbridge';
import {
  GetEventSourceMappingCommand,
  GetFunctionConfigurationCommand,
} from '@aws-sdk/client-lambda';
import { DescribeStateMachineCommand } from '@aws-sdk/client-sfn';
import { GetQueueAttributesCommand } from '@aws-sdk/client-sqs';
import { type Check, fail, ok, skipped, type Verdict, warn } from '../../local/doctor_checks.ts';
import type { Clients } from '../doctor-aws.ts';
import { isNamed } from './data.ts';
import { type Deployment, notDeployed, type Placed, STACKS } from './deployment.ts';

const REDEPLOY = 'npx cdk deploy --all';
/** `RelayFailed..`, `ServingAliasDead..`: what a queue of what was set aside is called in lib/events.ts. */
export const DEAD = /(dead|failed)[0-9A-F]{8}$/;

/** Bus, rules, queues, functions and machines: there, switched on, and with nothing set aside. */
export function eventChecks({ events, sqs, lambda, sfn }: Clients, found: Deployment): Check[] {
  const attributes = async ({ physicalId }: Placed) =>
    (
      await sqs.send(
        new GetQueueAttributesCommand({
          QueueUrl: physicalId,
          AttributeNames: ['ApproximateNumberOfMessages', 'SqsManagedSseEnabled', 'KmsMasterKeyId'],
        }),
      )
    ).Attributes ?? {};
  return [
    {
      name: 'bus',
      looksAt: 'events:DescribeEventBus',
      run: () =>
        all(found, 'AWS::Events::EventBus', 'bus', async ({ physicalId }) => {
          await events.send(new DescribeEventBusCommand({ Name: physicalId }));
          return undefined;
        }),
    },
    {
      name: 'rules',
      looksAt: 'events:DescribeRule',
      run: () =>
        all(found, 'AWS::Events::Rule', 'rule', async ({ physicalId }) => {
          // `<bus>|<rule>`, and the rule alone on the account's own bus.
          const [Name, EventBusName] = physicalId.split('|').reverse();
          const told = await events.send(new DescribeRuleCommand({ Name, EventBusName }));
          return told.State === 'DISABLED'
            ? 'is disabled: nobody hears what it passes on'
            : undefined;
        }),
    },
    {
      name: 'queues',
      looksAt: 'sqs:GetQueueAttributes',
      run: () =>
        all(found, 'AWS::SQS::Queue', 'queue', async (queue) => {
          const told = await attributes(queue);
          const encrypted = told['SqsManagedSseEnabled'] === 'true' || told['KmsMasterKeyId'];
          return encrypted ? undefined : 'is not encrypted';
        }),
    },
    {
      name: 'dead letters',
      looksAt: 'sqs:GetQueueAttributes',
      async run() {
        const dead = (await found.resources('AWS::SQS::Queue')).filter(({ logicalId }) =>
          DEAD.test(logicalId),
        );
        if (dead.length === 0) return skipped('this deployment has no queue for dead letters');
        const held: string[] = [];
        for (const queue of dead) {
          const count = Number((await attributes(queue))['ApproximateNumberOfMessages'] ?? 0);
          if (count > 0) held.push(`${nameOf(queue)} ${count}`);
        }
        return held.length === 0
          ? ok(`${dead.length} queues, all empty`)
          : warn(
              `set aside: ${held.join(', ')}`,
              'docs/runbooks/ has a page for each: find out why, then redrive',
            );
      },
    },
    {
      name: 'functions',
      looksAt: 'lambda:GetFunctionConfiguration',
      run: () =>
        all(found, 'AWS::Lambda::Function', 'function', async ({ physicalId }) => {
          const told = await lambda.send(
            new GetFunctionConfigurationCommand({ FunctionName: physicalId }),
          );
          if (told.State && !/^(Active|Inactive)$/.test(told.State))
            return `is ${told.State}: ${told.StateReason ?? ''}`;
          if (told.LastUpdateStatus === 'Failed')
            return `was not updated: ${told.LastUpdateStatusReason ?? ''}`;
          return undefined;
        }),
    },
    {
      name: 'feeds',
      looksAt: 'lambda:GetEventSourceMapping',
      run: () =>
        all(
          found,
          'AWS::Lambda::EventSourceMapping',
          'event source mapping',
          async ({ physicalId }) => {
            const told = await lambda.send(new GetEventSourceMappingCommand({ UUID: physicalId }));
            if (told.State === 'Disabled' || told.State === 'Disabling')
              return `is ${told.State}: its function hears nothing`;
            return /^PROBLEM/.test(told.LastProcessingResult ?? '')
              ? told.LastProcessingResult
              : undefined;
          },
        ),
    },
    {
      name: 'machines',
      looksAt: 'states:DescribeStateMachine',
      run: () =>
        all(found, 'AWS::StepFunctions::StateMachine', 'machine', async ({ physicalId }) => {
          const told = await sfn.send(
            new DescribeStateMachineCommand({ stateMachineArn: physicalId }),
          );
          return told.status === 'ACTIVE' ? undefined : `is ${told.status}`;
        }),
    },
  ];
}

/** Looks at each of a type; `wrong` says what is amiss with one, and a call that does not find it says that it is gone. */
async function all(
  found: Deployment,
  type: string,
  what: string,
  wrong: (placed: Placed) => Promise<string | undefined>,
): Promise<Verdict> {
  const placed = await found.resources(type);
  if (placed.length === 0)
    // A deployment of some rooms alone may have none.
    return (await found.stack(STACKS[0] ?? ''))
      ? skipped(`this deployment has no ${what}`)
      : notDeployed(what);
  const amiss: string[] = [];
  for (const one of placed) {
    const why = await wrong(one).catch((error: unknown) => {
      if (
        isNamed(error, 'ResourceNotFoundException', 'QueueDoesNotExist', 'StateMachineDoesNotExist')
      )
        return 'is gone';
      throw error;
    });
    if (why) amiss.push(`${nameOf(one)} ${why}`);
  }
  const count = `${placed.length} ${what}${placed.length === 1 ? '' : 's'}`;
  return amiss.length === 0
    ? ok(`${count}, each as it should be`)
    : fail(amiss.join('; '), REDEPLOY);
}

const nameOf = ({ logicalId }: Placed): string => logicalId.replace(/[0-9A-F]{8}$/, '');
