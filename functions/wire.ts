import { artifactsRoom } from './artifacts/index.ts';
import { artifactsService } from './artifacts/service.ts';
import type { Call } from './kernel/call.ts';
import { pages } from './kernel/page.ts';
import { Problem, unlessMissing } from './kernel/problem.ts';
import { loopsRoom } from './loops/index.ts';
import { type PipelinesParts, type PipelinesService, pipelinesRoom } from './pipelines/index.ts';
import type { Platform } from './platform/ports.ts';
import { type RegistryService, registryRoom } from './registry/index.ts';
import { servingRoom } from './serving/index.ts';
import { experimentsService } from './tracking/experiments.ts';
import { trackingRoom } from './tracking/index.ts';
import { loggedModelService } from './tracking/logged-models.service.ts';
import { loggedModelStore } from './tracking/logged-models.store.ts';
import type { RunId } from './tracking/model.ts';
import { trackingStore } from './tracking/store.ts';
import { pipelineRuns, type TrackedRuns, triggersRoom } from './triggers/index.ts';

/**
 * How rooms get what they ask of the rooms below. A Lambda imports only the function of its own room, so what that
 * room does not stand on never enters its bundle.
 */
export function groundRooms(platform: Platform) {
  const tracking = trackingOver(platform);
  const artifacts = artifactsRoom(platform, (call, runId) =>
    tracking.service.artifactUri(call, runId as RunId),
  );
  return { artifacts, tracking };
}

/** Over the service of artifacts, without its faces. */
export const trackingOver = (platform: Platform) =>
  trackingRoom(platform, artifactsService(platform, pages(platform.secret)), {
    multipartUploads: true,
    multipartDownloads: true,
  });
type Ground = ReturnType<typeof groundRooms>;

/** As much of the ground floor as the registry stands on, without faces, searches and histories. */
export function groundServices(platform: Platform) {
  const tokens = pages(platform.secret);
  const runs = trackingStore(platform);
  const { find } = experimentsService(platform, tokens);
  const store = loggedModelStore(platform.table, platform.world);
  const artifactUri = async (call: Call, runId: RunId): Promise<string | undefined> =>
    (await runs.readDocuments(call, [runId]))[0]?.attributes.artifactUri;
  return {
    artifacts: { service: artifactsService(platform, tokens) },
    tracking: {
      service: { artifactUri },
      models: loggedModelService(store, platform.world, tokens, find),
    },
  };
}

export function registryOver(
  platform: Platform,
  { artifacts, tracking }: ReturnType<typeof groundServices>,
) {
  const { models } = tracking;
  return registryRoom(
    platform,
    {
      runRoot: (call, runId) => tracking.service.artifactUri(call, runId as RunId),
      model: (call, id) => models.get(call, id).catch(unlessMissing),
      modelOfRun: async (call, runId, name) => (await models.ofRun(call, runId as RunId, name))[0],
      noteVersion: async (call, id, version) => void (await models.noteVersion(call, id, version)),
      pathOf: (call, uri) => artifacts.service.at(call, uri),
      locate: (call, uri) => artifacts.service.locate(call, uri),
    },
    (call, rootUri, path, incoming) => artifacts.service.send(call, rootUri, path, incoming),
  );
}

export function servingOver(platform: Platform, { artifacts }: Ground, registry: RegistryService) {
  const aliased = (call: Call, name: string, alias: string) =>
    registry.resolveAlias(call, name, alias);
  return servingRoom(platform, {
    async version(call, name, version) {
      const { uri } = await registry.getVersion(call, name, version);
      return { name, version, source: uri };
    },
    async aliased(call, name, alias) {
      const found = await aliased(call, name, alias);
      if (!found) throw new Problem('missing', `Model ${name} has no alias '${alias}'.`);
      return { name, version: found.version, source: found.uri };
    },
    locate(call, source) {
      const uri = artifacts.service.locate(call, source);
      if (uri === undefined)
        throw new Problem(
          'unsupported',
          `The model's files at '${source}' are not in this workspace's storage.`,
        );
      return uri;
    },
  });
}

/** What of the pipelines room differs between the worlds. */
export type Steps = Pick<PipelinesParts, 'runsImage' | 'stepTokens' | 'readDocument' | 'log'>;

export function pipelinesOver(platform: Platform, { tracking }: Ground, steps: Steps) {
  return pipelinesRoom(platform, { tracking: tracking.service, ...steps });
}

export function triggersOver(platform: Platform, ground: Ground, pipelines: PipelinesService) {
  return triggersRoom(platform, pipelineRuns(pipelines, trackedRuns(ground)));
}

const trackedRuns = ({ tracking }: Ground): TrackedRuns => ({
  experiment: (call, id) => tracking.service.findExperiment(call, id),
  tags: async (call, runId) =>
    (await tracking.service.getRun(call, runId as RunId).catch(unlessMissing))?.tags,
});

export function loopsOver(
  platform: Platform,
  ground: Ground,
  registry: RegistryService,
  pipelines: PipelinesService,
) {
  const { tracking } = ground;
  return loopsRoom(platform, {
    runs: pipelineRuns(pipelines, trackedRuns(ground)),
    models: {
      version: (call, name, version) => registry.getVersion(call, name, version),
      newest: async (call, name) =>
        (await registry.listVersions(call, name, 100).catch(unlessMissing))?.items ?? [],
      aliased: (call, name, alias) => registry.resolveAlias(call, name, alias).catch(unlessMissing),
      setAlias: (call, alias) => registry.setAlias(call, alias),
    },
    async metric(call, runId, metric) {
      const run = await tracking.service.getRun(call, runId as RunId).catch(unlessMissing);
      const value = run?.metrics.find(({ key }) => key === metric)?.value;
      return value !== undefined && Number.isFinite(value) ? value : undefined;
    },
  });
}
