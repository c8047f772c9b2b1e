import { pages } from '../kernel/page.ts';
import type { Follower, Platform } from '../platform/ports.ts';
import type { Room } from '../room.ts';
import { apiRoutes } from './api.ts';
import { modelRoutes } from './mlflow.ts';
import { type SendFile, versionRoutes } from './mlflow-versions.ts';
import { type RegistryService, registryService } from './service.ts';
import type { Lineage } from './sources.ts';
import { registryStore } from './store.ts';

export type { RegistryService } from './service.ts';
export type { Lineage } from './sources.ts';

/** `lineage` and `send` come from the floor below: tracking, its logged models, and artifacts. */
export function registryRoom(
  platform: Pick<Platform, 'table' | 'world' | 'secret'>,
  lineage: Lineage,
  send: SendFile,
): Room & { service: RegistryService } {
  const { table, world, secret } = platform;
  const service = registryService(registryStore(table, world), world, pages(secret), lineage);
  const routes = [...modelRoutes(service), ...versionRoutes(service, send), ...apiRoutes(service)];
  return { service, routes, followers: [sweeper(service)], tasks: {}, folders: [] };
}

/** Deletions answer once the record is gone; what stood under its id goes after. */
const sweeper = (registry: RegistryService): Follower => ({
  name: 'registry-sweep',
  hears: ['registry.model.deleted', 'registry.version.deleted'],
  run(call, { data }) {
    const { id, version } = data as { id: string; version?: number };
    return registry.sweep(call, id, version);
  },
});
