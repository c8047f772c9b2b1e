import type { ArtifactsService } from '../artifacts/service.ts';
import type { Call } from '../kernel/call.ts';
import { Problem } from '../kernel/problem.ts';
import type { LoggedModelService } from '../tracking/logged-models.service.ts';
import type { Lineage } from './sources.ts';

/** What the registry asks of runs, logged models and files, made of the floor below. */
export function lineageOf(
  runRoot: (call: Call, runId: string) => Promise<string | undefined>,
  models: Pick<LoggedModelService, 'get' | 'ofRun' | 'noteVersion'>,
  artifacts: Pick<ArtifactsService, 'at' | 'locate'>,
): Lineage {
  const orNothing = <T>(promise: Promise<T>): Promise<T | undefined> =>
    promise.catch((error: unknown) => {
      if (error instanceof Problem && error.code === 'missing') return undefined;
      throw error;
    });
  return {
    runRoot,
    model: (call, modelId) => orNothing(models.get(call, modelId)),
    modelOfRun: async (call, runId, name) => (await models.ofRun(call, runId, name))[0],
    noteVersion: async (call, modelId, version) => {
      await orNothing(models.noteVersion(call, modelId, version)); // deleted since: nothing to note
    },
    pathOf: artifacts.at,
    locate: artifacts.locate,
  };
}
