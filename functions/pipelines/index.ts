import * as z from 'zod';
import type { Told } from '../kernel/event.ts';
import { pages } from '../kernel/page.ts';
import { endedOf } from '../platform/ended.ts';
import type { Platform } from '../platform/ports.ts';
import type { Room } from '../room.ts';
import type { TrackingService } from '../tracking/service.ts';
import type { StepTokens } from '../workspaces/index.ts';
import { machineRoutes } from './api.ts';
import { declaredPipelines } from './declared.ts';
import { type ReadDocument, readDocument } from './document.ts';
import { catalogRoutes } from './kfp.ts';
import { runRoutes } from './kfp-runs.ts';
import { ExperimentId, RunId, RunState, runOfExecution } from './model.ts';
import type { Log, RunsImage } from './parts.ts';
import { type PipelinesService, pipelinesService } from './service.ts';
import { specsOf } from './specs.ts';
import { pipelinesStore } from './store.ts';
import { beginTask } from './tasks/begin.ts';
import { finishDag } from './tasks/dag.ts';
import { finishTask } from './tasks/finish.ts';
import { runTracking } from './tracked.ts';

export type { PipelinesService } from './service.ts';

export interface PipelinesParts {
  /** The tracking room's service: every run and step is an MLflow run too. */
  readonly tracking: Pick<
    TrackingService,
    'ensureExperiment' | 'createRun' | 'updateRun' | 'logBatch'
  >;
  /** Whether this world runs a command of an image; undefined is our pinned Python. */
  readonly runsImage: RunsImage;
  /** What steps authenticate with against our own address; absent where nobody must. */
  readonly stepTokens?: StepTokens;
  /** How an upload's text is read: in this very thread if absent, which is then nobody else's. */
  readonly readDocument?: ReadDocument;
  /** Told what failed after a change stood and is left to a follower. */
  readonly log?: Log;
}

/** Building it touches nothing. */
export function pipelinesRoom(
  platform: Platform,
  { tracking, runsImage, stepTokens, readDocument: read, log }: PipelinesParts,
): Room & { service: PipelinesService } {
  const store = pipelinesStore(platform);
  const specs = specsOf(platform, store);
  const tracked = runTracking(tracking);
  const tokens = pages(platform.secret);
  const parts = { platform, store, specs, tracking: tracked, runsImage, stepTokens, log };
  const service = pipelinesService(parts);
  const idOf = (told: Told) => OfRun.parse(told.data).id;
  return {
    service,
    routes: [
      ...catalogRoutes(service, tokens, read ?? inThisThread),
      ...runRoutes(service, tokens),
      ...machineRoutes(service),
    ],
    followers: [
      {
        name: 'pipelines-starts',
        hears: ['pipelines.run.created', 'pipelines.run.retried'],
        run: (call, told) => service.launch(call, idOf(told)),
      },
      {
        name: 'pipelines-stops',
        hears: ['pipelines.run.terminated'],
        run: (call, told) => service.halt(call, idOf(told)),
      },
      {
        name: 'pipelines-ends',
        hears: ['machines.execution.ended'],
        run: async (call, told) => {
          const { execution, state, ...ended } = endedOf(told);
          const run = runOfExecution(execution);
          if (run) await service.endRun(call, run.id, run.attempt, state, ended);
        },
      },
      {
        name: 'pipelines-sweeps',
        hears: ['pipelines.run.deleted'],
        run: (call, told) => service.sweep(call, DeletedRun.parse(told.data)),
      },
      {
        name: 'pipelines-archives',
        hears: ['pipelines.experiment.archived'],
        run: (call, told) => service.catalog.archiveRunsOf(call, OfExperiment.parse(told.data).id),
      },
    ],
    tasks: {
      'begin-task': beginTask(parts),
      'finish-task': finishTask(parts),
      'finish-dag': finishDag(parts),
    },
    folders: [],
    declared: { pipeline: declaredPipelines(service.catalog, read ?? inThisThread) },
  };
}

const inThisThread: ReadDocument = async (text) => readDocument(text);

/** What our own events tell, as far as followers read it. */
const OfRun = z.object({ id: RunId });
const DeletedRun = OfRun.extend({ machine: z.string(), attempt: z.int(), state: RunState });
const OfExperiment = z.object({ id: ExperimentId });
