import { CloudFormationClient } from '@aws-sdk/client-cloudformation';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { ECRClient } from '@aws-sdk/client-ecr';
import { EventBridgeClient } from '@aws-sdk/client-eventbridge';
import { IAMClient } from '@aws-sdk/client-iam';
import { LambdaClient } from '@aws-sdk/client-lambda';
import { S3Client } from '@aws-sdk/client-s3';
import { ServiceQuotasClient } from '@aws-sdk/client-service-quotas';
import { SFNClient } from '@aws-sdk/client-sfn';
import { SQSClient } from '@aws-sdk/client-sqs';
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import { type Check, fail, ok, reasonOf, skipped } from '../local/doctor_checks.ts';
import { dataChecks } from './doctor/data.ts';
import { deployment, deploymentChecks } from './doctor/deployment.ts';
import { eventChecks } from './doctor/events.ts';
import { imageChecks } from './doctor/images.ts';
import { quotaChecks } from './doctor/quotas.ts';
import { roleChecks } from './doctor/roles.ts';

export interface Clients {
  readonly sts: STSClient;
  readonly cloudformation: CloudFormationClient;
  readonly dynamodb: DynamoDBClient;
  readonly s3: S3Client;
  readonly events: EventBridgeClient;
  readonly sqs: SQSClient;
  readonly lambda: LambdaClient;
  readonly sfn: SFNClient;
  readonly iam: IAMClient;
  readonly ecr: ECRClient;
  readonly quotas: ServiceQuotasClient;
}

const SETTINGS = {
  maxAttempts: 5,
  requestHandler: { connectionTimeout: 5_000, requestTimeout: 20_000 },
} as const;

/** Credentials and region as the AWS command line finds them. */
export const clients = (): Clients => ({
  sts: new STSClient(SETTINGS),
  cloudformation: new CloudFormationClient(SETTINGS),
  dynamodb: new DynamoDBClient(SETTINGS),
  s3: new S3Client(SETTINGS),
  events: new EventBridgeClient(SETTINGS),
  sqs: new SQSClient(SETTINGS),
  lambda: new LambdaClient(SETTINGS),
  sfn: new SFNClient(SETTINGS),
  iam: new IAMClient(SETTINGS),
  ecr: new ECRClient(SETTINGS),
  quotas: new ServiceQuotasClient(SETTINGS),
});

/**
 * What a deployment stands on, by calls that describe and list: none of them changes anything, and none reads data.
 * Where the first fails, for want of credentials or of a network, the others are skipped and not tried.
 */
export function accountChecks(of: Clients): Check[] {
  const found = deployment(of);
  let able = true;
  const identity: Check = {
    name: 'credentials',
    looksAt: 'sts:GetCallerIdentity',
    async run() {
      try {
        const region = await of.sts.config.region();
        const { Account, Arn } = await of.sts.send(new GetCallerIdentityCommand({}));
        return ok(`${Arn} in account ${Account}, region ${region}`);
      } catch (error) {
        able = false;
        return fail(
          reasonOf(error),
          'give credentials and a region as for the AWS command line (AWS_PROFILE, AWS_REGION), and a way to the network',
        );
      }
    },
  };
  const others = [
    ...deploymentChecks(of, found),
    ...dataChecks(of, found),
    ...eventChecks(of, found),
    ...roleChecks(of, found),
    ...quotaChecks(of),
    ...imageChecks(of, found),
  ];
  return [
    identity,
    ...others.map((check) => ({
      ...check,
      run: () => (able ? asking(check) : skipped('nothing can be asked without credentials')),
    })),
  ];
}

const DENIED =
  /^(AccessDenied|AccessDeniedException|UnauthorizedOperation|AuthorizationError|NotAuthorized|403)$/;
const THROTTLED = /Throttl|TooManyRequests|RateExceeded|RequestLimitExceeded|SlowDown/;

/** A check that may not look is no fault of the deployment. */
async function asking({ looksAt, run }: Check) {
  try {
    return await run();
  } catch (error) {
    const name = error instanceof Error ? error.name : '';
    const status = (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode;
    if (DENIED.test(name) || status === 403)
      return skipped(`your role may not do it; allow it ${looksAt} to have it looked at`);
    if (THROTTLED.test(name) || status === 429)
      return skipped(`AWS throttles these calls (${name}); ask again later`);
    return skipped(`no answer: ${reasonOf(error)}`);
  }
}
