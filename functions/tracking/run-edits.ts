import { Problem } from '../kernel/problem.ts';
import { type RunDocument, setText, textOf } from './document.ts';
import { pythonText } from './limits.ts';
import { cut, LIMITS, type Param, RUN_NAME_TAG, type RunId, type Tag } from './model.ts';

export const MODEL_HISTORY_TAG = 'mlflow.log-model.history';
const MODEL_FIELDS = ['artifact_path', 'flavors', 'utc_time_created', 'run_id'];

/** Stock words a param's conflict differently for one and for many. */
export type Wording = 'single' | 'batch';

/** The field or the tag, which must agree where both are given. Undefined if neither says anything. */
export function chosenName(runName: string | undefined, tags: readonly Tag[]): string | undefined {
  const tag = tags.findLast(({ key }) => key === RUN_NAME_TAG)?.value;
  if (runName && tag !== undefined && tag !== runName)
    throw new Problem(
      'invalid',
      `Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values (run_name='${runName}', mlflow.runName='${tag}').`,
      { field: 'run_name' },
    );
  return runName || tag || undefined;
}

/** The names of the tags that changed. The tag mlflow.runName and the run's name are one thing. */
export function setTags(document: RunDocument, tags: readonly Tag[]): string[] {
  const changed: string[] = [];
  for (const { key, value } of tags) {
    const kept = cut(value, LIMITS.tagLength);
    if (key === RUN_NAME_TAG) document.attributes = { ...document.attributes, name: kept };
    if (textOf(document, 'tags', key) === kept) continue;
    setText(document, 'tags', { key, value: kept });
    changed.push(key);
  }
  return changed;
}

/** The names of the new params. Throws `invalid` where one stands with another value. */
export function setParams(
  document: RunDocument,
  runId: RunId,
  params: readonly Param[],
  wording: Wording,
): string[] {
  const fresh: Param[] = [];
  const clashes: { key: string; old: string; value: string }[] = [];
  for (const { key, value } of params) {
    const kept = cut(value, LIMITS.paramLength);
    const old = textOf(document, 'params', key);
    if (old === undefined) fresh.push({ key, value: kept });
    else if (old !== kept) clashes.push({ key, old, value: kept });
  }
  const [clash] = clashes;
  if (clash)
    throw new Problem(
      'invalid',
      wording === 'single'
        ? `Changing param values is not allowed. Param with key=${pythonText(clash.key)} was already logged with value=${pythonText(clash.old)} for run ID='${runId}'. Attempted logging new value ${pythonText(clash.value)}.`
        : `Changing param values is not allowed. Params were already logged=${clashList(clashes)} for run ID='${runId}'.`,
      { field: wording === 'single' ? 'value' : 'params' },
    );
  for (const param of fresh) setText(document, 'params', param);
  return fresh.map(({ key }) => key);
}

const clashList = (clashes: readonly { key: string; old: string; value: string }[]) =>
  `[${clashes
    .map(
      ({ key, old, value }) =>
        `{'key': ${pythonText(key)}, 'old_value': ${pythonText(old)}, 'new_value': ${pythonText(value)}}`,
    )
    .join(', ')}]`;

/** Throws `invalid`. */
export function readModel(text: string): unknown {
  const refuse = (why: string) => new Problem('invalid', why, { field: 'model_json' });
  let model: unknown;
  try {
    model = JSON.parse(text);
  } catch (cause) {
    throw new Problem(
      'invalid',
      `Malformed model info. \n ${text.slice(0, 200)} \n is not valid JSON`,
      {
        field: 'model_json',
        cause,
      },
    );
  }
  const fields = typeof model === 'object' && model !== null ? model : {};
  const missing = MODEL_FIELDS.filter((name) => !Object.hasOwn(fields, name));
  if (missing.length)
    throw refuse(`Model json is missing mandatory fields: [${missing.map(pythonText).join(', ')}]`);
  if (JSON.stringify([model]).length > LIMITS.tagLength)
    throw refuse(
      `The model's description exceeds the maximum length of ${LIMITS.tagLength} characters`,
    );
  return model;
}

/** The oldest go first: the tag has an end. */
export function addToHistory(document: RunDocument, model: unknown): void {
  const before = textOf(document, 'tags', MODEL_HISTORY_TAG);
  const models: unknown[] = [...(before ? JSON.parse(before) : []), model];
  while (models.length > 1 && JSON.stringify(models).length > LIMITS.tagLength) models.shift();
  setTags(document, [{ key: MODEL_HISTORY_TAG, value: JSON.stringify(models) }]);
}
