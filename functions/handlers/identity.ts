import type { Role } from '../kernel/call.ts';
import type { Identity } from '../kernel/hallway.ts';
import { DEFAULT_WORKSPACE, WorkspaceId } from '../kernel/ids.ts';
import { asProblem, Problem } from '../kernel/problem.ts';
import { tokenOf } from '../workspaces/credential.ts';
import type { WorkspacesService } from '../workspaces/service.ts';
import type { GatewayEvent } from './gateway.ts';

/**
 * What the authorizer tells the room of a request: whose credential it carries, why it has none that counts, or
 * nothing where it has none. The authorizer says who; the hallway says no, in the words of the request's protocol.
 */
export type Findings =
  | { readonly workspace: string; readonly name: string; readonly role: Role }
  | { readonly refused: string }
  | Record<string, never>;

/** Asks the workspaces room once a request: a revoked token is refused by the next one. */
export async function findingsOf(
  headers: Headers,
  workspaces: Pick<WorkspacesService, 'whoHolds'>,
): Promise<Findings> {
  try {
    const token = tokenOf(headers);
    if (token === undefined) return {};
    const { workspace, caller } = await workspaces.whoHolds(token);
    return { workspace, name: caller.name, role: caller.role };
  } catch (error) {
    const problem = asProblem(error);
    if (problem.code !== 'unauthenticated') throw error;
    return { refused: problem.message };
  }
}

/** What an IAM principal may do that may call the SigV4 API; tokens are administered with tokens. */
const SIGNED_ROLE: Role = 'write';

/**
 * Who asks, from what the gateway found and nothing that a request says of itself. Throws `unauthenticated`. Undefined:
 * nobody in particular.
 *
 * An IAM principal writes in the workspace `default` as `iam:assumed-role/ml/ada`, the end of its ARN; no token bears a
 * name with a colon. Whom IAM lets invoke the signed API decides the account, by `execute-api:Invoke`.
 */
export function identityOf(authorizer: unknown): Identity | undefined {
  const { lambda, iam } = (authorizer ?? {}) as {
    lambda?: Findings | null;
    iam?: { userArn?: string } | null;
  };
  if (iam?.userArn)
    return {
      workspace: DEFAULT_WORKSPACE,
      caller: { name: `iam:${iam.userArn.split(':').slice(5).join(':')}`, role: SIGNED_ROLE },
    };
  if (!lambda) return undefined;
  if ('refused' in lambda && lambda.refused) throw new Problem('unauthenticated', lambda.refused);
  if (!('workspace' in lambda) || !lambda.workspace) return undefined;
  const { workspace, name, role } = lambda;
  return { workspace: WorkspaceId.parse(workspace), caller: { name, role } };
}

export const authorizerOf = (event: GatewayEvent): unknown => event.requestContext.authorizer;

/** The headers alone, where no body is to be read. */
export function headersOf({ headers }: GatewayEvent): Headers {
  const { authorization = '' } = headers;
  return new Headers(authorization === '' ? {} : { authorization });
}
