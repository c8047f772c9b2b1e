import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import type { Page, Pages } from '../kernel/page.ts';
import { Problem } from '../kernel/problem.ts';
import { newHexId, type World } from '../kernel/world.ts';
import { type DatasetRef, type ModelOrder, readModelQuery } from './logged-models.search.ts';
import { absent, type LoggedModelStore } from './logged-models.store.ts';
import {
  checkModelName,
  type LoggedModel,
  type LoggedModelStatus,
  type MeasuredModel,
  MODEL_LIMITS,
  VERSIONS_TAG,
} from './logged-models.ts';
import { checkKey, type Lifecycle, type Metric, type RunId, type Tag } from './model.ts';

/**
 * A model that a run made, before anybody registers it: log_model creates it PENDING, uploads its files under
 * `artifactUri`, tags it and finalizes it. Metrics that name it come with the batches of runs. A deletion keeps the
 * document and the files; only reads that ask for deleted models show it.
 */
export interface NewModel {
  readonly experimentId: string;
  readonly name?: string;
  readonly modelType?: string;
  readonly sourceRunId?: string;
  readonly tags: readonly Tag[];
  readonly params: readonly Tag[];
}

export interface ModelSearch {
  readonly experimentIds: readonly string[];
  readonly filter?: string;
  readonly datasets: readonly DatasetRef[];
  readonly orders: readonly ModelOrder[];
  readonly limit: number;
  readonly token?: string;
}

/** What the rest of the tracking room knows and this part asks for. */
export type ExperimentLookup = (
  call: Call,
  experimentId: string,
) => Promise<{ readonly artifactRoot: string; readonly lifecycle: Lifecycle } | undefined>;

export type LoggedModelService = ReturnType<typeof loggedModelService>;

export function loggedModelService(
  store: LoggedModelStore,
  world: World,
  pages: Pages,
  experimentOf: ExperimentLookup,
) {
  const told = (id: string, what: 'created' | 'changed' | 'deleted', data: object): Event => ({
    type: `tracking.logged-model.${what}`,
    subject: `logged-models/${id}`,
    data: { modelId: id, ...data },
  });

  /** Throws `missing` for the unknown and the deleted. */
  const get = async (
    call: Call,
    id: string,
    options: { deleted?: boolean } = {},
  ): Promise<LoggedModel> => {
    const model = await store.find(call, id);
    if (!model || (model.lifecycle === 'deleted' && !options.deleted)) throw absent(id);
    return model;
  };

  const change = (
    call: Call,
    id: string,
    data: object,
    to: (model: LoggedModel) => Partial<LoggedModel> | undefined,
  ) =>
    store.change(call, id, (model) => {
      if (model.lifecycle === 'deleted') throw absent(id);
      const parts = to(model);
      if (!parts) return undefined;
      return { model: { ...model, ...parts }, event: told(id, 'changed', data) };
    });

  const setTags = (call: Call, id: string, tags: readonly Tag[]): Promise<LoggedModel> => {
    checkKeys(tags, 'tags', 'Tag key');
    const changed = tags.map(({ key }) => key);
    return change(call, id, { tags: changed }, ({ tags: held }) =>
      tags.length ? { tags: withAll(held, tags) } : undefined,
    );
  };

  return {
    get,
    setTags,
    metricWrites: (call: Call, runId: RunId, points: readonly Metric[]) =>
      store.metricWrites(call, runId, points),

    async getMeasured(
      call: Call,
      id: string,
      options?: { deleted?: boolean },
    ): Promise<MeasuredModel> {
      const [measured] = await store.measure(call, [await get(call, id, options)]);
      if (!measured) throw absent(id);
      return measured;
    },

    /** Throws `missing` for an unknown experiment, `invalid` for a deleted one. */
    async create(call: Call, wanted: NewModel): Promise<LoggedModel> {
      if (wanted.name !== undefined) checkModelName(wanted.name);
      checkKeys(wanted.tags, 'tags', 'Tag key');
      checkKeys(wanted.params, 'params', 'Param key');
      const experiment = await experimentOf(call, wanted.experimentId);
      if (!experiment)
        throw new Problem('missing', `No Experiment with id=${wanted.experimentId} exists`, {
          field: 'experiment_id',
        });
      if (experiment.lifecycle !== 'active')
        throw new Problem(
          'invalid',
          `The experiment ${wanted.experimentId} must be in the 'active' state. Current state is deleted.`,
          { field: 'experiment_id' },
        );
      const id = `m-${newHexId(world)}`;
      const now = world.now();
      const model: LoggedModel = {
        id,
        experimentId: wanted.experimentId,
        name: wanted.name ?? `model-${id.slice(2, 10)}`,
        ...(wanted.modelType === undefined ? {} : { modelType: wanted.modelType }),
        ...(wanted.sourceRunId === undefined ? {} : { sourceRunId: wanted.sourceRunId }),
        status: 'LOGGED_MODEL_PENDING',
        artifactUri: `${experiment.artifactRoot.replace(/\/+$/, '')}/models/${id}/artifacts`,
        createdAt: now,
        updatedAt: now,
        lifecycle: 'active',
        tags: withAll(new Map(), wanted.tags),
        params: newParams(new Map(), wanted.params, id),
      };
      const { name, experimentId } = model;
      await store.create(
        call,
        model,
        told(id, 'created', { name, experimentId, sourceRunId: wanted.sourceRunId ?? null }),
      );
      return model;
    },

    finalize: (call: Call, id: string, status: LoggedModelStatus): Promise<LoggedModel> =>
      change(call, id, { status }, () => ({ status, updatedAt: world.now() })),

    async remove(call: Call, id: string): Promise<void> {
      await store.change(call, id, (model) =>
        model.lifecycle === 'deleted'
          ? undefined
          : {
              model: { ...model, lifecycle: 'deleted', updatedAt: world.now() },
              event: told(id, 'deleted', {}),
            },
      );
    },

    async removeTag(call: Call, id: string, key: string): Promise<void> {
      await change(call, id, { tags: [key] }, ({ tags: held }) => {
        if (!held.has(key))
          throw new Problem(
            'missing',
            `No tag with key '${key}' found for model with ID '${id}'.`,
            {
              field: 'tag_key',
            },
          );
        const tags = new Map(held);
        tags.delete(key);
        return { tags };
      });
    },

    async addParams(call: Call, id: string, params: readonly Tag[]): Promise<void> {
      checkKeys(params, 'params', 'Param key');
      await change(call, id, { params: params.map(({ key }) => key) }, ({ params: held }) =>
        params.length ? { params: newParams(held, params, id) } : undefined,
      );
    },

    /** The active models that a run made, newest first; with this name, if given. */
    async ofRun(call: Call, runId: string, name?: string): Promise<LoggedModel[]> {
      const models = await store.ofRun(call, runId);
      return models
        .filter(
          (model) => model.lifecycle === 'active' && (name === undefined || model.name === name),
        )
        .sort((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? -1 : 1));
    },

    /** Notes a registered version in the model's own tag, once however often it is told. */
    async noteVersion(call: Call, id: string, version: { name: string; version: string }) {
      await change(call, id, { tags: [VERSIONS_TAG] }, ({ tags }) => {
        const noted = registrations(tags);
        const same = noted.some((r) => r.name === version.name && r.version === version.version);
        if (same) return undefined;
        const value = JSON.stringify([...noted, version]);
        return { tags: withAll(tags, [{ key: VERSIONS_TAG, value }]) };
      });
    },

    /** The token carries the place in the order, and is refused for another query. */
    async search(call: Call, search: ModelSearch): Promise<Page<MeasuredModel>> {
      const { experimentIds, filter, datasets, orders, token } = search;
      const query = readModelQuery(filter, datasets, orders);
      const asked = { experimentIds, filter: filter ?? '', datasets, orders };
      const limit = Math.min(search.limit, MODEL_LIMITS.searchResults);
      const active = (await store.ofExperiments(call, experimentIds)).filter(
        ({ lifecycle }) => lifecycle === 'active',
      );
      const models: MeasuredModel[] = query.measured
        ? await store.measure(call, active)
        : active.map((model) => ({ ...model, metrics: [] }));
      const found = models.filter(query.matches).sort(query.compare);
      const from =
        token === undefined ? 0 : placeAfter(pages.open<Place>(call, asked, token), found);
      const shown = found.slice(from, from + limit);
      const last = shown.at(-1);
      const more = last !== undefined && from + limit < found.length;
      return {
        items: query.measured ? shown : await store.measure(call, shown),
        ...(more ? { next: pages.seal(call, asked, { id: last.id, at: from + limit }) } : {}),
      };
    },
  };
}

/** The last model shown, and how many were before the next page; the count serves when that model is gone. */
interface Place {
  readonly id: string;
  readonly at: number;
}

function placeAfter({ id, at }: Place, found: readonly LoggedModel[]): number {
  const index = found.findIndex((model) => model.id === id);
  return index < 0 ? Math.min(at, found.length) : index + 1;
}

/** What the versions tag lists; what is not such a list lists nothing. */
export function registrations(
  tags: ReadonlyMap<string, string>,
): { name: string; version: string }[] {
  const text = tags.get(VERSIONS_TAG);
  if (text === undefined) return [];
  try {
    const list: unknown = JSON.parse(text);
    if (!Array.isArray(list)) return [];
    return list
      .filter((item) => typeof item === 'object' && item !== null && 'name' in item)
      .map((item) => ({ name: String(item.name), version: String(item.version) }));
  } catch {
    return []; // anybody may write this tag
  }
}

function checkKeys(pairs: readonly Tag[], field: string, what: string): void {
  pairs.forEach(({ key }, i) => {
    checkKey(key, `${field}[${i}].key`, what);
  });
}

function withAll(held: ReadonlyMap<string, string>, pairs: readonly Tag[]): Map<string, string> {
  const all = new Map(held);
  for (const { key, value } of pairs) all.set(key, value);
  return all;
}

/** Params never change: an equal one again is fine, another value is `invalid`. */
function newParams(
  held: ReadonlyMap<string, string>,
  params: readonly Tag[],
  id: string,
): Map<string, string> {
  const all = new Map(held);
  for (const { key, value } of params) {
    const before = all.get(key);
    if (before !== undefined && before !== value)
      throw new Problem(
        'invalid',
        `Changing param values is not allowed. Param with key='${key}' was already logged with value='${before.slice(0, 200)}' for model ID='${id}'. Attempted logging new value '${value.slice(0, 200)}'.`,
        { field: 'params' },
      );
    all.set(key, value);
  }
  return all;
}
