import { statements } from './checks.ts';
import type { Templates } from './templates.ts';

/** What a request brings along that conditions look at: `s3:prefix`, `iam:PassedToService`. */
export type Context = Readonly<Record<string, string>>;

export const BUCKET = 'arn:aws:s3:::bucket';
export const TABLE = 'arn:aws:dynamodb:eu-west-1:111122223333:table/core';

const ROLE = 'arn:aws:iam::111122223333:role';
const BUS = 'arn:aws:events:eu-west-1:111122223333:event-bus/stillflow';

/** ARNs of a template as an account would have them: references to bucket, table and roles by their own names. */
const resolved = (arn: string): string =>
  arn
    .replace(/\$\{AWS::Partition\}/g, 'aws')
    .replace(/\$\{AWS::Region\}/g, 'eu-west-1')
    .replace(/\$\{AWS::AccountId\}/g, '111122223333')
    .replace(/\$\{[^}]*GetAttBucket[0-9A-F]{8}Arn[0-9A-F]{8}\}/, BUCKET)
    .replace(/\$\{[^}]*GetAttTable[0-9A-F]{8}Arn[0-9A-F]{8}\}/, TABLE)
    .replace(/\$\{(?:[^}]*GetAtt)?(\w+Role)[0-9A-F]{8}(Arn[0-9A-F]{8}|\.Arn)\}/, `${ROLE}/$1`)
    .replace(/\$\{Bus[0-9A-F]{8}\.Arn\}/, BUS);

/** `*` is any text and `?` any character, a slash too. Source: IAM user guide, "Grammar of the policy language". */
const like = (pattern: string, value: string): boolean =>
  new RegExp(
    `^${pattern
      .replace(/[.+^${}()|[\]\\]/g, '\\$&')
      .replaceAll('*', '.*')
      .replaceAll('?', '.')}$`,
    's',
  ).test(value);

type Operator = (given: string | undefined, wanted: readonly string[]) => boolean;
const OPERATORS: Readonly<Record<string, Operator>> = {
  StringEquals: (given, wanted) => given !== undefined && wanted.includes(given),
  StringLike: (given, wanted) => given !== undefined && wanted.some((one) => like(one, given)),
  StringLikeIfExists: (given, wanted) =>
    given === undefined || wanted.some((one) => like(one, given)),
};

/** A condition that nobody here can evaluate denies. */
const holds = (condition: unknown, context: Context): boolean =>
  Object.entries((condition ?? {}) as Record<string, Record<string, unknown>>).every(
    ([operator, keys]) =>
      Object.entries(keys).every(([key, wanted]) =>
        OPERATORS[operator]?.(context[key], [wanted].flat().map(String)),
      ),
  );

/** Whether the one role whose id starts so, in the stack if two share it, may do this. There is no Deny in our policies. */
export function allows(
  templates: Templates,
  role: string,
  action: string,
  resource: string,
  context: Context = {},
): boolean {
  const own = statements(templates).filter((statement) =>
    `${statement.stack}/${statement.role}`.includes(`/${role}`),
  );
  if (own.length === 0) throw new Error(`No role starts with ${role}`);
  const roles = new Set(own.map((statement) => `${statement.stack}/${statement.role}`));
  if (roles.size > 1) throw new Error(`${role} may be any of ${[...roles].join(', ')}`);
  return own.some(
    ({ actions, resources, condition }) =>
      actions.some((one) => like(one, action)) &&
      resources.some((one) => like(resolved(one), resource)) &&
      holds(condition, context),
  );
}
