import type { Templates } from './assembly.ts';

/**
 * All that `npm run stack` knows to do with a template, by type: the properties it acts on, and those that change
 * nothing here (what they guard, test/stacks asserts). Whatever else a template holds is refused by name, so that no
 * resource is silently left out of what the suites run on.
 */
export const SUPPORTED: Readonly<Record<string, { acts: string; ignores?: string }>> = {
  'AWS::ApiGatewayV2::Api': { acts: 'Name ProtocolType', ignores: 'CorsConfiguration' },
  'AWS::ApiGatewayV2::Authorizer': {
    acts: 'ApiId AuthorizerPayloadFormatVersion AuthorizerResultTtlInSeconds AuthorizerType AuthorizerUri EnableSimpleResponses IdentitySource Name',
  },
  'AWS::ApiGatewayV2::Integration': {
    acts: 'ApiId IntegrationType IntegrationUri PayloadFormatVersion TimeoutInMillis',
  },
  'AWS::ApiGatewayV2::Route': {
    acts: 'ApiId AuthorizationType AuthorizerId RouteKey Target',
  },
  'AWS::ApiGatewayV2::Stage': {
    acts: 'ApiId StageName',
    ignores: 'AccessLogSettings AutoDeploy DefaultRouteSettings',
  },
  'AWS::CloudWatch::Alarm': {
    acts: '',
    ignores:
      'AlarmActions AlarmDescription AlarmName ComparisonOperator Dimensions EvaluationPeriods ExtendedStatistic MetricName Metrics Namespace Period Statistic Threshold TreatMissingData',
  },
  'AWS::CloudWatch::Dashboard': { acts: '', ignores: 'DashboardBody DashboardName' },
  'AWS::DynamoDB::GlobalTable': {
    acts: 'AttributeDefinitions BillingMode KeySchema StreamSpecification TimeToLiveSpecification',
    ignores: 'Replicas SSESpecification',
  },
  'AWS::Events::EventBus': { acts: 'Name' },
  'AWS::Events::Rule': { acts: 'EventBusName EventPattern ScheduleExpression State Targets Name' },
  'AWS::IAM::Policy': { acts: 'PolicyDocument Roles', ignores: 'PolicyName' },
  'AWS::IAM::Role': { acts: 'AssumeRolePolicyDocument Policies ManagedPolicyArns RoleName' },
  'AWS::Lambda::EventSourceMapping': {
    acts: 'BatchSize BisectBatchOnFunctionError DestinationConfig Enabled EventSourceArn FilterCriteria FunctionName FunctionResponseTypes MaximumBatchingWindowInSeconds MaximumRetryAttempts StartingPosition',
    ignores: 'ScalingConfig',
  },
  'AWS::Lambda::Function': {
    acts: 'Code Environment FunctionName Handler Layers LoggingConfig MemorySize Role Runtime Timeout ReservedConcurrentExecutions',
    ignores: 'Architectures',
  },
  'AWS::Lambda::LayerVersion': {
    acts: 'Content',
    ignores: 'CompatibleArchitectures CompatibleRuntimes LicenseInfo',
  },
  'AWS::Lambda::Permission': {
    acts: 'Action FunctionName FunctionUrlAuthType InvokedViaFunctionUrl Principal SourceArn SourceAccount',
  },
  'AWS::Lambda::Url': { acts: 'AuthType InvokeMode TargetFunctionArn', ignores: 'Cors' },
  'AWS::Logs::LogGroup': { acts: 'LogGroupName', ignores: 'RetentionInDays' },
  'AWS::S3::Bucket': {
    acts: 'BucketName NotificationConfiguration',
    ignores:
      'BucketEncryption CorsConfiguration LifecycleConfiguration OwnershipControls PublicAccessBlockConfiguration VersioningConfiguration',
  },
  'AWS::S3::BucketPolicy': { acts: 'Bucket PolicyDocument' },
  'AWS::SNS::Topic': { acts: '', ignores: 'TopicName' },
  'AWS::SNS::TopicPolicy': { acts: '', ignores: 'PolicyDocument Topics' },
  'AWS::SQS::Queue': {
    acts: 'QueueName RedrivePolicy VisibilityTimeout',
    ignores: 'MessageRetentionPeriod SqsManagedSseEnabled KmsMasterKeyId',
  },
  'AWS::SQS::QueuePolicy': { acts: 'PolicyDocument Queues' },
  'AWS::Scheduler::Schedule': {
    acts: 'FlexibleTimeWindow Name ScheduleExpression State Target',
    ignores: 'GroupName',
  },
  'AWS::StepFunctions::StateMachine': {
    acts: 'DefinitionString RoleArn StateMachineName StateMachineType',
    ignores: 'LoggingConfiguration TracingConfiguration',
  },
  // Done as its function would do it, by its role's grants: the function itself carries the AWS CLI in a layer.
  'Custom::CDKBucketDeployment': {
    acts: 'DestinationBucketKeyPrefix DestinationBucketName Prune ServiceToken SourceBucketNames SourceObjectKeys',
    ignores: 'OutputObjectKeys RetainOnDelete WaitForDistributionInvalidation',
  },
};

const EVERYWHERE = ['Tags', 'Description'];

/** Throws naming the first resource or property that nothing here acts on. */
export function refuseUnknown(templates: Templates): void {
  for (const [stack, { Resources }] of Object.entries(templates))
    for (const [id, { Type, Properties = {} }] of Object.entries(Resources)) {
      const known = Object.hasOwn(SUPPORTED, Type) ? SUPPORTED[Type] : undefined;
      if (!known)
        throw new Error(`${stack}/${id} is a ${Type}, which npm run stack does not support`);
      const names = [...known.acts.split(' '), ...(known.ignores ?? '').split(' '), ...EVERYWHERE];
      for (const name of Object.keys(Properties))
        if (!names.includes(name))
          throw new Error(
            `${stack}/${id} (${Type}) has ${name}, which npm run stack does not support`,
          );
    }
}
