import { pages } from '../kernel/page.ts';
import type { Platform } from '../platform/ports.ts';
import type { Room } from '../room.ts';
import { loopRoutes } from './api.ts';
import { type LoopRooms, type LoopService, loopService } from './service.ts';
import { retrainingStore } from './store.ts';
import { loopTasks } from './tasks.ts';

export type { LoopRooms, LoopService } from './service.ts';

export type LoopsPlatform = Pick<Platform, 'table' | 'machines' | 'world' | 'secret'>;

/** `rooms`: pipelines, the registry and tracking, as far as the circle asks them. */
export function loopsRoom(
  { table, machines, world, secret }: LoopsPlatform,
  rooms: LoopRooms,
): Room & { service: LoopService } {
  const store = retrainingStore(table);
  const service = loopService({ ...rooms, store, machines, world, pages: pages(secret) });
  return {
    service,
    routes: loopRoutes(service),
    followers: [
      { name: 'loops-asked', hears: ['loops.retraining.asked'], run: service.restart },
      { name: 'loops-ended', hears: ['machines.execution.ended'], run: service.close },
    ],
    tasks: loopTasks(service),
    folders: [],
  };
}
