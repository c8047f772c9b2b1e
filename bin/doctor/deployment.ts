import {
  type CloudFormationClient,
  DescribeStacksCommand,
  ListStackResourcesCommand,
  type Stack,
  type StackResourceSummary,
} from '@aws-sdk/client-cloudformation';
import { type Check, fail, ok, type Verdict, warn } from '../../local/doctor_checks.ts';
import type { Clients } from '../doctor-aws.ts';

/** As lib/constructs/stillflow.ts names them; test/stacks/runbooks.test.ts compares. */
export const STACKS = ['data', 'compute', 'api', 'workflows', 'events'].map(
  (name) => `stillflow-${name}`,
);
/** What the rule in every template asks for. Source: cdk.out, Rules.CheckBootstrapVersion. */
const BOOTSTRAP_VERSION = 6;
const BOOTSTRAP_STACK = 'CDKToolkit';

export interface Placed {
  readonly logicalId: string;
  readonly physicalId: string;
}

/** The stacks and what they made, each asked once. A stack that is not there holds nothing. */
export interface Deployment {
  stack(name: string): Promise<Stack | undefined>;
  /** Of all stacks. */
  resources(type: string): Promise<readonly Placed[]>;
  /** The only one of its type, or undefined. */
  only(type: string): Promise<Placed | undefined>;
}

export function deployment({ cloudformation }: Pick<Clients, 'cloudformation'>): Deployment {
  const stacks = new Map<string, Promise<Stack | undefined>>();
  let all: Promise<readonly StackResourceSummary[]> | undefined;
  const stack = (name: string) => {
    const asked = stacks.get(name) ?? described(cloudformation, name);
    stacks.set(name, asked);
    return asked;
  };
  async function listed(): Promise<StackResourceSummary[]> {
    const found: StackResourceSummary[] = [];
    for (const StackName of STACKS) {
      if (!(await stack(StackName))) continue;
      let NextToken: string | undefined;
      do {
        const page = await cloudformation.send(
          new ListStackResourcesCommand({ StackName, NextToken }),
        );
        found.push(...(page.StackResourceSummaries ?? []));
        NextToken = page.NextToken;
      } while (NextToken);
    }
    return found;
  }
  async function resources(type: string): Promise<Placed[]> {
    all ??= listed();
    return (await all).flatMap(({ ResourceType, LogicalResourceId, PhysicalResourceId }) =>
      ResourceType === type && LogicalResourceId && PhysicalResourceId
        ? [{ logicalId: LogicalResourceId, physicalId: PhysicalResourceId }]
        : [],
    );
  }
  return {
    stack,
    resources,
    only: async (type) => (await resources(type))[0],
  };
}

async function described(
  client: CloudFormationClient,
  StackName: string,
): Promise<Stack | undefined> {
  try {
    const { Stacks } = await client.send(new DescribeStacksCommand({ StackName }));
    return Stacks?.[0];
  } catch (error) {
    // There is no code of its own for it. Source: CloudFormation API reference, DescribeStacks.
    if (
      error instanceof Error &&
      error.name === 'ValidationError' &&
      /does not exist/.test(error.message)
    )
      return undefined;
    throw error;
  }
}

export function deploymentChecks(_: Clients, found: Deployment): Check[] {
  return [
    {
      name: 'bootstrap',
      looksAt: `cloudformation:DescribeStacks ${BOOTSTRAP_STACK}`,
      run: async () => bootstrapVerdict(await found.stack(BOOTSTRAP_STACK)),
    },
    ...STACKS.map((name) => ({
      name,
      looksAt: `cloudformation:DescribeStacks ${name}`,
      run: async () => stackVerdict(await found.stack(name)),
    })),
  ];
}

function bootstrapVerdict(stack: Stack | undefined): Verdict {
  const fix = 'npx cdk bootstrap';
  if (!stack) return fail('this account and region are not bootstrapped', fix);
  const told = stack.Outputs?.find(
    ({ OutputKey }) => OutputKey === 'BootstrapVersion',
  )?.OutputValue;
  const version = Number(told);
  if (!Number.isInteger(version)) return fail(`its version is not told (${told})`, fix);
  if (version < BOOTSTRAP_VERSION)
    return fail(`version ${version}, and the stacks need ${BOOTSTRAP_VERSION}`, fix);
  return ok(`version ${version}, at least ${BOOTSTRAP_VERSION} is needed`);
}

function stackVerdict(stack: Stack | undefined): Verdict {
  if (!stack) return fail('it is not deployed', 'npx cdk deploy --all');
  const { StackStatus: status = 'unknown', StackStatusReason: reason } = stack;
  const said = reason ? `${status}: ${reason}` : status;
  if (/_IN_PROGRESS$/.test(status)) return warn(said, 'wait until CloudFormation is done');
  if (/^(CREATE|UPDATE|IMPORT)_COMPLETE$/.test(status)) return ok(said);
  if (status === 'UPDATE_ROLLBACK_COMPLETE')
    return warn(
      said,
      "the last deployment failed and was undone: read the stack's events, then npx cdk deploy --all",
    );
  return fail(
    said,
    "read the stack's events in the CloudFormation console, mend what they name, then npx cdk deploy --all",
  );
}

export const notDeployed = (what: string): Verdict =>
  fail(`no ${what} is deployed`, 'npx cdk deploy --all');
