import type { Platform } from '../platform/ports.ts';
import type { Room } from '../room.ts';
import { metricRuleRoutes } from './api.ts';
import { compactor } from './compactor.ts';
import { buildLoggedModels, type LoggedModels } from './logged-models.build.ts';
import { runRoutes } from './mlflow.ts';
import { experimentRoutes } from './mlflow-experiments.ts';
import type { ModelFiles } from './mlflow-logged-models.ts';
import { metricRoutes } from './mlflow-metrics.ts';
import { type ArtifactAbilities, serverRoutes } from './mlflow-server.ts';
import { ruleStore } from './rules.store.ts';
import { type TrackingService, trackingService } from './service.ts';
import { trackingStore } from './store.ts';

export interface TrackingRoom extends Room {
  readonly service: TrackingService;
  readonly models: LoggedModels['service'];
}

/** Experiments, runs, metrics and logged models. `files` and `abilities` come from the artifacts room of the same floor. */
export function trackingRoom(
  platform: Pick<Platform, 'table' | 'blobs' | 'world' | 'artifacts' | 'secret'>,
  files: ModelFiles,
  abilities: ArtifactAbilities,
): TrackingRoom {
  const rules = ruleStore(platform);
  const models = buildLoggedModels(platform, (call, id) => service.findExperiment(call, id), files);
  const service: TrackingService = trackingService(platform, rules, models.service.metricWrites);
  return {
    service,
    models: models.service,
    routes: [
      ...serverRoutes(abilities),
      ...experimentRoutes(service),
      ...runRoutes(service),
      ...metricRoutes(service),
      ...metricRuleRoutes(service),
      ...models.routes,
    ],
    followers: models.followers,
    tasks: {},
    folders: [compactor(trackingStore(platform), rules, platform.world)],
  };
}
