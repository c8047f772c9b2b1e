import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import { type Item, type Key, type Platform, Refused, type Write } from '../platform/ports.ts';
import { settler } from '../platform/settle.ts';
import {
  type Attributes,
  decodeDocument,
  docKey,
  encodeDocument,
  newDocument,
  type ReadDocument,
  type RunDocument,
  shownDocument,
} from './document.ts';
import { documentStore } from './documents.store.ts';
import { decodeExperiment, experimentKey } from './experiments.store.ts';
import { type Head, keys, type Shelf, shardOf } from './layout.ts';
import { type LoggedBatch, logStore } from './log.store.ts';
import type { Experiment, Lifecycle, Metric, RunId } from './model.ts';

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

/** What an edit commits beside the document. */
export interface Edit {
  readonly event?: Event;
  /** For the log, to be folded later. */
  readonly batch?: LoggedBatch;
  /** Points that the document holds already: what a fold would have made of them. */
  readonly past?: readonly Metric[];
  readonly writes?: readonly Write[];
}

/** Facts about runs that never change: a bounded memory of where each stands. */
const REMEMBERED = 20_000;

export type TrackingStore = ReturnType<typeof trackingStore>;

/** Runs: heads, documents and logs, laid out as layout.ts says. */
export function trackingStore(platform: Pick<Platform, 'table' | 'blobs' | 'world'>) {
  const { table, world } = platform;
  const { readDocument, readDocuments, itemsOf } = documentStore(platform);
  const { readLog, entryOf, keptBlock, ...log } = logStore(platform);
  const shelves = new Map<string, Shelf>();
  const settle = settler(world);

  function remember(call: Call, runId: RunId, { experimentId, shard }: Shelf) {
    if (shelves.size >= REMEMBERED) shelves.clear();
    shelves.set(`${call.workspace}${runId}`, { experimentId, shard });
  }
  const remembered = (call: Call, runId: RunId) => shelves.get(`${call.workspace}${runId}`);

  // -------------------------------------------------------------- reading

  /** With what lies at `more`, and the experiment where this process has seen the run before. */
  async function readHead(call: Call, runId: RunId, more: readonly Key[]) {
    const shelf = remembered(call, runId);
    const first = shelf ? [experimentKey(shelf.experimentId)] : [];
    const items = await table.getMany(call, [keys.head(runId), ...more, ...first]);
    const head = items.find(({ sk }) => sk === 'HEAD') as (Item & Head) | undefined;
    if (!head) return undefined;
    if (!shelf) remember(call, runId, head);
    return { head, items };
  }

  async function experimentOf(
    call: Call,
    { head, items }: { head: Head; items: readonly Item[] },
  ): Promise<Experiment> {
    const experiment =
      items.find(({ sk }) => sk === 'META') ??
      (await table.get(call, experimentKey(head.experimentId)));
    if (!experiment) throw new Error(`a run has no experiment ${head.experimentId}`);
    return decodeExperiment(experiment);
  }

  /** In one round trip where this process has seen the run before, else in two. */
  async function readStanding(
    call: Call,
    runId: RunId,
    more: readonly Key[] = [],
  ): Promise<(Standing & { items: Item[] }) | undefined> {
    const found = await readHead(call, runId, more);
    return found && { ...found, experiment: await experimentOf(call, found) };
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
      const document = decodeDocument(await itemsOf(call, runId, standing.items));
      if (!document) throw noDocument(runId);
      const held = { ...standing, document };
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
      if (edited.past?.length) {
        const block = await keptBlock(call, runId, edited.past);
        writes.push({ put: { ...keys.past(runId, version + 1, 0), ...block } });
      }
      await table.commit(call, writes, edited.event);
      return held;
    });
  }

  return {
    ...log,
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
      const shelf = remembered(call, runId);
      const [found, early] = await Promise.all([
        readHead(call, runId, [docKey(runId)]),
        shelf && readLog(call, shelf, runId),
      ]);
      if (!found) return undefined;
      const { head } = found;
      const [experiment, { log: entries, place }, [first, ...parts]] = await Promise.all([
        experimentOf(call, found),
        early ?? readLog(call, head, runId),
        itemsOf(call, runId, found.items),
      ]);
      if (!first) throw noDocument(runId);
      let document = shownDocument(first, parts);
      if (place && place.folded > document.version)
        document = (await readDocument(call, runId)) ?? document;
      const unfolded = await Promise.all(entries.map((item) => log.pointsOf(call, item)));
      return { head, experiment, document, unfolded: unfolded.flat() };
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
        const moved = {
          ...keys.head(runId),
          experimentId: head.experimentId,
          shard: head.shard,
          lifecycle,
        };
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
  };
}

const noDocument = (runId: RunId) => new Error(`run ${runId} has a head and no document`);
