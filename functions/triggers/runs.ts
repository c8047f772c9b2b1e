import { createHash } from 'node:crypto';
import type { Call } from '../kernel/call.ts';
import type { Json } from '../kernel/json.ts';
import { Problem, unlessMissing } from '../kernel/problem.ts';
import {
  type Experiment,
  ExperimentId,
  PipelineId,
  type Run,
  RunId,
  VersionId,
} from '../pipelines/model.ts';
import type { PipelinesService } from '../pipelines/service.ts';
import { RUN_TAG, trackedRunId } from '../pipelines/tracked.ts';

/** A run as rules and retrainings ask for it; the same `idempotency` is the same run. */
export interface RunAsked {
  /** Name or id. */
  readonly pipeline: string;
  /** Name or id; the newest if absent. */
  readonly version?: string | undefined;
  /** Name or id, of pipelines or of MLflow; named after the pipeline if absent. */
  readonly experiment?: string | undefined;
  readonly parameters: Readonly<Record<string, Json>>;
  readonly name: string;
  readonly idempotency: string;
}

/** A step of a run and what it gave; `name` is the task's name in the pipeline. */
interface TaskSeen {
  readonly name: string;
  readonly state: string;
  readonly error?: string | undefined;
  readonly outputs: Readonly<Record<string, Json>>;
}
export interface RunSeen {
  readonly tasks: readonly TaskSeen[];
  /** Its MLflow runs: its own, and one a step; what a step logs and registers belongs to that. */
  readonly tracked: readonly string[];
}

/** What rules and retrainings ask of the MLflow side of runs. */
export interface TrackedRuns {
  /** Undefined for what is no id of an MLflow experiment, or nobody's. */
  experiment(call: Call, id: string): Promise<{ name: string; lifecycle: string } | undefined>;
  /** The tags of an MLflow run, or undefined. */
  tags(call: Call, runId: string): Promise<ReadonlyMap<string, string> | undefined>;
}
const PARENT_TAG = 'mlflow.parentRunId';
/** A run that a step began, a run below that, and so on. */
const MAX_PARENTS = 5;

export type Runs = ReturnType<typeof pipelineRuns>;

/** The pipelines' service in the words of rules: pipelines by name or id, run ids made of a retry key. */
export function pipelineRuns(pipelines: PipelinesService, tracked: TrackedRuns) {
  const { catalog } = pipelines;

  /** Throws `missing`, naming which of both. */
  async function sourceOf(
    call: Call,
    { pipeline, version }: Pick<RunAsked, 'pipeline' | 'version'>,
  ) {
    const id = PipelineId.safeParse(pipeline).data;
    const { id: pipelineId, name } = id
      ? await catalog.getPipeline(call, id)
      : await catalog.findPipeline(call, pipeline);
    if (version === undefined) return { name, pipelineId };
    const versionId = VersionId.safeParse(version).data;
    if (versionId) {
      await catalog.getVersion(call, pipelineId, versionId);
      return { name, pipelineId, versionId };
    }
    const versions = await catalog.listVersions(call, pipelineId);
    const named = versions.find(({ name }) => name === version);
    if (!named) throw new Problem('missing', `Pipeline ${pipeline} has no version '${version}'.`);
    return { name, pipelineId, versionId: named.id };
  }

  /** The experiment of this id, or the name of one that there may not be yet. Throws `missing`, `precondition`. */
  async function experimentAt(call: Call, text: string): Promise<Experiment | string> {
    const id = ExperimentId.safeParse(text).data;
    if (id) return catalog.getExperiment(call, id);
    const theirs = await tracked.experiment(call, text);
    if (theirs?.lifecycle === 'deleted')
      throw new Problem('precondition', `Experiment ${text} is deleted.`);
    return theirs?.name ?? text;
  }

  async function experimentOf(call: Call, text: string): Promise<ExperimentId> {
    const found = await experimentAt(call, text);
    return typeof found === 'string' ? (await catalog.ensureExperiment(call, found)).id : found.id;
  }

  async function create(call: Call, asked: RunAsked, startedElsewhere: boolean): Promise<Run> {
    const { name, parameters, idempotency } = asked;
    const { name: pipeline, ...source } = await sourceOf(call, asked);
    const experimentId = await experimentOf(call, asked.experiment ?? pipeline);
    const id = runIdOf(idempotency);
    return pipelines.createRun(call, {
      id,
      name,
      experimentId,
      source,
      parameters,
      startedElsewhere,
    });
  }

  return {
    /** Throws `missing` for a pipeline or version that is not there. */
    async check(call: Call, asked: Pick<RunAsked, 'pipeline' | 'version'>): Promise<void> {
      await sourceOf(call, asked);
    },

    /** Throws `missing` for an experiment's id that nobody has, `precondition` for one that is deleted. */
    async checkExperiment(call: Call, experiment: string): Promise<void> {
      await experimentAt(call, experiment);
    },

    /** The name of the pipeline run that this run is, or that this MLflow run belongs to, itself or by its parents. */
    async nameBehind(call: Call, runId: string): Promise<string | undefined> {
      let id = RunId.safeParse(runId).data;
      let at: string | undefined = runId;
      for (let up = 0; !id && at !== undefined && up < MAX_PARENTS; up += 1) {
        const tags: ReadonlyMap<string, string> | undefined = await tracked.tags(call, at);
        id = RunId.safeParse(tags?.get(RUN_TAG)).data;
        at = tags?.get(PARENT_TAG);
      }
      if (!id) return undefined;
      return pipelines.getRun(call, id).then(({ name }) => name, unlessMissing);
    },

    /** Creates and starts it. Throws `missing`, `invalid`, `precondition`. */
    async createRun(call: Call, asked: RunAsked): Promise<{ runId: string }> {
      const run = await create(call, asked, false);
      return { runId: run.id };
    },

    /** Creates it and defines its machine; another machine starts it with `start`, once by its name. */
    async prepareRun(call: Call, asked: RunAsked) {
      const run = await create(call, asked, true);
      await pipelines.launch(call, run.id);
      const { StateMachineArn, Name, Input } = pipelines.startOf(call, run);
      return { runId: run.id as string, start: { StateMachineArn, Name, Input: Input as Json } };
    },

    /** Its steps, in the order in which they began. */
    async getRun(call: Call, runId: string): Promise<RunSeen> {
      const id = RunId.parse(runId);
      const records = await pipelines.listTasks(call, id);
      const tasks: TaskSeen[] = [];
      for (const task of records.sort((a, b) => a.startedAt - b.startedAt))
        tasks.push({
          name: task.title,
          state: task.state,
          error: task.error,
          outputs: await pipelines.values(call, task.outputs.parameters),
        });
      const steps = records.flatMap(({ tracking }) => (tracking ? [tracking.runId] : []));
      return { tasks, tracked: [trackedRunId(id), ...steps] };
    },
  };
}

/** A UUID (version 8) that is the same for the same retry key. */
function runIdOf(idempotency: string): RunId {
  const bytes = createHash('sha256').update(`run ${idempotency}`).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const text = bytes.toString('hex');
  const groups = [0, 8, 12, 16, 20].map((at, i) => text.slice(at, [8, 12, 16, 20, 32][i]));
  return RunId.parse(groups.join('-'));
}
