import * as z from 'zod';
import { Problem } from '../kernel/problem.ts';
import type { Signature } from './model.ts';

/** One tensor of the Open Inference Protocol, its data flat in row-major order. */
export interface Tensor {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  readonly data: readonly Scalar[];
}
type Scalar = boolean | number | bigint | string | null;

const INTEGERS = {
  UINT8: [0n, 2n ** 8n - 1n],
  UINT16: [0n, 2n ** 16n - 1n],
  UINT32: [0n, 2n ** 32n - 1n],
  UINT64: [0n, 2n ** 64n - 1n],
  INT8: [-(2n ** 7n), 2n ** 7n - 1n],
  INT16: [-(2n ** 15n), 2n ** 15n - 1n],
  INT32: [-(2n ** 31n), 2n ** 31n - 1n],
  INT64: [-(2n ** 63n), 2n ** 63n - 1n],
} as const;
type IntegerType = keyof typeof INTEGERS;
type Datatype = IntegerType | 'BOOL' | 'FP32' | 'FP64' | 'BYTES';
const DATATYPES: readonly string[] = ['BOOL', ...Object.keys(INTEGERS), 'FP32', 'FP64', 'BYTES'];
const FLOAT32_MAX = 3.4028234663852886e38;

const MAX_DIMENSIONS = 8;
const MAX_VALUES = 10_000_000;

const RequestTensor = z.object({
  name: z.string().min(1).max(512),
  shape: z.array(z.unknown()),
  datatype: z.string(),
  parameters: z.record(z.string(), z.unknown()).nullish(),
  data: z.unknown().optional(),
});
/** The body of `POST /v2/models/{m}/infer`. Tensors are read one by one, so that a problem names its tensor. */
export const InferRequest = z.object({
  id: z.string().max(1000).nullish(),
  parameters: z.record(z.string(), z.unknown()).nullish(),
  inputs: z.array(RequestTensor).min(1, 'must hold at least one tensor').max(2000),
  outputs: z
    .array(
      z.object({
        name: z.string(),
        parameters: z.record(z.string(), z.unknown()).nullish(),
      }),
    )
    .nullish(),
});
export type InferRequest = z.infer<typeof InferRequest>;

const refuse = (name: string, why: string) =>
  new Problem('invalid', `Tensor '${name}': ${why}.`, { field: name });

/** Throws `invalid` naming the tensor. Shape and data must agree; data may be flat or nested as the shape says. */
export function readTensor(raw: z.infer<typeof RequestTensor>): Tensor {
  const { name, datatype } = raw;
  if (raw.parameters && 'binary_data_size' in raw.parameters)
    throw refuse(name, 'binary tensors are not read here; send data as JSON');
  if (datatype === 'FP16') throw refuse(name, 'FP16 exists only as binary data; send FP32 as JSON');
  if (!DATATYPES.includes(datatype))
    throw refuse(name, `datatype ${JSON.stringify(datatype)} is none of ${DATATYPES.join(', ')}`);
  const shape = readShape(name, raw.shape);
  if (!Array.isArray(raw.data)) throw refuse(name, 'data must be an array');
  const count = shape.reduce((product, size) => product * size, 1);
  if (count > MAX_VALUES) throw refuse(name, `it holds more than ${MAX_VALUES} values`);
  const flat = raw.data.some((item) => Array.isArray(item))
    ? unnested(name, raw.data, shape)
    : raw.data;
  if (flat.length !== count)
    throw refuse(name, `shape [${shape}] holds ${count} values and data has ${flat.length}`);
  const check = checkerOf(datatype as Datatype);
  for (let i = 0; i < flat.length; i += 1) {
    const why = check(flat[i]);
    if (why) throw refuse(name, `data[${i}] ${why}`);
  }
  return { name, datatype: datatype as Datatype, shape, data: flat as Scalar[] };
}

function readShape(name: string, shape: readonly unknown[]): number[] {
  if (shape.length < 1 || shape.length > MAX_DIMENSIONS)
    throw refuse(name, `shape must have 1 to ${MAX_DIMENSIONS} dimensions`);
  for (const size of shape)
    if (!Number.isSafeInteger(size) || (size as number) < 1)
      throw refuse(name, `shape [${shape}] must hold whole numbers above 0`);
  return shape as number[];
}

function unnested(name: string, data: readonly unknown[], shape: readonly number[]): unknown[] {
  let level: unknown[] = [...data];
  shape.forEach((size, depth) => {
    if (depth === 0) {
      if (level.length !== size)
        throw refuse(name, `data has ${level.length} rows, shape [${shape}]`);
      return;
    }
    for (const part of level)
      if (!Array.isArray(part) || part.length !== size)
        throw refuse(name, `data is not nested as its shape [${shape}] says`);
    level = (level as unknown[][]).flat();
  });
  return level;
}

/** Says what is wrong with a value of this type, or undefined. */
function checkerOf(datatype: Datatype): (value: unknown) => string | undefined {
  if (datatype === 'BOOL')
    return (value) => (typeof value === 'boolean' ? undefined : 'must be true or false');
  if (datatype === 'BYTES')
    return (value) => (typeof value === 'string' ? undefined : 'must be a string');
  if (datatype === 'FP32' || datatype === 'FP64') {
    const limit = datatype === 'FP32' ? FLOAT32_MAX : Number.MAX_VALUE;
    return (value) =>
      (typeof value === 'number' || typeof value === 'bigint') && Math.abs(Number(value)) <= limit
        ? undefined
        : `must be a finite number of ${datatype}`;
  }
  const [least, most] = INTEGERS[datatype];
  return (value) => {
    const whole = typeof value === 'bigint' || Number.isSafeInteger(value);
    const inside = whole && BigInt(value as number) >= least && BigInt(value as number) <= most;
    return inside ? undefined : `must be a whole number of ${datatype}`;
  };
}

/** The tensor's data nested as its shape says. */
function nested({ data, shape }: Pick<Tensor, 'data' | 'shape'>): unknown[] {
  let level: unknown[] = [...data];
  for (const size of shape.slice(1).reverse())
    level = Array.from({ length: level.length / size }, (_, i) =>
      level.slice(i * size, (i + 1) * size),
    );
  return level;
}

/**
 * MLflow's body for these tensors: one matrix [n,k], or columns of [n] or [n,1] by name, as MLServer's pandas codec
 * reads them (kube.md section 4.2). A model of tensors gets them by name. Throws `invalid` naming the tensor.
 */
export function invocationOf(
  tensors: readonly Tensor[],
  signature: Signature | undefined,
): Record<string, unknown> {
  const names = new Set<string>();
  for (const { name } of tensors) {
    if (names.has(name)) throw refuse(name, 'it is given twice');
    names.add(name);
  }
  const [first] = tensors;
  if (!first) throw new Problem('invalid', 'inputs: must hold at least one tensor');
  if (signature?.kind === 'tensors') {
    const named = signature.inputs.some(({ name }) => names.has(name));
    if (!named && tensors.length === 1) return { inputs: nested(first) };
    return { inputs: Object.fromEntries(tensors.map((tensor) => [tensor.name, nested(tensor)])) };
  }
  if (tensors.length === 1 && width(first) > 1) return matrix(first, signature);
  return columns(tensors);
}

const width = ({ shape }: Tensor): number => shape.slice(1).reduce((a, b) => a * b, 1);

function matrix(tensor: Tensor, signature: Signature | undefined): Record<string, unknown> {
  const data = nested(tensor);
  if (!signature || tensor.shape.length !== 2) return { inputs: data };
  if (signature.inputs.length !== tensor.shape[1])
    throw refuse(
      tensor.name,
      `the model takes ${signature.inputs.length} columns and shape [${tensor.shape}] has ${tensor.shape[1]}`,
    );
  return { dataframe_split: { columns: signature.inputs.map(({ name }) => name), data } };
}

function columns(tensors: readonly Tensor[]): Record<string, unknown> {
  const rows = tensors[0]?.shape[0] ?? 0;
  for (const tensor of tensors) {
    if (width(tensor) > 1)
      throw refuse(
        tensor.name,
        `beside other tensors it is a column, so its shape must be [${rows}]`,
      );
    if (tensor.shape[0] !== rows)
      throw refuse(
        tensor.name,
        `it has ${tensor.shape[0]} rows and '${tensors[0]?.name}' has ${rows}`,
      );
  }
  const data = Array.from({ length: rows }, (_, row) => tensors.map((tensor) => tensor.data[row]));
  return { dataframe_split: { columns: tensors.map(({ name }) => name), data } };
}

/** A model's `predictions`, and which of its columns held a number written with a fraction. */
export interface Predicted {
  readonly predictions: unknown;
  readonly fractions: ReadonlySet<string>;
}

/** Reads MLflow's answer. Python writes 1.0 for a float, which a parsed number no longer shows. */
export function readPredictions(text: string): Predicted {
  const fractions = new Set<string>();
  const notice = (key: string, value: unknown, context?: { source?: string }): unknown => {
    if (typeof value !== 'number' || !context?.source) return value;
    if (/[.eE]/.test(context.source)) fractions.add(/^\d+$/.test(key) ? '' : key);
    else if (!Number.isSafeInteger(value)) return BigInt(context.source);
    return value;
  };
  let body: unknown;
  try {
    body = JSON.parse(text, notice);
  } catch (cause) {
    throw new Problem('internal', 'The model answered with what is not JSON.', { cause });
  }
  if (typeof body !== 'object' || body === null || !('predictions' in body))
    throw new Problem('internal', 'The model answered without predictions.');
  return { predictions: body.predictions, fractions };
}

/** Output tensors of a tabular model: one `predict` for an array, one a column for records. */
export function outputsOf({ predictions, fractions }: Predicted): Tensor[] {
  const rows: unknown[] = Array.isArray(predictions)
    ? predictions
    : isRecord(predictions) && Object.values(predictions).every((item) => Array.isArray(item))
      ? byRow(predictions as Record<string, unknown[]>)
      : [predictions];
  if (rows.length && rows.every(isRecord)) {
    const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    return names.map((name) =>
      tensorOf(
        name,
        rows.map((row) => row[name] ?? null),
        fractions.has(name) || fractions.has(''),
      ),
    );
  }
  return [tensorOf('predict', rows, fractions.size > 0)];
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function byRow(columnsByName: Record<string, unknown[]>): unknown[] {
  const names = Object.keys(columnsByName);
  const rows = columnsByName[names[0] ?? '']?.length ?? 0;
  return Array.from({ length: rows }, (_, row) =>
    Object.fromEntries(names.map((name) => [name, columnsByName[name]?.[row] ?? null])),
  );
}

function tensorOf(name: string, values: readonly unknown[], fraction: boolean): Tensor {
  const shape = [values.length];
  let level: unknown[] = [...values];
  while (level.length && level.every((item) => Array.isArray(item))) {
    const size = (level[0] as unknown[]).length;
    if (!level.every((item) => (item as unknown[]).length === size)) break;
    shape.push(size);
    level = (level as unknown[][]).flat();
  }
  const kinds = new Set(level.filter((item) => item !== null).map((item) => typeof item));
  const only = (kind: string) => kinds.size === 1 && kinds.has(kind as 'string');
  if (only('boolean')) return { name, datatype: 'BOOL', shape, data: level as Scalar[] };
  const numbers = [...kinds].every((kind) => kind === 'number' || kind === 'bigint');
  if (numbers) {
    const datatype = fraction || level.includes(null) ? 'FP64' : 'INT64';
    return { name, datatype, shape, data: level as Scalar[] };
  }
  const data = level.map((item) => (typeof item === 'string' ? item : JSON.stringify(item)));
  return { name, datatype: 'BYTES', shape, data };
}
