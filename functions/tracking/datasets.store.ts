import { createHash } from 'node:crypto';
import type { Call } from '../kernel/call.ts';
import { getAll, type Item, type Key, type Platform, type Write } from '../platform/ports.ts';
import type { Dataset, ExperimentId } from './model.ts';
import { BLOCK_BYTES, wholeOf } from './reading.ts';

const keys = {
  dataset: (exp: ExperimentId, name: string, digest: string): Key => ({
    pk: `D#${exp}`,
    sk: `S#${digestOf(name, digest)}`,
  }),
  context: (exp: ExperimentId, name: string, digest: string, context: string): Key => ({
    pk: `D#${exp}`,
    sk: `C#${digestOf(name, digest, context)}`,
  }),
};

const digestOf = (...parts: string[]) =>
  createHash('sha256').update(JSON.stringify(parts)).digest('hex');

export type DatasetStore = ReturnType<typeof datasetStore>;

/** The datasets of an experiment, each once by name and digest, and the contexts in which runs read them. */
export function datasetStore({ table, blobs }: Pick<Platform, 'table' | 'blobs'>) {
  return {
    /** Keeps each dataset once an experiment, and each context it was read in. */
    async keepDatasets(
      call: Call,
      exp: ExperimentId,
      datasets: readonly { dataset: Dataset; context: string }[],
    ): Promise<void> {
      const wanted = datasets.flatMap(({ dataset: { name, digest }, context }) => [
        keys.dataset(exp, name, digest),
        keys.context(exp, name, digest, context),
      ]);
      const there = new Set((await getAll(table, call, unique(wanted))).map(({ sk }) => sk));
      for (const { dataset, context } of datasets) {
        const { name, digest } = dataset;
        const row = keys.dataset(exp, name, digest);
        const use = keys.context(exp, name, digest, context);
        const writes: Write[] = [];
        if (!there.has(row.sk)) writes.push({ put: await datasetItem(call, row, dataset) });
        if (!there.has(use.sk)) writes.push({ put: { ...use, name, digest, context } });
        there.add(row.sk).add(use.sk);
        if (writes.length) await table.commit(call, writes);
      }
    },

    /** By name and digest: `datasetId` makes the map's key. */
    async readDatasets(
      call: Call,
      wanted: readonly { exp: ExperimentId; name: string; digest: string }[],
    ): Promise<Map<string, Dataset>> {
      const rows = unique(wanted.map(({ exp, name, digest }) => keys.dataset(exp, name, digest)));
      const found = new Map<string, Dataset>();
      for (const item of await getAll(table, call, rows)) {
        const body =
          typeof item['blob'] === 'string'
            ? await textAt(call, item['blob'])
            : String(item['body']);
        found.set(`${item.pk} ${item.sk}`, JSON.parse(body));
      }
      return found;
    },

    datasetId(exp: ExperimentId, name: string, digest: string): string {
      const { pk, sk } = keys.dataset(exp, name, digest);
      return `${pk} ${sk}`;
    },

    async readContexts(call: Call, exp: ExperimentId, limit: number) {
      const { items } = await table.query(call, { pk: `D#${exp}`, prefix: 'C#', limit });
      return items.map((item) => ({
        name: String(item['name']),
        digest: String(item['digest']),
        context: String(item['context']),
      }));
    },
  };

  async function datasetItem(call: Call, key: Key, dataset: Dataset): Promise<Item> {
    const body = JSON.stringify(dataset);
    if (Buffer.byteLength(body) <= BLOCK_BYTES) return { ...key, body };
    const blob = `tracking/datasets/${key.pk.slice(2)}/${key.sk.slice(2)}.json`;
    await blobs.put(call, blob, Buffer.from(body));
    return { ...key, blob };
  }

  async function textAt(call: Call, path: string): Promise<string> {
    const blob = await blobs.get(call, path);
    if (!blob) throw new Error(`the dataset at ${path} is gone`);
    return Buffer.from(await wholeOf(blob.body)).toString();
  }
}

const unique = (wanted: readonly Key[]) => [
  ...new Map(wanted.map((key) => [`${key.pk} ${key.sk}`, key])).values(),
];
