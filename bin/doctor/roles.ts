import { GetRoleCommand } from '@aws-sdk/client-iam';
import { type Check, fail, ok } from '../../local/doctor_checks.ts';
import type { Clients } from '../doctor-aws.ts';
import { isNamed } from './data.ts';
import { type Deployment, notDeployed } from './deployment.ts';

/** The roles that we hand to a service, which must be the one that trusts us; the others are Lambda's or Scheduler's. */
const HANDED: readonly (readonly [start: string, service: string])[] = [
  ['MachineRole', 'states.amazonaws.com'],
  ['JobRole', 'sagemaker.amazonaws.com'],
  ['EndpointRole', 'sagemaker.amazonaws.com'],
];
const OTHERS = ['lambda.amazonaws.com', 'scheduler.amazonaws.com'];

interface Statement {
  readonly Effect?: string;
  readonly Principal?: string | Readonly<Record<string, string | readonly string[]>>;
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** Each role is there and trusts its service alone, and the three that services are handed only from this account. */
export function roleChecks({ iam }: Clients, found: Deployment): Check[] {
  return [
    {
      name: 'roles',
      looksAt: 'iam:GetRole',
      async run() {
        const roles = await found.resources('AWS::IAM::Role');
        if (roles.length === 0) return notDeployed('role');
        const amiss: string[] = [];
        for (const { logicalId, physicalId } of roles) {
          const why = await iam.send(new GetRoleCommand({ RoleName: physicalId })).then(
            ({ Role }) => wrongTrust(logicalId, trustOf(Role?.AssumeRolePolicyDocument)),
            (error: unknown) => {
              if (isNamed(error, 'NoSuchEntity', 'NoSuchEntityException')) return 'is gone';
              throw error;
            },
          );
          if (why) amiss.push(`${logicalId} ${why}`);
        }
        return amiss.length === 0
          ? ok(`${roles.length} roles, each trusts its service alone`)
          : fail(
              amiss.join('; '),
              'somebody changed it by hand: npx cdk deploy --all, and look into CloudTrail who',
            );
      },
    },
  ];
}

/** IAM answers the document as URL-encoded JSON. Source: IAM API reference, GetRole. */
const trustOf = (document: string | undefined): readonly Statement[] => {
  const { Statement: found = [] } = JSON.parse(decodeURIComponent(document ?? '{}')) as {
    Statement?: Statement | Statement[];
  };
  return Array.isArray(found) ? found : [found as Statement];
};

function wrongTrust(logicalId: string, statements: readonly Statement[]): string | undefined {
  const handed = HANDED.find(([start]) => logicalId.startsWith(start));
  const allowed = statements.filter(({ Effect }) => Effect === 'Allow');
  if (allowed.length === 0) return 'trusts nobody';
  for (const { Principal, Condition } of allowed) {
    const trusted = typeof Principal === 'string' ? { AWS: Principal } : (Principal ?? {});
    for (const [kind, names] of Object.entries(trusted))
      for (const name of [names].flat()) {
        if (kind !== 'Service') return `can be taken by ${kind} ${name}`;
        if (!(handed ? [handed[1]] : OTHERS).includes(name)) return `trusts ${name}`;
      }
    if (handed && Condition?.['StringEquals']?.['aws:SourceAccount'] === undefined)
      return 'can be used for another account';
  }
  return undefined;
}
