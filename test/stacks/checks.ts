import type { App } from '../../functions/app.ts';
import { gatewayChoice, type Mount } from '../../lib/mounts.ts';
import { usesOf } from '../../lib/rooms.ts';
import { type Placed, property, resources, type Templates, text } from './templates.ts';

/** Each check says what is wrong, one line a finding, and nothing where all is well. */
export type Check = (templates: Templates) => string[];

/** What may be deployed at all: nothing here is billed by the hour, by provisioned size or by reservation. */
const ALLOWED = new Set([
  'AWS::ApiGatewayV2::Api',
  'AWS::ApiGatewayV2::Authorizer',
  'AWS::ApiGatewayV2::Integration',
  'AWS::ApiGatewayV2::Route',
  'AWS::ApiGatewayV2::Stage',
  'AWS::CloudWatch::Alarm',
  'AWS::CloudWatch::Dashboard',
  'AWS::DynamoDB::GlobalTable',
  'AWS::Events::EventBus',
  'AWS::Events::Rule',
  'AWS::IAM::Policy',
  'AWS::IAM::Role',
  'AWS::Lambda::EventSourceMapping',
  'AWS::Lambda::Function',
  'AWS::Lambda::LayerVersion',
  'AWS::Lambda::Permission',
  'AWS::Lambda::Url',
  'AWS::Logs::LogGroup',
  'AWS::S3::Bucket',
  'AWS::S3::BucketPolicy',
  'AWS::SNS::Topic',
  'AWS::SNS::TopicPolicy',
  'AWS::SQS::Queue',
  'AWS::SQS::QueuePolicy',
  'AWS::Scheduler::Schedule',
  'AWS::StepFunctions::StateMachine',
  'Custom::CDKBucketDeployment',
]);
/** Properties that turn an allowed type into one that bills while idle, or opens it. */
const HOURLY =
  /^(ProvisionedConcurrencyConfig|ProvisionedThroughput|VpcConfig|ProvisionedPollerConfig|MinimumPollers|SnapStart|Replicas$)/;

export const nothingByTheHour: Check = (templates) =>
  resources(templates).flatMap((resource) => {
    if (!ALLOWED.has(resource.Type)) return [`${resource.at}: ${resource.Type} is not on the list`];
    const found = [...names(resource.Properties)].filter(
      (name) => HOURLY.test(name) && name !== 'Replicas',
    );
    const billing = property(resource, 'BillingMode');
    if (resource.Type === 'AWS::DynamoDB::GlobalTable' && billing !== 'PAY_PER_REQUEST')
      found.push(`BillingMode ${billing}`);
    return found.map((name) => `${resource.at}: ${name} is billed while idle`);
  });

function* names(value: unknown): Generator<string> {
  if (typeof value !== 'object' || value === null) return;
  for (const [name, inner] of Object.entries(value)) {
    if (!Array.isArray(value)) yield name;
    yield* names(inner);
  }
}

const one = (templates: Templates, type: string): Placed => {
  const found = resources(templates, type);
  if (found.length !== 1 || !found[0]) throw new Error(`${found.length} of ${type}, not one`);
  return found[0];
};
const expected = (resource: Placed, wanted: readonly (readonly [unknown, unknown, string])[]) =>
  wanted.flatMap(([found, meant, what]) =>
    JSON.stringify(found) === JSON.stringify(meant)
      ? []
      : [`${resource.at}: ${what} is ${JSON.stringify(found)}`],
  );

/** Table and bucket outlive the stack, and a mistake in it. */
export const dataIsKept: Check = (templates) => {
  const table = one(templates, 'AWS::DynamoDB::GlobalTable');
  const bucket = one(templates, 'AWS::S3::Bucket');
  const recovery = 'PointInTimeRecoverySpecification';
  return [
    ...[table, bucket].flatMap((kept) =>
      expected(kept, [
        [kept.DeletionPolicy, 'Retain', 'DeletionPolicy'],
        [kept.UpdateReplacePolicy, 'Retain', 'UpdateReplacePolicy'],
      ]),
    ),
    ...expected(table, [
      [property(table, 'Replicas', 0, recovery, 'PointInTimeRecoveryEnabled'), true, recovery],
      [property(table, 'Replicas', 0, 'DeletionProtectionEnabled'), true, 'deletion protection'],
      [property(table, 'StreamSpecification', 'StreamViewType'), 'NEW_IMAGE', 'stream'],
      [property(table, 'TimeToLiveSpecification'), { AttributeName: '_ttl', Enabled: true }, 'TTL'],
    ]),
    ...expected(bucket, [
      [property(bucket, 'VersioningConfiguration', 'Status'), 'Enabled', 'versioning'],
      [
        property(
          bucket,
          'NotificationConfiguration',
          'EventBridgeConfiguration',
          'EventBridgeEnabled',
        ),
        true,
        'EventBridge',
      ],
      [
        property(bucket, 'LifecycleConfiguration', 'Rules', 0, 'AbortIncompleteMultipartUpload'),
        { DaysAfterInitiation: 7 },
        'clearing of unfinished uploads',
      ],
    ]),
  ];
};

/** Encrypted at rest, spoken to by TLS only, closed to the public. */
export const dataIsClosed: Check = (templates) => {
  const bucket = one(templates, 'AWS::S3::Bucket');
  const open = property(bucket, 'PublicAccessBlockConfiguration') as Record<string, unknown>;
  const policy = text(
    JSON.stringify(property(one(templates, 'AWS::S3::BucketPolicy'), 'PolicyDocument')),
  );
  const encryption = 'BucketEncryption';
  return [
    ...expected(bucket, [
      [Object.values(open ?? {}), [true, true, true, true], 'public access block'],
      [
        property(
          bucket,
          encryption,
          'ServerSideEncryptionConfiguration',
          0,
          'ServerSideEncryptionByDefault',
        ),
        { SSEAlgorithm: 'AES256' },
        encryption,
      ],
      [
        property(bucket, 'OwnershipControls', 'Rules', 0, 'ObjectOwnership'),
        'BucketOwnerEnforced',
        'ownership',
      ],
    ]),
    ...(/"aws:SecureTransport":"false"/.test(policy)
      ? []
      : ['the bucket may be reached without TLS']),
    ...resources(templates, 'AWS::SQS::Queue')
      .filter((queue) => property(queue, 'SqsManagedSseEnabled') !== true)
      .map(({ at }) => `${at} is not encrypted`),
    ...resources(templates, 'AWS::Lambda::Url')
      .filter((url, at) => property(url, 'InvokeMode') !== 'RESPONSE_STREAM' || at > 0)
      .map(({ at }) => `${at} is a second URL, or one that does not stream`),
    ...resources(templates, 'AWS::Lambda::Permission')
      .filter(
        (one) =>
          property(one, 'Principal') === '*' &&
          property(one, 'FunctionUrlAuthType') !== 'NONE' &&
          property(one, 'InvokedViaFunctionUrl') !== true,
      )
      .map(({ at }) => `${at} lets anybody invoke`),
  ];
};

/** Every queue that somebody reads has dead letters, every dead letter and every late reader an alarm that tells someone. */
export const failuresAreHeard: Check = (templates) => {
  const queues = resources(templates, 'AWS::SQS::Queue');
  const alarms = resources(templates, 'AWS::CloudWatch::Alarm');
  const watched = new Set(
    alarms.flatMap(
      (alarm) =>
        text(property(alarm, 'Dimensions', 0, 'Value')).match(/[A-Za-z]\w+(?=\.QueueName)/) ?? [],
    ),
  );
  const mapped = resources(templates, 'AWS::Lambda::EventSourceMapping');
  const streams = mapped.filter((mapping) => property(mapping, 'StartingPosition') !== undefined);
  const late = alarms.filter((alarm) => property(alarm, 'MetricName') === 'IteratorAge');
  return [
    ...queues
      .filter((queue) => property(queue, 'RedrivePolicy') === undefined && !watched.has(queue.id))
      .map(({ at }) => `${at} takes dead letters and has no alarm`),
    ...queues
      .filter((queue) =>
        mapped.some((mapping) => text(property(mapping, 'EventSourceArn')).includes(queue.id)),
      )
      .filter((queue) => property(queue, 'RedrivePolicy') === undefined)
      .map(({ at }) => `${at} is read and has no dead letters`),
    ...alarms
      .filter((alarm) => !(property(alarm, 'AlarmActions') as unknown[] | undefined)?.length)
      .map(({ at }) => `${at} tells nobody`),
    ...(streams.length === 2 ? [] : [`the stream has ${streams.length} readers, not two`]),
    ...(late.length === 2 ? [] : [`${late.length} of two readers are watched for their age`]),
    ...streams.flatMap((mapping) =>
      expected(mapping, [
        [property(mapping, 'BisectBatchOnFunctionError'), true, 'bisecting'],
        [
          property(mapping, 'DestinationConfig', 'OnFailure') !== undefined,
          true,
          'a place for failures',
        ],
      ]),
    ),
    ...resources(templates, 'AWS::Events::Rule')
      .filter((rule) => property(rule, 'Targets', 0, 'DeadLetterConfig') === undefined)
      .map(({ at }) => `${at} drops what it cannot deliver`),
  ];
};

/** Actions that know no resource. Any other `*` is a mistake. */
const UNBOUND = new Set([
  'dynamodb:ListStreams',
  'ecr:GetAuthorizationToken',
  'cloudwatch:PutMetricData',
]);

export interface Statement {
  readonly role: string;
  readonly stack: string;
  readonly actions: readonly string[];
  readonly resources: readonly string[];
  readonly condition: unknown;
}

export function statements(templates: Templates): Statement[] {
  return resources(templates, 'AWS::IAM::Policy').flatMap((policy) => {
    const role = text(property(policy, 'Roles', 0)).replace(/[${}]/g, '');
    const listed = property(policy, 'PolicyDocument', 'Statement') as Record<string, unknown>[];
    return listed.map((statement) => ({
      role,
      stack: policy.stack,
      actions: [statement['Action']].flat().map(String),
      resources: [statement['Resource']].flat().map(text),
      condition: statement['Condition'],
    }));
  });
}

/** No wildcard action, no resource `*` beyond the three that need it, no role handed on without saying to whom. */
export const grantsAreNarrow: Check = (templates) => [
  ...statements(templates).flatMap(({ role, actions, resources: on, condition }) => [
    ...actions.filter((action) => action.includes('*')).map((action) => `${role} may ${action}`),
    ...(on.includes('*') ? actions.filter((action) => !UNBOUND.has(action)) : []).map(
      (action) => `${role} may ${action} on *`,
    ),
    ...(actions.includes('iam:PassRole') &&
    !JSON.stringify(condition ?? '').includes('iam:PassedToService')
      ? [`${role} may pass a role to any service`]
      : []),
  ]),
  ...resources(templates, 'AWS::IAM::Role').flatMap((role) => [
    ...(property(role, 'ManagedPolicyArns') ? [`${role.at} has a managed policy`] : []),
    ...(JSON.stringify(property(role, 'AssumeRolePolicyDocument')).includes('"AWS":"*"')
      ? [`${role.at} may be assumed by anybody`]
      : []),
  ]),
];

const SERVICES: Readonly<Record<string, readonly string[]>> = {
  blobs: ['s3'],
  machines: ['states', 'iam'],
  jobs: ['sagemaker', 'iam', 'logs'],
  endpoints: ['sagemaker', 'iam', 'logs', 'application-autoscaling', 'cloudwatch'],
};
const OF_ALL = new Set(['dynamodb', 'logs:CreateLogStream', 'logs:PutLogEvents', 'sqs']);

/** A room's functions reach the services of its line in lib/rooms.ts, and no others. */
export const roomsStayApart =
  (rooms: App['rooms']): Check =>
  (templates) =>
    statements(templates).flatMap(({ role, actions }) => {
      const room = Object.entries(rooms).find(([name, { followers, tasks }]) =>
        [
          `${name}http`,
          ...followers.map((follower) => `${follower.name.replaceAll('-', '')}follower`),
          ...Object.keys(tasks).map((task) => `task${task.replaceAll('-', '')}`),
        ].some((id) => role.startsWith(id)),
      )?.[0];
      if (!room) return [];
      const services = new Set(usesOf(room).flatMap((use) => SERVICES[use] ?? []));
      return actions
        .filter((action) => !OF_ALL.has(action) && !OF_ALL.has(action.split(':')[0] ?? ''))
        .filter((action) => !services.has(action.split(':')[0] ?? ''))
        .map((action) => `${role} of ${room} may ${action}`);
    });

/** Both APIs send each route of the table to its room's Lambda, with a credential; nothing is mounted in vain. */
export const routesAreMounted =
  (rooms: App['rooms']): Check =>
  (templates) => {
    const integrations = new Map(
      resources(templates, 'AWS::ApiGatewayV2::Integration').map((one) => [
        one.id,
        text(property(one, 'IntegrationUri')),
      ]),
    );
    const deployed = resources(templates, 'AWS::ApiGatewayV2::Route').map((route) => {
      const [method = '', path = ''] = String(property(route, 'RouteKey')).split(' ');
      const target = /integrations\/\$\{(\w+)\}/.exec(text(property(route, 'Target')))?.[1] ?? '';
      const room = /\$\{(\w+?)http/.exec(integrations.get(target) ?? '')?.[1] ?? '';
      return {
        api: text(property(route, 'ApiId')),
        auth: property(route, 'AuthorizationType'),
        at: route.at,
        mount: { method, path, room } satisfies Mount,
      };
    });
    const apis = Map.groupBy(deployed, ({ api }) => api);
    const found = [...apis].flatMap(([api, routes]) => {
      const mounts = routes.map(({ mount }) => mount);
      const used = new Set<Mount>();
      const lost = Object.entries(rooms).flatMap(([room, { routes: table }]) =>
        table.flatMap(({ method, path }) =>
          // The rest of a path is one segment or several.
          ['x.txt', 'deep/er.txt'].flatMap((rest) => {
            const asked = path.replace(/\{\w+\*\}/, rest).replace(/\{\w+\}/g, 'v-1');
            const choice = gatewayChoice(mounts, method, asked);
            if (choice) used.add(choice);
            if (choice?.room === room) return [];
            return [`${api}: ${method} ${asked} reaches ${choice?.room ?? 'nothing'}, not ${room}`];
          }),
        ),
      );
      const idle = mounts
        .filter((mount) => !used.has(mount))
        .map(({ path }) => `${api}: ${path} is mounted in vain`);
      const many = mounts.length > 60 ? [`${api} has ${mounts.length} routes`] : [];
      return [...lost, ...idle, ...many];
    });
    const bare = deployed
      .filter(({ auth }) => auth !== 'CUSTOM' && auth !== 'AWS_IAM')
      .map(({ at }) => `${at} asks for no credential`);
    const cached = resources(templates, 'AWS::ApiGatewayV2::Authorizer')
      .filter((authorizer) => property(authorizer, 'AuthorizerResultTtlInSeconds') !== 0)
      .map(({ at }) => `${at} keeps an answer after a token is revoked`);
    return [
      ...(apis.size === 2 ? [] : [`${apis.size} APIs, not two`]),
      ...found,
      ...bare,
      ...cached,
    ];
  };
