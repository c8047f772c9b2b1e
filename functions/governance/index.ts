import { pages } from '../kernel/page.ts';
import type { Platform } from '../platform/ports.ts';
import type { Room } from '../room.ts';
import { auditRoutes } from './api.ts';
import { type GovernanceService, governanceService } from './service.ts';

export function governanceRoom(
  platform: Pick<Platform, 'table' | 'secret'>,
): Room & { service: GovernanceService } {
  const service = governanceService(platform.table);
  const routes = auditRoutes(service, pages(platform.secret));
  return { service, routes, followers: [], tasks: {}, folders: [] };
}
