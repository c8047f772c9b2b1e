import { DescribeStacksCommand } from '@aws-sdk/client-cloudformation';
import {
  DescribeContinuousBackupsCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
} from '@aws-sdk/client-dynamodb';
import { BatchGetImageCommand } from '@aws-sdk/client-ecr';
import { DescribeEventBusCommand, DescribeRuleCommand } from '@aws-sdk/client-eventbridge';
import { GetRoleCommand } from '@aws-sdk/client-iam';
import {
  GetEventSourceMappingCommand,
  GetFunctionConfigurationCommand,
} from '@aws-sdk/client-lambda';
import {
  GetBucketEncryptionCommand,
  GetBucketNotificationConfigurationCommand,
  GetBucketVersioningCommand,
  GetPublicAccessBlockCommand,
} from '@aws-sdk/client-s3';
import { ListServiceQuotasCommand } from '@aws-sdk/client-service-quotas';
import { DescribeStateMachineCommand } from '@aws-sdk/client-sfn';
import { GetQueueAttributesCommand } from '@aws-sdk/client-sqs';
import { GetCallerIdentityCommand } from '@aws-sdk/client-sts';
import { beforeEach, describe, expect, test } from 'vitest';
import { accountChecks } from '../../bin/doctor-aws.ts';
import { examine, type Finding } from '../../local/doctor_checks.ts';
import { clients, fault, healthy, mocks, quota, role, stack, table } from './account.ts';

async function doctored() {
  const lines: string[] = [];
  const well = await examine(accountChecks(clients), {
    write: (line) => void lines.push(line),
    json: true,
  });
  const { findings } = JSON.parse(lines.join('')) as { findings: Finding[] };
  return { well, findings, amiss: findings.filter(({ result }) => result !== 'ok') };
}

beforeEach(healthy);

test('a healthy account: every check looks, is ok and says what at; no call but those that describe', async () => {
  const { well, findings, amiss } = await doctored();
  expect(amiss).toEqual([]);
  expect(well).toBe(true);
  expect(findings.length).toBeGreaterThan(25);
  expect(new Set(findings.map(({ check }) => check)).size).toBe(findings.length);
  for (const { looksAt, said } of findings) expect([looksAt, said].every(Boolean)).toBe(true);
  const called = Object.values(mocks).flatMap((mock) =>
    mock.calls().map(({ args }) => args[0].constructor.name),
  );
  expect(called.length).toBeGreaterThan(findings.length);
  for (const command of called) expect(command).toMatch(/^(Describe|Get|List|BatchGet)/);
});

const absent = fault('ValidationError', 'Stack with id x does not exist');
/** What is spoiled, the check that must say so, how gravely, and in which words. */
const FAULTS: [spoil: () => void, check: string, result: string, said: RegExp][] = [
  [
    () =>
      mocks.cloudformation.on(DescribeStacksCommand, { StackName: 'CDKToolkit' }).rejects(absent),
    ...(['bootstrap', 'fail', /not bootstrapped/] as const),
  ],
  [
    () =>
      mocks.cloudformation
        .on(DescribeStacksCommand, { StackName: 'CDKToolkit' })
        .resolves(stack('CDKToolkit', 'CREATE_COMPLETE', { BootstrapVersion: '5' })),
    ...(['bootstrap', 'fail', /version 5/] as const),
  ],
  [
    () =>
      mocks.cloudformation
        .on(DescribeStacksCommand, { StackName: 'stillflow-api' })
        .resolves(stack('stillflow-api', 'ROLLBACK_COMPLETE')),
    ...(['stillflow-api', 'fail', /ROLLBACK_COMPLETE/] as const),
  ],
  [
    () =>
      mocks.cloudformation
        .on(DescribeStacksCommand, { StackName: 'stillflow-api' })
        .resolves(stack('stillflow-api', 'UPDATE_ROLLBACK_COMPLETE')),
    ...(['stillflow-api', 'warn', /UPDATE_ROLLBACK/] as const),
  ],
  [
    () =>
      mocks.cloudformation
        .on(DescribeStacksCommand, { StackName: 'stillflow-api' })
        .resolves(stack('stillflow-api', 'UPDATE_IN_PROGRESS')),
    ...(['stillflow-api', 'warn', /IN_PROGRESS/] as const),
  ],
  [
    () => mocks.dynamodb.on(DescribeTableCommand).rejects(fault('ResourceNotFoundException')),
    ...(['table', 'fail', /is gone/] as const),
  ],
  [
    () =>
      mocks.dynamodb
        .on(DescribeTableCommand)
        .resolves({ Table: { ...table, StreamSpecification: { StreamEnabled: false } } }),
    ...(['table', 'fail', /stream is off/] as const),
  ],
  [
    () =>
      mocks.dynamodb
        .on(DescribeTableCommand)
        .resolves({ Table: { ...table, DeletionProtectionEnabled: false } }),
    ...(['table', 'warn', /can delete it/] as const),
  ],
  [
    () =>
      mocks.dynamodb.on(DescribeTableCommand).resolves({
        Table: { ...table, SSEDescription: { InaccessibleEncryptionDateTime: new Date(0) } },
      }),
    ...(['table', 'fail', /key/] as const),
  ],
  [
    () =>
      mocks.dynamodb.on(DescribeContinuousBackupsCommand).resolves({
        ContinuousBackupsDescription: {
          ContinuousBackupsStatus: 'ENABLED',
          PointInTimeRecoveryDescription: { PointInTimeRecoveryStatus: 'DISABLED' },
        },
      }),
    ...(['table recovery', 'fail', /is off/] as const),
  ],
  [
    () => mocks.dynamodb.on(DescribeTimeToLiveCommand).resolves({}),
    ...(['table expiry', 'warn', /never deleted/] as const),
  ],
  [
    () => mocks.s3.on(GetBucketEncryptionCommand).resolves({}),
    ...(['bucket encryption', 'fail', /not encrypted/] as const),
  ],
  [
    () => mocks.s3.on(GetBucketVersioningCommand).resolves({ Status: 'Suspended' }),
    ...(['bucket versions', 'fail', /lost at once/] as const),
  ],
  [
    () =>
      mocks.s3
        .on(GetPublicAccessBlockCommand)
        .resolves({ PublicAccessBlockConfiguration: { BlockPublicAcls: true } }),
    ...(['bucket access', 'fail', /IgnorePublicAcls, BlockPublicPolicy/] as const),
  ],
  [
    () => mocks.s3.on(GetBucketNotificationConfigurationCommand).resolves({}),
    ...(['bucket events', 'fail', /start nothing/] as const),
  ],
  [
    () => mocks.events.on(DescribeEventBusCommand).rejects(fault('ResourceNotFoundException')),
    ...(['bus', 'fail', /is gone/] as const),
  ],
  [
    () =>
      mocks.events
        .on(DescribeRuleCommand, { Name: 'loops-asked-rule', EventBusName: 'stillflow' })
        .resolves({ State: 'DISABLED' }),
    ...(['rules', 'fail', /^loopsaskedrule is disabled/] as const),
  ],
  [
    () =>
      mocks.sqs
        .on(GetQueueAttributesCommand, { QueueUrl: 'queue/loops-asked' })
        .resolves({ Attributes: { SqsManagedSseEnabled: 'false' } }),
    ...(['queues', 'fail', /^loopsasked is not encrypted$/] as const),
  ],
  [
    () =>
      mocks.sqs.on(GetQueueAttributesCommand, { QueueUrl: 'queue/loops-asked-dead' }).resolves({
        Attributes: { ApproximateNumberOfMessages: '3', SqsManagedSseEnabled: 'true' },
      }),
    ...(['dead letters', 'warn', /loopsaskeddead 3/] as const),
  ],
  [
    () =>
      mocks.sqs
        .on(GetQueueAttributesCommand, { QueueUrl: 'queue/loops-asked' })
        .rejects(fault('QueueDoesNotExist')),
    ...(['queues', 'fail', /is gone/] as const),
  ],
  [
    () =>
      mocks.lambda
        .on(GetFunctionConfigurationCommand, {
          FunctionName: 'trackinghttpFunction0A0A0A0A-physical',
        })
        .resolves({ State: 'Failed', StateReason: 'no image' }),
    ...(['functions', 'fail', /trackinghttpFunction is Failed: no image/] as const),
  ],
  [
    () => mocks.lambda.on(GetEventSourceMappingCommand).resolves({ State: 'Disabled' }),
    ...(['feeds', 'fail', /relayMapping is Disabled/] as const),
  ],
  [
    () =>
      mocks.lambda
        .on(GetEventSourceMappingCommand)
        .resolves({ State: 'Enabled', LastProcessingResult: 'PROBLEM: Function call failed' }),
    ...(['feeds', 'fail', /Function call failed/] as const),
  ],
  [
    () => mocks.sfn.on(DescribeStateMachineCommand).rejects(fault('StateMachineDoesNotExist')),
    ...(['machines', 'fail', /is gone/] as const),
  ],
  [
    () =>
      mocks.iam
        .on(GetRoleCommand, { RoleName: 'relayRole0E0E0E0E-physical' })
        .rejects(fault('NoSuchEntityException')),
    ...(['roles', 'fail', /relayRole0E0E0E0E is gone/] as const),
  ],
  [
    () =>
      mocks.iam
        .on(GetRoleCommand, { RoleName: 'JobRole014917C6-physical' })
        .resolves(role('sagemaker.amazonaws.com')),
    ...(['roles', 'fail', /JobRole014917C6 can be used for another account/] as const),
  ],
  [
    () =>
      mocks.iam
        .on(GetRoleCommand, { RoleName: 'MachineRole7E10B2C3-physical' })
        .resolves(role('ec2.amazonaws.com')),
    ...(['roles', 'fail', /MachineRole7E10B2C3 trusts ec2/] as const),
  ],
  [
    () =>
      mocks.iam.on(GetRoleCommand, { RoleName: 'relayRole0E0E0E0E-physical' }).resolves({
        Role: {
          ...{ Path: '/', RoleName: 'x', RoleId: 'x', Arn: 'x', CreateDate: new Date(0) },
          AssumeRolePolicyDocument: encodeURIComponent(
            '{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"}}}',
          ),
        },
      }),
    ...(['roles', 'fail', /relayRole0E0E0E0E can be taken by AWS \*/] as const),
  ],
  [
    () => quota({ 'Concurrent executions': 10 }),
    ...(['quota of functions', 'warn', /is 10, under 100/] as const),
  ],
  [
    () => quota({}, (name) => (/^ml\.m\d\w*\.large for training/.test(name) ? 0 : 200)),
    ...(['quota of jobs', 'fail', /jobs end with ResourceLimitExceeded/] as const),
  ],
  [
    () => quota({}, (name) => (/^ml\.g.*\.xlarge for training/.test(name) ? 0 : 200)),
    ...([
      'quota of jobs with a GPU',
      'warn',
      /'ml\.g5\.xlarge for training job usage' is 0.*under 1/,
    ] as const),
  ],
  [
    () =>
      mocks.quotas.on(ListServiceQuotasCommand, { ServiceCode: 'lambda' }).resolves({ Quotas: [] }),
    ...(['quota of functions', 'warn', /not among 0 quotas of lambda/] as const),
  ],
  [
    () =>
      mocks.ecr
        .on(BatchGetImageCommand, { registryId: '123456789012' })
        .resolves({ images: [], failures: [{ failureReason: 'Requested image not found' }] }),
    ...(['image of model servers', 'fail', /Requested image not found/] as const),
  ],
  [
    () =>
      mocks.ecr
        .on(BatchGetImageCommand, { registryId: '123456789012' })
        .rejects(fault('RepositoryNotFoundException')),
    ...(['image of model servers', 'fail', /no repository serve/] as const),
  ],
  [
    () =>
      mocks.lambda.on(GetFunctionConfigurationCommand).resolves({
        State: 'Active',
        Environment: {
          Variables: {
            STILLFLOW_SERVING_IMAGE: '123456789012.dkr.ecr.us-east-1.amazonaws.com/serve:1',
          },
        },
      }),
    ...(['image of model servers', 'fail', /lies in us-east-1/] as const),
  ],
];

describe('one fault is found by one check, which says what to do', () => {
  test.each(FAULTS.map(([spoil, check, result, said]) => ({ spoil, check, result, said })))(
    '$check: $said',
    async ({ spoil, check, result, said }) => {
      spoil();
      const { well, amiss } = await doctored();
      expect(amiss.map((one) => one.check)).toEqual([check]);
      expect(amiss[0]).toMatchObject({ result, said: expect.stringMatching(said) });
      expect(amiss[0]?.fix).toBeTruthy();
      expect(well).toBe(result === 'warn');
    },
  );
});

test('without a serving image that check is skipped, and says what it means', async () => {
  mocks.lambda.on(GetFunctionConfigurationCommand).resolves({ State: 'Active' });
  const { well, amiss } = await doctored();
  expect(amiss).toMatchObject([{ check: 'image of model servers', result: 'skipped' }]);
  expect(well).toBe(true);
});

test('an instance that may not be had is no fault while another stands in for it', async () => {
  quota({ 'ml.m5.large for training job usage': 0 });
  expect((await doctored()).amiss).toEqual([]);
});

test('nothing is deployed: the stacks fail, and what they would hold, but not what the account offers', async () => {
  mocks.cloudformation.on(DescribeStacksCommand).rejects(absent);
  const { well, findings, amiss } = await doctored();
  expect(well).toBe(false);
  expect(amiss.filter(({ result }) => result === 'fail').map(({ check }) => check)).toEqual(
    expect.arrayContaining([
      'bootstrap',
      'stillflow-data',
      'table',
      'bucket access',
      'bus',
      'roles',
      'feeds',
    ]),
  );
  expect(findings.find(({ check }) => check === 'quota of functions')?.result).toBe('ok');
});

test.each([
  [
    'AccessDeniedException',
    /your role may not do it; allow it servicequotas:ListServiceQuotas lambda/,
  ],
  ['ThrottlingException', /throttles/],
  ['TimeoutError', /no answer/],
])('%s of one call skips that check alone', async (name, said) => {
  mocks.quotas.on(ListServiceQuotasCommand, { ServiceCode: 'lambda' }).rejects(fault(name));
  const { well, amiss } = await doctored();
  expect(amiss).toMatchObject([
    { check: 'quota of functions', result: 'skipped', said: expect.stringMatching(said) },
  ]);
  expect(well).toBe(true);
});

test('who may not list what is deployed is told so at each check that needs it, once asked', async () => {
  mocks.cloudformation.on(DescribeStacksCommand).rejects(fault('AccessDenied'));
  const { well, amiss } = await doctored();
  expect(amiss.length).toBeGreaterThan(15);
  for (const { result, said } of amiss)
    expect([result, said]).toEqual(['skipped', expect.stringMatching(/may not/)]);
  expect(mocks.cloudformation.commandCalls(DescribeStacksCommand)).toHaveLength(6);
  expect(well).toBe(true);
});

test.each([
  [
    'no credentials',
    fault('CredentialsProviderError', 'Could not load credentials from any providers'),
  ],
  ['expired credentials', fault('ExpiredTokenException', 'The security token is expired')],
  ['no network', Object.assign(new Error('getaddrinfo ENOTFOUND sts'), { code: 'ENOTFOUND' })],
])('%s: one check fails with these words, and nothing else is asked', async (_, error) => {
  mocks.sts.on(GetCallerIdentityCommand).rejects(error);
  const { well, findings } = await doctored();
  expect(well).toBe(false);
  const [first, ...others] = findings;
  expect(first).toMatchObject({ check: 'credentials', result: 'fail', said: error.message });
  for (const { result } of others) expect(result).toBe('skipped');
  expect(mocks.cloudformation.calls()).toHaveLength(0);
  expect(mocks.quotas.calls()).toHaveLength(0);
});
