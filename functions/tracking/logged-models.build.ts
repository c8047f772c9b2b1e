import { pages } from '../kernel/page.ts';
import { isMissing } from '../kernel/problem.ts';
import type { Route } from '../kernel/route.ts';
import type { Follower, Platform } from '../platform/ports.ts';
import {
  type ExperimentLookup,
  type LoggedModelService,
  loggedModelService,
} from './logged-models.service.ts';
import { loggedModelStore } from './logged-models.store.ts';
import { loggedModelRoutes, type ModelFiles } from './mlflow-logged-models.ts';

export interface LoggedModels {
  readonly service: LoggedModelService;
  readonly routes: readonly Route[];
  readonly followers: readonly Follower[];
}

/** The logged models of the tracking room. Batches of runs put `service.metricWrites` into their own commits. */
export function buildLoggedModels(
  platform: Pick<Platform, 'table' | 'world' | 'secret'>,
  experimentOf: ExperimentLookup,
  files: ModelFiles,
): LoggedModels {
  const { table, world, secret } = platform;
  const store = loggedModelStore(table, world);
  const service = loggedModelService(store, world, pages(secret), experimentOf);
  return {
    service,
    routes: loggedModelRoutes(service, files),
    followers: [versionNoter(service)],
  };
}

/** The registry notes a version right after it made it; this follower does so when it died in between. */
const versionNoter = (models: LoggedModelService): Follower => ({
  name: 'tracking-model-versions',
  hears: ['registry.version.created'],
  async run(call, { data }) {
    const { name, version, modelId } = data as { name: string; version: number; modelId?: string };
    if (!modelId) return;
    try {
      await models.noteVersion(call, modelId, { name, version: String(version) });
    } catch (error) {
      if (!isMissing(error)) throw error; // deleted since
    }
  },
});
