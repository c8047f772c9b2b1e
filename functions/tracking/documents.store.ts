import type { Call } from '../kernel/call.ts';
import { getAll, type Item, type Platform, queryAll } from '../platform/ports.ts';
import {
  byKey,
  decodeDocument,
  docKey,
  partKeys,
  type ReadDocument,
  type RunDocument,
  shownDocument,
} from './document.ts';
import type { RunId } from './model.ts';

const NO_ITEMS: readonly Item[] = [];
const NONE: ReadonlyMap<string, Item[]> = new Map();

/** Documents of runs, of one item or more each. */
export function documentStore({ table }: Pick<Platform, 'table'>) {
  return {
    async readDocument(call: Call, runId: RunId): Promise<RunDocument | undefined> {
      const items: Item[] = [];
      for await (const item of queryAll(table, call, { pk: `R#${runId}`, prefix: 'DOC' }))
        items.push(item);
      return decodeDocument(items);
    },

    /** Documents of many runs, each where its id is given: a request a hundred, and one a hundred parts beyond the first. */
    async readDocuments(
      call: Call,
      runIds: readonly RunId[],
    ): Promise<(ReadDocument | undefined)[]> {
      const keys = runIds.map((id) => docKey(id));
      const firsts = await getAll(table, call, keys);
      const more = firsts.flatMap((item) =>
        Number(item['parts'] ?? 1) > 1 ? partKeys(runOf(item), item) : [],
      );
      const parts = more.length
        ? Map.groupBy(await getAll(table, call, more), ({ pk }) => pk)
        : NONE;
      const shown = (first: Item) =>
        shownDocument(first, parts.get(first.pk)?.sort(byKey) ?? NO_ITEMS);
      // Mostly all are there and in the order asked for; where not, they are found by key.
      if (firsts.length === keys.length && firsts.every(({ pk }, i) => pk === keys[i]?.pk))
        return firsts.map(shown);
      const byPk = new Map(firsts.map((first) => [first.pk, first]));
      return keys.map(({ pk }) => {
        const first = byPk.get(pk);
        return first && shown(first);
      });
    },

    /** The document's items, its first one first, given that. */
    async itemsOf(call: Call, runId: RunId, items: readonly Item[]): Promise<Item[]> {
      const first = items.find(({ sk }) => sk === 'DOC');
      if (!first) return [];
      const parts = await getAll(table, call, partKeys(runId, first));
      return [first, ...parts.sort(byKey)];
    },
  };
}

const runOf = ({ pk }: Item) => pk.slice(2) as RunId;
