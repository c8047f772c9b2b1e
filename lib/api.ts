import { createHash } from 'node:crypto';
import { CfnOutput, Stack, type StackProps } from 'aws-cdk-lib';
import {
  CfnApi,
  CfnAuthorizer,
  CfnIntegration,
  CfnRoute,
  CfnStage,
} from 'aws-cdk-lib/aws-apigatewayv2';
import { ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import {
  CfnPermission,
  FunctionUrlAuthType,
  type IFunction,
  InvokeMode,
} from 'aws-cdk-lib/aws-lambda';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import type { Construct } from 'constructs';
import type { App } from '../functions/app.ts';
import type { DataStack } from './data.ts';
import { OurFunction, seconds } from './function.ts';
import { type Grant, grantsOf, type PassedRoles, tableGrant } from './grants.ts';
import { type Mount, mountsOf } from './mounts.ts';
import { usesOf } from './rooms.ts';
import { siteFolder } from './site.ts';

/** What both HTTP APIs have in common, and what tells them apart. */
type Credential = 'token' | 'sigv4';

export interface ApiProps extends StackProps {
  readonly data: DataStack;
  readonly roles: PassedRoles;
  readonly rooms: App['rooms'];
  readonly environment: Readonly<Record<string, string>>;
  /** At most so many requests of the streaming front at once; without it as many as the account allows. */
  readonly streamConcurrency: number | undefined;
}

/** The gateway's mounts of all rooms that have routes. */
export const mountsOfRooms = (rooms: App['rooms']): Mount[] =>
  mountsOf(
    Object.entries(rooms).flatMap(([room, { routes }]) =>
      routes.map(({ method, path }) => ({ room, method, path })),
    ),
  );

/**
 * The front door: a Lambda a room, two HTTP APIs over the same Lambdas (tokens; SigV4 for clients with AWS
 * credentials), and one function URL for the routes that stream.
 */
export class ApiStack extends Stack {
  /** `https://<id>.execute-api.<region>.amazonaws.com`, the one that takes tokens. */
  readonly url: string;
  /** The same for clients that sign. */
  readonly signedUrl: string;
  readonly signedApiId: string;
  readonly tokenApiId: string;
  /** Where a room streams. */
  readonly streamUrl: string | undefined;

  constructor(scope: Construct, id: string, props: ApiProps) {
    super(scope, id, props);
    const tokens = this.http('Tokens', 'token');
    const signed = this.http('Signed', 'sigv4');
    this.url = tokens.attrApiEndpoint;
    const environment = { ...props.environment, STILLFLOW_URL: this.url };
    const authorizer = this.authorizer(tokens, props.data, environment);
    const mounts = mountsOfRooms(props.rooms);
    const described = Object.values(props.rooms).flatMap(({ routes }) => routes);
    for (const [name, room] of Object.entries(props.rooms)) {
      if (room.routes.length === 0) continue;
      const { lambda } = new OurFunction(this, `${name}-http`, {
        entry: `functions/${name}/handler.ts`,
        ...(name === 'site' ? { folder: siteFolder(described) } : {}),
        exported: 'http',
        environment,
        grants: roomGrants(this, props.data, props.roles, name),
        timeout: seconds(29), // the gateway gives up after 30
      });
      const own = mounts.filter((mount) => mount.room === name);
      this.mount(name, lambda, tokens, own, authorizer);
      this.mount(name, lambda, signed, own, undefined);
    }
    this.streamUrl = this.front(props, environment);
    this.tokenApiId = tokens.ref;
    this.signedApiId = signed.ref;
    this.signedUrl = signed.attrApiEndpoint;
    new CfnOutput(this, 'Url', { value: this.url });
    new CfnOutput(this, 'SignedUrl', { value: this.signedUrl });
  }

  private http(id: string, credential: Credential): CfnApi {
    const api = new CfnApi(this, id, {
      name: `stillflow-${credential}`,
      protocolType: 'HTTP',
      description: `Stillflow, by ${credential}`,
    });
    const logs = new LogGroup(this, `${id}Log`, { retention: RetentionDays.ONE_MONTH });
    new CfnStage(this, `${id}Stage`, {
      apiId: api.ref,
      stageName: '$default',
      autoDeploy: true,
      defaultRouteSettings: { throttlingRateLimit: 1000, throttlingBurstLimit: 2000 },
      accessLogSettings: {
        destinationArn: logs.logGroupArn,
        format: JSON.stringify({
          requestId: '$context.requestId',
          at: '$context.requestTimeEpoch',
          ip: '$context.identity.sourceIp',
          route: '$context.routeKey',
          status: '$context.status',
          ms: '$context.responseLatency',
          error: '$context.error.message',
        }),
      },
    });
    return api;
  }

  /** Says who holds the token, at every request: a revoked token is refused by the next one. */
  private authorizer(
    api: CfnApi,
    data: DataStack,
    environment: Readonly<Record<string, string>>,
  ): CfnAuthorizer {
    const { lambda } = new OurFunction(this, 'authorizer', {
      entry: 'functions/handlers/authorizer.ts',
      exported: 'handler',
      environment,
      grants: [{ actions: ['dynamodb:GetItem'], resources: [data.table.tableArn] }],
      timeout: seconds(10),
    });
    const authorizer = new CfnAuthorizer(this, 'TokenAuthorizer', {
      apiId: api.ref,
      name: 'token',
      authorizerType: 'REQUEST',
      authorizerPayloadFormatVersion: '2.0',
      authorizerResultTtlInSeconds: 0,
      enableSimpleResponses: true,
      authorizerUri: `arn:${this.partition}:apigateway:${this.region}:lambda:path/2015-03-31/functions/${lambda.functionArn}/invocations`,
    });
    this.allowInvoke('AuthorizerPermission', lambda, api, `authorizers/${authorizer.ref}`);
    return authorizer;
  }

  private mount(
    room: string,
    lambda: IFunction,
    api: CfnApi,
    mounts: readonly Mount[],
    authorizer: CfnAuthorizer | undefined,
  ): void {
    const id = `${room}-${authorizer ? 'token' : 'sigv4'}`;
    const integration = new CfnIntegration(this, `${id}-integration`, {
      apiId: api.ref,
      integrationType: 'AWS_PROXY',
      integrationUri: lambda.functionArn,
      payloadFormatVersion: '2.0',
    });
    this.allowInvoke(`${id}-permission`, lambda, api, '*/*');
    for (const { method, path } of mounts)
      new CfnRoute(this, `${id}-${digest(`${method} ${path}`)}`, {
        apiId: api.ref,
        routeKey: `${method} ${path}`,
        target: `integrations/${integration.ref}`,
        ...(authorizer
          ? { authorizationType: 'CUSTOM', authorizerId: authorizer.ref }
          : { authorizationType: 'AWS_IAM' }),
      });
  }

  private allowInvoke(id: string, lambda: IFunction, api: CfnApi, path: string): void {
    new CfnPermission(this, id, {
      action: 'lambda:InvokeFunction',
      functionName: lambda.functionArn,
      principal: new ServicePrincipal('apigateway.amazonaws.com').service,
      sourceArn: this.formatArn({ service: 'execute-api', resource: api.ref, resourceName: path }),
    });
  }

  /**
   * A function URL takes every request; the function checks the token itself before it reads any further. One function
   * for all rooms, so of what they are granted it has what reads and invokes: nothing is started or deleted here.
   */
  private front(
    props: ApiProps,
    environment: Readonly<Record<string, string>>,
  ): string | undefined {
    const streaming = Object.entries(props.rooms).filter(([, { routes }]) =>
      routes.some(({ streams }) => streams),
    );
    if (streaming.length === 0) return undefined;
    const uses = new Set(streaming.flatMap(([room]) => usesOf(room)));
    const { lambda } = new OurFunction(this, 'front', {
      entry: 'functions/handlers/front.ts',
      exported: 'stream',
      environment,
      grants: [
        tableGrant(props.data.table),
        ...[...uses].flatMap((use) => reading(grantsOf(this, props.data, props.roles, use))),
      ],
      timeout: seconds(900),
      ...(props.streamConcurrency === undefined ? {} : { reserved: props.streamConcurrency }),
    });
    const url = lambda.addFunctionUrl({
      authType: FunctionUrlAuthType.NONE,
      invokeMode: InvokeMode.RESPONSE_STREAM,
    });
    new CfnOutput(this, 'StreamUrl', { value: url.url });
    return url.url;
  }
}

const READS = /^(s3:(Get|List)\w+|sagemaker:(Describe\w+Job|InvokeEndpoint)|logs:\w+)$/;

/** Of grants what answers a question. */
const reading = (grants: readonly Grant[]): Grant[] =>
  grants.flatMap((grant) => {
    const actions = grant.actions.filter((action) => READS.test(action));
    return actions.length > 0 ? [{ ...grant, actions }] : [];
  });

/** Logical ids drop all but letters and digits, so paths would collide. */
const digest = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, 10);

/** Table and what the room's line in lib/rooms.ts says. */
export const roomGrants = (
  stack: Stack,
  data: DataStack,
  roles: PassedRoles,
  room: string,
): Grant[] => [
  tableGrant(data.table),
  ...usesOf(room).flatMap((use) => grantsOf(stack, data, roles, use)),
];
