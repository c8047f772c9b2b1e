import { createHash } from 'node:crypto';
import type { Call } from '../kernel/call.ts';
import { Problem, type ProblemCode } from '../kernel/problem.ts';
import {
  DEFAULT_EXPERIMENT,
  type ExperimentId as TrackingExperimentId,
  type RunId as TrackingRunId,
} from '../tracking/model.ts';
import type { TrackingService } from '../tracking/service.ts';
import type { RunId } from './model.ts';

/** What this room asks of the tracking room, so that each run and step is an MLflow run too. Each may be repeated. */
export interface RunTracking {
  /** The id of the experiment of this name, made if absent. */
  experiment(call: Call, name: string): Promise<string>;
  /** Makes the run, or sets one that ended back to running. */
  start(call: Call, run: TrackedRun): Promise<void>;
  log(call: Call, runId: string, values: TrackedValues): Promise<void>;
  end(
    call: Call,
    runId: string,
    status: 'FINISHED' | 'FAILED' | 'KILLED',
    at: number,
  ): Promise<void>;
}

interface TrackedRun {
  /** 32 hex digits. */
  readonly runId: string;
  readonly experimentId: string;
  readonly name: string;
  readonly userId: string;
  readonly startedAt: number;
  readonly parentRunId?: string;
  readonly tags: Readonly<Record<string, string>>;
}
interface TrackedValues {
  readonly params?: Readonly<Record<string, string>>;
  readonly metrics?: Readonly<Record<string, number>>;
  readonly tags?: Readonly<Record<string, string>>;
  /** Of the metrics: ms since the epoch. */
  readonly at: number;
}

/** A pipeline run and its MLflow run have one id, in the spelling of each. */
export const trackedRunId = (id: RunId): string => id.replaceAll('-', '');

/** The nested run of a step; a retried step is another one. */
export const trackedStepId = (id: RunId, task: string, attempt: number): string =>
  createHash('sha256').update(`${id}/${task}/${attempt}`).digest('hex').slice(0, 32);

export const RUN_TAG = 'stillflow.pipeline.run_id';
export const TASK_TAG = 'stillflow.pipeline.task';
export const CACHE_TAG = 'stillflow.pipeline.cache';

const MAX_PARAMS = 100;
const MAX_METRICS = 500;
/** Source: mlflow/utils/validation.py, MAX_PARAM_VAL_LENGTH and the names that every backend takes. */
const MAX_VALUE = 6000;
const NAME = /^[\w.\-/: ]{1,250}$/;

/** Over the tracking room's service. What its users did to the MLflow side (deleted a run, say) stops no pipeline. */
export function runTracking(
  tracking: Pick<TrackingService, 'ensureExperiment' | 'createRun' | 'updateRun' | 'logBatch'>,
): RunTracking {
  const id = (text: string) => text as TrackingRunId;
  return {
    experiment: (call, name) =>
      tracking.ensureExperiment(call, name).then(
        (experiment) => experiment.id,
        (error) => (isRefusal(error) ? DEFAULT_EXPERIMENT : raise(error)),
      ),
    start: (call, run) =>
      unlessRefused(async () => {
        const made = await tracking.createRun(call, {
          runId: id(run.runId),
          experimentId: run.experimentId as TrackingExperimentId,
          runName: run.name,
          startTime: run.startedAt,
          userId: run.userId,
          tags: pairs({
            ...run.tags,
            ...(run.parentRunId ? { 'mlflow.parentRunId': run.parentRunId } : {}),
          }),
        });
        if (made.status !== 'RUNNING')
          await tracking.updateRun(call, id(run.runId), { status: 'RUNNING' });
      }),
    log: (call, runId, { params = {}, metrics = {}, tags = {}, at }) =>
      unlessRefused(() =>
        tracking.logBatch(call, {
          runId: id(runId),
          params: pairs(params).slice(0, MAX_PARAMS),
          tags: pairs(tags),
          metrics: Object.entries(metrics)
            .filter(([key]) => NAME.test(key))
            .slice(0, MAX_METRICS)
            .map(([key, value]) => ({ key, value, timestamp: at, step: 0 })),
        }),
      ),
    end: (call, runId, status, at) =>
      unlessRefused(async () => {
        await tracking.updateRun(call, id(runId), { status, endTime: at });
      }),
  };
}

const pairs = (record: Readonly<Record<string, string>>) =>
  Object.entries(record)
    .filter(([key]) => NAME.test(key))
    .map(([key, value]) => ({ key, value: value.slice(0, MAX_VALUE) }));

const REFUSALS: readonly ProblemCode[] = ['precondition', 'invalid', 'missing', 'exists'];
const isRefusal = (error: unknown) => error instanceof Problem && REFUSALS.includes(error.code);
function raise(error: unknown): never {
  throw error;
}
async function unlessRefused(run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!isRefusal(error)) throw error;
  }
}
