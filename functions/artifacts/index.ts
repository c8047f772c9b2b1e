import { pages } from '../kernel/page.ts';
import type { Platform } from '../platform/ports.ts';
import type { Room } from '../room.ts';
import { dataRoutes } from './api.ts';
import { type DropsService, dropsService } from './drops.ts';
import { proxyRoutes } from './mlflow.ts';
import { type RunRoot, runArtifactRoutes } from './mlflow-runs.ts';
import { ARTIFACT_LIMITS } from './model.ts';
import { type ArtifactsService, artifactsService } from './service.ts';

export interface ArtifactsRoom extends Room {
  readonly service: ArtifactsService;
  readonly drops: DropsService;
}

/**
 * `runRoot` comes from the tracking room of the same floor. `bodyBytes`: the largest body that reaches us where a
 * gateway stands in front.
 */
export function artifactsRoom(
  platform: Pick<Platform, 'blobs' | 'table' | 'world' | 'secret'>,
  runRoot: RunRoot,
  bodyBytes: number = ARTIFACT_LIMITS.bodyBytes,
): ArtifactsRoom {
  const { blobs, table, world, secret } = platform;
  const tokens = pages(secret);
  const service = artifactsService(platform, tokens);
  const drops = dropsService(blobs, table, world);
  const routes = [
    ...proxyRoutes(service, bodyBytes),
    ...runArtifactRoutes(service, runRoot),
    ...dataRoutes(drops, tokens, bodyBytes),
  ];
  return { service, drops, routes, followers: [], tasks: {}, folders: [] };
}
