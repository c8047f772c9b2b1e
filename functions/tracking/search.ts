import type { Call } from '../kernel/call.ts';
import type { Page, Pages } from '../kernel/page.ts';
import type { DatasetStore } from './datasets.store.ts';
import { joined, type RunDocument } from './document.ts';
import { afterPosition, type Candidate, pageOf, readRunQuery } from './filter.ts';
import {
  type Dataset,
  type Experiment,
  type ExperimentId,
  isLater,
  type Lifecycle,
  type Metric,
  type Run,
  type RunId,
  type View,
} from './model.ts';
import type { TrackingStore } from './store.ts';

export interface RunSearch {
  readonly experimentIds: readonly ExperimentId[];
  readonly filter?: string;
  readonly view?: View;
  readonly orderBy?: readonly string[];
  readonly maxResults?: number;
  readonly pageToken?: string;
}

/** The latest value of each key: the document's, with the points of the log laid over. */
function latestOf(document: RunDocument, unfolded: readonly Metric[]): ReadonlyMap<string, Metric> {
  const held = joined(document, 'metrics');
  if (unfolded.length === 0) return held;
  const latest = new Map(held);
  for (const point of unfolded) {
    const before = latest.get(point.key);
    if (!before || isLater(point, before)) latest.set(point.key, point);
  }
  return latest;
}

export function candidateOf(
  id: RunId,
  lifecycle: Lifecycle,
  document: RunDocument,
  unfolded: readonly Metric[],
): Candidate & { document: RunDocument } {
  let metrics: ReadonlyMap<string, Metric> | undefined;
  return {
    id,
    lifecycle,
    document,
    get attributes() {
      return document.attributes;
    },
    get params() {
      return joined(document, 'params');
    },
    get tags() {
      return joined(document, 'tags');
    },
    get metrics() {
      metrics ??= latestOf(document, unfolded);
      return metrics;
    },
    get inputs() {
      return document.parts.flatMap(({ inputs }) => inputs);
    },
  };
}

/** Candidates as runs, with the datasets that they name: one request a hundred datasets. */
export async function completeRuns(
  datasetRows: DatasetStore,
  call: Call,
  candidates: readonly (Candidate & { document: RunDocument })[],
): Promise<Run[]> {
  const wanted = candidates.flatMap(({ attributes, inputs }) =>
    inputs.map(({ name, digest }) => ({ exp: attributes.experimentId, name, digest })),
  );
  const datasets = wanted.length
    ? await datasetRows.readDatasets(call, wanted)
    : new Map<string, Dataset>();
  return candidates.map(
    ({ id, lifecycle, document, attributes, params, tags, metrics, inputs }) => ({
      ...attributes,
      id,
      lifecycle,
      params,
      tags,
      metrics: [...metrics.values()],
      inputs: inputs.flatMap((input) => {
        const dataset = datasets.get(
          datasetRows.datasetId(attributes.experimentId, input.name, input.digest),
        );
        return dataset ? [{ dataset, tags: input.tags }] : [];
      }),
      modelInputs: document.parts.flatMap(({ modelInputs }) => modelInputs),
      outputs: document.parts.flatMap(({ outputs }) => outputs),
    }),
  );
}

/**
 * Flow 4 for a small experiment: its places and unfolded points (a query a shard), then the documents (a request a
 * hundred), judged by the same tree that a segment will be. The logs are read before the documents, so that what a
 * fold moves in between is seen in one of them.
 */
export async function searchRuns(
  store: TrackingStore,
  datasetRows: DatasetStore,
  pages: Pages,
  call: Call,
  experiments: readonly Experiment[],
  asked: RunSearch,
): Promise<Page<Run>> {
  const { filter = '', orderBy = [], view = 'active', maxResults = 1000 } = asked;
  const query = readRunQuery(filter, orderBy);
  const bound = ['runs', asked.experimentIds.toSorted(), filter, orderBy, view];
  const after = asked.pageToken ? pages.open<unknown[]>(call, bound, asked.pageToken) : undefined;
  const places = (
    await Promise.all(
      experiments.map(async (experiment) =>
        (
          await store.readShelves(call, experiment)
        ).map((place) => ({
          ...place,
          lifecycle: experiment.lifecycle === 'deleted' ? experiment.lifecycle : place.lifecycle,
        })),
      ),
    )
  )
    .flat()
    .filter(({ lifecycle }) => view === 'all' || lifecycle === view);
  const documents = await store.readDocuments(
    call,
    places.map(({ runId }) => runId),
  );
  const found: (Candidate & { document: RunDocument })[] = [];
  for (const { runId, lifecycle, log } of places) {
    const document = documents.get(runId);
    if (!document) continue;
    const unfolded: Metric[] = [];
    for (const item of log) unfolded.push(...(await store.pointsOf(call, item)));
    const candidate = candidateOf(runId, lifecycle, document, unfolded);
    if (query.matches(candidate) && afterPosition(query, candidate, after)) found.push(candidate);
  }
  const { items, last } = pageOf(query, found, maxResults);
  const runs = await completeRuns(datasetRows, call, items as typeof found);
  return last ? { items: runs, next: pages.seal(call, bound, last) } : { items: runs };
}
