import * as z from 'zod';
import { DEFAULT_WORKSPACE } from '../kernel/ids.ts';
import { Problem } from '../kernel/problem.ts';
import { enumeration } from '../kernel/proto.ts';
import { mlflowMessage } from '../protocols/mlflow.ts';
import {
  type Experiment,
  ExperimentId,
  LIMITS,
  type Long,
  type Metric,
  type Run,
  RunId,
  type Tag,
  type View,
} from './model.ts';

// ---------------------------------------------------------------- requests

const WORDS: Readonly<Record<string, number>> = {
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  '-Infinity': Number.NEGATIVE_INFINITY,
};
const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);

function readLong(value: unknown): Long | undefined {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value + 0 : undefined;
  const read = typeof value === 'string' && /^-?\d{1,19}$/.test(value) ? BigInt(value) : value;
  if (typeof read !== 'bigint' || read > INT64_MAX || read < INT64_MIN) return undefined;
  return Number.isSafeInteger(Number(read)) ? Number(read) : read;
}

function readDouble(value: unknown): number | undefined {
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint') return Number(value);
  if (typeof value !== 'string') return undefined;
  if (Object.hasOwn(WORDS, value)) return WORDS[value];
  return /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(value) ? Number(value) : undefined;
}

type Refuse = (path: (string | number)[], message: string) => never;
type Fields = Record<string, unknown>;

/**
 * The arrays of a batch, checked by hand: a schema an element would cost a quarter of the throughput (performance.md
 * section 2). `read` gives one element, or refuses naming its field.
 */
function hotArray<T>(read: (fields: Fields, at: number, refuse: Refuse) => T) {
  return z
    .unknown()
    .optional()
    .transform((value, context): readonly T[] => {
      if (value === undefined || value === null) return [];
      const issue: Refuse = (path, message) => {
        context.addIssue({ code: 'custom', path, message, input: value });
        throw REFUSED;
      };
      try {
        if (!Array.isArray(value)) return issue([], 'must be a list');
        return value.map((element, at) => {
          if (typeof element !== 'object' || element === null || Array.isArray(element))
            return issue([at], 'must be an object');
          return read(element, at, issue);
        });
      } catch (error) {
        if (error !== REFUSED) throw error;
        return z.NEVER;
      }
    });
}
const REFUSED = new Error('refused');

function textField(fields: Fields, name: string, at: number, refuse: Refuse): string {
  const value = fields[name];
  return typeof value === 'string' ? value : refuse([at, name], 'must be a string');
}

function optionalText(fields: Fields, name: string, camel: string, at: number, refuse: Refuse) {
  const value = fields[name] ?? fields[camel] ?? undefined;
  if (value === undefined || value === '') return undefined;
  return typeof value === 'string' ? value : refuse([at, name], 'must be a string');
}

export const Metrics = hotArray((fields, at, refuse): Metric => {
  const key = textField(fields, 'key', at, refuse);
  const value = readDouble(fields['value']) ?? refuse([at, 'value'], 'must be a number');
  const timestamp =
    readLong(fields['timestamp']) ?? refuse([at, 'timestamp'], 'must be an integer of 64 bits');
  const step =
    readLong(fields['step'] ?? 0) ?? refuse([at, 'step'], 'must be an integer of 64 bits');
  const point = { key, value, timestamp, step };
  return hasOrigin(fields) ? { ...point, ...originOf(fields, at, refuse) } : point;
});

const hasOrigin = (fields: Fields) =>
  'model_id' in fields ||
  'dataset_name' in fields ||
  'modelId' in fields ||
  'datasetName' in fields;

function originOf(fields: Fields, at: number, refuse: Refuse) {
  const modelId = optionalText(fields, 'model_id', 'modelId', at, refuse);
  const datasetName = optionalText(fields, 'dataset_name', 'datasetName', at, refuse);
  const datasetDigest = optionalText(fields, 'dataset_digest', 'datasetDigest', at, refuse);
  return origin(modelId, datasetName, datasetDigest);
}

/** What a metric says of where it was measured, leaving out what is empty. */
export const origin = (modelId?: string, datasetName?: string, datasetDigest?: string) => ({
  ...(modelId ? { modelId } : {}),
  ...(datasetName ? { datasetName } : {}),
  ...(datasetDigest ? { datasetDigest } : {}),
});

/** Tags and params: a key, and a value that may be left out. */
export const Pairs = hotArray(
  (fields, at, refuse): Tag => ({
    key: textField(fields, 'key', at, refuse),
    value:
      fields['value'] === undefined || fields['value'] === null
        ? ''
        : textField(fields, 'value', at, refuse),
  }),
);

/** `run_uuid` is the deprecated twin of `run_id`; old clients and the web UI still send it. */
export const RunRef = {
  run_id: z.union([z.literal(''), RunId]).optional(),
  run_uuid: z.union([z.literal(''), RunId]).optional(),
};

export function runOf(input: {
  run_id?: string | undefined;
  run_uuid?: string | undefined;
}): RunId {
  const id = input.run_id || input.run_uuid;
  if (id) return id as RunId;
  throw new Problem(
    'invalid',
    "Missing value for required parameter 'run_id'. See the API docs for more information about request parameters.",
    { field: 'run_id' },
  );
}

export const runResource = (input: {
  run_id?: string | undefined;
  run_uuid?: string | undefined;
}) => `runs/${input.run_id || input.run_uuid || ''}`;

export const ByExperiment = { experiment_id: ExperimentId };
export const experimentResource = (input: { experiment_id: string }) =>
  `experiments/${input.experiment_id}`;

const VIEW_TYPE = { ACTIVE_ONLY: 1, DELETED_ONLY: 2, ALL: 3 } as const;
const VIEWS: Readonly<Record<keyof typeof VIEW_TYPE, View>> = {
  ACTIVE_ONLY: 'active',
  DELETED_ONLY: 'deleted',
  ALL: 'all',
};
export const viewOf = (type: keyof typeof VIEW_TYPE | undefined): View =>
  type === undefined ? 'active' : VIEWS[type];

/** 0 counts as unset, as in stock. */
export const ViewType = z.preprocess(
  (value) => (value === 0 ? undefined : value),
  enumeration(VIEW_TYPE, 'lenient').optional(),
);

/** A page's size; what is outside is refused in stock's words. */
export function pageSize(value: number, most: number = LIMITS.searchResults): number {
  if (value >= 1 && value <= most) return value;
  const why = value < 1 ? 'It must be a positive integer' : `It must be at most ${most}`;
  throw new Problem(
    'invalid',
    `Invalid value ${value} for parameter 'max_results' supplied: ${why}, but got value ${value}`,
    { field: 'max_results' },
  );
}

/** A text field: a number in its place is refused. */
export const text = z.string();
export const Dataset = mlflowMessage({
  name: text,
  digest: text,
  source_type: text,
  source: text,
  schema: text.optional(),
  profile: text.optional(),
});
export const InputTag = mlflowMessage({ key: text, value: text });

// ---------------------------------------------------------------- answers

const pairs = (map: ReadonlyMap<string, string>) =>
  [...map].map(([key, value]) => ({ key, value }));

/** An empty list is left out, as proto2 prints it. */
const unlessEmpty = <K extends string, T>(name: K, list: readonly T[]) =>
  (list.length ? { [name]: list } : {}) as Partial<Record<K, readonly T[]>>;

/**
 * NaN as the word, the infinities as the largest doubles: what stock's SQL store gives back.
 * Source: mlflow.md section 5.3 item 3.
 */
function valueOnWire(value: number): number | 'NaN' {
  if (Number.isNaN(value)) return 'NaN';
  if (value === Number.POSITIVE_INFINITY) return Number.MAX_VALUE;
  return value === Number.NEGATIVE_INFINITY ? -Number.MAX_VALUE : value;
}

export const metricOnWire = ({ key, value, timestamp, step }: Metric) => ({
  key,
  value: valueOnWire(value),
  timestamp,
  step,
});

export function experimentOnWire(experiment: Experiment, workspace: string) {
  return {
    experiment_id: experiment.id,
    name: experiment.name,
    artifact_location: experiment.artifactRoot,
    lifecycle_stage: experiment.lifecycle,
    last_update_time: experiment.updatedAt,
    creation_time: experiment.createdAt,
    ...unlessEmpty('tags', pairs(experiment.tags)),
    workspace: workspace === DEFAULT_WORKSPACE ? 'default' : workspace,
  };
}

export const runInfoOnWire = (run: Run) => ({
  run_id: run.id,
  run_uuid: run.id,
  run_name: run.name,
  experiment_id: run.experimentId,
  user_id: run.userId,
  status: run.status,
  start_time: run.startTime,
  ...(run.endTime === undefined ? {} : { end_time: run.endTime }),
  artifact_uri: run.artifactUri,
  lifecycle_stage: run.lifecycle,
});

export function runOnWire(run: Run) {
  const inputs = run.inputs.map(({ dataset, tags }) => {
    const { sourceType, ...plain } = dataset;
    return { ...unlessEmpty('tags', tags), dataset: { ...plain, source_type: sourceType } };
  });
  return {
    info: runInfoOnWire(run),
    data: {
      ...unlessEmpty('metrics', run.metrics.map(metricOnWire)),
      ...unlessEmpty('params', pairs(run.params)),
      ...unlessEmpty('tags', pairs(run.tags)),
    },
    inputs: {
      ...unlessEmpty('dataset_inputs', inputs),
      ...unlessEmpty(
        'model_inputs',
        run.modelInputs.map((model_id) => ({ model_id })),
      ),
    },
    outputs: unlessEmpty(
      'model_outputs',
      run.outputs.map(({ modelId, step }) => ({ model_id: modelId, step })),
    ),
  };
}

// ---------------------------------------------------------------- their schemas

const Int64 = z.union([z.number().int(), z.bigint()]);
const PairsOnWire = z.array(z.object({ key: z.string(), value: z.string() })).optional();
export const Nothing = z.object({});
export const MetricOnWire = z.object({
  key: z.string(),
  value: z.union([z.number(), z.literal('NaN')]),
  timestamp: Int64,
  step: Int64,
  run_id: z.string().optional(),
});
export const ExperimentOnWire = z.object({
  experiment_id: z.string(),
  name: z.string(),
  artifact_location: z.string(),
  lifecycle_stage: z.enum(['active', 'deleted']),
  last_update_time: Int64,
  creation_time: Int64,
  tags: PairsOnWire,
  workspace: z.string(),
});
export const RunInfoOnWire = z.object({
  run_id: z.string(),
  run_uuid: z.string(),
  run_name: z.string(),
  experiment_id: z.string(),
  user_id: z.string(),
  status: z.string(),
  start_time: Int64,
  end_time: Int64.optional(),
  artifact_uri: z.string(),
  lifecycle_stage: z.enum(['active', 'deleted']),
});
export const RunOnWire = z.object({
  info: RunInfoOnWire,
  data: z.object({
    metrics: z.array(MetricOnWire).optional(),
    params: PairsOnWire,
    tags: PairsOnWire,
  }),
  inputs: z.object({
    dataset_inputs: z
      .array(z.object({ tags: PairsOnWire, dataset: z.record(z.string(), z.string()) }))
      .optional(),
    model_inputs: z.array(z.object({ model_id: z.string() })).optional(),
  }),
  outputs: z.object({
    model_outputs: z.array(z.object({ model_id: z.string(), step: Int64 })).optional(),
  }),
});
