import type { Call } from '../kernel/call.ts';
import type { World } from '../kernel/world.ts';
import { type Folder, type Item, Refused } from '../platform/ports.ts';
import { settler } from '../platform/settle.ts';
import { joined, mergePoints } from './document.ts';
import { LOG_PREFIX, type Shelf } from './layout.ts';
import type { LogEntry } from './log.store.ts';
import type { ExperimentId, Metric, RunId } from './model.ts';
import type { RuleStore } from './rules.store.ts';
import { tellRules } from './rules.ts';
import type { TrackingStore } from './store.ts';

/** What one fold takes at most, so that its commit stays far below the table's 4 MB and 97 writes. */
const MAX_ENTRIES = 200;
const MAX_POINTS = 32_000;
const AT_ONCE = 8;
/** Points a block of the past, some 12 to 30 bytes each. */
const PAST_POINTS = 8_000;

/**
 * Folds the log of runs: latest values into the document and points into the past, in one commit with the audit event
 * that names each entry's caller; then rules; then the entries go. Dying anywhere in between, it begins again with
 * the entries that are still there: the latest value does not change twice, and equal points count once. It may run
 * late, twice, beside another, or never.
 */
export function compactor(store: TrackingStore, rules: RuleStore, world: World): Folder {
  const settle = settler(world);

  async function foldRun(call: Call, shelf: Shelf, runId: RunId): Promise<void> {
    let more = true;
    while (more)
      more = await settle(call, `fold/${runId}`, async () => {
        const { entries, place } = await store.readEntries(call, shelf, runId);
        const taken = firstOf(entries);
        if (taken.length === 0) return false;
        const document = await store.readDocument(call, runId);
        if (!document || !place) throw new Error(`run ${runId} has a log and no document`);
        const points = taken.flatMap((entry) => entry.points);
        mergePoints(document, points);
        const event = {
          type: 'tracking.metrics.folded',
          subject: `runs/${runId}`,
          data: { runId, experimentId: shelf.experimentId, entries: taken.map(audited) },
        } as const;
        if (!(await store.commitFold(call, shelf, place, document, blocksOf(points), event)))
          throw new Refused(0);
        const keys = new Set(points.map(({ key }) => key));
        const latest = [...joined(document, 'metrics')].filter(([key]) => keys.has(key));
        await tellRules(rules, call, shelf.experimentId, runId, new Map(latest));
        await store.removeEntries(call, taken);
        return taken.length < entries.length;
      });
  }

  return {
    name: 'tracking-compactor',
    prefix: LOG_PREFIX,
    async fold(call, items) {
      const runs = new Map<string, { shelf: Shelf; runId: RunId }>();
      for (const item of items) {
        const heard = entryOf(item);
        if (heard) runs.set(heard.runId, heard);
      }
      const waiting = [...runs.values()];
      // A few at a time, so that their commits share the disk's.
      for (let at = 0; at < waiting.length; at += AT_ONCE)
        await Promise.all(
          waiting.slice(at, at + AT_ONCE).map(({ shelf, runId }) => foldRun(call, shelf, runId)),
        );
    },
  };
}

/** Whose log an item belongs to; undefined for a run's place, which no fold asks for. */
function entryOf({ pk, sk }: Item): { shelf: Shelf; runId: RunId } | undefined {
  const [, experimentId, shard] = /^X#(\d+)#(\d+)$/.exec(pk) ?? [];
  const [, runId] = /^LOG#([^#]+)#[0-9A-Z]{26}$/.exec(sk) ?? [];
  if (experimentId === undefined || runId === undefined) return undefined;
  const shelf = { experimentId: experimentId as ExperimentId, shard: Number(shard) };
  return { shelf, runId: runId as RunId };
}

function firstOf(entries: readonly LogEntry[]): LogEntry[] {
  const taken: LogEntry[] = [];
  let points = 0;
  for (const entry of entries) {
    points += entry.points.length;
    if (taken.length === MAX_ENTRIES || (taken.length > 0 && points > MAX_POINTS)) break;
    taken.push(entry);
  }
  return taken;
}

const audited = ({ id, caller, requestId, at, names, points }: LogEntry) => ({
  id,
  caller,
  requestId,
  at,
  points: points.length,
  ...(names ? { names } : {}),
});

function blocksOf(points: readonly Metric[]): Metric[][] {
  const blocks: Metric[][] = [];
  for (let at = 0; at < points.length; at += PAST_POINTS)
    blocks.push(points.slice(at, at + PAST_POINTS));
  return blocks;
}
