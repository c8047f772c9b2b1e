import { type Duration, RemovalPolicy, Duration as Time } from 'aws-cdk-lib';
import { Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import {
  Architecture,
  Code,
  type FunctionProps,
  Function as Lambda,
  Runtime,
} from 'aws-cdk-lib/aws-lambda';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import { bundle } from './bundle.ts';
import { type Grant, give } from './grants.ts';

export interface OurFunctionProps {
  /** `functions/tracking/handler.ts`; bundled. */
  readonly entry: string;
  /** What the entry exports: `http`, `follow`, `task`, `stream`, `handler`. */
  readonly exported: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly grants: readonly Grant[];
  readonly timeout: Duration;
  /** Only where something must find it by name. */
  readonly functionName?: string;
  readonly memoryMb?: number;
  /** A folder with the bundle of `entry` and files that it reads; without it the bundle alone. */
  readonly folder?: string;
  /** At most so many at once, taken from what the account has for all. */
  readonly reserved?: number;
}

/** A role with nothing but the right to write its own log. */
export function loggedRole(scope: Construct, logs: LogGroup): Role {
  const role = new Role(scope, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
  give(role, [
    {
      actions: ['logs:CreateLogStream', 'logs:PutLogEvents'],
      resources: [logs.logGroupArn],
    },
  ]);
  return role;
}

export function logGroup(scope: Construct, name?: string): LogGroup {
  return new LogGroup(scope, 'Logs', {
    retention: RetentionDays.ONE_MONTH,
    removalPolicy: RemovalPolicy.DESTROY,
    ...(name ? { logGroupName: `/aws/lambda/${name}` } : {}),
  });
}

/** One of our Lambdas: Node 24 on arm64, one role and one log group of its own. */
export class OurFunction extends Construct {
  readonly lambda: Lambda;
  readonly role: Role;

  constructor(scope: Construct, id: string, props: OurFunctionProps) {
    super(scope, id);
    const logs = logGroup(this, props.functionName);
    this.role = loggedRole(this, logs);
    give(this.role, props.grants);
    const settings: FunctionProps = {
      runtime: Runtime.NODEJS_24_X,
      architecture: Architecture.ARM_64,
      code: Code.fromAsset(props.folder ?? bundle(props.entry).folder),
      handler: `index.${props.exported}`,
      environment: { ...props.environment },
      memorySize: props.memoryMb ?? 1024,
      timeout: props.timeout,
      role: this.role,
      logGroup: logs,
      ...(props.reserved === undefined ? {} : { reservedConcurrentExecutions: props.reserved }),
      ...(props.functionName ? { functionName: props.functionName } : {}),
    };
    this.lambda = new Lambda(this, 'Function', settings);
  }
}

export const seconds = (count: number): Duration => Time.seconds(count);
