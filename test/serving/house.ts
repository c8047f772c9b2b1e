import type { Call } from '../../functions/kernel/call.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import type { Table } from '../../functions/platform/ports.ts';
import type { Room } from '../../functions/room.ts';
import type { ServedVersion } from '../../functions/serving/model.ts';
import { type Ground, type HouseOptions, openHouse } from '../house.ts';
import { type Model, memoryEndpoints } from './endpoints.ts';

/** Registered versions, and an alias that tells its moves as the registry does. */
function shelfOf(commit: Table['commit']) {
  const versions = new Map<string, ServedVersion & { runId?: string }>();
  const aliases = new Map<string, number>();
  const find = (name: string, version: number) => versions.get(`${name}/${version}`);
  return {
    add(name: string, version: number, runId?: string) {
      const source = `mem://models/${name}/${version}`;
      versions.set(`${name}/${version}`, { name, version, source, ...(runId ? { runId } : {}) });
    },
    async setAlias(
      at: Call,
      alias: { name: string; alias: string; version: number; from?: number | null },
    ) {
      const now = aliases.get(`${alias.name}@${alias.alias}`) ?? null;
      if (now === alias.version) return;
      if (alias.from !== undefined && now !== alias.from)
        throw new Problem('precondition', `${alias.alias} was moved to version ${now} meanwhile`);
      const data = { name: alias.name, alias: alias.alias, version: alias.version };
      const key = `${alias.name}@${alias.alias}`;
      await commit(at, [{ put: { pk: 'test-alias', sk: key, version: alias.version } }], {
        type: 'registry.alias.set',
        subject: `models/${alias.name}`,
        data,
      });
      aliases.set(key, alias.version);
    },
    async removeAlias(at: Call, name: string, alias: string) {
      const version = aliases.get(`${name}@${alias}`) ?? 0;
      aliases.delete(`${name}@${alias}`);
      await commit(at, [], {
        type: 'registry.alias.removed',
        subject: `models/${name}`,
        data: { name, alias, version },
      });
    },
    async rename(at: Call, name: string, newName: string) {
      for (const each of [...versions.values()])
        if (each.name === name) {
          versions.delete(`${name}/${each.version}`);
          versions.set(`${newName}/${each.version}`, { ...each, name: newName });
        }
      for (const [key, version] of [...aliases])
        if (key.startsWith(`${name}@`)) {
          aliases.delete(key);
          aliases.set(`${newName}@${key.slice(name.length + 1)}`, version);
        }
      await commit(at, [], {
        type: 'registry.model.renamed',
        subject: `models/${name}`,
        data: { name, newName },
      });
    },
    aliasOf: (name: string, alias: string) => aliases.get(`${name}@${alias}`),
    newest: (name: string) =>
      [...versions.values()]
        .filter((each) => each.name === name)
        .sort((a, b) => b.version - a.version),
    models: {
      async version(_call: Call, name: string, version: number) {
        const found = find(name, version);
        if (!found) throw new Problem('missing', `Model version ${name}/${version} not found.`);
        return found;
      },
      async aliased(_call: Call, name: string, alias: string) {
        const found = find(name, aliases.get(`${name}@${alias}`) ?? 0);
        if (!found) throw new Problem('missing', `Model ${name} has no alias ${alias}.`);
        return found;
      },
      locate: (_call: Call, source: string) => source,
    },
  };
}

type Shelf = ReturnType<typeof shelfOf>;

/** A house with a shelf of models, and model servers in memory. */
export function openServing<Rooms extends Readonly<Record<string, Room>>>(
  build: (ground: Ground, shelf: Shelf) => Rooms,
  options: HouseOptions = {},
) {
  const servers = new Map<string, Model>();
  const endpoints = memoryEndpoints(servers);
  const shelf: Shelf = shelfOf((...given) => home.table.commit(...given));
  /** The shelf's models lie at `mem://`, in blobs of the same path. */
  const shelved = ({ blobs }: Ground): Ground['blobs'] => ({
    ...blobs,
    pathOf: (at, uri) => (uri.startsWith('mem://') ? uri.slice(6) : blobs.pathOf(at, uri)),
  });
  const home = openHouse((ground) => build(ground, shelf), {
    ports: (own) => ({ blobs: shelved(own), endpoints: endpoints.port }),
    ...options,
  });
  return { ...home, servers, endpointsHeld: endpoints, shelf };
}
export type ServingHouse = ReturnType<typeof openServing>;
