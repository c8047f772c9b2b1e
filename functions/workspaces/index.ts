import type { Platform } from '../platform/ports.ts';
import type { Room } from '../room.ts';
import { apiRoutes } from './api.ts';
import { type WorkspacesService, workspacesService } from './service.ts';
import { tokenStore } from './store.ts';

export function workspacesRoom(
  platform: Pick<Platform, 'table' | 'world'>,
): Room & { service: WorkspacesService } {
  const service = workspacesService(tokenStore(platform.table), platform.world);
  return { service, routes: apiRoutes(service), followers: [], tasks: {}, folders: [] };
}
