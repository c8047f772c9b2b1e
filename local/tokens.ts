import type { Call, Role } from '../functions/kernel/call.ts';
import { Problem } from '../functions/kernel/problem.ts';
import { workspacesRoom } from '../functions/workspaces/index.ts';
import { Role as RoleName, type Token, TokenName } from '../functions/workspaces/model.ts';
import { askServer, inFolder } from './operator.ts';
import { realWorld } from './start.ts';

/** Tokens of a data folder: a running server is asked, else the table is opened here. */
export async function createToken(
  data: string,
  name: string,
  role: string,
): Promise<Token & { token: string }> {
  const asked = {
    name: checked(TokenName, name, '--name'),
    role: checked(RoleName, role, '--role') as Role,
  };
  return (
    (await askServer<Token & { token: string }>(data, 'POST', '/api/tokens', asked)) ??
    inRoom(data, (room, call) => room.createToken(call, asked))
  );
}

export async function listTokens(data: string): Promise<Token[]> {
  const answer = await askServer<{ tokens: Token[] }>(data, 'GET', '/api/tokens');
  return answer?.tokens ?? inRoom(data, (room, call) => room.listTokens(call));
}

export async function revokeToken(data: string, id: string): Promise<void> {
  const answer = await askServer(data, 'DELETE', `/api/tokens/${encodeURIComponent(id)}`);
  if (answer === undefined) await inRoom(data, (room, call) => room.revokeToken(call, id));
}

function checked<T>(
  schema: {
    safeParse(value: unknown): {
      success: boolean;
      data?: T;
      error?: { issues: { message: string }[] };
    };
  },
  value: string,
  flag: string,
): T {
  const parsed = schema.safeParse(value);
  if (!parsed.success)
    throw new Problem(
      'invalid',
      `${flag} '${value}' ${parsed.error?.issues[0]?.message ?? 'is not valid'}`,
    );
  return parsed.data as T;
}

type Service = ReturnType<typeof workspacesRoom>['service'];

const inRoom = <T>(data: string, act: (service: Service, call: Call) => Promise<T>): Promise<T> =>
  inFolder(data, 10, (table, call) =>
    act(workspacesRoom({ table, world: realWorld }).service, call()),
  );
