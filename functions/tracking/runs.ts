import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import type { Page, Pages } from '../kernel/page.ts';
import { Problem, unlessMissing } from '../kernel/problem.ts';
import { newHexId } from '../kernel/world.ts';
import type { Platform, Write } from '../platform/ports.ts';
import { MAX_WRITES } from '../platform/records.ts';
import { settler } from '../platform/settle.ts';
import { type DatasetPut, datasetStore } from './datasets.store.ts';
import {
  addInput,
  addModelInput,
  addOutput,
  mergePoints,
  type RunDocument,
  removeText,
} from './document.ts';
import { notActive } from './experiments.ts';
import { metricHistory } from './history.ts';
import { checkBatch, checkDatasets, checkMetric, checkTag } from './limits.ts';
import {
  type Batch,
  cut,
  DATASET_CONTEXT_TAG,
  type DatasetInput,
  type DatasetSummary,
  type Experiment,
  type ExperimentId,
  type Lifecycle,
  type Long,
  type Metric,
  type ModelOutput,
  type Param,
  RUN_NAME_TAG,
  type Run,
  type RunId,
  type RunStatus,
  type Tag,
} from './model.ts';
import {
  addToHistory,
  chosenName,
  MODEL_HISTORY_TAG,
  readModel,
  setParams,
  setTags,
  type Wording,
} from './run-edits.ts';
import { candidateOf, completeRuns, type RunSearch, searchRuns } from './search.ts';
import { type Edit, type Standing, trackingStore } from './store.ts';

export interface NewRun {
  readonly experimentId: ExperimentId;
  readonly runName?: string;
  /** As the client gives it; 0 if it gives none. */
  readonly startTime?: Long;
  readonly tags?: readonly Tag[];
  readonly userId?: string;
  /** Minted by a part of the product, so that asking twice makes one run. */
  readonly runId?: RunId;
}

export interface RunChange {
  readonly status?: RunStatus;
  readonly endTime?: Long;
  readonly runName?: string;
}

/** Writes that carry the points which name a logged model onto it, for the batch's own commit. */
export type ModelWrites = (call: Call, runId: RunId, points: readonly Metric[]) => Promise<Write[]>;

/** What the runs ask of their experiments. Throws `missing`. */
export type ExperimentOf = (call: Call, id: ExperimentId) => Promise<Experiment>;

const MAX_SUMMARIES = 1000;
/** Of the names of params and tags, this much goes into the log entry. */
const AUDITED_NAMES = 500;

export function runsService(
  platform: Pick<Platform, 'table' | 'blobs' | 'world'>,
  pages: Pages,
  experimentOf: ExperimentOf,
  modelWrites: ModelWrites,
) {
  const { world } = platform;
  const store = trackingStore(platform);
  const datasetRows = datasetStore(platform);
  const settle = settler(world);
  const history = metricHistory(store, pages);

  /** The document of an active run under `change`. Throws `missing`, `precondition`. */
  async function edit(
    call: Call,
    runId: RunId,
    change: (
      document: RunDocument,
      experiment: Experiment,
    ) => Edit | undefined | Promise<Edit | undefined>,
  ) {
    const edited = await store.editRun(call, runId, (held) => {
      checkActive(runId, held);
      return change(held.document, held.experiment);
    });
    if (!edited) throw noRun(runId);
    return edited;
  }

  async function get(call: Call, runId: RunId): Promise<Run> {
    const held = await store.readRun(call, runId);
    if (!held) throw noRun(runId);
    return alone(call, candidateOf(runId, lifecycleOf(held), held.document, held.unfolded));
  }

  async function alone(call: Call, candidate: Parameters<typeof completeRuns>[2][number]) {
    const [run] = await completeRuns(datasetRows, call, [candidate]);
    return run ?? raise(noRun(candidate.id));
  }

  /**
   * All of it or nothing. Equal params again change nothing. What changes the document is folded into it by the same
   * commit, unless rules look at the experiment's metrics: the compactor tells those. Throws `invalid`, `missing`,
   * `precondition`.
   */
  async function logBatch(
    call: Call,
    batch: Batch & { runId: RunId },
    wording: Wording,
  ): Promise<void> {
    checkBatch(batch);
    const { runId, metrics = [], params = [], tags = [] } = batch;
    if (params.length + tags.length === 0) return logPoints(call, runId, metrics);
    await edit(call, runId, async (document, { id: experimentId, watched }) => {
      const set = [...setParams(document, runId, params, wording), ...setTags(document, tags)];
      const writes = await modelWrites(call, runId, metrics);
      if (set.length === 0 && metrics.length === 0) return undefined;
      const names = cut(set.join(' '), AUDITED_NAMES);
      if (watched) return { writes, batch: { points: metrics, names } };
      mergePoints(document, metrics);
      const event = told(runId, 'logged', { experimentId, points: metrics.length, names });
      return { writes, past: metrics, event };
    });
  }

  /** Metrics alone: one put once the run is known to be active. */
  async function logPoints(call: Call, runId: RunId, points: readonly Metric[]): Promise<void> {
    const standing = await store.readStanding(call, runId);
    checkActive(runId, standing);
    if (points.length === 0) return;
    if (!points.some(({ modelId }) => modelId))
      return store.append(call, standing.head, runId, points);
    await settle(call, `runs/${runId}/models`, async () =>
      store.append(call, standing.head, runId, points, await modelWrites(call, runId, points)),
    );
  }

  async function setLifecycle(call: Call, runId: RunId, lifecycle: Lifecycle): Promise<void> {
    const verb = lifecycle === 'deleted' ? 'deleted' : 'restored';
    const moved = await store.setLifecycle(call, runId, lifecycle, told(runId, verb, {}));
    if (!moved && !(await store.readStanding(call, runId))) throw noRun(runId);
  }

  /** The words are read when first a run is given no name. */
  async function anyName(): Promise<string> {
    const { randomName } = await import('./names.ts');
    return randomName(world);
  }

  return {
    get,
    logBatch: (call: Call, batch: Batch & { runId: RunId }) => logBatch(call, batch, 'batch'),

    /** Throws `missing`, `precondition` in a deleted experiment, `invalid`. */
    async create(call: Call, asked: NewRun): Promise<Run> {
      const tags = asked.tags ?? [];
      tags.forEach((tag, i) => {
        checkTag(tag, `tags[${i}].`);
      });
      const experiment = await experimentOf(call, asked.experimentId);
      if (experiment.lifecycle !== 'active') throw notActive(experiment);
      const name = chosenName(asked.runName, tags) ?? (await anyName());
      const runId = asked.runId ?? (newHexId(world) as RunId);
      const attributes = {
        experimentId: experiment.id,
        name,
        userId: asked.userId ?? '',
        status: 'RUNNING' as const,
        startTime: asked.startTime ?? 0,
        artifactUri: `${experiment.artifactRoot}/${runId}/artifacts`,
      };
      const made = await store.createRun(
        call,
        runId,
        experiment,
        attributes,
        (document) => setTags(document, [...tags, { key: RUN_NAME_TAG, value: name }]),
        told(runId, 'created', { experimentId: experiment.id, name }),
      );
      if (made) return alone(call, candidateOf(runId, 'active', made, []));
      const run = await get(call, runId);
      if (run.experimentId !== experiment.id)
        throw new Problem('exists', `Run ${runId} exists in experiment ${run.experimentId}.`, {
          field: 'run_id',
        });
      return run;
    },

    /** Answers the run as it then is, without its metrics' log. */
    async update(call: Call, runId: RunId, change: RunChange): Promise<Run> {
      const { status, endTime, runName } = change;
      const edited = await edit(call, runId, (document) => {
        document.attributes = {
          ...document.attributes,
          ...(status === undefined ? {} : { status }),
          ...(endTime === undefined ? {} : { endTime }),
        };
        if (runName) setTags(document, [{ key: RUN_NAME_TAG, value: runName }]);
        const { experimentId, status: now } = document.attributes;
        return { event: told(runId, 'updated', { experimentId, status: now }) };
      });
      return alone(call, candidateOf(runId, lifecycleOf(edited), edited.document, []));
    },

    delete: (call: Call, runId: RunId) => setLifecycle(call, runId, 'deleted'),
    restore: (call: Call, runId: RunId) => setLifecycle(call, runId, 'active'),

    async setTag(call: Call, runId: RunId, tag: Tag): Promise<void> {
      checkTag(tag);
      await edit(call, runId, (document) =>
        setTags(document, [tag]).length
          ? { event: told(runId, 'tagged', { key: tag.key }) }
          : undefined,
      );
    },

    /** Throws `missing` if it has no such tag. */
    async deleteTag(call: Call, runId: RunId, key: string): Promise<void> {
      await edit(call, runId, (document) => {
        if (removeText(document, 'tags', key)) return { event: told(runId, 'untagged', { key }) };
        throw new Problem('missing', `No tag with name: ${key} in run with id ${runId}`, {
          field: 'key',
        });
      });
    },

    /** One point. */
    async logMetric(call: Call, runId: RunId, metric: Metric): Promise<void> {
      checkMetric(metric, '');
      await logPoints(call, runId, [metric]);
    },

    /**
     * The pre-3 record of a logged model: appended to the tag that old clients read. Throws `invalid`.
     * Source: mlflow/server/handlers.py, _log_model; mlflow/store/tracking/sqlalchemy_store.py, record_logged_model.
     */
    async noteModel(call: Call, runId: RunId, modelJson: string): Promise<void> {
      const model = readModel(modelJson);
      await edit(call, runId, (document) => {
        addToHistory(document, model);
        return { event: told(runId, 'tagged', { key: MODEL_HISTORY_TAG }) };
      });
    },

    /** One param, with the single form's wording of a conflict. */
    logParam: (call: Call, runId: RunId, param: Param) =>
      logBatch(call, { runId, params: [param] }, 'single'),

    /**
     * Datasets that the run read, and logged models: all of it or nothing. A dataset again keeps its first tags.
     * Throws `missing`, `precondition`, and `invalid` for more datasets than one commit takes.
     */
    async logInputs(
      call: Call,
      runId: RunId,
      datasets: readonly DatasetInput[],
      modelIds: readonly string[] = [],
    ): Promise<void> {
      checkDatasets(datasets);
      const uses = datasets.map(({ dataset, tags }) => ({
        dataset,
        context: tags.find(({ key }) => key === DATASET_CONTEXT_TAG)?.value ?? '',
      }));
      let rows: DatasetPut[] = [];
      await edit(call, runId, async (document) => {
        for (const { dataset, tags } of datasets)
          addInput(document, { name: dataset.name, digest: dataset.digest, tags });
        for (const modelId of modelIds) addModelInput(document, modelId);
        const names = datasets.map(({ dataset }) => dataset.name).slice(0, 20);
        const { experimentId } = document.attributes;
        const [, ...more] = document.parts;
        const room = MAX_WRITES - 1 - more.filter(({ dirty }) => dirty).length;
        rows = await datasetRows.datasetWrites(call, experimentId, uses, room);
        const data = { datasets: names, models: modelIds.slice(0, 20) };
        return { writes: rows, event: told(runId, 'read', data) };
      });
      datasetRows.remember(call, rows);
    },

    /** Logged models that the run made. */
    async logOutputs(call: Call, runId: RunId, outputs: readonly ModelOutput[]): Promise<void> {
      await edit(call, runId, (document) => {
        for (const output of outputs) addOutput(document, output);
        const models = outputs.map(({ modelId }) => modelId).slice(0, 20);
        return { event: told(runId, 'produced', { models }) };
      });
    },

    /** Unknown experiments have no runs. Throws `invalid`. */
    async search(call: Call, asked: RunSearch): Promise<Page<Run>> {
      const ids = [...new Set(asked.experimentIds)];
      const experiments = await Promise.all(
        ids.map((id) => experimentOf(call, id).catch(unlessMissing)),
      );
      const known = experiments.filter((experiment) => experiment !== undefined);
      return searchRuns(store, datasetRows, pages, call, known, asked);
    },

    history: history.page,
    wholeHistory: history.whole,

    /** Which datasets the runs of these experiments read, at most 1,000. */
    async datasetSummaries(call: Call, ids: readonly ExperimentId[]): Promise<DatasetSummary[]> {
      const found = await Promise.all(
        ids.map(async (experimentId) =>
          (await datasetRows.readContexts(call, experimentId, MAX_SUMMARIES)).map((summary) => ({
            experimentId,
            ...summary,
          })),
        ),
      );
      return found.flat().slice(0, MAX_SUMMARIES);
    },

    /** Undefined for an unknown run. */
    async experimentOf(call: Call, runId: RunId): Promise<ExperimentId | undefined> {
      return (await store.readStanding(call, runId))?.head.experimentId;
    },

    /** `<root>/<run>/artifacts`, or undefined for an unknown run. */
    async artifactUri(call: Call, runId: RunId): Promise<string | undefined> {
      const [document] = await store.readDocuments(call, [runId]);
      return document?.attributes.artifactUri;
    },
  };
}

const told = (runId: RunId, verb: string, data: object): Event => ({
  type: `tracking.run.${verb}`,
  subject: `runs/${runId}`,
  data: { runId, ...data },
});

const noRun = (runId: RunId) =>
  new Problem('missing', `Run with id=${runId} not found`, { field: 'run_id' });

function raise(problem: Problem): never {
  throw problem;
}

/** A run is deleted if it is, or if its experiment is. */
const lifecycleOf = ({ head, experiment }: Standing): Lifecycle =>
  experiment.lifecycle === 'deleted' ? 'deleted' : head.lifecycle;

function checkActive(runId: RunId, standing: Standing | undefined): asserts standing is Standing {
  if (!standing) throw noRun(runId);
  const lifecycle = lifecycleOf(standing);
  if (lifecycle !== 'active')
    throw new Problem(
      'precondition',
      `The run ${runId} must be in the 'active' state. Current state is ${lifecycle}.`,
      { field: 'run_id' },
    );
}
