import { type Fields, fields, list, text, texts } from './values.ts';

/** One IAM statement, read once. */
export interface Statement {
  readonly effect: 'Allow' | 'Deny';
  readonly actions: readonly RegExp[];
  readonly resources: readonly RegExp[];
  /** Whom a resource's policy speaks of: `AWS:arn..`, `Service:events.amazonaws.com`, `*`. */
  readonly principals: readonly RegExp[];
  readonly conditions: readonly Condition[];
}
interface Condition {
  readonly operator: string;
  readonly key: string;
  readonly values: readonly string[];
}

/** What a request says of itself, by condition key in lower case. */
export type Context = Readonly<Record<string, string | readonly string[]>>;

/** Keys that the stack can tell; a statement with another one allows nothing, and denies what it would. */
const KNOWN = new Set(
  'aws:securetransport aws:sourceaccount aws:sourcearn aws:principalarn iam:passedtoservice iam:awsservicename application-autoscaling:service-namespace s3:tlsversion s3:prefix lambda:functionurlauthtype lambda:invokedviafunctionurl'.split(
    ' ',
  ),
);

const escaped = (text: string) => text.replace(/[.+^${}()|[\]\\]/g, '\\$&');
export const wildcard = (pattern: string, flags = ''): RegExp =>
  new RegExp(`^${escaped(pattern).replace(/\*/g, '[^]*').replace(/\?/g, '[^]')}$`, flags);

/** Throws for what no policy of ours should hold: everything but, instead of what. */
export function readPolicy(document: unknown, at: string): Statement[] {
  return list(fields(document)['Statement']).map((one) => {
    const statement = fields(one);
    for (const name of ['NotAction', 'NotResource', 'NotPrincipal'])
      if (Object.hasOwn(statement, name))
        throw new Error(`a policy at ${at} uses ${name}: say what is allowed instead`);
    return {
      effect: text(statement['Effect']) === 'Deny' ? 'Deny' : 'Allow',
      actions: texts(statement['Action']).map((action) => wildcard(action, 'i')),
      resources: texts(statement['Resource']).map((resource) => wildcard(resource)),
      principals: principalsOf(statement['Principal']),
      conditions: conditionsOf(fields(statement['Condition'])),
    };
  });
}

function principalsOf(value: unknown): RegExp[] {
  if (value === undefined) return [];
  if (value === '*') return [/^/];
  return Object.entries(fields(value)).flatMap(([kind, names]) =>
    texts(names).map((name) =>
      name === '*' && kind === 'AWS' ? /^/ : wildcard(`${kind}:${name}`),
    ),
  );
}

const conditionsOf = (block: Fields): Condition[] =>
  Object.entries(block).flatMap(([operator, keys]) =>
    Object.entries(fields(keys)).map(([key, values]) => ({
      operator,
      key: key.toLowerCase(),
      values: list(values).map(String),
    })),
  );

type Compare = (have: string, want: string) => boolean;
const COMPARE: Readonly<Record<string, Compare>> = {
  StringEquals: (have, want) => have === want,
  StringEqualsIgnoreCase: (have, want) => have.toLowerCase() === want.toLowerCase(),
  StringLike: (have, want) => wildcard(want).test(have),
  ArnEquals: (have, want) => wildcard(want).test(have),
  ArnLike: (have, want) => wildcard(want).test(have),
  Bool: (have, want) => have.toLowerCase() === want.toLowerCase(),
  NumericEquals: (have, want) => Number(have) === Number(want),
  NumericLessThan: (have, want) => Number(have) < Number(want),
  NumericLessThanEquals: (have, want) => Number(have) <= Number(want),
  NumericGreaterThan: (have, want) => Number(have) > Number(want),
};
const NEGATED: Readonly<Record<string, string>> = {
  StringNotEquals: 'StringEquals',
  StringNotLike: 'StringLike',
  ArnNotLike: 'ArnLike',
  ArnNotEquals: 'ArnEquals',
};

/** Undefined: nobody here can say. */
function holds({ operator, key, values }: Condition, context: Context): boolean | undefined {
  if (!KNOWN.has(key)) return undefined;
  const [, set = '', base = '', ifExists] =
    /^(?:(ForAllValues|ForAnyValue):)?(\w+?)(IfExists)?$/.exec(operator) ?? [];
  const found = context[key];
  const have = list(found).map(String);
  if (base === 'Null') return (found === undefined) === (values[0] === 'true');
  const negated = NEGATED[base];
  const compare = COMPARE[negated ?? base];
  if (!compare) return undefined;
  if (found === undefined)
    return ifExists !== undefined || negated !== undefined || set === 'ForAllValues';
  const fits = (one: string) =>
    values.some((want) => compare(one, want)) !== (negated !== undefined);
  return set === 'ForAllValues' ? have.every(fits) : have.some(fits);
}

export interface Asked {
  /** `dynamodb:PutItem`. */
  readonly action: string;
  readonly resource: string;
  readonly context?: Context;
}

const matches = (statement: Statement, { action, resource, context = {} }: Asked): boolean =>
  statement.actions.some((one) => one.test(action)) &&
  statement.resources.some((one) => one.test(resource)) &&
  statement.conditions.every(
    (one) => holds(one, context) ?? statement.effect === 'Deny', // who cannot tell is on the safe side
  );

export type Verdict = 'allowed' | 'denied by a policy' | 'allowed by none';

/** As IAM decides inside one account: a Deny anywhere, else an Allow of the caller's or of the resource's. */
export function decide(
  own: readonly Statement[],
  resources: readonly Statement[],
  principal: string,
  asked: Asked,
): Verdict {
  const speaking = [
    ...own,
    ...resources.filter(({ principals }) => principals.some((one) => one.test(principal))),
  ].filter((statement) => matches(statement, asked));
  if (speaking.some(({ effect }) => effect === 'Deny')) return 'denied by a policy';
  return speaking.length > 0 ? 'allowed' : 'allowed by none';
}
