import * as z from 'zod';
import type { Id } from '../kernel/ids.ts';
import { Problem } from '../kernel/problem.ts';

/** An int64 of the wire: a bigint only beyond 2^53. */
export type Long = number | bigint;

export type RunId = Id<'RunId'>;
/** Ours are 32 hex digits; stock's grammar is what a request may name. Source: mlflow/utils/validation.py, _RUN_ID_REGEX. */
export const RunId = z
  .string()
  .regex(/^[a-zA-Z0-9][\w-]{0,255}$/, 'must be a run id: letters, digits, _ and -')
  .brand<'RunId'>();

export type ExperimentId = Id<'ExperimentId'>;
/** A decimal number that grows and is never given twice; many callers do int(id). */
export const ExperimentId = z
  .string()
  .regex(/^\d{1,18}$/, 'must be a valid integer')
  .brand<'ExperimentId'>();

/** Exists in every workspace from the start, under the name `Default`. */
export const DEFAULT_EXPERIMENT = '0' as ExperimentId;

export const RUN_STATUS = {
  RUNNING: 1,
  SCHEDULED: 2,
  FINISHED: 3,
  FAILED: 4,
  KILLED: 5,
} as const;
export type RunStatus = keyof typeof RUN_STATUS;

export type Lifecycle = 'active' | 'deleted';
/** Which lifecycle a list shows. */
export type View = Lifecycle | 'all';

export interface Tag {
  readonly key: string;
  readonly value: string;
}
export type Param = Tag;

/** A metric's point. `value` is any double; `step` and `timestamp` any int64, the latter ms since the epoch by custom. */
export interface Metric {
  readonly key: string;
  readonly value: number;
  readonly timestamp: Long;
  readonly step: Long;
  readonly modelId?: string;
  readonly datasetName?: string;
  readonly datasetDigest?: string;
}

export interface Experiment {
  readonly id: ExperimentId;
  readonly name: string;
  readonly artifactRoot: string;
  readonly lifecycle: Lifecycle;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly tags: ReadonlyMap<string, string>;
  /** Log partitions that new runs are spread over. */
  readonly shards: number;
  /** Metric rules were set here once: each point goes through the log, so that the compactor looks at it. */
  readonly watched?: boolean;
  readonly version: number;
}

export interface Dataset {
  readonly name: string;
  readonly digest: string;
  readonly sourceType: string;
  readonly source: string;
  readonly schema?: string;
  readonly profile?: string;
}
export interface DatasetInput {
  readonly dataset: Dataset;
  readonly tags: readonly Tag[];
}
export interface ModelOutput {
  readonly modelId: string;
  readonly step: Long;
}

/** A run as a read gives it: its document with what the log holds beyond it. */
export interface Run {
  readonly id: RunId;
  readonly experimentId: ExperimentId;
  readonly name: string;
  readonly userId: string;
  readonly status: RunStatus;
  readonly startTime: Long;
  readonly endTime?: Long;
  readonly artifactUri: string;
  readonly lifecycle: Lifecycle;
  /** The latest point of each key, by key. */
  readonly metrics: readonly Metric[];
  readonly params: ReadonlyMap<string, string>;
  readonly tags: ReadonlyMap<string, string>;
  readonly inputs: readonly DatasetInput[];
  readonly modelInputs: readonly string[];
  readonly outputs: readonly ModelOutput[];
}

export interface Batch {
  readonly metrics?: readonly Metric[];
  readonly params?: readonly Param[];
  readonly tags?: readonly Tag[];
}

export interface DatasetSummary {
  readonly experimentId: ExperimentId;
  readonly name: string;
  readonly digest: string;
  readonly context: string;
}

/** Tells `tracking.metric-rule.held` once each time the latest value of `metric` comes to hold. */
export const MetricRule = z.strictObject({
  experimentId: ExperimentId,
  /** Of the experiment's own: two experiments may have a rule of one id. */
  id: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,63}$/, 'must be 1 to 64 of a-z, 0-9 and -, the first no dash'),
  metric: z.string().min(1).max(250),
  comparison: z.enum(['>', '>=', '<', '<=', '=']),
  threshold: z.number(),
  /** Only this run; otherwise every run of the experiment. */
  runId: RunId.optional(),
});
export type MetricRule = z.infer<typeof MetricRule>;
/** What names one. */
export const MetricRuleRef = MetricRule.pick({ experimentId: true, id: true });
export type MetricRuleRef = z.infer<typeof MetricRuleRef>;

/** Source: mlflow/utils/validation.py. */
export const LIMITS = {
  batchMetrics: 1000,
  batchParams: 100,
  batchTags: 100,
  batchEntities: 1000,
  keyLength: 250,
  paramLength: 6000,
  tagLength: 8000,
  experimentNameLength: 500,
  experimentTagLength: 20_000,
  artifactLocationLength: 500,
  datasets: 1000,
  datasetNameLength: 500,
  datasetDigestLength: 36,
  datasetSourceLength: 65_535,
  datasetSchemaLength: 1_048_575,
  datasetProfileLength: 16_777_215,
  inputTagKeyLength: 255,
  inputTagValueLength: 500,
  searchResults: 50_000,
} as const;

export const RUN_NAME_TAG = 'mlflow.runName';
export const DATASET_CONTEXT_TAG = 'mlflow.data.context';

/** NaN ranks as 0. Source: mlflow/store/tracking/sqlalchemy_store.py, sanitize_metric_value. */
const rankOf = ({ value }: Metric) => (Number.isNaN(value) ? 0 : value);

/**
 * Whether `a` comes after `b` as the latest point of a key: by step, timestamp, value. Of equals the first stays.
 * Source: the same, _update_latest_metrics_if_necessary.
 */
export function isLater(a: Metric, b: Metric): boolean {
  if (a.step !== b.step) return a.step > b.step;
  if (a.timestamp !== b.timestamp) return a.timestamp > b.timestamp;
  return rankOf(a) > rankOf(b);
}

/** Order of a history: timestamp, step, value, with NaN right after 0. Source: the same, get_metric_history. */
export function byTime(a: Metric, b: Metric): number {
  if (a.timestamp !== b.timestamp) return a.timestamp < b.timestamp ? -1 : 1;
  if (a.step !== b.step) return a.step < b.step ? -1 : 1;
  const [x, y] = [rankOf(a), rankOf(b)];
  if (x !== y) return x < y ? -1 : 1;
  return Number(Number.isNaN(a.value)) - Number(Number.isNaN(b.value));
}

const invalidValue = (field: string, value: string, why: string) =>
  new Problem(
    'invalid',
    `Invalid value ${JSON.stringify(value.slice(0, 300))} for parameter '${field}' supplied: ${why}`,
    { field },
  );

/** What `posixpath.normpath` gives. */
function normalPath(path: string): string {
  const rooted = path.startsWith('/');
  const kept: string[] = [];
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') kept.push(part);
    else if (kept.length && kept.at(-1) !== '..') kept.pop();
    else if (!rooted) kept.push(part);
  }
  return (rooted ? '/' : '') + kept.join('/') || '.';
}

const PLAIN_KEY = /^[A-Za-z0-9_][\w.\- :]*$/;

/**
 * A metric, param or tag key: letters, digits, `_ - . : /` and blanks, its own normal path, at most 250 characters.
 * Throws `invalid` naming `field`. Source: mlflow/utils/validation.py, _validate_param_name.
 */
export function checkKey(key: string, field: string, what: string): void {
  if (!PLAIN_KEY.test(key)) {
    if (!/^[/\p{L}\p{N}_.\- :]*$/u.test(key))
      throw invalidValue(
        field,
        key,
        'Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/).',
      );
    const normal = normalPath(key);
    if (normal !== key || normal === '.' || normal.startsWith('..') || normal.startsWith('/'))
      throw invalidValue(
        field,
        key,
        `Names may be treated as files in certain cases, and must not resolve to other names when treated as such. This name would resolve to '${normal}'`,
      );
  }
  if (key.length > LIMITS.keyLength)
    throw new Problem(
      'invalid',
      `'${what}' exceeds the maximum length of ${LIMITS.keyLength} characters`,
      {
        field,
      },
    );
}

/** Cut at `limit` characters as stock does, never between the halves of a surrogate pair. */
export function cut(value: string, limit: number): string {
  if (value.length <= limit) return value;
  const last = value.charCodeAt(limit - 1);
  return value.slice(0, last >= 0xd800 && last <= 0xdbff ? limit - 1 : limit);
}
