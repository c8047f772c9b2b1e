import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import type { Pages } from '../kernel/page.ts';
import { isMissing, Problem } from '../kernel/problem.ts';
import { newHexId, type World } from '../kernel/world.ts';
import {
  isPrompt,
  LIMITS,
  type ModelVersion,
  type NamedVersion,
  named,
  type RegisteredModel,
  type Stage,
  type Tags,
} from './model.ts';
import { readings, type ShownModel } from './readings.ts';
import { type CopiedVersion, checkSource, type Lineage, type VersionUri } from './sources.ts';
import type { RegistryStore } from './store.ts';

/**
 * A registered model is a name with numbered versions; a version says where files lie and which run or logged model
 * they came from, checked once, when it is made. Aliases point at versions: who serves `models:/name@alias` hears
 * `registry.alias.set` and follows. Numbers are never given twice. A prompt is a model with a tag.
 */
export interface NewVersion {
  readonly name: string;
  readonly source: string;
  readonly runId?: string;
  readonly modelId?: string;
  readonly runLink?: string;
  readonly description?: string;
  readonly tags?: Tags;
}
export type RegistryService = ReturnType<typeof registryService>;

const MAX_HELD_EVENT_VALUE = 512;

export function registryService(
  store: RegistryStore,
  world: World,
  pages: Pages,
  lineage: Lineage,
) {
  const told = (type: Event['type'], name: string, data: object = {}): Event => ({
    type,
    subject: `models/${name}`,
    data: { name, ...data },
  });

  const reads = readings(store, pages, lineage);
  const { getModel, mustHave, resolveAlias, select, whole } = reads;

  const createModel = async (
    call: Call,
    name: string,
    parts: { description?: string; tags?: Tags } = {},
  ): Promise<ShownModel> => {
    const now = world.now();
    const model: RegisteredModel = {
      id: newHexId(world),
      name,
      createdAt: now,
      updatedAt: now,
      description: parts.description ?? '',
      tags: parts.tags ?? new Map(),
      aliases: new Map(),
      latest: new Map(),
      next: 1,
    };
    const event = told('registry.model.created', name, { prompt: isPrompt(model.tags) });
    await store.createModel(call, model, event);
    return { model, latest: [] };
  };

  const findCopied = (wanted: string) => async (call: Call, at: VersionUri) => {
    try {
      const version =
        at.kind === 'version'
          ? await select(call, at.name, at.selector)
          : await resolveAlias(call, at.name, at.alias);
      if (!version)
        throw new Problem('invalid', `No version at '${wantedUri(at)}'.`, {
          field: 'source',
        });
      const model = await mustHave(call, at.name);
      const { name, version: number, uri: files, runId, modelId } = version;
      const prompt = isPrompt(model.tags) || isPrompt(version.tags);
      return { name, version: number, uri: files, runId, modelId, prompt } satisfies CopiedVersion;
    } catch (error) {
      if (isMissing(error) && at.name === wanted)
        throw new Problem('invalid', 'A version cannot have itself as its source.', {
          field: 'source',
          cause: error,
        });
      throw error;
    }
  };

  const createVersion = async (call: Call, wanted: NewVersion): Promise<NamedVersion> => {
    const { name, source, runId, modelId } = wanted;
    const tags = wanted.tags ?? new Map<string, string>();
    if (modelId && !(await lineage.model(call, modelId)))
      throw new Problem('missing', `Logged model with ID '${modelId}' not found.`, {
        field: 'model_id',
      });
    const checked = await checkSource(call, lineage, findCopied(name), {
      name,
      source,
      runId,
      modelId,
      tags,
    });
    const now = world.now();
    const made = await store.addVersion(call, name, (model, number) => {
      const version: ModelVersion = {
        version: number,
        createdAt: now,
        updatedAt: now,
        stage: 'None',
        description: wanted.description ?? '',
        ...checked,
        runLink: wanted.runLink ?? '',
        userId: call.caller.name,
        tags,
      };
      return {
        version,
        event: told('registry.version.created', model.name, {
          version: number,
          ...checked,
          prompt: isPrompt(tags) || isPrompt(model.tags),
        }),
      };
    });
    if (checked.modelId && !isPrompt(tags))
      await noted(
        lineage.noteVersion(call, checked.modelId, { name, version: String(made.version.version) }),
      );
    return named(made.model, made.version);
  };

  return {
    ...reads,
    createModel,
    createVersion,

    /** The model of this name, made if there is none. */
    async ensureModel(
      call: Call,
      name: string,
      parts: { description?: string; tags?: Tags } = {},
    ): Promise<ShownModel> {
      const held = await store.model(call, name);
      if (held) return getModel(call, name);
      try {
        return await createModel(call, name, parts);
      } catch (error) {
        if (error instanceof Problem && error.code === 'exists') return getModel(call, name);
        throw error;
      }
    },

    async describeModel(call: Call, name: string, description: string): Promise<ShownModel> {
      await store.changeModel(call, name, (model) => ({
        model: { ...model, description, updatedAt: world.now() },
        event: told('registry.model.updated', name, { changed: 'description' }),
      }));
      return getModel(call, name);
    },

    /** Carries versions, aliases and tags. Throws `missing`, `exists`. */
    async renameModel(call: Call, name: string, newName: string): Promise<ShownModel> {
      const touched = (model: RegisteredModel) => ({
        model: { ...model, name: newName, updatedAt: world.now() },
        event: told('registry.model.renamed', name, { newName }),
      });
      if (name === newName) await store.changeModel(call, name, touched);
      else await store.rename(call, name, touched);
      return getModel(call, newName);
    },

    removeModel: (call: Call, name: string): Promise<void> =>
      store.removeModel(call, name, ({ id }) => told('registry.model.deleted', name, { id })),

    async setModelTag(call: Call, name: string, key: string, value: string): Promise<void> {
      await store.changeModel(call, name, (model) => ({
        model: { ...model, tags: new Map(model.tags).set(key, value) },
        event: told('registry.model.tagged', name, shownTag(key, value)),
      }));
    },

    /** Silent if the tag is not there. */
    async removeModelTag(call: Call, name: string, key: string): Promise<void> {
      await store.changeModel(call, name, (model) => {
        if (!model.tags.has(key)) return undefined;
        const tags = new Map(model.tags);
        tags.delete(key);
        return { model: { ...model, tags }, event: told('registry.model.untagged', name, { key }) };
      });
    },

    /**
     * Points an alias at a version; all who serve `models:/name@alias` follow. `from`: only if it points there still,
     * null being nowhere. Throws `missing`; `precondition` where it points elsewhere.
     */
    async setAlias(
      call: Call,
      wanted: { name: string; alias: string; version: number; from?: number | null },
    ): Promise<void> {
      const { name, alias, version, from } = wanted;
      await store.pointAlias(call, name, version, (model) => {
        const previous = model.aliases.get(alias) ?? null;
        if (previous === version) return undefined; // a retry points it where it points already
        if (from !== undefined && previous !== from)
          throw new Problem('precondition', `${alias} was moved to ${placed(previous)} meanwhile`);
        const aliases = new Map(model.aliases).set(alias, version);
        if (aliases.size > LIMITS.aliases)
          throw new Problem('invalid', `A model may have at most ${LIMITS.aliases} aliases.`, {
            field: 'alias',
          });
        return {
          model: { ...model, aliases },
          event: told('registry.alias.set', name, { alias, version, previous }),
        };
      });
    },

    /** Silent if the alias is not there. */
    async removeAlias(call: Call, name: string, alias: string): Promise<void> {
      await store.changeModel(call, name, (model) => {
        const version = model.aliases.get(alias);
        if (version === undefined) return undefined;
        const aliases = new Map(model.aliases);
        aliases.delete(alias);
        return {
          model: { ...model, aliases },
          event: told('registry.alias.removed', name, { alias, version }),
        };
      });
    },

    async describeVersion(
      call: Call,
      name: string,
      number: number,
      description: string,
    ): Promise<NamedVersion> {
      const { model, version } = await store.changeVersion(call, name, number, (held) => ({
        version: { ...held, description, updatedAt: world.now() },
        event: told('registry.version.updated', name, { version: number, changed: 'description' }),
      }));
      const [shown] = await whole(call, model, [version]);
      return shown ?? named(model, version);
    },

    removeVersion: (call: Call, name: string, version: number): Promise<void> =>
      store.removeVersion(call, name, version, ({ id }) =>
        told('registry.version.deleted', name, { id, version }),
      ),

    async setVersionTag(
      call: Call,
      name: string,
      number: number,
      key: string,
      value: string,
    ): Promise<void> {
      await store.changeVersion(call, name, number, (version) => ({
        version: {
          ...version,
          tags: new Map(version.tags).set(key, value),
          updatedAt: world.now(),
        },
        event: told('registry.version.tagged', name, { version: number, ...shownTag(key, value) }),
      }));
    },

    /** Silent if the tag is not there. */
    async removeVersionTag(call: Call, name: string, number: number, key: string): Promise<void> {
      await store.changeVersion(call, name, number, (version) => {
        if (!version.tags.has(key)) return undefined;
        const tags = new Map(version.tags);
        tags.delete(key);
        return {
          version: { ...version, tags, updatedAt: world.now() },
          event: told('registry.version.untagged', name, { version: number, key }),
        };
      });
    },

    /** Throws `missing`; `invalid` if others of a stage that is not served shall make room. */
    async moveStage(
      call: Call,
      name: string,
      number: number,
      stage: Stage,
      archive: boolean,
    ): Promise<NamedVersion> {
      if (archive && stage !== 'Staging' && stage !== 'Production')
        throw new Problem(
          'invalid',
          `Model version transition cannot archive existing model versions because '${stage}' is not an Active stage. Valid stages are Staging, Production`,
          { field: 'archive_existing_versions' },
        );
      const { model, version } = await store.moveStage(
        call,
        name,
        number,
        stage,
        archive,
        (archived, previous) =>
          told('registry.stage.changed', name, { version: number, stage, previous, archived }),
      );
      const [shown] = await whole(call, model, [version]);
      return shown ?? named(model, version);
    },

    /** What a deletion left behind. May run twice. */
    sweep: (call: Call, id: string, version?: number): Promise<void> =>
      store.sweep(call, id, version),
  };
}

/** The version stands; a logged model that was deleted meanwhile has nobody left to tell. */
const noted = (note: Promise<void>) =>
  note.catch((error: unknown) => {
    if (!isMissing(error)) throw error;
  });

const placed = (version: number | null) => (version === null ? 'nothing' : `version ${version}`);

const wantedUri = (at: VersionUri) =>
  at.kind === 'alias' ? `models:/${at.name}@${at.alias}` : `models:/${at.name}/${at.selector}`;

/** A long value stays out of the event. */
const shownTag = (key: string, value: string) =>
  value.length <= MAX_HELD_EVENT_VALUE ? { key, value } : { key };
