import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import { Problem } from '../kernel/problem.ts';
import type { World } from '../kernel/world.ts';
import { queryAll, Refused, removeAll, type Table, type Write } from '../platform/ports.ts';
import { settler } from '../platform/settle.ts';
import {
  type ModelVersion,
  missingModel,
  missingVersion,
  type RegisteredModel,
  type Stage,
} from './model.ts';
import { registryReads } from './reads.store.ts';
import {
  keys,
  longTags,
  padded,
  readModel,
  readVersion,
  writeModel,
  writeVersion,
} from './records.ts';

const WRITES_AT_ONCE = 90;

interface Kept<T> {
  readonly value: T;
  readonly rev: number;
}
export interface ModelChange {
  readonly model: RegisteredModel;
  readonly event: Event;
}
export interface VersionChange {
  readonly version: ModelVersion;
  readonly event: Event;
}

export type RegistryStore = ReturnType<typeof registryStore>;

export function registryStore(table: Table, world: World) {
  const settle = settler(world);

  const keptModel = async (call: Call, name: string): Promise<Kept<RegisteredModel>> => {
    const item = await table.get(call, keys.model(name));
    if (!item) throw missingModel(name);
    return { value: readModel(item), rev: Number(item['rev']) };
  };
  const keptVersion = async (
    call: Call,
    model: RegisteredModel,
    version: number,
  ): Promise<Kept<ModelVersion>> => {
    const item = await table.get(call, keys.version(model.id, version));
    if (!item) throw missingVersion(model.name, version);
    return { value: readVersion(item), rev: Number(item['rev']) };
  };

  const modelWrites = (before: Kept<RegisteredModel>, model: RegisteredModel): Write[] => [
    { put: writeModel(model, before.rev + 1), if: { equal: { rev: before.rev } } },
    ...longTags(before.value.tags, model.tags, (key) => keys.modelTag(model.id, key)),
  ];
  const versionWrites = (
    id: string,
    before: Kept<ModelVersion> | undefined,
    version: ModelVersion,
  ): Write[] => [
    {
      put: writeVersion(id, version, (before?.rev ?? 0) + 1),
      if: before ? { equal: { rev: before.rev } } : 'absent',
    },
    ...longTags(before?.value.tags ?? new Map(), version.tags, (key) =>
      keys.versionTag(id, version.version, key),
    ),
  ];

  /** The newest version of a stage but this one. */
  const newest = async (call: Call, id: string, stage: Stage, but: ReadonlySet<number>) => {
    const query = { pk: 'VERSIONS', prefix: `${id}/`, reverse: true };
    for await (const item of queryAll(table, call, query)) {
      const version = readVersion(item);
      if (version.stage === stage && !but.has(version.version)) return version.version;
    }
    return undefined;
  };

  return {
    ...registryReads(table),

    /** Throws `exists`. */
    async createModel(call: Call, model: RegisteredModel, event: Event): Promise<void> {
      const writes: Write[] = [
        { put: writeModel(model, 1), if: 'absent' },
        ...longTags(new Map(), model.tags, (key) => keys.modelTag(model.id, key)),
      ];
      try {
        await table.commit(call, writes, event);
      } catch (error) {
        if (error instanceof Refused) throw taken(model.name);
        throw error;
      }
    },

    /** Puts what `change` makes of the model; nothing if it returns undefined. Throws `missing`. */
    changeModel(
      call: Call,
      name: string,
      change: (model: RegisteredModel) => ModelChange | undefined,
    ): Promise<RegisteredModel> {
      return settle(call, name, async () => {
        const before = await keptModel(call, name);
        const changed = change(before.value);
        if (!changed) return before.value;
        await table.commit(call, modelWrites(before, changed.model), changed.event);
        return changed.model;
      });
    },

    /** Checks that the version is there in the commit that points the alias, so it cannot vanish in between. */
    pointAlias(
      call: Call,
      name: string,
      version: number,
      change: (model: RegisteredModel) => ModelChange | undefined,
    ): Promise<RegisteredModel> {
      return settle(call, name, async () => {
        const before = await keptModel(call, name);
        const changed = change(before.value);
        const check = keys.version(before.value.id, version);
        if (!changed) return before.value;
        try {
          const writes: Write[] = [{ check, if: 'present' }, ...modelWrites(before, changed.model)];
          await table.commit(call, writes, changed.event);
        } catch (error) {
          if (error instanceof Refused && error.index === 0) throw missingVersion(name, version);
          throw error;
        }
        return changed.model;
      });
    },

    /** Throws `missing`, `exists`. */
    rename(
      call: Call,
      name: string,
      change: (model: RegisteredModel) => ModelChange,
    ): Promise<RegisteredModel> {
      return settle(call, name, async () => {
        const before = await keptModel(call, name);
        const { model, event } = change(before.value);
        const writes: Write[] = [
          { put: writeModel(model, before.rev + 1), if: 'absent' },
          { remove: keys.model(name), if: { equal: { rev: before.rev } } },
        ];
        try {
          await table.commit(call, writes, event);
        } catch (error) {
          if (error instanceof Refused && error.index === 0) throw taken(model.name);
          throw error;
        }
        return model;
      });
    },

    removeModel(call: Call, name: string, event: (model: RegisteredModel) => Event): Promise<void> {
      return settle(call, name, async () => {
        const before = await keptModel(call, name);
        const remove = keys.model(name);
        await table.commit(
          call,
          [{ remove, if: { equal: { rev: before.rev } } }],
          event(before.value),
        );
      });
    },

    /** What a removed model, or a removed version, left behind. May run twice. */
    async sweep(call: Call, id: string, version?: number): Promise<void> {
      const prefix = version === undefined ? '' : `V#${padded(version)}`;
      const queries = [{ pk: `M#${id}`, ...(prefix ? { prefix } : {}) }];
      if (version === undefined) queries.push({ pk: 'VERSIONS', prefix: `${id}/` });
      for (const query of queries) await removeAll(table, call, queryAll(table, call, query));
    },

    /** Gives the version the model's next number. */
    addVersion(
      call: Call,
      name: string,
      make: (model: RegisteredModel, version: number) => VersionChange,
    ): Promise<{ model: RegisteredModel; version: ModelVersion }> {
      return settle(call, name, async () => {
        const before = await keptModel(call, name);
        const { value } = before;
        const { version, event } = make(value, value.next);
        const latest = new Map(value.latest).set(version.stage, version.version);
        const { createdAt: updatedAt } = version;
        const model = { ...value, next: value.next + 1, latest, updatedAt };
        await table.commit(
          call,
          [...modelWrites(before, model), ...versionWrites(model.id, undefined, version)],
          event,
        );
        return { model, version };
      });
    },

    /** A change that leaves the version's stage and the model alone. Throws `missing`. */
    changeVersion(
      call: Call,
      name: string,
      version: number,
      change: (version: ModelVersion) => VersionChange | undefined,
    ): Promise<{ model: RegisteredModel; version: ModelVersion }> {
      return settle(call, `${name}/${version}`, async () => {
        const { value: model } = await keptModel(call, name);
        const before = await keptVersion(call, model, version);
        const changed = change(before.value);
        if (!changed) return { model, version: before.value };
        await table.commit(call, versionWrites(model.id, before, changed.version), changed.event);
        return { model, version: changed.version };
      });
    },

    removeVersion(
      call: Call,
      name: string,
      version: number,
      event: (model: RegisteredModel) => Event,
    ): Promise<void> {
      return settle(call, name, async () => {
        const before = await keptModel(call, name);
        const { value } = before;
        const held = await keptVersion(call, value, version);
        const { stage } = held.value;
        const latest = new Map(value.latest);
        if (latest.get(stage) === version) {
          const next = await newest(call, value.id, stage, new Set([version]));
          if (next === undefined) latest.delete(stage);
          else latest.set(stage, next);
        }
        const aliases = new Map([...value.aliases].filter(([, n]) => n !== version));
        const model = { ...value, latest, aliases, updatedAt: world.now() };
        const remove = keys.version(value.id, version);
        await table.commit(
          call,
          [...modelWrites(before, model), { remove, if: { equal: { rev: held.rev } } }],
          event(value),
        );
      });
    },

    /**
     * Moves a version, and with `archive` all others of that stage to Archived. Beyond 90 of those it takes several
     * commits, the asked version in the last; each leaves a state that a single call could have left.
     */
    moveStage(
      call: Call,
      name: string,
      version: number,
      stage: Stage,
      archive: boolean,
      event: (archived: readonly number[], from: Stage) => Event,
    ): Promise<{ model: RegisteredModel; version: ModelVersion }> {
      return settle(call, name, async () => {
        for (;;) {
          const before = await keptModel(call, name);
          const { value } = before;
          const held = await keptVersion(call, value, version);
          const others: Kept<ModelVersion>[] = [];
          if (archive)
            for await (const item of queryAll(table, call, {
              pk: 'VERSIONS',
              prefix: `${value.id}/`,
            })) {
              const other = { value: readVersion(item), rev: Number(item['rev']) };
              if (other.value.stage === stage && other.value.version !== version)
                others.push(other);
              if (others.length > WRITES_AT_ONCE) break;
            }
          const last = others.length <= WRITES_AT_ONCE;
          const archived = others.slice(0, WRITES_AT_ONCE);
          const updatedAt = world.now();
          const moved: { before: Kept<ModelVersion>; to: Stage }[] = archived.map((other) => ({
            before: other,
            to: 'Archived',
          }));
          if (last) moved.push({ before: held, to: stage });
          const latest = await latestAfter(call, value, moved);
          const model = { ...value, latest, updatedAt };
          const after = moved.map(({ before: one, to }) => ({
            one,
            version: { ...one.value, stage: to, updatedAt },
          }));
          await table.commit(
            call,
            [
              ...modelWrites(before, model),
              ...after.flatMap(({ one, version: to }) => versionWrites(model.id, one, to)),
            ],
            event(
              archived.map((other) => other.value.version),
              held.value.stage,
            ),
          );
          const asked = after.at(-1);
          if (last && asked) return { model, version: asked.version };
        }
      });
    },
  };

  /** The newest version of each stage once these have moved. */
  async function latestAfter(
    call: Call,
    model: RegisteredModel,
    moved: readonly { before: Kept<ModelVersion>; to: Stage }[],
  ): Promise<Map<Stage, number>> {
    const latest = new Map(model.latest);
    const numbers = new Set(moved.map(({ before }) => before.value.version));
    const left = new Set(moved.map(({ before }) => before.value.stage));
    for (const stage of left) {
      const held = latest.get(stage);
      if (held === undefined || !numbers.has(held)) continue;
      const next = await newest(call, model.id, stage, numbers);
      if (next === undefined) latest.delete(stage);
      else latest.set(stage, next);
    }
    for (const { before, to } of moved)
      latest.set(to, Math.max(latest.get(to) ?? 0, before.value.version));
    return latest;
  }
}

const taken = (name: string) =>
  new Problem('exists', `Registered Model (name=${name}) already exists.`, { field: 'name' });
