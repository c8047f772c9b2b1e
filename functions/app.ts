import { governanceRoom } from './governance/index.ts';
import { hallwaySteps } from './hallway.ts';
import { systemCall } from './kernel/call.ts';
import type { Hallway, Identity } from './kernel/hallway.ts';
import { DEFAULT_WORKSPACE } from './kernel/ids.ts';
import type { Route } from './kernel/route.ts';
import type { Folder, Follower, Platform, Task } from './platform/ports.ts';
import { openapiRoute } from './protocols/openapi.ts';
import type { Room } from './room.ts';
import {
  groundRooms,
  loopsOver,
  pipelinesOver,
  registryOver,
  type Steps,
  servingOver,
  triggersOver,
} from './wire.ts';
import { tokenOf } from './workspaces/credential.ts';
import { workspacesRoom } from './workspaces/index.ts';

/** All rooms put together on one platform. Building it touches nothing. */
export interface App {
  readonly rooms: Readonly<Record<string, Room>>;
  readonly routes: readonly Route[];
  readonly followers: readonly Follower[];
  readonly tasks: Readonly<Record<string, Task>>;
  readonly folders: readonly Folder[];
  /** Whether anybody could come in with a token. */
  hasToken(): Promise<boolean>;
  /** The hallway's steps that are the same in both worlds. `nobody` is who asks without a credential. */
  hallway(nobody: Identity | undefined): Omit<Hallway, 'guard' | 'log'>;
}

export type BuiltApp = ReturnType<typeof buildApp>;

export function buildApp(platform: Platform, steps: Steps) {
  const workspaces = workspacesRoom(platform);
  const governance = governanceRoom(platform);
  const ground = groundRooms(platform);
  const registry = registryOver(platform, ground);
  const pipelines = pipelinesOver(platform, ground, steps);
  const serving = servingOver(platform, ground, registry.service);
  const triggers = triggersOver(platform, ground, pipelines.service);
  const loops = loopsOver(platform, ground, registry.service, pipelines.service);
  const rooms = {
    workspaces,
    governance,
    ...ground,
    registry,
    pipelines,
    serving,
    triggers,
    loops,
  };
  const all: Room[] = Object.values(rooms);
  const routes = all.flatMap((room) => room.routes);
  const app: App & { rooms: typeof rooms } = {
    rooms,
    routes: [...routes, openapiRoute(routes)],
    followers: all.flatMap((room) => room.followers),
    tasks: Object.assign({}, ...all.map((room) => room.tasks)),
    folders: all.flatMap((room) => room.folders),
    async hasToken() {
      const call = systemCall(
        DEFAULT_WORKSPACE,
        'workspaces',
        'start',
        platform.world.now() + 5000,
      );
      return (await workspaces.service.listTokens(call)).length > 0;
    },
    hallway: (nobody) =>
      hallwaySteps(platform, async (headers) => {
        const token = tokenOf(headers);
        return token === undefined ? nobody : workspaces.service.whoHolds(token);
      }),
  };
  return app;
}
