import { Problem } from '../kernel/problem.ts';
import {
  type Batch,
  checkKey,
  type Dataset,
  type DatasetInput,
  LIMITS,
  type Metric,
  type Param,
  type Tag,
} from './model.ts';

const invalid = (field: string, message: string) => new Problem('invalid', message, { field });

/** What a batch may hold, checked before anything is read. Throws `invalid`. Source: mlflow/utils/validation.py. */
export function checkBatch({ metrics = [], params = [], tags = [] }: Batch): void {
  checkCount('metrics', metrics.length, LIMITS.batchMetrics);
  checkCount('params', params.length, LIMITS.batchParams);
  checkCount('tags', tags.length, LIMITS.batchTags);
  const total = metrics.length + params.length + tags.length;
  checkCount('metrics, params, and tags', total, LIMITS.batchEntities);
  metrics.forEach((metric, i) => {
    checkMetric(metric, `metrics[${i}]`);
  });
  params.forEach(({ key }, i) => {
    checkKey(key, `params[${i}].key`, 'Param key');
  });
  tags.forEach((tag, i) => {
    checkTag(tag, `tags[${i}].`);
  });
  checkUnique(params);
}

function checkCount(what: string, count: number, limit: number) {
  if (count > limit)
    throw invalid(
      what.split(',')[0] ?? what,
      `A batch logging request can contain at most ${limit} ${what}. Got ${count} ${what}. Please split up ${what} across multiple requests and try again.`,
    );
}

export function checkMetric(metric: Metric, path: string): void {
  checkKey(metric.key, path ? `${path}.name` : 'name', 'Metric name');
  if (metric.timestamp < 0)
    throw invalid(
      `${path}.timestamp`,
      `Invalid value ${metric.timestamp} for parameter '${path ? `${path}.` : ''}timestamp' supplied: metric '${metric.key}' (value=${metric.value}). Timestamp must be a nonnegative long (64-bit integer)`,
    );
}

export function checkTag({ key }: Tag, path = ''): void {
  checkKey(key, `${path}key`, `${path}key`);
}

/** Source: mlflow/utils/validation.py, _validate_param_keys_unique. */
function checkUnique(params: readonly Param[]) {
  const seen = new Set<string>();
  const twice = new Set<string>();
  for (const { key } of params) (seen.has(key) ? twice : seen).add(key);
  if (twice.size)
    throw invalid(
      'params',
      `Duplicate parameter keys have been submitted: ${pythonList([...twice])}. Please ensure the request contains only one param value per param key.`,
    );
}

/** `['a', 'b']`, as a message of stock's shows a list of texts. */
const pythonList = (texts: readonly string[]) =>
  `[${texts.map((text) => pythonText(text)).join(', ')}]`;
export const pythonText = (text: string) => `'${text.replace(/['\\]/g, '\\$&')}'`;

export function checkDatasets(inputs: readonly DatasetInput[]): void {
  if (inputs.length > LIMITS.datasets)
    throw invalid(
      'datasets',
      `A log-inputs request may hold at most ${LIMITS.datasets} datasets. Got ${inputs.length}.`,
    );
  inputs.forEach(({ dataset, tags }, i) => {
    const at = `datasets[${i}]`;
    checkDataset(dataset, `${at}.dataset`);
    tags.forEach(({ key, value }, t) => {
      checkText(`${at}.tags[${t}].key`, key, LIMITS.inputTagKeyLength);
      checkText(`${at}.tags[${t}].value`, value, LIMITS.inputTagValueLength);
    });
  });
}

function checkDataset(dataset: Dataset, at: string) {
  const required = ['name', 'digest', 'sourceType', 'source'] as const;
  for (const name of required) {
    const field = `${at}.${name === 'sourceType' ? 'source_type' : name}`;
    if (dataset[name] === '')
      throw invalid(field, `Missing value for required parameter '${field}'.`);
  }
  checkText(`${at}.name`, dataset.name, LIMITS.datasetNameLength);
  checkText(`${at}.digest`, dataset.digest, LIMITS.datasetDigestLength);
  checkText(`${at}.source`, dataset.source, LIMITS.datasetSourceLength);
  checkText(`${at}.schema`, dataset.schema ?? '', LIMITS.datasetSchemaLength);
  checkText(`${at}.profile`, dataset.profile ?? '', LIMITS.datasetProfileLength);
}

function checkText(field: string, text: string, limit: number) {
  if (text.length > limit)
    throw invalid(field, `'${field}' exceeds the maximum length of ${limit} characters`);
}
