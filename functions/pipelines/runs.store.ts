import { createHash } from 'node:crypto';
import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import type { Json } from '../kernel/json.ts';
import { Problem } from '../kernel/problem.ts';
import {
  type Blobs,
  type Key,
  queryAll,
  Refused,
  removeAll,
  type Write,
} from '../platform/ports.ts';
import { keys as catalogKeys } from './catalog.store.ts';
import {
  type CacheEntry,
  type Kept,
  LIMITS,
  type Run,
  type RunId,
  type TaskRecord,
} from './model.ts';
import { fresh, item, nameKey, type Records } from './records.ts';

export interface LastParts {
  readonly runId: RunId;
  readonly parts: Readonly<Record<string, string>>;
}

const keys = {
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

/** Runs, their tasks, the cache and the blobs that records point to. */
export function runsStore({ table, settle, one, all, change, commit }: Records, blobs: Blobs) {
  return {
    // -------------------------------------------------------------- runs and tasks

    /** Throws `missing` or `exists`: the experiment must stay there in between. */
    createRun: (call: Call, run: Run, event: Event) =>
      commit(
        call,
        [
          fresh(keys.run(run.id), run),
          { check: catalogKeys.experiment(run.experimentId), if: 'present' },
        ],
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
    /** Tasks of a run that is gone. */
    removeTasks: (call: Call, run: RunId, event: Event): Promise<void> =>
      removeAll(table, call, queryAll(table, call, { pk: `KFP#run#${run}` }), event),
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
}

/** A task moves on: within an attempt from running to an end, and with a new attempt from any end but a good one. */
function replaces(next: TaskRecord, now: TaskRecord): boolean {
  if (now.attempt > next.attempt || now.state === 'SUCCEEDED' || now.state === 'CACHED')
    return false;
  return now.attempt < next.attempt || now.state === 'RUNNING';
}
