import { type App, buildApp } from '../functions/app.ts';
import type { Platform } from '../functions/platform/ports.ts';
import { siteRoom } from '../functions/site/index.ts';

/** What a room's Lambdas ask of the account, beside the table that every room has. */
export type Use = 'blobs' | 'machines' | 'jobs' | 'endpoints';

/**
 * What each room may touch: the one list that IAM grants, `handler.ts` files and the bundle tests agree on.
 * A room that is not on it does not deploy.
 */
export const USES: Readonly<Record<string, readonly Use[]>> = {
  workspaces: [],
  governance: [],
  tracking: ['blobs'],
  artifacts: ['blobs'],
  registry: ['blobs'],
  pipelines: ['blobs', 'machines', 'jobs'],
  serving: ['blobs', 'machines', 'endpoints'],
  triggers: ['blobs', 'machines'],
  loops: ['blobs', 'machines'],
  site: [],
};

/** What people work with in a deployment, and what else each needs there; the other rooms are in every one. */
const STANDS_ON: Readonly<Record<string, readonly string[]>> = {
  artifacts: [],
  tracking: ['artifacts'],
  registry: ['tracking'],
  pipelines: ['tracking'],
  serving: ['registry'],
  triggers: ['pipelines'],
  loops: ['triggers', 'registry', 'serving'],
};

/**
 * Of all rooms those asked for and what they stand on, in the order of `rooms`: tokens, audit and the page are in every
 * deployment. All of them where none is asked for. Throws naming what is no such room.
 */
export function partOf(rooms: App['rooms'], asked: readonly string[] | undefined): App['rooms'] {
  if (asked === undefined) return rooms;
  const known = Object.keys(STANDS_ON).filter((name) => Object.hasOwn(rooms, name));
  const wanted = new Set<string>();
  const want = (name: string) => {
    if (!known.includes(name))
      throw new Error(`rooms: '${name}' is no room to deploy; there are ${known.join(', ')}`);
    if (wanted.has(name)) return;
    wanted.add(name);
    for (const below of STANDS_ON[name] ?? []) want(below);
  };
  for (const name of asked) want(name);
  if (wanted.size === 0) throw new Error(`rooms: name at least one of ${known.join(', ')}`);
  return Object.fromEntries(
    Object.entries(rooms).filter(([name]) => wanted.has(name) || !known.includes(name)),
  );
}

export const usesOf = (room: string): readonly Use[] => {
  const uses = Object.hasOwn(USES, room) ? USES[room] : undefined;
  if (!uses) throw new Error(`lib/rooms.ts does not say what the room '${room}' uses`);
  return uses;
};

/** A port that nobody may touch while rooms are built to be read. */
const untouched = (port: string) =>
  new Proxy(
    {},
    {
      get(_, method) {
        return () => {
          throw new Error(`A room touched ${port}.${String(method)} while it was built`);
        };
      },
    },
  );

/** All rooms on an empty platform, and the site of an account: their routes, followers, tasks and folders, to be read. */
export function readRooms(): App {
  const empty = Object.fromEntries(
    ['table', 'blobs', 'machines', 'jobs', 'endpoints'].map((port) => [port, untouched(port)]),
  );
  const app = buildApp(
    {
      ...empty,
      world: untouched('world'),
      secret: new Uint8Array(32),
      url: 'https://stillflow.invalid',
      artifacts: 'direct',
    } as unknown as Platform,
    { runsImage: () => ({ refused: 'nothing runs while stacks are built' }) },
  );
  const unread = () => {
    throw new Error('Nobody asks for the page while stacks are built');
  };
  return { ...app, rooms: { ...app.rooms, site: siteRoom({ page: unread, openapi: unread }) } };
}
