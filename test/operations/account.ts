import {
  CloudFormationClient,
  DescribeStacksCommand,
  ListStackResourcesCommand,
} from '@aws-sdk/client-cloudformation';
import {
  DescribeContinuousBackupsCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  DynamoDBClient,
} from '@aws-sdk/client-dynamodb';
import { BatchGetImageCommand, ECRClient } from '@aws-sdk/client-ecr';
import {
  DescribeEventBusCommand,
  DescribeRuleCommand,
  EventBridgeClient,
} from '@aws-sdk/client-eventbridge';
import { GetRoleCommand, IAMClient } from '@aws-sdk/client-iam';
import {
  GetEventSourceMappingCommand,
  GetFunctionConfigurationCommand,
  LambdaClient,
} from '@aws-sdk/client-lambda';
import {
  GetBucketEncryptionCommand,
  GetBucketNotificationConfigurationCommand,
  GetBucketVersioningCommand,
  GetPublicAccessBlockCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { ListServiceQuotasCommand, ServiceQuotasClient } from '@aws-sdk/client-service-quotas';
import { DescribeStateMachineCommand, SFNClient } from '@aws-sdk/client-sfn';
import { GetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs';
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import { mockClient } from 'aws-sdk-client-mock';
import { wantedQuotas } from '../../bin/doctor/quotas.ts';
import type { Clients } from '../../bin/doctor-aws.ts';

const settings = {
  region: 'eu-central-1',
  credentials: { accessKeyId: 'AKIATEST', secretAccessKey: 'test' },
};
export const clients: Clients = {
  sts: new STSClient(settings),
  cloudformation: new CloudFormationClient(settings),
  dynamodb: new DynamoDBClient(settings),
  s3: new S3Client(settings),
  events: new EventBridgeClient(settings),
  sqs: new SQSClient(settings),
  lambda: new LambdaClient(settings),
  sfn: new SFNClient(settings),
  iam: new IAMClient(settings),
  ecr: new ECRClient(settings),
  quotas: new ServiceQuotasClient(settings),
};

/** Every client of the account, answered by hand; nothing else is reachable. */
export const mocks = {
  sts: mockClient(clients.sts),
  cloudformation: mockClient(clients.cloudformation),
  dynamodb: mockClient(clients.dynamodb),
  s3: mockClient(clients.s3),
  events: mockClient(clients.events),
  sqs: mockClient(clients.sqs),
  lambda: mockClient(clients.lambda),
  sfn: mockClient(clients.sfn),
  iam: mockClient(clients.iam),
  ecr: mockClient(clients.ecr),
  quotas: mockClient(clients.quotas),
};

export const fault = (name: string, message = name) => Object.assign(new Error(message), { name });

const made = (type: string, logical: string, physical = `${logical}-physical`) => ({
  ResourceType: type,
  LogicalResourceId: logical,
  PhysicalResourceId: physical,
  LastUpdatedTimestamp: new Date(0),
  ResourceStatus: 'CREATE_COMPLETE' as const,
});
const RESOURCES = {
  'stillflow-data': [
    made('AWS::DynamoDB::GlobalTable', 'TableCD117FA1', 'stillflow-table'),
    made('AWS::S3::Bucket', 'Bucket83908E77', 'stillflow-bucket'),
  ],
  'stillflow-compute': [
    made('AWS::IAM::Role', 'MachineRole7E10B2C3'),
    made('AWS::IAM::Role', 'JobRole014917C6'),
    made('AWS::IAM::Role', 'EndpointRole1A3BA5E6'),
  ],
  'stillflow-api': [made('AWS::Lambda::Function', 'trackinghttpFunction0A0A0A0A')],
  'stillflow-workflows': [
    made('AWS::StepFunctions::StateMachine', 'retraining', 'arn:aws:states:::stillflow-retraining'),
    made('AWS::Lambda::Function', 'taskdeploystartFunction0B0B0B0B', 'stillflow-deploy-start'),
  ],
  'stillflow-events': [
    made('AWS::Events::EventBus', 'BusEA82B648', 'stillflow'),
    made('AWS::Events::Rule', 'loopsaskedrule0C0C0C0C', 'stillflow|loops-asked-rule'),
    made('AWS::Events::Rule', 'endedrule0D0D0D0D', 'ended-rule'),
    made('AWS::SQS::Queue', 'loopsasked68D601B8', 'queue/loops-asked'),
    made('AWS::SQS::Queue', 'loopsaskeddeadA0F89503', 'queue/loops-asked-dead'),
    made('AWS::Lambda::EventSourceMapping', 'relayMapping', 'uuid-relay'),
    made('AWS::IAM::Role', 'relayRole0E0E0E0E'),
  ],
} as const;

const trust = (service: string, condition?: object) =>
  encodeURIComponent(
    JSON.stringify({
      Statement: [
        {
          Effect: 'Allow',
          Action: 'sts:AssumeRole',
          Principal: { Service: service },
          ...(condition ? { Condition: condition } : {}),
        },
      ],
    }),
  );
const OURS = { StringEquals: { 'aws:SourceAccount': '123456789012' } };
export const role = (service: string, condition?: object) => ({
  Role: {
    ...{ Path: '/', RoleName: 'x', RoleId: 'x', Arn: 'x', CreateDate: new Date(0) },
    AssumeRolePolicyDocument: trust(service, condition),
  },
});
export const stack = (StackName: string, status = 'CREATE_COMPLETE', outputs: object = {}) => ({
  Stacks: [
    {
      ...{ StackName, CreationTime: new Date(0), StackStatus: status as 'CREATE_COMPLETE' },
      Outputs: Object.entries(outputs).map(([OutputKey, OutputValue]) => ({
        OutputKey,
        OutputValue,
      })),
    },
  ],
});
export const table = {
  TableName: 'stillflow-table',
  TableStatus: 'ACTIVE',
  ItemCount: 7,
  StreamSpecification: { StreamEnabled: true, StreamViewType: 'NEW_IMAGE' },
  DeletionProtectionEnabled: true,
} as const;

/** A deployment with which nothing is wrong; a test then spoils one thing. */
export function healthy(): void {
  for (const mock of Object.values(mocks)) mock.reset();
  mocks.sts
    .on(GetCallerIdentityCommand)
    .resolves({ Account: '123456789012', Arn: 'arn:aws:iam::123456789012:user/ada' });
  mocks.cloudformation
    .on(DescribeStacksCommand, { StackName: 'CDKToolkit' })
    .resolves(stack('CDKToolkit', 'CREATE_COMPLETE', { BootstrapVersion: '30' }));
  for (const [StackName, StackResourceSummaries] of Object.entries(RESOURCES)) {
    mocks.cloudformation.on(DescribeStacksCommand, { StackName }).resolves(stack(StackName));
    // Two pages, as a large stack has them.
    mocks.cloudformation
      .on(ListStackResourcesCommand, { StackName, NextToken: undefined })
      .resolves({ StackResourceSummaries: StackResourceSummaries.slice(0, 1), NextToken: 'more' });
    mocks.cloudformation
      .on(ListStackResourcesCommand, { StackName, NextToken: 'more' })
      .resolves({ StackResourceSummaries: StackResourceSummaries.slice(1) });
  }
  mocks.dynamodb.on(DescribeTableCommand).resolves({ Table: table });
  mocks.dynamodb.on(DescribeContinuousBackupsCommand).resolves({
    ContinuousBackupsDescription: {
      ContinuousBackupsStatus: 'ENABLED',
      PointInTimeRecoveryDescription: {
        PointInTimeRecoveryStatus: 'ENABLED',
        EarliestRestorableDateTime: new Date('2026-11-01T00:00:00Z'),
        LatestRestorableDateTime: new Date('2026-11-24T11:55:00Z'),
      },
    },
  });
  mocks.dynamodb.on(DescribeTimeToLiveCommand).resolves({
    TimeToLiveDescription: { TimeToLiveStatus: 'ENABLED', AttributeName: '_ttl' },
  });
  mocks.s3.on(GetBucketEncryptionCommand).resolves({
    ServerSideEncryptionConfiguration: {
      Rules: [{ ApplyServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' } }],
    },
  });
  mocks.s3.on(GetBucketVersioningCommand).resolves({ Status: 'Enabled' });
  mocks.s3.on(GetPublicAccessBlockCommand).resolves({
    PublicAccessBlockConfiguration: {
      ...{ BlockPublicAcls: true, IgnorePublicAcls: true },
      ...{ BlockPublicPolicy: true, RestrictPublicBuckets: true },
    },
  });
  mocks.s3.on(GetBucketNotificationConfigurationCommand).resolves({ EventBridgeConfiguration: {} });
  mocks.events.on(DescribeEventBusCommand).resolves({ Name: 'stillflow' });
  mocks.events.on(DescribeRuleCommand).resolves({ State: 'ENABLED' });
  mocks.sqs.on(GetQueueAttributesCommand).resolves({
    Attributes: { ApproximateNumberOfMessages: '0', SqsManagedSseEnabled: 'true' },
  });
  mocks.lambda.on(GetFunctionConfigurationCommand).resolves({
    State: 'Active',
    LastUpdateStatus: 'Successful',
    Environment: {
      Variables: {
        STILLFLOW_SERVING_IMAGE: '123456789012.dkr.ecr.eu-central-1.amazonaws.com/serve:1',
      },
    },
  });
  mocks.lambda
    .on(GetEventSourceMappingCommand)
    .resolves({ State: 'Enabled', LastProcessingResult: 'OK' });
  mocks.sfn.on(DescribeStateMachineCommand).resolves({ status: 'ACTIVE' });
  mocks.iam.on(GetRoleCommand).resolves(role('lambda.amazonaws.com'));
  mocks.iam
    .on(GetRoleCommand, { RoleName: 'MachineRole7E10B2C3-physical' })
    .resolves(role('states.amazonaws.com', OURS));
  for (const name of ['JobRole014917C6', 'EndpointRole1A3BA5E6'])
    mocks.iam
      .on(GetRoleCommand, { RoleName: `${name}-physical` })
      .resolves(role('sagemaker.amazonaws.com', OURS));
  quota({});
  mocks.ecr.on(BatchGetImageCommand).resolves({ images: [{}] });
}

/** All quotas are large but these, by name. */
export function quota(
  values: Readonly<Record<string, number>>,
  others: (name: string) => number = () => 1_000,
): void {
  mocks.quotas.on(ListServiceQuotasCommand).callsFake(({ ServiceCode, NextToken }) => {
    const all = wantedQuotas()
      .filter(({ service }) => service === ServiceCode)
      // An account lists each once.
      .flatMap(({ quotas }) => quotas)
      .filter((name, at, names) => names.indexOf(name) === at)
      .map((QuotaName) => ({
        QuotaName,
        QuotaCode: 'L-1',
        Value: values[QuotaName] ?? others(QuotaName),
      }));
    return NextToken ? { Quotas: all.slice(1) } : { Quotas: all.slice(0, 1), NextToken: 'more' };
  });
}
