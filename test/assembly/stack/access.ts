import { createHash } from 'node:crypto';
import type { Account, Resource } from './account.ts';
import { ACCOUNT, REGION } from './intrinsics.ts';
import { type Asked, decide, readPolicy, type Statement } from './policy.ts';
import { fields, list, text, texts } from './values.ts';

/** AWS's own refusal, in the words of whatever protocol it leaves by. */
export class AwsError extends Error {
  readonly status: number;
  readonly code: string;
  constructor(code: string, message: string, status = 400) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** Who speaks: a role in the hands of a function, a machine or a job; or a person with keys. */
export interface Caller {
  /** `stillflow-api/trackinghttpFunction..`, `machine stillflow-retraining`, `user`. */
  readonly who: string;
  readonly arn: string;
  /** Undefined for a service of AWS and for the account's administrator. */
  readonly role: string | undefined;
  readonly keys: Keys;
}
export interface Keys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string | undefined;
}
export interface Denial {
  readonly who: string;
  readonly action: string;
  readonly resource: string;
  readonly why: string;
}

const keysOf = (name: string, session: boolean): Keys => {
  const hash = createHash('sha256').update(name).digest('hex');
  return {
    accessKeyId: `${session ? 'ASIA' : 'AKIA'}${hash.slice(0, 16).toUpperCase()}`,
    secretAccessKey: hash.slice(16, 56),
    sessionToken: session ? `session-${hash.slice(0, 24)}` : undefined,
  };
};

/** Roles, their policies, and those of resources: who may do what, and what was refused. */
export function accessTo(account: Account, log: (line: Record<string, unknown>) => void) {
  const policies = new Map<string, Statement[]>();
  const trust = new Map<string, Statement[]>();
  const byResource = new Map<string, Statement[]>();
  const callers = new Map<string, Caller>();
  const denials: Denial[] = [];
  const told = new Set<string>();

  for (const { at, ref, arn, properties } of account.of('AWS::IAM::Role')) {
    const inline = list(properties['Policies']).map((one) => fields(one)['PolicyDocument']);
    if (texts(properties['ManagedPolicyArns']).length > 0)
      throw new Error(`${at} has managed policies, which npm run stack does not hold`);
    policies.set(
      ref,
      inline.flatMap((one) => readPolicy(one, at)),
    );
    trust.set(
      arn,
      readPolicy(properties['AssumeRolePolicyDocument'], at).map((one) => ({
        ...one,
        resources: [/^/],
      })),
    );
  }
  for (const { at, properties } of account.of('AWS::IAM::Policy'))
    for (const role of texts(properties['Roles'])) {
      const statements = readPolicy(properties['PolicyDocument'], at);
      policies.set(role, [...(policies.get(role) ?? []), ...statements]);
    }
  const add = (arn: string, statements: Statement[]) =>
    byResource.set(arn, [...(byResource.get(arn) ?? []), ...statements]);
  for (const { at, properties } of account.of('AWS::SQS::QueuePolicy'))
    for (const queue of texts(properties['Queues']))
      add(account.find('AWS::SQS::Queue', queue).arn, readPolicy(properties['PolicyDocument'], at));
  for (const { at, properties } of account.of('AWS::S3::BucketPolicy'))
    add(
      account.find('AWS::S3::Bucket', text(properties['Bucket'])).arn,
      readPolicy(properties['PolicyDocument'], at),
    );
  for (const permission of account.of('AWS::Lambda::Permission')) {
    const { arn } = account.find('AWS::Lambda::Function', functionOf(permission));
    add(arn, readPolicy({ Statement: statementOf(permission, arn) }, permission.at));
  }

  const admin: Caller = {
    who: 'user',
    arn: `arn:aws:iam::${ACCOUNT}:user/deployer`,
    role: undefined,
    keys: keysOf('user deployer', false),
  };
  callers.set(admin.keys.accessKeyId, admin);

  /** Credentials of a role as a service hands them out, each holder its own. */
  function assume(roleArn: string, who: string, service: string): Caller {
    const role = account.find('AWS::IAM::Role', roleArn);
    const context = { 'aws:sourceaccount': ACCOUNT };
    const asked = { action: 'sts:AssumeRole', resource: roleArn, context };
    const verdict = decide([], trust.get(roleArn) ?? [], `Service:${service}`, asked);
    if (verdict !== 'allowed')
      throw new AwsError(
        'AccessDeniedException',
        `The role ${role.at} cannot be assumed by ${service}: its trust policy does not say so.`,
      );
    const keys = keysOf(`${role.at} ${who}`, true);
    const session = who.replace(/^.*\//, '').replace(/[^\w+=,.@-]/g, '-');
    const arn = `arn:aws:sts::${ACCOUNT}:assumed-role/${role.ref}/${session}`;
    const caller = { who, arn, role: role.ref, keys };
    callers.set(keys.accessKeyId, caller);
    return caller;
  }

  function resourcePolicies(resource: string): Statement[] {
    const bucket = /^(arn:aws:s3:::[^/]+)\//.exec(resource)?.[1];
    return byResource.get(bucket ?? resource) ?? [];
  }

  /** Throws AccessDenied and keeps the refusal, unless this caller may. */
  function check(caller: Caller, asked: Asked): void {
    if (caller === admin) return;
    const own = caller.role === undefined ? [] : (policies.get(caller.role) ?? []);
    const principal = caller.role === undefined ? caller.arn : `AWS:${caller.arn}`;
    const context = { 'aws:securetransport': 'true', 's3:tlsversion': '1.3', ...asked.context };
    const verdict = decide(own, resourcePolicies(asked.resource), principal, { ...asked, context });
    if (verdict === 'allowed') return;
    const { action, resource } = asked;
    const denial = { who: caller.who, action, resource, why: verdict };
    const line = JSON.stringify(denial);
    denials.push(denial);
    if (!told.has(line)) log({ level: 'error', message: 'denied', ...denial });
    told.add(line);
    const policy =
      verdict === 'allowed by none'
        ? `because no policy allows the ${action} action`
        : 'with an explicit deny';
    throw new AwsError(
      'AccessDeniedException',
      `User: ${caller.arn} is not authorized to perform: ${action} on resource: ${resource} ${policy}`,
      403,
    );
  }

  return {
    admin,
    assume,
    check,
    denials,
    /** Whether it may, without a word. */
    may(caller: Caller, asked: Asked): boolean {
      const count = denials.length;
      try {
        check(caller, asked);
        return true;
      } catch {
        denials.length = count;
        return false;
      }
    },
    /** A service of AWS that acts in its own name: `events.amazonaws.com`. */
    service: (name: string): Caller => ({
      who: name,
      arn: `Service:${name}`,
      role: undefined,
      keys: keysOf(name, false),
    }),
    byKey: (accessKeyId: string) => callers.get(accessKeyId),
    /** What handing a role to a service asks of the caller, and of the role. */
    pass(caller: Caller, roleArn: string, service: string): void {
      check(caller, {
        action: 'iam:PassRole',
        resource: roleArn,
        context: { 'iam:passedtoservice': service },
      });
      assume(roleArn, `${service} for ${caller.who}`, service);
    },
  };
}
export type Access = ReturnType<typeof accessTo>;

const functionOf = ({ properties }: Resource): string => text(properties['FunctionName']);

function statementOf({ properties }: Resource, arn: string) {
  const equals = {
    ...(properties['SourceAccount'] ? { 'aws:SourceAccount': properties['SourceAccount'] } : {}),
    ...(properties['FunctionUrlAuthType']
      ? { 'lambda:FunctionUrlAuthType': properties['FunctionUrlAuthType'] }
      : {}),
  };
  const via = properties['InvokedViaFunctionUrl'];
  const principal = text(properties['Principal']);
  return {
    Effect: 'Allow',
    Action: properties['Action'],
    Resource: arn,
    Principal: principal === '*' ? '*' : { Service: principal },
    Condition: {
      ...(Object.keys(equals).length ? { StringEquals: equals } : {}),
      ...(properties['SourceArn'] ? { ArnLike: { 'aws:SourceArn': properties['SourceArn'] } } : {}),
      ...(via === undefined ? {} : { Bool: { 'lambda:InvokedViaFunctionUrl': String(via) } }),
    },
  };
}

export const arnOf = (service: string, resource: string): string =>
  `arn:aws:${service}:${REGION}:${ACCOUNT}:${resource}`;
