import { createHash } from 'node:crypto';
import type { Call } from '../kernel/call.ts';
import { Problem } from '../kernel/problem.ts';
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

/** Of one commit's 4 MB, what datasets take as rows; those beyond go to Blobs. */
const INLINE_BYTES = 2 * 1024 * 1024;

/** Bytes of rows that this process remembers. */
const REMEMBERED = 16 * 1024 * 1024;

export type DatasetStore = ReturnType<typeof datasetStore>;

/** A dataset that a run read, and in what context. */
export interface DatasetUse {
  readonly dataset: Dataset;
  readonly context: string;
}

/** A new row of `datasetWrites`. */
export type DatasetPut = Extract<Write, { put: Item }>;

/**
 * The datasets of an experiment, each once by name and digest, and the contexts in which runs read them. A row never
 * changes, so one that this process has seen is not asked for again.
 */
export function datasetStore({ table, blobs }: Pick<Platform, 'table' | 'blobs'>) {
  const rows = rememberedRows();

  async function rowsAt(call: Call, wanted: readonly Key[]): Promise<Item[]> {
    const known = wanted.map((key) => rows.recall(call, key)).filter((row) => row !== undefined);
    if (known.length === wanted.length) return known;
    const there = new Set(known.map(idOf));
    const read = await getAll(
      table,
      call,
      wanted.filter((key) => !there.has(idOf(key))),
    );
    for (const row of read) rows.remember(call, row);
    return [...known, ...read];
  }

  return {
    /**
     * What a commit puts so that each dataset, and each context it was read in, stands once in the experiment; nothing
     * for those that do. If the commit is refused at one of these, ask again: another was first. Throws `invalid`
     * beyond `atMost`.
     */
    async datasetWrites(
      call: Call,
      exp: ExperimentId,
      uses: readonly DatasetUse[],
      atMost: number,
    ): Promise<DatasetPut[]> {
      const wanted = rowsOf(exp, uses);
      const there = await rowsAt(
        call,
        wanted.map(({ key }) => key),
      );
      const known = new Set(there.map(idOf));
      const fresh = wanted.filter(({ key }) => !known.has(idOf(key)));
      if (fresh.length > atMost)
        throw new Problem(
          'invalid',
          `The experiment would get ${fresh.length} new records of datasets and of the contexts they were read in; one request may bring ${atMost}. Split up datasets across multiple requests and try again.`,
          { field: 'datasets' },
        );
      const writes: DatasetPut[] = [];
      let inline = 0;
      for (const { key, dataset, context } of fresh) {
        const { name, digest } = dataset;
        const put =
          context === undefined
            ? await datasetRow(call, key, dataset, INLINE_BYTES - inline)
            : { ...key, name, digest, context };
        inline += sizeOf(put);
        writes.push({ put, if: 'absent' });
      }
      return writes;
    },

    /** Once they are committed. */
    remember(call: Call, writes: readonly DatasetPut[]): void {
      for (const { put } of writes) rows.remember(call, put);
    },

    /** By name and digest: `datasetId` makes the map's key. */
    async readDatasets(
      call: Call,
      wanted: readonly { exp: ExperimentId; name: string; digest: string }[],
    ): Promise<Map<string, Dataset>> {
      const ids = wanted.map(({ exp, name, digest }) => keys.dataset(exp, name, digest));
      const unique = [...new Map(ids.map((key) => [idOf(key), key])).values()];
      const found = new Map<string, Dataset>();
      for (const row of await rowsAt(call, unique)) {
        const body =
          typeof row['blob'] === 'string' ? await textAt(call, row['blob']) : String(row['body']);
        found.set(idOf(row), JSON.parse(body));
      }
      return found;
    },

    datasetId: (exp: ExperimentId, name: string, digest: string): string =>
      idOf(keys.dataset(exp, name, digest)),

    async readContexts(call: Call, exp: ExperimentId, limit: number) {
      const { items } = await table.query(call, { pk: `D#${exp}`, prefix: 'C#', limit });
      return items.map((item) => ({
        name: String(item['name']),
        digest: String(item['digest']),
        context: String(item['context']),
      }));
    },
  };

  /** With its body while that takes at most `room` bytes, else with the blob's path; the blob is nobody's if no commit follows. */
  async function datasetRow(call: Call, key: Key, dataset: Dataset, room: number): Promise<Item> {
    const body = JSON.stringify(dataset);
    if (Buffer.byteLength(body) <= Math.min(BLOCK_BYTES, room)) return { ...key, body };
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

/** The rows that these uses need, each once; those of datasets have no context. The first of a name and digest stands. */
function rowsOf(exp: ExperimentId, uses: readonly DatasetUse[]) {
  const rows = new Map<string, { key: Key; dataset: Dataset; context?: string }>();
  for (const { dataset, context } of uses) {
    const { name, digest } = dataset;
    const row = { key: keys.dataset(exp, name, digest), dataset };
    const use = { key: keys.context(exp, name, digest, context), dataset, context };
    for (const each of [row, use]) if (!rows.has(idOf(each.key))) rows.set(idOf(each.key), each);
  }
  return [...rows.values()];
}

const idOf = ({ pk, sk }: Key) => `${pk} ${sk}`;

const sizeOf = (row: Item) => Buffer.byteLength(String(row['body'] ?? '')) + 300;

/** Rows by workspace and key; beyond `REMEMBERED` bytes the oldest are forgotten. */
function rememberedRows() {
  const rows = new Map<string, Item>();
  let bytes = 0;
  const nameOf = (call: Call, key: Key) => `${call.workspace} ${idOf(key)}`;
  return {
    recall: (call: Call, key: Key): Item | undefined => rows.get(nameOf(call, key)),
    remember(call: Call, row: Item): void {
      const name = nameOf(call, row);
      if (rows.has(name)) return;
      rows.set(name, row);
      bytes += sizeOf(row);
      for (const [oldest, held] of rows) {
        if (bytes <= REMEMBERED) return;
        rows.delete(oldest);
        bytes -= sizeOf(held);
      }
    },
  };
}
