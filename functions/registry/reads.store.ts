import type { Call } from '../kernel/call.ts';
import { getAll, type Key, queryAll, type Table } from '../platform/ports.ts';
import type { ModelVersion, RegisteredModel, Tags } from './model.ts';
import { idOf, keys, readModel, readVersion } from './records.ts';

/** What the registry's store reads; lists come as they are found, a page at a time. */
export function registryReads(table: Table) {
  return {
    async model(call: Call, name: string): Promise<RegisteredModel | undefined> {
      const item = await table.get(call, keys.model(name));
      return item && readModel(item);
    },

    async models(call: Call, names: readonly string[]): Promise<RegisteredModel[]> {
      return (await getAll(table, call, [...new Set(names)].map(keys.model))).map(readModel);
    },

    /** In name order, from after this name. */
    async *allModels(call: Call, after?: string): AsyncGenerator<RegisteredModel> {
      const from = after === undefined ? {} : { after };
      for await (const item of queryAll(table, call, { pk: 'MODELS', ...from }))
        yield readModel(item);
    },

    async version(
      call: Call,
      model: RegisteredModel,
      version: number,
    ): Promise<ModelVersion | undefined> {
      const item = await table.get(call, keys.version(model.id, version));
      return item && readVersion(item);
    },

    /** The versions asked for that are there, by `id/number`. */
    async versions(
      call: Call,
      wanted: readonly { id: string; version: number }[],
    ): Promise<Map<string, ModelVersion>> {
      const items = await getAll(
        table,
        call,
        wanted.map(({ id, version }) => keys.version(id, version)),
      );
      return new Map(
        items.map((item) => {
          const version = readVersion(item);
          return [`${idOf(item)}/${version.version}`, version];
        }),
      );
    },

    /** All versions of one model, or of all with the id of each, in no promised order. */
    async *allVersions(
      call: Call,
      id?: string,
    ): AsyncGenerator<{ id: string; version: ModelVersion }> {
      const query = { pk: 'VERSIONS', ...(id === undefined ? {} : { prefix: `${id}/` }) };
      for await (const item of queryAll(table, call, query))
        yield { id: idOf(item), version: readVersion(item) };
    },

    /** Newest first; `before` is the last number of the page before. */
    async newestVersions(call: Call, id: string, limit: number, before?: number) {
      const versions: ModelVersion[] = [];
      let after = before === undefined ? undefined : keys.version(id, before).sk;
      do {
        const page = await table.query(call, {
          pk: 'VERSIONS',
          prefix: `${id}/`,
          reverse: true,
          limit: limit - versions.length,
          ...(after === undefined ? {} : { after }),
        });
        versions.push(...page.items.map(readVersion));
        after = page.next;
      } while (after !== undefined && versions.length < limit);
      return { versions, more: after !== undefined };
    },

    /** The values that are kept beside the records, put in; of all tags, or of those named. */
    async modelTags(call: Call, models: readonly RegisteredModel[], only?: ReadonlySet<string>) {
      return fill(table, call, models, only, ({ id }, key) => keys.modelTag(id, key));
    },
    async versionTags<T extends { readonly id: string; readonly version: ModelVersion }>(
      call: Call,
      rows: readonly T[],
      only?: ReadonlySet<string>,
    ): Promise<T[]> {
      const wanted = rows.map((row) => ({ row, tags: row.version.tags }));
      const filled = await fill(table, call, wanted, only, ({ row }, key) =>
        keys.versionTag(row.id, row.version.version, key),
      );
      return filled.map(({ row, tags }) => ({ ...row, version: { ...row.version, tags } }));
    },
  };
}

/** Puts the long values in. A tag that went in between is left out. */
async function fill<T extends { readonly tags: Tags }>(
  table: Table,
  call: Call,
  records: readonly T[],
  only: ReadonlySet<string> | undefined,
  keyOf: (record: T, key: string) => Key,
): Promise<T[]> {
  const wanted = records.flatMap((record) =>
    [...record.tags]
      .filter(([key, value]) => value === null && (!only || only.has(key)))
      .map(([key]) => keyOf(record, key)),
  );
  if (!wanted.length) return [...records];
  const items = await getAll(table, call, wanted);
  const values = new Map(items.map((item) => [`${item.pk}/${item.sk}`, String(item['value'])]));
  return records.map((record) => {
    const tags = new Map<string, string | null>();
    for (const [key, value] of record.tags) {
      if (value !== null || (only && !only.has(key))) {
        tags.set(key, value);
        continue;
      }
      const { pk, sk } = keyOf(record, key);
      const long = values.get(`${pk}/${sk}`);
      if (long !== undefined) tags.set(key, long);
    }
    return { ...record, tags };
  });
}
