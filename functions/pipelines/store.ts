import { createHash } from 'node:crypto';
import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import type { Json } from '../kernel/json.ts';
import { Problem } from '../kernel/problem.ts';
import {
  type Item,
  type Key,
  type Platform,
  type Query,
  queryAll,
  Refused,
  type Write,
} from '../platform/ports.ts';
import { settler } from '../platform/settle.ts';
import {
  type CacheEntry,
  type Experiment,
  type ExperimentId,
  type Kept,
  LIMITS,
  type Pipeline,
  type PipelineId,
  type Run,
  type RunId,
  type TaskRecord,
  type Version,
  type VersionId,
} from './model.ts';

/** A record is one JSON text beside its version, which every change compares. */
interface Versioned<T> {
  readonly record: T;
  readonly version: number;
}

export interface LastParts {
  readonly runId: RunId;
  readonly parts: Readonly<Record<string, string>>;
}

const nameKey = (name: string) => createHash('sha256').update(name).digest('hex');
const keys = {
  experiment: (id: ExperimentId): Key => ({ pk: 'KFP#experiments', sk: id }),
  experimentName: (name: string): Key => ({ pk: 'KFP#experiment-names', sk: nameKey(name) }),
  pipeline: (id: PipelineId): Key => ({ pk: 'KFP#pipelines', sk: id }),
  pipelineName: (name: string): Key => ({ pk: 'KFP#pipeline-names', sk: nameKey(name) }),
  version: (pipeline: PipelineId, id: VersionId): Key => ({
    pk: `KFP#versions#${pipeline}`,
    sk: id,
  }),
  versionName: (pipeline: PipelineId, name: string): Key => ({
    pk: `KFP#version-names#${pipeline}`,
    sk: nameKey(name),
  }),
  /** Old clients name a version without its pipeline. */
  versionHome: (id: VersionId): Key => ({ pk: 'KFP#version-homes', sk: id }),
  run: (id: RunId): Key => ({ pk: 'KFP#runs', sk: id }),
  task: (run: RunId, id: string): Key => ({ pk: `KFP#run#${run}`, sk: `T#${id}` }),
  cache: (pipeline: string, fingerprint: string): Key => ({
    pk: `KFP#cache#${nameKey(pipeline)}`,
    sk: `F#${fingerprint}`,
  }),
  lastParts: (pipeline: string, task: string): Key => ({
    pk: `KFP#cache#${nameKey(pipeline)}`,
    sk: `L#${task}`,
  }),
};

const item = (
  key: Key,
  record: unknown,
  version: number,
  more: Record<string, string> = {},
): Item => ({
  ...key,
  ...more,
  version,
  record: JSON.stringify(record),
});
const read = <T>(found: Item | undefined): Versioned<T> | undefined =>
  found && { record: JSON.parse(String(found['record'])) as T, version: Number(found['version']) };
const fresh = (key: Key, record: unknown): Write => ({ put: item(key, record, 1), if: 'absent' });
const pointer = (key: Key, target: string): Write => ({ put: { ...key, target }, if: 'absent' });

export type StorePlatform = Pick<Platform, 'table' | 'blobs' | 'world'>;
export type PipelinesStore = ReturnType<typeof pipelinesStore>;

/** All of the room's records over the two ports. Values too large for a record go to `Blobs`, named by content. */
export function pipelinesStore({ table, blobs, world }: StorePlatform) {
  const settle = settler(world);
  const one = async <T>(call: Call, key: Key): Promise<Versioned<T> | undefined> =>
    read<T>(await table.get(call, key));
  const pointed = async (call: Call, key: Key): Promise<string | undefined> => {
    const found = await table.get(call, key);
    return found && String(found['target']);
  };
  async function all<T>(call: Call, query: Query): Promise<T[]> {
    const records: T[] = [];
    for await (const found of queryAll(table, call, query))
      records.push(JSON.parse(String(found['record'])));
    return records;
  }

  /**
   * Reads a record, asks `edit` for what it becomes, and writes it unless another change came first; then again.
   * Undefined from `edit` changes nothing. Answers the record as it then stands. Throws `missing` and what `edit` throws.
   */
  async function change<T extends object>(
    call: Call,
    key: Key,
    absent: string,
    edit: (record: T) => { record: T; event: Event } | undefined,
  ): Promise<T> {
    return settle(call, `${key.pk}/${key.sk}`, async () => {
      const found = await one<T>(call, key);
      if (!found) throw new Problem('missing', absent);
      const edited = edit(found.record);
      if (!edited) return found.record;
      const put = item(key, edited.record, found.version + 1);
      await table.commit(call, [{ put, if: { equal: { version: found.version } } }], edited.event);
      return edited.record;
    });
  }

  /** Commits, and says in the caller's words what a refused write means. */
  async function commit(
    call: Call,
    writes: readonly Write[],
    event: Event,
    refusals: readonly (Problem | undefined)[],
  ): Promise<void> {
    try {
      await table.commit(call, writes, event);
    } catch (error) {
      throw error instanceof Refused ? (refusals[error.index] ?? error) : error;
    }
  }

  const store = {
    keys,

    // -------------------------------------------------------------- experiments

    /** Throws `exists`. */
    createExperiment: (call: Call, experiment: Experiment, event: Event) =>
      commit(
        call,
        [
          fresh(keys.experiment(experiment.id), experiment),
          pointer(keys.experimentName(experiment.name), experiment.id),
        ],
        event,
        [
          undefined,
          new Problem(
            'exists',
            `Already exist error: an experiment named '${experiment.name}' already exists.`,
          ),
        ],
      ),
    async getExperiment(call: Call, id: ExperimentId): Promise<Experiment | undefined> {
      return (await one<Experiment>(call, keys.experiment(id)))?.record;
    },
    listExperiments: (call: Call) => all<Experiment>(call, { pk: 'KFP#experiments' }),
    changeExperiment: (
      call: Call,
      id: ExperimentId,
      edit: (record: Experiment) => { record: Experiment; event: Event } | undefined,
    ) => change<Experiment>(call, keys.experiment(id), `Experiment ${id} not found.`, edit),
    removeExperiment: (call: Call, { id, name }: Experiment, event: Event) =>
      commit(
        call,
        [{ remove: keys.experiment(id), if: 'present' }, { remove: keys.experimentName(name) }],
        event,
        [new Problem('missing', `Experiment ${id} not found.`)],
      ),

    // -------------------------------------------------------------- pipelines and versions

    /** With its first version, if it comes with one. Throws `exists`. */
    createPipeline(call: Call, pipeline: Pipeline, event: Event, version?: Version) {
      const { id, name } = pipeline;
      const writes = [
        fresh(keys.pipeline(id), pipeline),
        pointer(keys.pipelineName(name), id),
        ...(version ? versionWrites(version) : []),
      ];
      const taken = `Already exist error: a pipeline named '${name}' already exists.`;
      return commit(call, writes, event, [undefined, new Problem('exists', taken)]);
    },
    async getPipeline(call: Call, id: PipelineId): Promise<Pipeline | undefined> {
      return (await one<Pipeline>(call, keys.pipeline(id)))?.record;
    },
    async findPipeline(call: Call, name: string): Promise<Pipeline | undefined> {
      const id = await pointed(call, keys.pipelineName(name));
      return id === undefined ? undefined : store.getPipeline(call, id as PipelineId);
    },
    listPipelines: (call: Call) => all<Pipeline>(call, { pk: 'KFP#pipelines' }),
    changePipeline: (
      call: Call,
      id: PipelineId,
      edit: (record: Pipeline) => { record: Pipeline; event: Event } | undefined,
    ) => change<Pipeline>(call, keys.pipeline(id), `Pipeline ${id} not found.`, edit),
    removePipeline: (call: Call, { id, name }: Pipeline, event: Event) =>
      commit(
        call,
        [{ remove: keys.pipeline(id), if: 'present' }, { remove: keys.pipelineName(name) }],
        event,
        [new Problem('missing', `Pipeline ${id} not found.`)],
      ),
    /** Throws `exists`, and `missing` for the pipeline. */
    createVersion(call: Call, version: Version, event: Event) {
      const { pipelineId, name } = version;
      return commit(
        call,
        [{ check: keys.pipeline(pipelineId), if: 'present' }, ...versionWrites(version)],
        event,
        [
          new Problem('missing', `Pipeline ${pipelineId} not found.`),
          undefined,
          new Problem(
            'exists',
            `Already exist error: the pipeline already has a version named '${name}'.`,
          ),
        ],
      );
    },
    async getVersion(
      call: Call,
      pipeline: PipelineId,
      id: VersionId,
    ): Promise<Version | undefined> {
      return (await one<Version>(call, keys.version(pipeline, id)))?.record;
    },
    async homeOf(call: Call, id: VersionId): Promise<PipelineId | undefined> {
      return (await pointed(call, keys.versionHome(id))) as PipelineId | undefined;
    },
    listVersions: (call: Call, pipeline: PipelineId) =>
      all<Version>(call, { pk: `KFP#versions#${pipeline}` }),
    changeVersion: (
      call: Call,
      { pipelineId, id }: Version,
      edit: (record: Version) => { record: Version; event: Event } | undefined,
    ) =>
      change<Version>(
        call,
        keys.version(pipelineId, id),
        `Pipeline version ${id} not found.`,
        edit,
      ),
    removeVersion: (call: Call, { pipelineId, id, name }: Version, event: Event) =>
      commit(
        call,
        [
          { remove: keys.version(pipelineId, id), if: 'present' },
          { remove: keys.versionName(pipelineId, name) },
          { remove: keys.versionHome(id) },
        ],
        event,
        [new Problem('missing', `Pipeline version ${id} not found.`)],
      ),

    // -------------------------------------------------------------- runs and tasks

    /** Throws `missing` or `exists`: the experiment must stay there in between. */
    createRun: (call: Call, run: Run, event: Event) =>
      commit(
        call,
        [fresh(keys.run(run.id), run), { check: keys.experiment(run.experimentId), if: 'present' }],
        event,
        [
          new Problem('exists', `Run ${run.id} already exists.`),
          new Problem('missing', `Experiment ${run.experimentId} not found.`),
        ],
      ),
    async getRun(call: Call, id: RunId): Promise<Run | undefined> {
      return (await one<Run>(call, keys.run(id)))?.record;
    },
    listRuns: (call: Call) => all<Run>(call, { pk: 'KFP#runs' }),
    changeRun: (
      call: Call,
      id: RunId,
      edit: (record: Run) => { record: Run; event: Event } | undefined,
    ) => change<Run>(call, keys.run(id), `Run ${id} not found.`, edit),
    removeRun: (call: Call, id: RunId, event: Event) =>
      commit(call, [{ remove: keys.run(id), if: 'present' }], event, [
        new Problem('missing', `Run ${id} not found.`),
      ]),
    async getTask(call: Call, run: RunId, id: string): Promise<TaskRecord | undefined> {
      return (await one<TaskRecord>(call, keys.task(run, id)))?.record;
    },
    async getTasks(
      call: Call,
      run: RunId,
      ids: readonly string[],
    ): Promise<Map<string, TaskRecord>> {
      if (!ids.length) return new Map();
      const found = await table.getMany(
        call,
        ids.map((id) => keys.task(run, id)),
      );
      const records = found.map((each) => JSON.parse(String(each['record'])) as TaskRecord);
      return new Map(records.map((record) => [record.id, record]));
    },
    listTasks: (call: Call, run: RunId) =>
      all<TaskRecord>(call, { pk: `KFP#run#${run}`, prefix: 'T#' }),
    /**
     * Writes a task of a run that is there, unless it has ended in this attempt or a later one already: then it stays.
     * Answers whether it was written.
     */
    async putTask(
      call: Call,
      task: TaskRecord,
      event: Event,
      more: readonly Write[] = [],
    ): Promise<boolean> {
      const key = keys.task(task.runId, task.id);
      return settle(call, `${key.pk}/${key.sk}`, async () => {
        const found = await one<TaskRecord>(call, key);
        if (found && !replaces(task, found.record)) return false;
        const put = item(key, task, (found?.version ?? 0) + 1);
        const condition = found ? { equal: { version: found.version } } : ('absent' as const);
        const there: Write = { check: keys.run(task.runId), if: 'present' };
        try {
          await table.commit(call, [{ put, if: condition }, there, ...more], event);
        } catch (error) {
          if (error instanceof Refused && error.index === 1)
            throw new Problem('missing', `Run ${task.runId} not found.`);
          throw error;
        }
        return true;
      });
    },
    /** Tasks of a run that is gone, a page at a time. */
    async removeTasks(call: Call, run: RunId, event: Event): Promise<void> {
      const pk = `KFP#run#${run}`;
      for (;;) {
        const { items, next } = await table.query(call, { pk, limit: 90 });
        if (items.length)
          await table.commit(
            call,
            items.map(({ sk }) => ({ remove: { pk, sk } })),
            event,
          );
        if (next === undefined) return;
      }
    },
    async cached(
      call: Call,
      pipeline: string,
      fingerprint: string,
    ): Promise<CacheEntry | undefined> {
      return (await one<CacheEntry>(call, keys.cache(pipeline, fingerprint)))?.record;
    },
    /** What the newest success of this task was made of, for the reason of a miss. */
    async lastParts(call: Call, pipeline: string, task: string): Promise<LastParts | undefined> {
      return (await one<LastParts>(call, keys.lastParts(pipeline, task)))?.record;
    },
    /** The newest success wins. */
    cacheWrites(
      pipeline: string,
      fingerprint: string,
      parts: LastParts['parts'],
      entry: CacheEntry,
    ): Write[] {
      const last: LastParts = { runId: entry.runId, parts };
      return [
        { put: item(keys.cache(pipeline, fingerprint), entry, 1) },
        { put: item(keys.lastParts(pipeline, entry.task), last, 1) },
      ];
    },

    // -------------------------------------------------------------- blobs

    /** A document by the hash of its text, which it answers; put once. */
    async keepSpec(call: Call, document: unknown): Promise<string> {
      const text = JSON.stringify(document);
      const digest = createHash('sha256').update(text).digest('hex');
      const path = `kfp/specs/${digest}.json`;
      if (!(await blobs.head(call, path))) await blobs.put(call, path, Buffer.from(text));
      return digest;
    },
    async getSpec(call: Call, digest: string): Promise<unknown> {
      const blob = await blobs.get(call, `kfp/specs/${digest}.json`);
      if (!blob) throw new Problem('missing', 'The spec of this pipeline is gone.');
      return JSON.parse(await new Response(blob.body).text());
    },
    /** `where` is a folder of the room's own, such as `kfp/values/<run>`. */
    async keep(call: Call, where: string, values: Readonly<Record<string, Json>>): Promise<Kept> {
      const text = JSON.stringify(values);
      if (Buffer.byteLength(text) <= LIMITS.inlineBytes) return { values };
      const blob = `${where}/${createHash('sha256').update(text).digest('hex')}.json`;
      await blobs.put(call, blob, Buffer.from(text));
      return { blob, sizeBytes: Buffer.byteLength(text) };
    },
    async values(call: Call, kept: Kept): Promise<Readonly<Record<string, Json>>> {
      if ('values' in kept) return kept.values;
      const blob = await blobs.get(call, kept.blob);
      if (!blob) throw new Problem('missing', 'The values of this step are gone.');
      return JSON.parse(await new Response(blob.body).text());
    },
  };

  function versionWrites(version: Version): Write[] {
    const { pipelineId, id, name } = version;
    return [
      fresh(keys.version(pipelineId, id), version),
      pointer(keys.versionName(pipelineId, name), id),
      pointer(keys.versionHome(id), pipelineId),
    ];
  }
  return store;
}

/** A task moves on: within an attempt from running to an end, and with a new attempt from any end but a good one. */
function replaces(next: TaskRecord, now: TaskRecord): boolean {
  if (now.attempt > next.attempt || now.state === 'SUCCEEDED' || now.state === 'CACHED')
    return false;
  return now.attempt < next.attempt || now.state === 'RUNNING';
}
