import type { Item, Key } from '../platform/ports.ts';
import { decodeBlock, encodeBlock, valueIn } from './block.ts';
import {
  type ExperimentId,
  isLater,
  type Long,
  type Metric,
  type ModelOutput,
  type Param,
  type RunId,
  type RunStatus,
  type Tag,
} from './model.ts';

/** From here on what is new goes into another part, well below the table's 400 KB. */
const PART_BYTES = 300 * 1024;

/** What a run is beside its keys and values. */
export interface Attributes {
  readonly experimentId: ExperimentId;
  readonly name: string;
  readonly userId: string;
  readonly status: RunStatus;
  readonly startTime: Long;
  readonly endTime?: Long;
  readonly artifactUri: string;
}

/** A dataset of the experiment that a run read; the row itself stands at `store.keys.dataset`. */
export interface InputRef {
  readonly name: string;
  readonly digest: string;
  readonly tags: readonly Tag[];
}

/** One item's share of a run: a run of few keys has one, which grows by a part whenever the last is full. */
interface Part {
  readonly params: Map<string, string>;
  readonly tags: Map<string, string>;
  readonly metrics: Map<string, Metric>;
  /** Of a metric, its latest value alone. */
  latestValue(key: string): number | undefined;
  readonly inputs: InputRef[];
  readonly modelInputs: string[];
  readonly outputs: ModelOutput[];
  bytes: number;
  dirty: boolean;
}

/** A run's document as read from its items, to be edited in place and encoded again. */
export interface RunDocument {
  /** 0: not in the table yet. */
  readonly version: number;
  attributes: Attributes;
  readonly parts: Part[];
}

export function newDocument(attributes: Attributes): RunDocument {
  return { version: 0, attributes, parts: [emptyPart()] };
}

function emptyPart(): Part {
  const metrics = new Map<string, Metric>();
  return {
    params: new Map(),
    tags: new Map(),
    metrics,
    latestValue: (key) => metrics.get(key)?.value,
    inputs: [],
    modelInputs: [],
    outputs: [],
    bytes: 0,
    dirty: true,
  };
}

export const docKey = (runId: RunId, part = 0): Key => ({
  pk: `R#${runId}`,
  sk: part === 0 ? 'DOC' : `DOC#${String(part).padStart(4, '0')}`,
});

/** The parts beyond the first that a document says it has. */
export function partKeys(runId: RunId, doc: Item): Key[] {
  const count = Number(doc['parts'] ?? 1);
  return Array.from({ length: count - 1 }, (_, i) => docKey(runId, i + 1));
}

// ---------------------------------------------------------------- items

/** Names and values as one JSON text: a lone surrogate, a NUL or a key `__proto__` comes back as it was. */
const pairs = (map: ReadonlyMap<string, string>) => (map.size ? JSON.stringify([...map]) : '');
const unpaired = (text: unknown) =>
  new Map<string, string>(typeof text === 'string' && text ? JSON.parse(text) : undefined);

const longText = (_key: string, value: unknown) =>
  typeof value === 'bigint' ? { int64: String(value) } : value;
const textLong = (_key: string, value: unknown) =>
  typeof value === 'object' && value !== null && 'int64' in value
    ? BigInt(String(value.int64))
    : value;
/** The reviver only where there is something to revive. */
const fromText = (text: string) =>
  text.includes('"int64"') ? JSON.parse(text, textLong) : JSON.parse(text);

/** The document's items at `version`: the first always, of the others those that changed. */
export function encodeDocument(
  runId: RunId,
  doc: RunDocument,
  version: number,
): [first: Item, ...changed: Item[]] {
  const [first = emptyPart(), ...rest] = doc.parts;
  const body = JSON.stringify(doc.attributes, longText);
  const changed = rest.flatMap((part, i) => (part.dirty ? [encodePart(runId, part, i + 1)] : []));
  return [{ ...encodePart(runId, first, 0), version, parts: doc.parts.length, body }, ...changed];
}

function encodePart(runId: RunId, part: Part, index: number): Item {
  const more = {
    inputs: part.inputs,
    modelInputs: part.modelInputs,
    outputs: part.outputs,
  };
  const hasMore = part.inputs.length + part.modelInputs.length + part.outputs.length > 0;
  return {
    ...docKey(runId, index),
    params: pairs(part.params),
    tags: pairs(part.tags),
    ...(part.metrics.size ? { metrics: encodeBlock([...part.metrics.values()]) } : {}),
    ...(hasMore ? { more: JSON.stringify(more, longText) } : {}),
  };
}

/** A document to be read and never to be edited: whoever reads the same items again gets the same one. */
export type ReadDocument = Omit<RunDocument, 'attributes' | 'parts'> & {
  readonly attributes: Attributes;
  readonly parts: readonly ReadPart[];
};
type ReadPart = { readonly [K in keyof Omit<Part, 'bytes' | 'dirty'>]: Shown<Part[K]> };
type Shown<T> =
  T extends Map<infer K, infer V> ? ReadonlyMap<K, V> : T extends (infer E)[] ? readonly E[] : T;

const seen = new WeakMap<Item, { parts: readonly Item[]; document: ReadDocument }>();

/**
 * The document of a first item and of its other parts, in order. Items never change, and an adapter that gives the
 * same object again gives what has not changed, so nothing of it is parsed twice.
 */
export function shownDocument(first: Item, parts: readonly Item[]): ReadDocument {
  const known = seen.get(first);
  if (known && sameItems(known.parts, parts)) return known.document;
  const document = documentFrom(first, parts);
  seen.set(first, { parts, document });
  return document;
}

export const sameItems = (some: readonly Item[], others: readonly Item[]): boolean =>
  some.length === others.length && some.every((item, i) => item === others[i]);

/** `items` are the document's in any order, others are passed over. Undefined without a first part. */
export function decodeDocument(items: readonly Item[]): RunDocument | undefined {
  const first = items.find(({ sk }) => sk === 'DOC');
  if (!first) return undefined;
  const rest = items.filter(({ sk }) => sk.startsWith('DOC#'));
  return documentFrom(first, rest.sort(byKey));
}

export const byKey = (a: Item, b: Item) => (a.sk < b.sk ? -1 : 1);

const documentFrom = (first: Item, rest: readonly Item[]): RunDocument =>
  new StoredDocument(first, rest.length === 0 ? [new StoredPart(first)] : partsOf(first, rest));

const partsOf = (first: Item, rest: readonly Item[]): Part[] =>
  [first, ...rest].map((item) => new StoredPart(item));

/** A class, as the next one: an object with getters of its own would cost a hidden class a run. */
class StoredDocument implements RunDocument {
  readonly version: number;
  readonly parts: Part[];
  readonly #first: Item;
  #attributes: Attributes | undefined;

  constructor(first: Item, parts: Part[]) {
    this.version = Number(first['version']);
    this.parts = parts;
    this.#first = first;
  }
  get attributes() {
    this.#attributes ??= fromText(String(this.#first['body'])) as Attributes;
    return this.#attributes;
  }
  set attributes(changed) {
    this.#attributes = changed;
  }
}

/** Each kind is read when it is first asked for: a search over many runs looks at few of them. */
class StoredPart implements Part {
  readonly inputs: InputRef[];
  readonly modelInputs: string[];
  readonly outputs: ModelOutput[];
  bytes = -1;
  dirty = false;
  readonly #item: Item;
  #params: Part['params'] | undefined;
  #tags: Part['tags'] | undefined;
  #metrics: Part['metrics'] | undefined;

  constructor(item: Item) {
    const more = item['more'];
    const lists = typeof more === 'string' ? fromText(more) : undefined;
    this.inputs = lists?.inputs ?? [];
    this.modelInputs = lists?.modelInputs ?? [];
    this.outputs = lists?.outputs ?? [];
    this.#item = item;
  }
  get params() {
    this.#params ??= unpaired(this.#item['params']);
    return this.#params;
  }
  get tags() {
    this.#tags ??= unpaired(this.#item['tags']);
    return this.#tags;
  }
  get metrics() {
    this.#metrics ??= latestIn(this.#item['metrics']);
    return this.#metrics;
  }
  latestValue(key: string): number | undefined {
    if (this.#metrics) return this.#metrics.get(key)?.value;
    const block = this.#item['metrics'];
    return block instanceof Uint8Array ? valueIn(block, key) : undefined;
  }
}

function latestIn(block: unknown): Part['metrics'] {
  const latest: Part['metrics'] = new Map();
  if (block instanceof Uint8Array)
    for (const metric of decodeBlock(block)) latest.set(metric.key, metric);
  return latest;
}

// ---------------------------------------------------------------- edits

/** What a point takes in a block beside its names, or more. */
const POINT_BYTES = 40;
const metricBytes = ({ key, modelId = '', datasetName = '', datasetDigest = '' }: Metric) =>
  POINT_BYTES + Buffer.byteLength(key + modelId + datasetName + datasetDigest);

function sizeOf(part: Part): number {
  if (part.bytes >= 0) return part.bytes;
  const text = JSON.stringify([
    [...part.params],
    [...part.tags],
    part.inputs,
    part.modelInputs,
    part.outputs.map(({ modelId }) => modelId),
  ]);
  part.bytes = Buffer.byteLength(text) + POINT_BYTES * part.outputs.length;
  for (const metric of part.metrics.values()) part.bytes += metricBytes(metric);
  return part.bytes;
}

/** A part with room for `bytes` more, which it counts at once. */
function roomFor(doc: RunDocument, bytes: number): Part {
  const last = doc.parts.at(-1);
  const part = last && sizeOf(last) + bytes <= PART_BYTES ? last : emptyPart();
  if (part !== last) doc.parts.push(part);
  part.bytes = sizeOf(part) + bytes;
  part.dirty = true;
  return part;
}

const jsonBytes = (value: unknown) => Buffer.byteLength(JSON.stringify(value, longText)) + 1;

type Texts = 'params' | 'tags';

export function textOf(doc: RunDocument, kind: Texts, key: string): string | undefined {
  for (const part of doc.parts) {
    const value = part[kind].get(key);
    if (value !== undefined) return value;
  }
  return undefined;
}

export function setText(doc: RunDocument, kind: Texts, { key, value }: Param | Tag): void {
  const held = doc.parts.find((part) => part[kind].has(key));
  const room = held ? jsonBytes(value) - jsonBytes(held[kind].get(key)) : 0;
  if (held && sizeOf(held) + room <= PART_BYTES) {
    if (held[kind].get(key) === value) return;
    held.bytes += room;
    held.dirty = true;
    held[kind].set(key, value);
    return;
  }
  if (held) removeText(doc, kind, key);
  roomFor(doc, jsonBytes([key, value]))[kind].set(key, value);
}

/** Whether there was one. */
export function removeText(doc: RunDocument, kind: Texts, key: string): boolean {
  const held = doc.parts.find((part) => part[kind].has(key));
  if (!held) return false;
  held.bytes = sizeOf(held) - jsonBytes([key, held[kind].get(key)]);
  held.dirty = true;
  return held[kind].delete(key);
}

/** Lays points over the latest values; a point that is not later changes nothing. */
export function mergePoints(doc: RunDocument, points: Iterable<Metric>): void {
  for (const point of points) {
    const held = doc.parts.find((part) => part.metrics.has(point.key));
    const before = held?.metrics.get(point.key);
    if (held && before) {
      if (!isLater(point, before)) continue;
      held.metrics.set(point.key, point);
      held.dirty = true;
    } else roomFor(doc, metricBytes(point)).metrics.set(point.key, point);
  }
}

export function addInput(doc: RunDocument, input: InputRef): void {
  const same = (held: InputRef) => held.name === input.name && held.digest === input.digest;
  if (doc.parts.some((part) => part.inputs.some(same))) return;
  roomFor(doc, jsonBytes(input)).inputs.push(input);
}

export function addModelInput(doc: RunDocument, modelId: string): void {
  if (doc.parts.some((part) => part.modelInputs.includes(modelId))) return;
  roomFor(doc, jsonBytes(modelId)).modelInputs.push(modelId);
}

export function addOutput(doc: RunDocument, output: ModelOutput): void {
  const same = (held: ModelOutput) => held.modelId === output.modelId && held.step === output.step;
  if (doc.parts.some((part) => part.outputs.some(same))) return;
  roomFor(doc, jsonBytes(output)).outputs.push(output);
}

/** The parts' maps as one. */
export function joined<K extends 'params' | 'tags' | 'metrics'>(
  { parts }: ReadDocument,
  kind: K,
): ReadPart[K] {
  const [first] = parts;
  if (first && parts.length === 1) return first[kind];
  const pairs = parts.flatMap((part) => [...part[kind]] as [string, never][]);
  return new Map(pairs) as ReadonlyMap<string, never> as ReadPart[K];
}

/** The latest value of a metric as the document has it, without its point. */
export function latestValue({ parts }: ReadDocument, key: string): number | undefined {
  for (const part of parts) {
    const value = part.latestValue(key);
    if (value !== undefined) return value;
  }
  return undefined;
}
