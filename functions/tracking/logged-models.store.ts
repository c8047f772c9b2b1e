import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import { Problem } from '../kernel/problem.ts';
import type { World } from '../kernel/world.ts';
import {
  getAll,
  type Item,
  type Key,
  queryAll,
  type Table,
  type Write,
} from '../platform/ports.ts';
import { type Settle, settler } from '../platform/settle.ts';
import {
  type LoggedModel,
  type LoggedModelStatus,
  type MeasuredModel,
  MODEL_LIMITS,
  type ModelMetric,
  mergeLatest,
} from './logged-models.ts';
import type { Lifecycle, Long, Metric, RunId } from './model.ts';

/**
 * A model is two items: its document, and its latest metrics, which batches of runs move. Two more of each model say
 * which experiment and which run it belongs to; they never change.
 */
const keys = {
  document: (id: string): Key => ({ pk: `LM#${id}`, sk: 'DOC' }),
  metrics: (id: string): Key => ({ pk: `LM#${id}`, sk: 'METRICS' }),
  ofExperiment: (experimentId: string, id = ''): Key => ({ pk: `LMX#${experimentId}`, sk: id }),
  ofRun: (runId: string, id = ''): Key => ({ pk: `LMR#${runId}`, sk: id }),
};

export type LoggedModelStore = ReturnType<typeof loggedModelStore>;

export function loggedModelStore(table: Table, world: World) {
  const settle: Settle = settler(world);

  const find = async (call: Call, id: string): Promise<LoggedModel | undefined> => {
    const item = await table.get(call, keys.document(id));
    return item && readDocument(item);
  };

  return {
    find,

    async create(call: Call, model: LoggedModel, event: Event): Promise<void> {
      const writes: Write[] = [
        { put: writeDocument(model, 1), if: 'absent' },
        { put: { ...keys.ofExperiment(model.experimentId, model.id) } },
      ];
      if (model.sourceRunId !== undefined)
        writes.push({ put: { ...keys.ofRun(model.sourceRunId, model.id) } });
      await table.commit(call, writes, event);
    },

    /** Puts what `change` makes of the document, with its event. Throws `missing`, and what `change` throws. */
    change(
      call: Call,
      id: string,
      change: (model: LoggedModel) => { model: LoggedModel; event: Event } | undefined,
    ): Promise<LoggedModel> {
      return settle(call, id, async () => {
        const item = await table.get(call, keys.document(id));
        if (!item) throw absent(id);
        const before = readDocument(item);
        const changed = change(before);
        if (!changed) return before;
        const rev = Number(item['rev']);
        const put = writeDocument(changed.model, rev + 1);
        await table.commit(call, [{ put, if: { equal: { rev } } }], changed.event);
        return changed.model;
      });
    },

    /** With their latest metrics. */
    async measure(call: Call, models: readonly LoggedModel[]): Promise<MeasuredModel[]> {
      const held = await getAll(
        table,
        call,
        models.map(({ id }) => keys.metrics(id)),
      );
      const byKey = new Map(held.map((item) => [item.pk, readMetrics(item)]));
      return models.map((model) => ({
        ...model,
        metrics: byKey.get(keys.metrics(model.id).pk) ?? [],
      }));
    },

    /** All of these experiments, the deleted too, in no order. */
    async ofExperiments(call: Call, experimentIds: readonly string[]): Promise<LoggedModel[]> {
      const wanted: Key[] = [];
      for (const experimentId of new Set(experimentIds))
        for await (const { sk } of queryAll(table, call, {
          pk: keys.ofExperiment(experimentId).pk,
        }))
          wanted.push(keys.document(sk));
      return (await getAll(table, call, wanted)).map(readDocument);
    },

    async ofRun(call: Call, runId: string): Promise<LoggedModel[]> {
      const wanted: Key[] = [];
      for await (const { sk } of queryAll(table, call, { pk: keys.ofRun(runId).pk }))
        wanted.push(keys.document(sk));
      return (await getAll(table, call, wanted)).map(readDocument);
    },

    /**
     * The points of one batch that name a logged model, as writes for the batch's own commit, so that run and model
     * see them together. If the commit is refused at one of these, ask again: another batch reached the model first.
     * Empty when no point names a model. Throws `missing`, `invalid`.
     */
    async metricWrites(call: Call, runId: RunId, points: readonly Metric[]): Promise<Write[]> {
      const byModel = new Map<string, ModelMetric[]>();
      for (const point of points) {
        if (!point.modelId) continue;
        const own = byModel.get(point.modelId) ?? [];
        own.push({ ...point, runId });
        byModel.set(point.modelId, own);
      }
      if (!byModel.size) return [];
      if (byModel.size > MODEL_LIMITS.modelsPerBatch)
        throw new Problem(
          'invalid',
          `A batch may name at most ${MODEL_LIMITS.modelsPerBatch} logged models. Split it.`,
          { field: 'metrics' },
        );
      const ids = [...byModel.keys()];
      const items = await table.getMany(
        call,
        ids.flatMap((id) => [keys.document(id), keys.metrics(id)]),
      );
      const held = new Map(items.map((item) => [`${item.pk}/${item.sk}`, item]));
      return ids.map((id) => {
        if (!held.has(`LM#${id}/DOC`)) throw absent(id);
        const before = held.get(`LM#${id}/METRICS`);
        const rev = Number(before?.['rev'] ?? 0);
        const latest = mergeLatest(before ? readMetrics(before) : [], byModel.get(id) ?? []);
        return {
          put: { ...keys.metrics(id), rev: rev + 1, latest: writeMetrics(id, latest) },
          if: before ? { equal: { rev } } : 'absent',
        };
      });
    },
  };
}

export const absent = (id: string) =>
  new Problem('missing', `Logged model with ID '${id}' not found.`, { field: 'model_id' });

function writeDocument(model: LoggedModel, rev: number): Item {
  const { tags, params, id, ...plain } = model;
  const texts = { tags: JSON.stringify([...tags]), params: JSON.stringify([...params]) };
  if (Buffer.byteLength(texts.tags) + Buffer.byteLength(texts.params) > MODEL_LIMITS.documentBytes)
    throw new Problem(
      'invalid',
      `The tags and params of a logged model may take at most ${MODEL_LIMITS.documentBytes} bytes together.`,
      { field: 'tags' },
    );
  return { ...keys.document(id), ...plain, ...texts, rev };
}

const readPairs = (text: unknown) => new Map(JSON.parse(String(text)) as [string, string][]);

function readDocument(item: Item): LoggedModel {
  const text = (name: string) => item[name] as string | undefined;
  const modelType = text('modelType');
  const sourceRunId = text('sourceRunId');
  return {
    id: item.pk.slice('LM#'.length),
    experimentId: String(item['experimentId']),
    name: String(item['name']),
    ...(modelType === undefined ? {} : { modelType }),
    ...(sourceRunId === undefined ? {} : { sourceRunId }),
    status: item['status'] as LoggedModelStatus,
    artifactUri: String(item['artifactUri']),
    createdAt: Number(item['createdAt']),
    updatedAt: Number(item['updatedAt']),
    lifecycle: item['lifecycle'] as Lifecycle,
    tags: readPairs(item['tags']),
    params: readPairs(item['params']),
  };
}

/** key, value, timestamp, step, run, dataset's name and digest. Numbers as text: NaN and 64 bits must survive. */
type MetricRow = [string, string, string, string, string, (string | null)?, (string | null)?];

function writeMetrics(id: string, metrics: readonly ModelMetric[]): string {
  const rows = metrics.map(
    (m): MetricRow => [
      m.key,
      String(m.value),
      String(m.timestamp),
      String(m.step),
      m.runId,
      m.datasetName ?? null,
      m.datasetDigest ?? null,
    ],
  );
  const text = JSON.stringify(rows);
  if (Buffer.byteLength(text) > MODEL_LIMITS.metricBytes)
    throw new Problem(
      'invalid',
      `Logged model '${id}' holds too many metrics: their latest values may take at most ${MODEL_LIMITS.metricBytes} bytes.`,
      { field: 'metrics' },
    );
  return text;
}

const long = (text: string): Long => {
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : BigInt(text);
};

function readMetrics(item: Item): ModelMetric[] {
  const modelId = item.pk.slice('LM#'.length);
  const rows = JSON.parse(String(item['latest'])) as MetricRow[];
  return rows.map(([key, value, timestamp, step, runId, datasetName, datasetDigest]) => ({
    key,
    value: Number(value),
    timestamp: long(timestamp),
    step: long(step),
    runId: runId as RunId,
    modelId,
    ...(datasetName ? { datasetName } : {}),
    ...(datasetDigest ? { datasetDigest } : {}),
  }));
}
