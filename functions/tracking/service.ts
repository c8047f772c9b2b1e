import { pages } from '../kernel/page.ts';
import type { Platform } from '../platform/ports.ts';
import { experimentsService } from './experiments.ts';
import { type RuleStore, ruleStore } from './rules.store.ts';
import { rulesService } from './rules.ts';
import { type ModelWrites, runsService } from './runs.ts';

export type { NewRun, RunChange } from './runs.ts';
export type { RunSearch } from './search.ts';

export type TrackingService = ReturnType<typeof trackingService>;

/**
 * Experiments hold runs; a run is attributes, params that never change, tags, and metrics, of which each key has a
 * history and a latest value. A batch of points is one log entry, put before it is answered; the compactor folds the
 * log into the run's document, and every read lays over what is not folded yet. So a late compactor costs speed,
 * never truth.
 */
export function trackingService(
  platform: Pick<Platform, 'table' | 'blobs' | 'world' | 'artifacts' | 'secret'>,
  rules: RuleStore = ruleStore(platform),
  modelWrites: ModelWrites = async () => [],
) {
  const tokens = pages(platform.secret);
  const experiments = experimentsService(platform, tokens);
  const runs = runsService(platform, tokens, experiments.get, modelWrites);
  const ground = {
    experiment: experiments.get,
    watch: experiments.watch,
    experimentOfRun: runs.experimentOf,
  };
  return {
    createExperiment: experiments.create,
    getExperiment: experiments.get,
    findExperiment: experiments.find,
    getExperimentByName: experiments.getByName,
    ensureExperiment: experiments.ensure,
    searchExperiments: experiments.search,
    updateExperiment: experiments.rename,
    setExperimentLifecycle: experiments.setLifecycle,
    setExperimentTag: experiments.setTag,
    deleteExperimentTag: experiments.deleteTag,
    createRun: runs.create,
    getRun: runs.get,
    updateRun: runs.update,
    deleteRun: runs.delete,
    restoreRun: runs.restore,
    setTag: runs.setTag,
    deleteTag: runs.deleteTag,
    logBatch: runs.logBatch,
    logMetric: runs.logMetric,
    logParam: runs.logParam,
    noteModel: runs.noteModel,
    logInputs: runs.logInputs,
    logOutputs: runs.logOutputs,
    searchRuns: runs.search,
    metricHistory: runs.history,
    wholeHistory: runs.wholeHistory,
    datasetSummaries: runs.datasetSummaries,
    artifactUri: runs.artifactUri,
    ...rulesService(rules, ground, tokens, platform.world),
  };
}
