import { mkdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type Call, systemCall } from '../functions/kernel/call.ts';
import { DEFAULT_WORKSPACE } from '../functions/kernel/ids.ts';
import { newUlid } from '../functions/kernel/world.ts';
import type { Table } from '../functions/platform/ports.ts';
import { runningServer, takeLock } from './lock.ts';
import { OPERATOR_FILE, realWorld } from './start.ts';
import { openTable } from './table.ts';

/**
 * What a command asks of a data folder. A running server is asked over HTTP with the operator's credential of that
 * folder, which only its user can read; undefined when none runs.
 */
export async function askServer<T>(
  data: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<T | undefined> {
  const server = runningServer(resolve(data));
  if (!server?.url) return undefined;
  const credential = readFileSync(join(resolve(data), OPERATOR_FILE), 'utf8');
  return askAt<T>(server.url, credential, method, path, body);
}

/** The same of a server anywhere. Throws its problem's words. */
export async function askAt<T>(
  url: string,
  token: string | undefined,
  method: string,
  path: string,
  body?: unknown,
): Promise<T> {
  const answer = await fetch(`${url.replace(/\/+$/, '')}${path}`, {
    method,
    headers: {
      ...(token ? { Authorization: `Bearer ${token}` } : {}),
      'Content-Type': 'application/json',
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(wordsOf(text));
  return (text === '' ? {} : JSON.parse(text)) as T;
}

function wordsOf(text: string): string {
  try {
    return JSON.parse(text).detail ?? text;
  } catch {
    return text;
  }
}

/** Opens the table of a folder that no server has, under its lock. */
export async function inFolder<T>(
  data: string,
  seconds: number,
  act: (table: Table, call: () => Call) => Promise<T>,
): Promise<T> {
  const lock = takeLock(resolve(data));
  const folder = join(resolve(data), 'table');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const table = openTable({ folder, world: realWorld });
  const call = () => {
    const deadline = realWorld.now() + seconds * 1000;
    return systemCall(DEFAULT_WORKSPACE, 'operator', newUlid(realWorld), deadline);
  };
  try {
    return await act(table, call);
  } finally {
    await table.close();
    lock.release();
  }
}
