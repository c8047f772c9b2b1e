import type { Call } from '../kernel/call.ts';
import type { Page, Pages } from '../kernel/page.ts';
import type { Item } from '../platform/ports.ts';
import type { DatasetStore } from './datasets.store.ts';
import { joined, latestValue, type ReadDocument, sameItems } from './document.ts';
import { type Candidate, readRunQuery } from './filter.ts';
import type { Placed } from './log.store.ts';
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
import { afterPosition, idOf, type PageEnd, pageOf, positionOf } from './order.ts';
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
function latestOf(
  document: ReadDocument,
  unfolded: readonly Metric[],
): ReadonlyMap<string, Metric> {
  const held = joined(document, 'metrics');
  if (unfolded.length === 0) return held;
  const latest = new Map(held);
  for (const point of unfolded) {
    const before = latest.get(point.key);
    if (!before || isLater(point, before)) latest.set(point.key, point);
  }
  return latest;
}

/**
 * A run as a search looks at it: each kind is read when it is first asked for, and a metric that the filter names is
 * read where it lies. A class, since an object with getters of its own costs a hidden class a run.
 */
class FoundRun implements Candidate {
  readonly id: RunId;
  readonly lifecycle: Lifecycle;
  readonly document: ReadDocument;
  readonly #unfolded: readonly Metric[];
  #latest: ReadonlyMap<string, Metric> | undefined;

  constructor(
    id: RunId,
    lifecycle: Lifecycle,
    document: ReadDocument,
    unfolded: readonly Metric[],
  ) {
    this.id = id;
    this.lifecycle = lifecycle;
    this.document = document;
    this.#unfolded = unfolded;
  }

  get attributes() {
    return this.document.attributes;
  }
  get params() {
    return joined(this.document, 'params');
  }
  get tags() {
    return joined(this.document, 'tags');
  }
  get inputs() {
    return this.document.parts.flatMap(({ inputs }) => inputs);
  }
  get latest(): ReadonlyMap<string, Metric> {
    this.#latest ??= latestOf(this.document, this.#unfolded);
    return this.#latest;
  }

  /** Looked up in the run itself: a filter needs no map. */
  get metrics(): Candidate['metrics'] {
    return this;
  }
  get(key: string): Pick<Metric, 'value'> | undefined {
    if (this.#latest || this.#unfolded.length > 0) return this.latest.get(key);
    const value = latestValue(this.document, key);
    return value === undefined ? undefined : { value };
  }
}

export type { FoundRun };

export const candidateOf = (...about: ConstructorParameters<typeof FoundRun>): FoundRun =>
  new FoundRun(...about);

/** What was made of a document last; made again when the run's log or lifecycle is another. */
const made = new WeakMap<ReadDocument, { run: FoundRun; log: readonly Item[] }>();

async function foundRun(
  store: TrackingStore,
  call: Call,
  { runId, lifecycle, log }: Placed,
  document: ReadDocument,
): Promise<FoundRun> {
  const unfolded: Metric[] = [];
  for (const item of log) unfolded.push(...(await store.pointsOf(call, item)));
  const run = candidateOf(runId, lifecycle, document, unfolded);
  made.set(document, { run, log });
  return run;
}

function madeBefore({ lifecycle, log }: Placed, document: ReadDocument): FoundRun | undefined {
  const before = made.get(document);
  return before?.run.lifecycle === lifecycle && sameItems(before.log, log) ? before.run : undefined;
}

/** Candidates as runs, with the datasets that they name: one request a hundred datasets. */
export async function completeRuns(
  datasetRows: DatasetStore,
  call: Call,
  candidates: readonly FoundRun[],
): Promise<Run[]> {
  const wanted = candidates.flatMap(({ attributes, inputs }) =>
    inputs.map(({ name, digest }) => ({ exp: attributes.experimentId, name, digest })),
  );
  const datasets = wanted.length
    ? await datasetRows.readDatasets(call, wanted)
    : new Map<string, Dataset>();
  return candidates.map(
    ({ id, lifecycle, document, attributes, params, tags, latest, inputs }) => ({
      ...attributes,
      id,
      lifecycle,
      params,
      tags,
      metrics: [...latest.values()],
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
  const end = asked.pageToken ? pages.open<PageEnd>(call, bound, asked.pageToken) : undefined;
  const shelves = await Promise.all(
    experiments.map(async (experiment) => {
      const places = await store.readShelves(call, experiment);
      if (experiment.lifecycle === 'active') return places;
      return places.map((place) => ({ ...place, lifecycle: experiment.lifecycle }));
    }),
  );
  const shown = ({ lifecycle }: { lifecycle: Lifecycle }) => view === 'all' || lifecycle === view;
  // Also the run that the page before ended with, though it may be deleted by now.
  const longEnd = end?.digest === undefined ? undefined : idOf(end);
  const places = shelves.flat().filter((place) => shown(place) || place.runId === longEnd);
  const documents = await store.readDocuments(
    call,
    places.map(({ runId }) => runId),
  );
  const runs: FoundRun[] = [];
  for (const [i, place] of places.entries()) {
    const document = documents[i];
    if (document)
      runs.push(madeBefore(place, document) ?? (await foundRun(store, call, place, document)));
  }
  const ended = longEnd === undefined ? undefined : runs.find(({ id }) => id === longEnd);
  const after = end && positionOf(query, end, ended);
  const found = runs.filter(
    (run) => shown(run) && query.matches(run) && afterPosition(query, run, after),
  );
  const { items, last } = pageOf(query, found, maxResults);
  const whole = await completeRuns(datasetRows, call, items);
  return last ? { items: whole, next: pages.seal(call, bound, last) } : { items: whole };
}
