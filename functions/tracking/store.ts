import { createHash } from 'node:crypto';
import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import { newUlid } from '../kernel/world.ts';
import {
  type Found,
  getAll,
  type Item,
  type Key,
  type Platform,
  queryAll,
  Refused,
  type Write,
} from '../platform/ports.ts';
import { settler } from '../platform/settle.ts';
import { decodeBlock, encodeBlock } from './block.ts';
import {
  type Attributes,
  byKey,
  decodeDocument,
  docKey,
  encodeDocument,
  newDocument,
  partKeys,
  type ReadDocument,
  type RunDocument,
  shownDocument,
} from './document.ts';
import { decodeExperiment, experimentKey } from './experiments.store.ts';
import type { Experiment, ExperimentId, Lifecycle, Metric, RunId } from './model.ts';
import { BLOCK_BYTES, wholeOf } from './reading.ts';

/**
 * Runs, as docs/decisions/001-tracking-layout.md lays them out:
 *
 *   R#<run>             HEAD             experiment, shard, lifecycle: what a write must know first
 *                       DOC, DOC#0001    the document: attributes, params, tags, latest metrics, inputs, outputs
 *                       PAST#<version>#n folded points
 *   X#<exp>#<shard>     LOG#<run>#<ulid> a batch, not folded yet
 *                       LOG#<run>#~      the run's place in its experiment: lifecycle, and the version last folded to
 *   D#<exp>             S#<hash>, C#<hash>  a dataset, and each context it was read in
 *
 * The log entry is put before (with params or tags: with) the answer, and is removed only in a commit after the one
 * that folded it. So a reader finds each point in the log, in the document, or in both; laying it over twice is
 * harmless. A reader that saw an older document than the place says was folded reads it again.
 */
export const LOG_PREFIX = 'LOG#';
const PLACE = '~';

const keys = {
  head: (run: RunId): Key => ({ pk: `R#${run}`, sk: 'HEAD' }),
  place: (at: Shelf, run: RunId): Key => ({ pk: shelfOf(at), sk: `${LOG_PREFIX}${run}#${PLACE}` }),
  log: (at: Shelf, run: RunId, id: string): Key => ({
    pk: shelfOf(at),
    sk: `${LOG_PREFIX}${run}#${id}`,
  }),
  past: (run: RunId, version: number, index: number): Key => ({
    pk: `R#${run}`,
    sk: `PAST#${String(version).padStart(10, '0')}#${String(index).padStart(3, '0')}`,
  }),
};

/** A run's log partition; it never changes. */
export interface Shelf {
  readonly experimentId: ExperimentId;
  readonly shard: number;
}
const placeOf = ({ experimentId, shard }: Shelf): Shelf => ({ experimentId, shard });
const shelfOf = ({ experimentId, shard }: Shelf) => `X#${experimentId}#${shard}`;

export interface Head extends Shelf {
  readonly lifecycle: Lifecycle;
}

/** A run's head and the experiment it belongs to, each as it stands now. */
export interface Standing {
  readonly head: Head;
  readonly experiment: Experiment;
}

/** The head, the document, and points of the log that it may not hold yet. */
export interface Held extends Standing {
  readonly document: ReadDocument;
  readonly unfolded: readonly Metric[];
}

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

interface Place {
  readonly runId: RunId;
  readonly lifecycle: Lifecycle;
  readonly folded: number;
}

/** A run of an experiment, and its log entries that are not folded yet. */
export interface Placed {
  readonly runId: RunId;
  readonly lifecycle: Lifecycle;
  readonly log: readonly Item[];
}
const NO_ITEMS: readonly Item[] = [];
const NONE: ReadonlyMap<string, Item[]> = new Map();

/** Of items with a block: an adapter that gives the same item again gives the same points. */
const points = new WeakMap<Item, readonly Metric[]>();

/** Facts about runs that never change: a bounded memory of where each stands. */
const REMEMBERED = 20_000;

export type TrackingStore = ReturnType<typeof trackingStore>;

export function trackingStore({
  table,
  blobs,
  world,
}: Pick<Platform, 'table' | 'blobs' | 'world'>) {
  const shelves = new Map<string, Shelf>();
  const settle = settler(world);

  function remember(call: Call, runId: RunId, { experimentId, shard }: Shelf) {
    if (shelves.size >= REMEMBERED) shelves.clear();
    shelves.set(`${call.workspace}${runId}`, { experimentId, shard });
  }
  const remembered = (call: Call, runId: RunId) => shelves.get(`${call.workspace}${runId}`);

  // -------------------------------------------------------------- reading

  /** In one round trip where this process has seen the run before, else in two. */
  async function readStanding(
    call: Call,
    runId: RunId,
    more: readonly Key[] = [],
  ): Promise<(Standing & { items: Item[] }) | undefined> {
    const shelf = remembered(call, runId);
    const first = shelf ? [experimentKey(shelf.experimentId)] : [];
    const items = await table.getMany(call, [keys.head(runId), ...more, ...first]);
    const head = items.find(({ sk }) => sk === 'HEAD') as (Item & Head) | undefined;
    if (!head) return undefined;
    if (!shelf) remember(call, runId, head);
    const experiment =
      items.find(({ sk }) => sk === 'META') ??
      (await table.get(call, experimentKey(head.experimentId)));
    if (!experiment) throw new Error(`run ${runId} has no experiment ${head.experimentId}`);
    return { head, experiment: decodeExperiment(experiment), items };
  }

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
    const query = { pk: shelfOf(shelf), prefix: `${LOG_PREFIX}${runId}#` };
    for await (const item of queryAll(table, call, query)) {
      if (item.sk.endsWith(PLACE)) place = item as unknown as Place;
      else log.push(item);
    }
    return { log, place };
  }

  async function readDocument(call: Call, runId: RunId): Promise<RunDocument | undefined> {
    const items: Item[] = [];
    for await (const item of queryAll(table, call, { pk: `R#${runId}`, prefix: 'DOC' }))
      items.push(item);
    return decodeDocument(items);
  }

  /** Documents of many runs, each where its id is given: a request a hundred, and one a hundred parts beyond the first. */
  async function readDocuments(
    call: Call,
    runIds: readonly RunId[],
  ): Promise<(ReadDocument | undefined)[]> {
    const keys = runIds.map((id) => docKey(id));
    const firsts = await getAll(table, call, keys);
    const more = firsts.flatMap((item) =>
      Number(item['parts'] ?? 1) > 1 ? partKeys(runOf(item), item) : [],
    );
    const parts = more.length ? Map.groupBy(await getAll(table, call, more), ({ pk }) => pk) : NONE;
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
  }

  // -------------------------------------------------------------- writing

  /**
   * The document under edit, tried again while others change it. `edit` may throw; if it gives no event, the log entry
   * is the record of the change. Undefined for a run that is not there.
   */
  function editRun(
    call: Call,
    runId: RunId,
    edit: (
      held: Standing & { document: RunDocument },
    ) => Edit | undefined | Promise<Edit | undefined>,
  ): Promise<(Standing & { document: RunDocument }) | undefined> {
    return settle(call, `runs/${runId}`, async () => {
      const standing = await readStanding(call, runId, [docKey(runId)]);
      if (!standing) return undefined;
      const held = { ...standing, document: await documentOf(call, runId, standing.items) };
      const { version } = held.document;
      const edited = await edit(held);
      if (!edited) return held;
      const [doc, ...rest] = encodeDocument(runId, held.document, version + 1);
      const writes: Write[] = [
        { put: doc, if: { equal: { version } } },
        ...rest.map((put) => ({ put })),
        ...(edited.writes ?? []),
      ];
      if (edited.batch) writes.push({ put: await entryOf(call, held.head, runId, edited.batch) });
      await table.commit(call, writes, edited.event);
      return held;
    });
  }

  /** From its first item, and the parts that it names. */
  async function documentOf(
    call: Call,
    runId: RunId,
    items: readonly Item[],
  ): Promise<RunDocument> {
    const document = decodeDocument(await itemsOf(call, runId, items));
    if (!document) throw new Error(`run ${runId} has a head and no document`);
    return document;
  }

  /** The document's items, its first one first, given that. */
  async function itemsOf(call: Call, runId: RunId, items: readonly Item[]): Promise<Item[]> {
    const first = items.find(({ sk }) => sk === 'DOC');
    if (!first) return [];
    const parts = await getAll(table, call, partKeys(runId, first));
    return [first, ...parts.sort(byKey)];
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
    readStanding,
    readDocument,
    readDocuments,
    editRun,

    /** The document as committed, or undefined if the run is there already. */
    async createRun(
      call: Call,
      runId: RunId,
      experiment: Experiment,
      attributes: Attributes,
      fill: (document: RunDocument) => void,
      event: Event,
    ): Promise<RunDocument | undefined> {
      const shelf = { experimentId: experiment.id, shard: shardOf(runId, experiment.shards) };
      const document = newDocument(attributes);
      fill(document);
      const [doc, ...rest] = encodeDocument(runId, document, 1);
      const place = { ...keys.place(shelf, runId), runId, lifecycle: 'active', folded: 0 };
      try {
        await table.commit(
          call,
          [
            { put: { ...keys.head(runId), ...shelf, lifecycle: 'active' }, if: 'absent' },
            { put: doc },
            ...rest.map((put) => ({ put })),
            { put: place },
          ],
          event,
        );
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        return undefined;
      }
      remember(call, runId, shelf);
      return document;
    },

    /** Two requests at once where this process has seen the run before, else three in two turns. */
    async readRun(call: Call, runId: RunId): Promise<Held | undefined> {
      const before = remembered(call, runId);
      const earlyLog = before && readLog(call, before, runId);
      const standing = await readStanding(call, runId, [docKey(runId)]);
      if (!standing) {
        await earlyLog;
        return undefined;
      }
      const { log, place } = await (earlyLog ?? readLog(call, standing.head, runId));
      const [first, ...parts] = await itemsOf(call, runId, standing.items);
      if (!first) throw new Error(`run ${runId} has a head and no document`);
      let document = shownDocument(first, parts);
      if (place && place.folded > document.version)
        document = (await readDocument(call, runId)) ?? document;
      const unfolded = (await Promise.all(log.map((item) => pointsOf(call, item)))).flat();
      return { ...standing, document, unfolded };
    },

    /** Puts one log entry: a single put unless `writes` go with it. */
    async append(
      call: Call,
      shelf: Shelf,
      runId: RunId,
      points: readonly Metric[],
      writes: readonly Write[] = [],
    ): Promise<void> {
      await table.commit(call, [{ put: await entryOf(call, shelf, runId, { points }) }, ...writes]);
    },

    /** Moves the lifecycle in head and place at once. False if it stands so already, or no such run is there. */
    setLifecycle(call: Call, runId: RunId, lifecycle: Lifecycle, event: Event): Promise<boolean> {
      return settle(call, `runs/${runId}/lifecycle`, async () => {
        const head = (await table.get(call, keys.head(runId))) as (Item & Head) | undefined;
        if (!head || head.lifecycle === lifecycle) return false;
        const place = await table.get(call, keys.place(head, runId));
        if (!place) throw new Error(`run ${runId} has a head and no place`);
        const folded = Number(place['folded']);
        const moved = { ...keys.head(runId), ...placeOf(head), lifecycle };
        await table.commit(
          call,
          [
            { put: moved, if: { equal: { lifecycle: head.lifecycle } } },
            {
              put: { ...keys.place(head, runId), runId, lifecycle, folded },
              if: { equal: { folded } },
            },
          ],
          event,
        );
        return true;
      });
    },

    /** The runs of an experiment and their unfolded points: a query a shard, strong. Read before their documents. */
    async readShelves(call: Call, { id, shards }: Experiment): Promise<Placed[]> {
      const found: Placed[] = [];
      for (let shard = 0; shard < shards; shard++) {
        const query = { pk: shelfOf({ experimentId: id, shard }), prefix: LOG_PREFIX };
        let log: Item[] = [];
        let page: Found | undefined;
        do {
          page = await table.query(call, page?.next ? { ...query, after: page.next } : query);
          for (const item of page.items)
            if (item.sk.endsWith(PLACE)) {
              const { runId, lifecycle } = item as unknown as Place;
              found.push({ runId, lifecycle, log: log.length > 0 ? log : NO_ITEMS });
              if (log.length > 0) log = [];
            } else log.push(item);
        } while (page.next !== undefined);
      }
      return found;
    },

    pointsOf,

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
    async removeEntries(call: Call, entries: readonly LogEntry[]): Promise<void> {
      for (let at = 0; at < entries.length; at += 90)
        await table.commit(
          call,
          entries.slice(at, at + 90).map(({ key }) => ({ remove: key })),
        );
    },
  };
}

function blockOf(item: Item, block: Uint8Array): readonly Metric[] {
  const known = points.get(item);
  if (known) return known;
  const decoded = decodeBlock(block);
  points.set(item, decoded);
  return decoded;
}

const runOf = ({ pk }: Item) => pk.slice(2) as RunId;

/** What an edit commits beside the document. */
export interface Edit {
  readonly event?: Event;
  readonly batch?: LoggedBatch;
  readonly writes?: readonly Write[];
}

/** What one log entry carries. */
export interface LoggedBatch {
  readonly points: readonly Metric[];
  readonly names?: string;
}

const shardOf = (runId: string, shards: number) =>
  shards === 1 ? 0 : (createHash('sha256').update(runId).digest()[0] ?? 0) % shards;
