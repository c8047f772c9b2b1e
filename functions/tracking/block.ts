import type { Long, Metric } from './model.ts';

/**
 * A batch of points in one piece of bytes: a dictionary of keys, then columns. Steps and timestamps are zigzag varint
 * deltas, or raw int64 where one is beyond 2^51; values are raw 8-byte doubles, so NaN, the infinities and 5e-324
 * survive. About 11 bytes a point.
 *
 *   version 1 | flags | count | dictionary length | dictionary (JSON) | key indices | steps | timestamps | values
 */
const VERSION = 1;
const WIDE_STEPS = 1;
const WIDE_TIMES = 2;
const NARROW = 2 ** 51;

/** What a dictionary entry holds: the key alone, or with model id, dataset name and digest (null where unset). */
type Name = string | [string, string | null, string | null, string | null];

export function encodeBlock(points: readonly Metric[]): Uint8Array {
  const names: Name[] = [];
  const places = new Map<string, number>();
  const indices = points.map((point) => placeOf(point, names, places));
  const wideSteps = points.some(({ step }) => isWide(step));
  const wideTimes = points.some(({ timestamp }) => isWide(timestamp));
  const dictionary = Buffer.from(JSON.stringify(names));
  const bytes = Buffer.allocUnsafe(22 + dictionary.length + points.length * 29);
  const writer = { bytes, at: 0 };
  bytes[writer.at++] = VERSION;
  bytes[writer.at++] = (wideSteps ? WIDE_STEPS : 0) | (wideTimes ? WIDE_TIMES : 0);
  writeVarint(writer, points.length);
  writeVarint(writer, dictionary.length);
  writer.at += dictionary.copy(bytes, writer.at);
  for (const index of indices) writeVarint(writer, index);
  writeColumn(writer, points, 'step', wideSteps);
  writeColumn(writer, points, 'timestamp', wideTimes);
  for (const { value } of points) writer.at = bytes.writeDoubleLE(value, writer.at);
  return bytes.subarray(0, writer.at);
}

/** The points in the order they were given; with `only`, those of one key. */
export function decodeBlock(block: Uint8Array, only?: string): Metric[] {
  const bytes = Buffer.from(block.buffer, block.byteOffset, block.byteLength);
  if (bytes[0] !== VERSION) throw new Error(`a metric block of version ${bytes[0]}`);
  const flags = bytes[1] ?? 0;
  const reader = { bytes, at: 2 };
  const count = readVarint(reader);
  const length = readVarint(reader);
  const names: Name[] = JSON.parse(bytes.toString('utf8', reader.at, reader.at + length));
  reader.at += length;
  if (only !== undefined && !names.some((name) => keyOf(name) === only)) return [];
  const indices = Array.from({ length: count }, () => readVarint(reader));
  const steps = readColumn(reader, count, (flags & WIDE_STEPS) !== 0);
  const times = readColumn(reader, count, (flags & WIDE_TIMES) !== 0);
  const points: Metric[] = [];
  for (let i = 0; i < count; i++) {
    const name = names[indices[i] ?? 0] ?? '';
    if (only !== undefined && keyOf(name) !== only) continue;
    const value = bytes.readDoubleLE(reader.at + i * 8);
    const point = { value, step: steps[i] ?? 0, timestamp: times[i] ?? 0 };
    points.push(typeof name === 'string' ? { key: name, ...point } : named(name, point));
  }
  return points;
}

/**
 * The value of a key in a block that holds each key at most once, read where it lies: no point is built. NaN is a
 * value; undefined is none.
 */
export function valueIn(block: Uint8Array, key: string): number | undefined {
  const bytes = Buffer.from(block.buffer, block.byteOffset, block.byteLength);
  if (bytes[0] !== VERSION) throw new Error(`a metric block of version ${bytes[0]}`);
  const reader = { bytes, at: 2 };
  const count = readVarint(reader);
  const length = readVarint(reader);
  const place = placesIn(bytes.toString('latin1', reader.at, reader.at + length)).get(key);
  return place === undefined ? undefined : bytes.readDoubleLE(bytes.length - 8 * (count - place));
}

/** Where each key of a dictionary stands: the runs of an experiment mostly have one dictionary. A pure memory. */
const dictionaries = new Map<string, ReadonlyMap<string, number>>();
const MAX_DICTIONARIES = 200;
/** Longer ones are read each time. */
const MAX_KEPT_BYTES = 8192;

function placesIn(dictionary: string): ReadonlyMap<string, number> {
  const known = dictionaries.get(dictionary);
  if (known) return known;
  const names: Name[] = JSON.parse(Buffer.from(dictionary, 'latin1').toString());
  const places = new Map(names.map((name, place) => [keyOf(name), place]));
  if (dictionary.length > MAX_KEPT_BYTES) return places;
  if (dictionaries.size >= MAX_DICTIONARIES) dictionaries.clear();
  dictionaries.set(dictionary, places);
  return places;
}

const keyOf = (name: Name) => (typeof name === 'string' ? name : name[0]);

function named(name: Exclude<Name, string>, point: Omit<Metric, 'key'>): Metric {
  const [key, modelId, datasetName, datasetDigest] = name;
  return {
    key,
    ...point,
    ...(modelId === null ? {} : { modelId }),
    ...(datasetName === null ? {} : { datasetName }),
    ...(datasetDigest === null ? {} : { datasetDigest }),
  };
}

function placeOf(point: Metric, names: Name[], places: Map<string, number>): number {
  const { key, modelId, datasetName, datasetDigest } = point;
  const plain = modelId === undefined && datasetName === undefined && datasetDigest === undefined;
  const name: Name = plain
    ? key
    : [key, modelId ?? null, datasetName ?? null, datasetDigest ?? null];
  const id = plain ? key : JSON.stringify(name);
  const known = places.get(id);
  if (known !== undefined) return known;
  places.set(id, names.length);
  return names.push(name) - 1;
}

const isWide = (value: Long) => typeof value === 'bigint' || value > NARROW || value < -NARROW;

function writeColumn(
  writer: { bytes: Buffer; at: number },
  points: readonly Metric[],
  column: 'step' | 'timestamp',
  wide: boolean,
) {
  let last = 0;
  for (const point of points) {
    const value = point[column];
    if (wide) writer.at = writer.bytes.writeBigInt64LE(BigInt(value), writer.at);
    else {
      const delta = Number(value) - last;
      writeVarint(writer, delta >= 0 ? delta * 2 : -delta * 2 - 1);
      last = Number(value);
    }
  }
}

function readColumn(reader: { bytes: Buffer; at: number }, count: number, wide: boolean): Long[] {
  const column: Long[] = [];
  let last = 0;
  for (let i = 0; i < count; i++) {
    if (wide) {
      const value = reader.bytes.readBigInt64LE(reader.at);
      reader.at += 8;
      column.push(Number.isSafeInteger(Number(value)) ? Number(value) : value);
    } else {
      const zigzag = readVarint(reader);
      last += zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2;
      column.push(last);
    }
  }
  return column;
}

/** Seven bits a byte, least first; up to 2^53, where shifts no longer reach. */
function writeVarint(writer: { bytes: Buffer; at: number }, value: number) {
  let rest = value;
  while (rest >= 128) {
    writer.bytes[writer.at++] = (rest % 128) | 128;
    rest = Math.floor(rest / 128);
  }
  writer.bytes[writer.at++] = rest;
}

function readVarint(reader: { bytes: Buffer; at: number }): number {
  let value = 0;
  let scale = 1;
  for (;;) {
    const byte = reader.bytes[reader.at++];
    if (byte === undefined) throw new Error('a metric block ends early');
    value += (byte & 127) * scale;
    if (byte < 128) return value;
    scale *= 128;
  }
}
