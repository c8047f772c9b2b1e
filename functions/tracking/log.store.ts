import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import { newUlid } from '../kernel/world.ts';
import {
  type Found,
  type Item,
  type Key,
  type Platform,
  queryAll,
  Refused,
  removeAll,
} from '../platform/ports.ts';
import { decodeBlock, encodeBlock } from './block.ts';
import { encodeDocument, type RunDocument } from './document.ts';
import { isPlace, keys, LOG_PREFIX, type Place, type Shelf, shelfKey } from './layout.ts';
import type { Experiment, Lifecycle, Metric, RunId } from './model.ts';
import { BLOCK_BYTES, wholeOf } from './reading.ts';

/** One log entry, as the compactor reads it. */
export interface LogEntry {
  readonly key: Key;
  readonly id: string;
  readonly caller: string;
  readonly requestId: string;
  readonly at: number;
  /** Params and tags that the batch brought, by name only. */
  readonly names: string;
  readonly points: readonly Metric[];
}

/** What one log entry carries. */
export interface LoggedBatch {
  readonly points: readonly Metric[];
  readonly names?: string;
}

/** A run of an experiment, and its log entries that are not folded yet. */
export interface Placed {
  readonly runId: RunId;
  readonly lifecycle: Lifecycle;
  readonly log: readonly Item[];
}
const NO_ITEMS: readonly Item[] = [];

/** Of items with a block: an adapter that gives the same item again gives the same points. */
const points = new WeakMap<Item, readonly Metric[]>();

/** A run's points where they lie: in the log till they are folded, in the past from then on. */
export function logStore({ table, blobs, world }: Pick<Platform, 'table' | 'blobs' | 'world'>) {
  /** The points of an item, wherever they lie. */
  async function pointsOf(call: Call, item: Item, only?: string): Promise<readonly Metric[]> {
    const block = item['block'];
    if (block instanceof Uint8Array)
      return only === undefined ? blockOf(item, block) : decodeBlock(block, only);
    if (typeof item['blob'] !== 'string') return [];
    const blob = await blobs.get(call, item['blob']);
    if (!blob) throw new Error(`the points at ${item['blob']} are gone`);
    return decodeBlock(await wholeOf(blob.body), only);
  }

  /** `block`, or `blob` with the path that holds it. */
  async function keptBlock(
    call: Call,
    runId: RunId,
    points: readonly Metric[],
  ): Promise<Partial<Item>> {
    if (points.length === 0) return {};
    const block = encodeBlock(points);
    if (block.length <= BLOCK_BYTES) return { block };
    const path = `tracking/${runId}/${newUlid(world)}.points`;
    await blobs.put(call, path, block);
    return { blob: path };
  }

  /** The run's unfolded entries in order, then its place: one query, in which the place is read last. */
  async function readLog(
    call: Call,
    shelf: Shelf,
    runId: RunId,
  ): Promise<{ log: Item[]; place: Place | undefined }> {
    const log: Item[] = [];
    let place: Place | undefined;
    const query = { pk: shelfKey(shelf), prefix: `${LOG_PREFIX}${runId}#` };
    for await (const item of queryAll(table, call, query)) {
      if (isPlace(item)) place = item as unknown as Place;
      else log.push(item);
    }
    return { log, place };
  }

  async function entryOf(
    call: Call,
    shelf: Shelf,
    runId: RunId,
    batch: LoggedBatch,
  ): Promise<Item> {
    return {
      ...keys.log(shelf, runId, newUlid(world)),
      caller: call.caller.name,
      requestId: call.requestId,
      at: world.now(),
      ...(batch.names ? { names: batch.names } : {}),
      ...(await keptBlock(call, runId, batch.points)),
    };
  }

  return {
    readLog,
    entryOf,
    keptBlock,
    pointsOf,

    /** The runs of an experiment and their unfolded points: a query a shard, strong. Read before their documents. */
    async readShelves(call: Call, { id, shards }: Experiment): Promise<Placed[]> {
      const found: Placed[] = [];
      for (let shard = 0; shard < shards; shard++) {
        const query = { pk: shelfKey({ experimentId: id, shard }), prefix: LOG_PREFIX };
        let log: Item[] = [];
        let page: Found | undefined;
        do {
          page = await table.query(call, page?.next ? { ...query, after: page.next } : query);
          for (const item of page.items)
            if (isPlace(item)) {
              const { runId, lifecycle } = item as unknown as Place;
              found.push({ runId, lifecycle, log: log.length > 0 ? log : NO_ITEMS });
              if (log.length > 0) log = [];
            } else log.push(item);
        } while (page.next !== undefined);
      }
      return found;
    },

    /** All points of one key, exact duplicates too. The log is read first: what it lost since lies in the past. */
    async readHistory(call: Call, shelf: Shelf, runId: RunId, key: string): Promise<Metric[]> {
      const { log } = await readLog(call, shelf, runId);
      const items = [...log];
      for await (const item of queryAll(table, call, { pk: `R#${runId}`, prefix: 'PAST#' }))
        items.push(item);
      const points: Metric[] = [];
      for (const item of items)
        for (const point of await pointsOf(call, item, key)) points.push(point);
      return points;
    },

    // ------------------------------------------------------------ folding

    async readEntries(
      call: Call,
      shelf: Shelf,
      runId: RunId,
    ): Promise<{ entries: LogEntry[]; place: Place | undefined }> {
      const { log, place } = await readLog(call, shelf, runId);
      const entries = await Promise.all(
        log.map(async (item) => ({
          key: { pk: item.pk, sk: item.sk },
          id: item.sk.slice(item.sk.lastIndexOf('#') + 1),
          caller: String(item['caller']),
          requestId: String(item['requestId']),
          at: Number(item['at']),
          names: String(item['names'] ?? ''),
          points: await pointsOf(call, item),
        })),
      );
      return { entries, place };
    },

    /**
     * The document at its next version, the points as past, and the place: all or nothing. False if another was
     * faster; then nothing has changed.
     */
    async commitFold(
      call: Call,
      shelf: Shelf,
      place: Place,
      document: RunDocument,
      past: readonly (readonly Metric[])[],
      event: Event,
    ): Promise<boolean> {
      const { runId, lifecycle } = place;
      const version = document.version + 1;
      const [doc, ...rest] = encodeDocument(runId, document, version);
      const blocks = await Promise.all(past.map((points) => keptBlock(call, runId, points)));
      const moved: Item = { ...keys.place(shelf, runId), runId, lifecycle, folded: version };
      try {
        await table.commit(
          call,
          [
            { put: doc, if: { equal: { version: document.version } } },
            { put: moved, if: { equal: { lifecycle, folded: place.folded } } },
            ...rest.map((put) => ({ put })),
            ...blocks.map((block, index) => ({
              put: { ...keys.past(runId, version, index), ...block },
            })),
          ],
          event,
        );
        return true;
      } catch (error) {
        if (error instanceof Refused) return false;
        throw error;
      }
    },

    /** After their fold has landed. */
    removeEntries: (call: Call, entries: readonly LogEntry[]): Promise<void> =>
      removeAll(
        table,
        call,
        entries.map(({ key }) => key),
      ),
  };
}

function blockOf(item: Item, block: Uint8Array): readonly Metric[] {
  const known = points.get(item);
  if (known) return known;
  const decoded = decodeBlock(block);
  points.set(item, decoded);
  return decoded;
}
