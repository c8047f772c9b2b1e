import type { Call } from '../../../functions/kernel/call.ts';
import { type Item, type Platform, queryAll } from '../../../functions/platform/ports.ts';
import { compactor } from '../../../functions/tracking/compactor.ts';
import {
  type ExperimentId,
  isLater,
  type Metric,
  type RunId,
} from '../../../functions/tracking/model.ts';
import { ruleStore } from '../../../functions/tracking/rules.store.ts';
import { trackingService } from '../../../functions/tracking/service.ts';
import { trackingStore } from '../../../functions/tracking/store.ts';

/** What the layouts are weighed by: writing points, reading one run, searching an experiment, folding a run's log. */
export interface Subject {
  create(call: Call, run: RunId): Promise<void>;
  log(call: Call, run: RunId, points: readonly Metric[], param?: string): Promise<void>;
  get(call: Call, run: RunId): Promise<Seen>;
  search(call: Call): Promise<ReadonlyMap<RunId, Seen>>;
  history(call: Call, run: RunId, key: string): Promise<readonly Metric[]>;
  fold(call: Call, run: RunId): Promise<void>;
}
export interface Seen {
  readonly latest: ReadonlyMap<string, Metric>;
  readonly params: ReadonlySet<string>;
}
export type OpenSubject = (platform: Pick<Platform, 'table' | 'blobs' | 'world'>) => Subject;

const EXPERIMENT = '0' as ExperimentId;

export function latest(points: Iterable<Metric>, held: ReadonlyMap<string, Metric> = new Map()) {
  const found = new Map(held);
  for (const point of points) {
    const before = found.get(point.key);
    if (!before || isLater(point, before)) found.set(point.key, point);
  }
  return found;
}

/** The product: the log in the experiment's partition, entries removed after the commit that folded them. */
export const product: OpenSubject = (platform) => {
  const parts = { ...platform, artifacts: 'proxy' as const, secret: new Uint8Array(32) };
  const service = trackingService(parts);
  const folder = compactor(trackingStore(platform), ruleStore(platform), platform.world);
  const seen = (run: {
    metrics: readonly Metric[];
    params: ReadonlyMap<string, string>;
  }): Seen => ({
    latest: latest(run.metrics),
    params: new Set(run.params.keys()),
  });
  return {
    async create(call, runId) {
      await service.createRun(call, { experimentId: EXPERIMENT, runId });
    },
    log: (call, runId, metrics, param) =>
      service.logBatch(call, {
        runId,
        metrics,
        params: param === undefined ? [] : [{ key: param, value: param }],
      }),
    get: async (call, runId) => seen(await service.getRun(call, runId)),
    async search(call) {
      const { items } = await service.searchRuns(call, { experimentIds: [EXPERIMENT] });
      return new Map(items.map((run) => [run.id, seen(run)]));
    },
    history: (call, runId, key) => service.wholeHistory(call, runId, key),
    async fold(call, runId) {
      const items: Item[] = [];
      const query = { pk: `X#${EXPERIMENT}#0`, prefix: `LOG#${runId}#`, limit: 1 };
      items.push(...(await platform.table.query(call, query)).items);
      await folder.fold(call, items);
    },
  };
};

/** All items of a partition that begin so. */
export async function all(
  { table }: Pick<Platform, 'table'>,
  call: Call,
  pk: string,
  prefix = '',
): Promise<Item[]> {
  const items: Item[] = [];
  for await (const item of queryAll(table, call, prefix ? { pk, prefix } : { pk }))
    items.push(item);
  return items;
}
