import { mkdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Role } from '../functions/kernel/call.ts';
import { systemCall } from '../functions/kernel/call.ts';
import { DEFAULT_WORKSPACE } from '../functions/kernel/ids.ts';
import { Problem } from '../functions/kernel/problem.ts';
import { newUlid } from '../functions/kernel/world.ts';
import { workspacesRoom } from '../functions/workspaces/index.ts';
import { Role as RoleName, type Token, TokenName } from '../functions/workspaces/model.ts';
import { runningServer, takeLock } from './lock.ts';
import { OPERATOR_FILE, realWorld } from './start.ts';
import { openTable } from './table.ts';

/**
 * Tokens of a data folder. A running server is asked over HTTP with the operator's credential of that folder, which
 * only its user can read; else the table is opened here, under the folder's lock.
 */
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
    (await overHttp(data, 'POST', '/api/tokens', asked)) ??
    inFolder(data, (room, call) => room.createToken(call, asked))
  );
}

export async function listTokens(data: string): Promise<Token[]> {
  const answer = await overHttp<{ tokens: Token[] }>(data, 'GET', '/api/tokens');
  return answer?.tokens ?? inFolder(data, (room, call) => room.listTokens(call));
}

export async function revokeToken(data: string, id: string): Promise<void> {
  const answer = await overHttp(data, 'DELETE', `/api/tokens/${encodeURIComponent(id)}`);
  if (answer === undefined) await inFolder(data, (room, call) => room.revokeToken(call, id));
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

async function overHttp<T = Token & { token: string }>(
  data: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<T | undefined> {
  const server = runningServer(resolve(data));
  if (!server?.url) return undefined;
  const credential = readFileSync(join(resolve(data), OPERATOR_FILE), 'utf8');
  const answer = await fetch(`${server.url}${path}`, {
    method,
    headers: { Authorization: `Bearer ${credential}`, 'Content-Type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(JSON.parse(text).detail ?? text);
  return (text === '' ? {} : JSON.parse(text)) as T;
}

type Service = ReturnType<typeof workspacesRoom>['service'];

async function inFolder<T>(
  data: string,
  act: (service: Service, call: ReturnType<typeof systemCall>) => Promise<T>,
): Promise<T> {
  const lock = takeLock(resolve(data));
  const folder = join(resolve(data), 'table');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const table = openTable({ folder, world: realWorld });
  try {
    const { service } = workspacesRoom({ table, world: realWorld });
    const call = systemCall(
      DEFAULT_WORKSPACE,
      'operator',
      newUlid(realWorld),
      realWorld.now() + 10_000,
    );
    return await act(service, call);
  } finally {
    await table.close();
    lock.release();
  }
}
