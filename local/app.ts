import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Definitions, declarationsOf } from '../functions/definitions.ts';
import { systemCall } from '../functions/kernel/call.ts';
import { DEFAULT_WORKSPACE } from '../functions/kernel/ids.ts';
import type { Json } from '../functions/kernel/json.ts';
import { newUlid, type World } from '../functions/kernel/world.ts';
import type { Room } from '../functions/room.ts';

const FILES = ['definitions.ts', 'definitions.mts', 'definitions.js', 'definitions.mjs'] as const;
const DECLARE_MS = 60_000;

/**
 * Declares what the file `definitions` of an app's folder exports by default: what its CDK app deploys, on this machine.
 * Nothing of CDK is needed. What the folder no longer says stays. Throws in one line.
 */
export async function declareApp(
  folder: string,
  rooms: Readonly<Record<string, Room>>,
  world: World,
): Promise<readonly string[]> {
  const made: string[] = [];
  for (const { room, kind, name, declaration } of declarationsOf(await read(folder), folder)) {
    const declared = rooms[room]?.declared?.[kind];
    if (!declared) throw new Error(`--app ${folder}: nothing here keeps a ${kind}`);
    const call = systemCall(DEFAULT_WORKSPACE, 'app', newUlid(world), world.now() + DECLARE_MS);
    // As it would travel: without what is undefined.
    const plain = JSON.parse(JSON.stringify(declaration)) as Json;
    await declared.put(call, name, plain, false).catch((cause: unknown) => {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new Error(`--app ${folder}: ${kind} '${name}': ${why}`, { cause });
    });
    made.push(`${kind} ${name}`);
  }
  return made;
}

async function read(folder: string): Promise<Definitions> {
  const file = FILES.map((name) => join(resolve(folder), name)).find((path) => existsSync(path));
  if (!file) throw new Error(`--app ${folder}: there is none of ${FILES.join(', ')}`);
  const loaded = (await import(pathToFileURL(file).href)) as { default?: unknown };
  if (typeof loaded.default !== 'object' || loaded.default === null)
    throw new Error(`--app ${folder}: ${file} exports no definitions by default`);
  return loaded.default as Definitions;
}
