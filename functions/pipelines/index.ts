import type { Told } from '../kernel/event.ts';
import { pages } from '../kernel/page.ts';
import type { MachineState, Platform } from '../platform/ports.ts';
import type { Room } from '../room.ts';
import type { TrackingService } from '../tracking/service.ts';
import type { StepTokens } from '../workspaces/index.ts';
import { machineRoutes } from './api.ts';
import { catalogRoutes } from './kfp.ts';
import { runRoutes } from './kfp-runs.ts';
import { type ExperimentId, type RunId, runOfExecution } from './model.ts';
import { type PipelinesService, pipelinesService, type RunsImage, type Swept } from './service.ts';
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
}

/** Building it touches nothing. */
export function pipelinesRoom(
  platform: Platform,
  { tracking, runsImage, stepTokens }: PipelinesParts,
): Room & { service: PipelinesService } {
  const store = pipelinesStore(platform);
  const specs = specsOf(platform, store);
  const tracked = runTracking(tracking);
  const service = pipelinesService(platform, store, specs, tracked, runsImage, stepTokens);
  const tokens = pages(platform.secret);
  const parts = { platform, store, specs, tracking: tracked, stepTokens };
  const idOf = (told: Told) => (told.data as { id: RunId }).id;
  return {
    service,
    routes: [
      ...catalogRoutes(service, tokens),
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
          const { execution, state, cause } = told.data as Ended;
          const run = runOfExecution(execution);
          if (run) await service.endRun(call, run.id, run.attempt, state, cause);
        },
      },
      {
        name: 'pipelines-sweeps',
        hears: ['pipelines.run.deleted'],
        run: (call, told) => service.sweep(call, told.data as Swept),
      },
      {
        name: 'pipelines-archives',
        hears: ['pipelines.experiment.archived'],
        run: (call, told) =>
          service.catalog.archiveRunsOf(call, (told.data as { id: ExperimentId }).id),
      },
    ],
    tasks: {
      'begin-task': beginTask(parts),
      'finish-task': finishTask(parts),
      'finish-dag': finishDag(parts),
    },
    folders: [],
  };
}

interface Ended {
  readonly execution: string;
  readonly state: MachineState;
  readonly cause?: string;
}
