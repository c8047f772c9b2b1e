import * as z from 'zod';
import { Problem } from '../kernel/problem.ts';
import { isLater, type Lifecycle, type Metric, type RunId } from './model.ts';

/** `m-` and 32 hex digits; what else looks like an id is asked for and not found. */
export const LoggedModelId = z
  .string()
  .regex(/^[\w-]{1,64}$/, 'must be a model id such as m-0123456789abcdef0123456789abcdef');

export const LOGGED_MODEL_STATUS = {
  LOGGED_MODEL_STATUS_UNSPECIFIED: 0,
  LOGGED_MODEL_PENDING: 1,
  LOGGED_MODEL_READY: 2,
  LOGGED_MODEL_UPLOAD_FAILED: 3,
} as const;
export type LoggedModelStatus = keyof typeof LOGGED_MODEL_STATUS;

/** A metric of a model, and the run that logged it. */
export type ModelMetric = Metric & { readonly runId: RunId };

export interface LoggedModel {
  readonly id: string;
  readonly experimentId: string;
  readonly name: string;
  readonly modelType?: string;
  readonly sourceRunId?: string;
  readonly status: LoggedModelStatus;
  /** Where its files lie: `<the experiment's root>/models/<id>/artifacts`. */
  readonly artifactUri: string;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly lifecycle: Lifecycle;
  readonly tags: ReadonlyMap<string, string>;
  readonly params: ReadonlyMap<string, string>;
}

/** A model with the latest point of each of its metrics, by key, dataset and run. */
export type MeasuredModel = LoggedModel & { readonly metrics: readonly ModelMetric[] };

export const MODEL_LIMITS = {
  nameLength: 500,
  typeLength: 500,
  /** Tags and params together, as they are kept. */
  documentBytes: 300_000,
  /** All latest metrics together, as they are kept. */
  metricBytes: 300_000,
  /** Models that one batch of metrics may name. */
  modelsPerBatch: 50,
  searchResults: 1_000,
  defaultResults: 100,
} as const;

/** Which versions were made of a model, as JSON: `[{"name": .., "version": ".."}]`. Source: mlflow/utils/mlflow_tags.py. */
export const VERSIONS_TAG = 'mlflow.modelVersions';

/** Throws `invalid`. Source: mlflow/utils/validation.py, _validate_logged_model_name. */
export function checkModelName(name: string): void {
  const plain = name.normalize('NFKC'); // a full-width dot or slash counts as what it looks like
  if (name.trim() === '' || /[/:.%"'\\]|\p{C}/u.test(plain))
    throw new Problem(
      'invalid',
      `Invalid model name ('${name.slice(0, 300)}') provided. Model name must be a non-empty string and cannot contain the following characters: ('/', ':', '.', '%', '"', "'", '\\\\')`,
      { field: 'name' },
    );
  if (name.length > MODEL_LIMITS.nameLength)
    throw new Problem(
      'invalid',
      `'name' exceeds the maximum length of ${MODEL_LIMITS.nameLength} characters`,
      { field: 'name' },
    );
}

const identity = (metric: ModelMetric) =>
  JSON.stringify([metric.key, metric.datasetName, metric.datasetDigest, metric.runId]);

/** Keeps the later of two points of the same metric, dataset and run; of NaN and 0 in one place, 0. */
export function mergeLatest(
  held: readonly ModelMetric[],
  points: readonly ModelMetric[],
): ModelMetric[] {
  const latest = new Map(held.map((metric) => [identity(metric), metric]));
  for (const point of points) {
    const name = identity(point);
    const before = latest.get(name);
    const stays = before && (isLater(before, point) || !Number.isNaN(before.value));
    if (!before || isLater(point, before) || !stays) latest.set(name, point);
  }
  return [...latest.values()];
}
