import type { Call } from '../kernel/call.ts';
import type { Page, Pages } from '../kernel/page.ts';
import { Problem } from '../kernel/problem.ts';
import {
  isPrompt,
  type ModelVersion,
  missingModel,
  missingVersion,
  type NamedVersion,
  named,
  type RegisteredModel,
  STAGES,
  stageOf,
} from './model.ts';
import {
  type ModelPlace,
  placeOf,
  readModelQuery,
  readVersionQuery,
  type VersionPlace,
  type VersionRow,
} from './search.ts';
import { checkSpelling, type Lineage, readModelsUri, readRunsUri, runUri } from './sources.ts';
import type { RegistryStore } from './store.ts';

export interface SearchRequest {
  readonly filter?: string;
  readonly orderBy: readonly string[];
  readonly limit: number;
  readonly token?: string;
}
/** A model as a reader sees it, with the newest version of each stage. */
export interface ShownModel {
  readonly model: RegisteredModel;
  readonly latest: readonly NamedVersion[];
}

/** All that the registry answers and does not change. */
export function readings(store: RegistryStore, pages: Pages, lineage: Lineage) {
  const mustHave = async (call: Call, name: string): Promise<RegisteredModel> => {
    const model = await store.model(call, name);
    if (!model) throw missingModel(name);
    return model;
  };

  /** With the tags that are kept beside the records. */
  const whole = async (
    call: Call,
    model: RegisteredModel,
    versions: readonly ModelVersion[],
  ): Promise<NamedVersion[]> => {
    const rows = await store.versionTags(
      call,
      versions.map((version) => ({ id: model.id, version })),
    );
    return rows.map(({ version }) => named(model, version));
  };

  const getVersion = async (call: Call, name: string, version: number): Promise<NamedVersion> => {
    const model = await mustHave(call, name);
    const held = await store.version(call, model, version);
    const [found] = held ? await whole(call, model, [held]) : [];
    if (!found) throw missingVersion(name, version);
    return found;
  };

  const show = async (call: Call, models: readonly RegisteredModel[]): Promise<ShownModel[]> => {
    const filled = await store.modelTags(call, models);
    const wanted = filled.flatMap(({ id, latest }) =>
      [...latest.values()].map((version) => ({ id, version })),
    );
    const held = await store.versions(call, wanted);
    const rows = await store.versionTags(
      call,
      [...held].map(([key, version]) => ({ id: key.slice(0, key.indexOf('/')), version })),
    );
    return filled.map((model) => ({
      model,
      latest: rows
        .filter((row) => row.id === model.id)
        .sort((a, b) => STAGES.indexOf(a.version.stage) - STAGES.indexOf(b.version.stage))
        .map((row) => named(model, row.version)),
    }));
  };

  const getModel = async (call: Call, name: string): Promise<ShownModel> => {
    const [shown] = await show(call, [await mustHave(call, name)]);
    if (!shown) throw missingModel(name);
    return shown;
  };

  /**
   * The version an alias points at, or undefined if it points at none. `latest`, in any case, is the newest version.
   * Throws `missing` for an unknown model, or one without any version.
   */
  const resolveAlias = async (
    call: Call,
    name: string,
    alias: string,
  ): Promise<NamedVersion | undefined> => {
    if (alias.toLowerCase() === 'latest') return select(call, name, 'latest');
    const model = await mustHave(call, name);
    const number = model.aliases.get(alias);
    const held = number === undefined ? undefined : await store.version(call, model, number);
    return held && (await whole(call, model, [held]))[0];
  };

  /** `3`, `latest` or a stage's name. Throws `missing`. */
  const select = async (call: Call, name: string, selector: string): Promise<NamedVersion> => {
    if (/^\d{1,8}$/.test(selector)) return getVersion(call, name, Number(selector));
    const { latest } = await mustHave(call, name);
    const number =
      selector.toLowerCase() === 'latest'
        ? Math.max(0, ...latest.values())
        : latest.get(stageOf(selector));
    if (!number)
      throw new Problem('missing', `No versions of model with name '${name}' for '${selector}'.`);
    return getVersion(call, name, number);
  };

  return {
    mustHave,
    whole,
    getModel,
    getVersion,
    resolveAlias,
    select,

    /** The newest version of each of these stages, or of all. */
    async latestVersions(
      call: Call,
      name: string,
      stages: readonly string[],
    ): Promise<NamedVersion[]> {
      const wanted = new Set(stages.map(stageOf));
      const { latest } = await getModel(call, name);
      return latest.filter(({ stage }) => !wanted.size || wanted.has(stage));
    },

    /** Newest first. `next` is given back as `token`. */
    async listVersions(
      call: Call,
      name: string,
      limit: number,
      token?: string,
    ): Promise<Page<NamedVersion>> {
      const model = await mustHave(call, name);
      const query = { versions: model.id };
      const place =
        token === undefined ? undefined : pages.open<{ before: number }>(call, query, token);
      const { versions, more } = await store.newestVersions(call, model.id, limit, place?.before);
      const last = versions.at(-1);
      return {
        items: await whole(call, model, versions),
        ...(more && last ? { next: pages.seal(call, query, { before: last.version }) } : {}),
      };
    },

    async searchModels(call: Call, request: SearchRequest): Promise<Page<ShownModel>> {
      const { filter = '', orderBy, limit, token } = request;
      const query = readModelQuery(filter, orderBy);
      const asked = { models: filter, orderBy };
      const place = token === undefined ? undefined : pages.open<ModelPlace>(call, asked, token);
      const fits = async (models: RegisteredModel[]) =>
        (query.tags.size ? await store.modelTags(call, models, query.tags) : models).filter(
          (model) => query.matches(model) && (!place || query.compare(model, place) > 0),
        );
      const found: RegisteredModel[] = [];
      if (query.names) {
        found.push(...(await fits(await store.models(call, query.names))));
        found.sort(query.compare);
      } else {
        let batch: RegisteredModel[] = [];
        const from = query.natural ? place?.name : undefined;
        for await (const model of store.allModels(call, from)) {
          batch.push(model);
          if (batch.length < BATCH) continue;
          found.push(...(await fits(batch)));
          batch = [];
          if (query.natural && found.length > limit) break;
        }
        found.push(...(await fits(batch)));
        if (!query.natural) found.sort(query.compare);
      }
      const shown = found.slice(0, limit);
      const last = shown.at(-1);
      const next = found.length > limit && last ? modelPlace(last) : undefined;
      return {
        items: await show(call, shown),
        ...(next ? { next: pages.seal(call, asked, next) } : {}),
      };
    },

    async searchVersions(call: Call, request: SearchRequest): Promise<Page<NamedVersion>> {
      const { filter = '', orderBy, limit, token } = request;
      const query = readVersionQuery(filter, orderBy);
      const asked = { versions: filter, orderBy };
      const place = token === undefined ? undefined : pages.open<VersionPlace>(call, asked, token);
      const models = new Map<string, RegisteredModel>();
      if (query.names)
        for (const model of await store.models(call, query.names)) models.set(model.id, model);
      else for await (const model of store.allModels(call)) models.set(model.id, model);
      let rows: VersionRow[] = [];
      for (const id of query.names ? models.keys() : [undefined])
        for await (const { id: of, version } of store.allVersions(call, id)) {
          const model = models.get(of);
          if (!model) continue; // of a removed model, not swept yet
          const row = { id: of, name: model.name, prompt: isPrompt(model.tags), version };
          if (place && query.compare(placeOf(row), place) <= 0) continue;
          if (query.tags.size || query.matches(row)) rows.push(row);
        }
      if (query.tags.size) rows = await store.versionTags(call, rows, query.tags);
      const found = rows
        .filter(query.matches)
        .sort((a, b) => query.compare(placeOf(a), placeOf(b)));
      const shown = found.slice(0, limit);
      const last = shown.at(-1);
      const items = (await store.versionTags(call, shown)).flatMap(({ id, version }) => {
        const model = models.get(id);
        return model ? [named(model, version)] : [];
      });
      return {
        items,
        ...(found.length > limit && last ? { next: pages.seal(call, asked, placeOf(last)) } : {}),
      };
    },

    /**
     * Where the files lie that `models:/name/1`, `models:/name@alias`, `models:/name/latest`, `models:/m-..` or
     * `runs:/<id>/<path>` names. A storage URI names itself. Throws `missing`, `invalid`.
     */
    async resolveUri(call: Call, uri: string): Promise<string> {
      checkSpelling(uri);
      const missing = new Problem('missing', `There is no model at '${uri}'.`, { field: 'uri' });
      const run = readRunsUri(uri);
      if (run) {
        const found = await runUri(call, lineage, run);
        if (found === undefined) throw missing;
        return found;
      }
      if (!/^models:/i.test(uri)) return uri;
      const at = readModelsUri(uri);
      if (!at) throw new Problem('invalid', `Not a model URI: '${uri}'.`, { field: 'uri' });
      if (at.kind === 'model') {
        const model = await lineage.model(call, at.modelId);
        if (!model) throw missing;
        return at.path ? `${model.artifactUri}/${at.path}` : model.artifactUri;
      }
      const version =
        at.kind === 'alias'
          ? await resolveAlias(call, at.name, at.alias)
          : await select(call, at.name, at.selector);
      if (!version) throw missing;
      return version.uri;
    },
  };
}

const BATCH = 500;

const modelPlace = ({ name, updatedAt }: RegisteredModel): ModelPlace => ({ name, updatedAt });
