import type { Call } from '../kernel/call.ts';
import type { Page, Pages } from '../kernel/page.ts';
import { byTime, type Long, type Metric, type RunId } from './model.ts';
import type { TrackingStore } from './store.ts';

/** Points in order of time, each once: a repeated batch and a fold that was repeated leave exact duplicates. */
function inOrder(points: readonly Metric[]): Metric[] {
  const sorted = [...points].sort(byTime);
  return sorted.filter((point, i) => {
    const before = sorted[i - 1];
    return before === undefined || byTime(before, point) !== 0;
  });
}

/** `limit` of `points`, evenly by place, the first and the last among them. */
export function sampled<T>(points: readonly T[], limit: number): T[] {
  if (points.length <= limit) return [...points];
  if (limit === 1) return points.slice(-1);
  const stride = (points.length - 1) / (limit - 1);
  return Array.from({ length: limit }, (_, i) => points[Math.round(i * stride)] as T);
}

type Position = readonly [timestamp: string, step: string, value: string];

export function metricHistory(store: TrackingStore, pages: Pages) {
  async function whole(call: Call, runId: RunId, key: string): Promise<Metric[]> {
    const standing = await store.readStanding(call, runId);
    if (!standing) return [];
    return inOrder(await store.readHistory(call, standing.head, runId, key));
  }

  return {
    whole,

    /** One page, or all of it without `limit`. An unknown run or key has no points. Throws `invalid`. */
    async page(
      call: Call,
      runId: RunId,
      key: string,
      limit?: number,
      token?: string,
    ): Promise<Page<Metric>> {
      const bound = ['history', runId, key];
      const after = token ? pages.open<Position>(call, bound, token) : undefined;
      let points = await whole(call, runId, key);
      if (after) {
        const last = pointAt(key, after);
        points = points.filter((point) => byTime(point, last) > 0);
      }
      const last = limit !== undefined && points.length > limit ? points[limit - 1] : undefined;
      if (!last) return { items: points };
      const position = [last.timestamp, last.step, last.value].map(String);
      return { items: points.slice(0, limit), next: pages.seal(call, bound, position) };
    },
  };
}

const pointAt = (key: string, [timestamp, step, value]: Position): Metric => ({
  key,
  timestamp: long(timestamp),
  step: long(step),
  value: Number(value),
});

const long = (text: string): Long =>
  Number.isSafeInteger(Number(text)) ? Number(text) : BigInt(text);
