import type { Call } from '../kernel/call.ts';
import { Problem } from '../kernel/problem.ts';
import { isPrompt, LIMITS, PROMPT_SOURCES, type Tags } from './model.ts';

/** What the floor below knows of runs, logged models and files; app.ts gives it. */
export interface Lineage {
  /** The root of a run's artifacts, or undefined for an unknown run. */
  runRoot(call: Call, runId: string): Promise<string | undefined>;
  /** A logged model that is not deleted. */
  model(
    call: Call,
    modelId: string,
  ): Promise<{ readonly artifactUri: string; readonly sourceRunId?: string } | undefined>;
  /** The model that a run logged under this name. */
  modelOfRun(
    call: Call,
    runId: string,
    name: string,
  ): Promise<{ readonly artifactUri: string } | undefined>;
  /** Notes a version of the registry in the logged model that it was made of. */
  noteVersion(
    call: Call,
    modelId: string,
    version: { name: string; version: string },
  ): Promise<void>;
  /** The path in our storage that a URI of this workspace names, or undefined. Throws `invalid`. */
  pathOf(call: Call, uri: string): string | undefined;
  /** Where a blob of this workspace lies, to tell our own bucket from others'. */
  locate(call: Call, uri: string): string | undefined;
}

/** A version of the registry that another is copied from. */
export interface CopiedVersion {
  readonly name: string;
  readonly version: number;
  readonly uri: string;
  readonly runId: string;
  readonly modelId: string;
  readonly prompt: boolean;
}
/** Throws `missing`, `invalid`. */
export type FindVersion = (call: Call, uri: VersionUri) => Promise<CopiedVersion>;

export interface WantedSource {
  readonly name: string;
  readonly source: string;
  readonly runId: string | undefined;
  readonly modelId: string | undefined;
  readonly tags: Tags;
}
/** A source whose owner is known, and where its files lie. */
export interface CheckedSource {
  readonly source: string;
  readonly uri: string;
  readonly runId: string;
  readonly modelId: string;
}

export type RegistryUri =
  | { readonly kind: 'model'; readonly modelId: string; readonly path: string }
  | { readonly kind: 'version'; readonly name: string; readonly selector: string }
  | { readonly kind: 'alias'; readonly name: string; readonly alias: string };

export type VersionUri = Exclude<RegistryUri, { kind: 'model' }>;

/** `models:/m-..`, `models:/name/1`, `models:/name/latest`, `models:/name@alias`; undefined for what is none. */
export function readModelsUri(uri: string): RegistryUri | undefined {
  const rest = /^models:\/(?!\/)(.+)$/.exec(uri)?.[1];
  if (rest === undefined) return undefined;
  const model = /^(m-[0-9a-f]{32})(?:\/(.+))?$/.exec(rest);
  if (model?.[1]) return { kind: 'model', modelId: model[1], path: model[2] ?? '' };
  const alias = /^([^/@]+)@([\p{L}\p{N}_-]+)$/u.exec(rest);
  if (alias?.[1] && alias[2]) return { kind: 'alias', name: alias[1], alias: alias[2] };
  const version = /^([^/@]+)\/([^/@]+)$/.exec(rest);
  if (version?.[1] && version[2])
    return { kind: 'version', name: version[1], selector: version[2] };
  return undefined;
}

/** `runs:/<id>/<path>`. */
export function readRunsUri(uri: string): { runId: string; path: string } | undefined {
  const found = /^runs:\/([\w-]{1,256})(?:\/(.+))?$/.exec(uri);
  return found?.[1] ? { runId: found[1], path: found[2] ?? '' } : undefined;
}

const invalidSource = (source: string, why: string) =>
  new Problem('invalid', `Invalid model version source: '${source.slice(0, 300)}'. ${why}`, {
    field: 'source',
  });
const notOwned = (source: string, id: 'run_id' | 'model_id') =>
  invalidSource(
    source,
    `The ${id} request parameter must identify the resource that contains the source.`,
  );

/**
 * Whether a version may point at this source. What lies in our storage must belong to the run or model that the
 * request names, so that nobody registers, and then serves, what is another's; what lies elsewhere is only a note.
 * Throws `invalid`, and `missing` for a registered version that is not there.
 * Source: mlflow/server/handlers.py, _validate_source_run, _validate_source_model.
 */
export async function checkSource(
  call: Call,
  lineage: Lineage,
  findVersion: FindVersion,
  wanted: WantedSource,
): Promise<CheckedSource> {
  const { source } = wanted;
  const runId = wanted.runId ?? '';
  const modelId = wanted.modelId ?? '';
  if (isPrompt(wanted.tags)) {
    if (!PROMPT_SOURCES.includes(source))
      throw new Problem(
        'invalid',
        `Invalid prompt source: '${source.slice(0, 300)}'. Prompt sources must use an MLflow placeholder.`,
        { field: 'source' },
      );
    return { source, uri: source, runId, modelId };
  }
  checkSpelling(source);
  const scheme = /^([a-z][a-z0-9+.-]+):\//i.exec(source)?.[1]?.toLowerCase();
  if (scheme === 'models') return fromModels(call, lineage, findVersion, wanted);
  if (scheme === 'runs') {
    const named = readRunsUri(source);
    if (!named || modelId || named.runId !== runId)
      throw notOwned(source, modelId ? 'model_id' : 'run_id');
    const uri = await runUri(call, lineage, named);
    if (uri === undefined) throw notOwned(source, 'run_id');
    return { source, uri, runId, modelId };
  }
  const foreign = scheme !== undefined && scheme !== 'file' && scheme !== 'mlflow-artifacts';
  if (
    foreign &&
    !/\/api\/2\.0\/mlflow-artifacts\/artifacts(\/|$)/.test(source) &&
    !isOurs(call, lineage, source)
  )
    return { source, uri: source, runId: runId || (await runOf(call, lineage, modelId)), modelId };
  const root = modelId
    ? (await lineage.model(call, modelId))?.artifactUri
    : runId
      ? await lineage.runRoot(call, runId)
      : undefined;
  if (root !== undefined && isWithin(call, lineage, source, root))
    return { source, uri: source, runId: runId || (await runOf(call, lineage, modelId)), modelId };
  if (foreign || scheme === 'mlflow-artifacts')
    throw notOwned(source, modelId ? 'model_id' : 'run_id');
  throw invalidSource(
    source,
    'To use a local path as a model version source, the run_id request parameter has to be specified and the local path has to be contained within the artifact directory of the run specified by the run_id.',
  );
}

async function fromModels(
  call: Call,
  lineage: Lineage,
  findVersion: FindVersion,
  wanted: WantedSource,
): Promise<CheckedSource> {
  const { source } = wanted;
  const named = readModelsUri(source);
  if (!named) throw notOwned(source, 'model_id');
  if (named.kind === 'model') {
    const model =
      wanted.modelId === named.modelId ? await lineage.model(call, named.modelId) : undefined;
    if (!model) throw notOwned(source, 'model_id');
    const uri = named.path ? `${model.artifactUri}/${named.path}` : model.artifactUri;
    const runId = wanted.runId || (model.sourceRunId ?? '');
    return { source, uri, runId, modelId: named.modelId };
  }
  const copied = await findVersion(call, named);
  if (copied.prompt)
    throw invalidSource(source, 'Prompt versions cannot be used as model version sources.');
  const differs = (given: string | undefined, held: string) =>
    given !== undefined && given !== held;
  if (differs(wanted.runId, copied.runId) || differs(wanted.modelId, copied.modelId))
    throw invalidSource(
      source,
      'The run_id and model_id request parameters must match the referenced model version.',
    );
  return {
    source: `models:/${copied.name}/${copied.version}`,
    uri: copied.uri,
    runId: copied.runId,
    modelId: copied.modelId,
  };
}

/** Where the files of `runs:/<id>/<path>` lie: a model that the run logged under that name, or a file of the run. */
export async function runUri(
  call: Call,
  lineage: Lineage,
  { runId, path }: { runId: string; path: string },
): Promise<string | undefined> {
  const root = await lineage.runRoot(call, runId);
  if (root === undefined) return undefined;
  const model = path ? await lineage.modelOfRun(call, runId, path) : undefined;
  if (model) return model.artifactUri;
  return path ? `${root}/${path}` : root;
}

async function runOf(call: Call, lineage: Lineage, modelId: string): Promise<string> {
  return modelId ? ((await lineage.model(call, modelId))?.sourceRunId ?? '') : '';
}

/** In the bucket that holds this installation's files, be it this workspace's part of it or another's. */
function isOurs(call: Call, lineage: Lineage, source: string): boolean {
  if (lineage.pathOf(call, source) !== undefined) return true;
  const bucket = (uri: string | undefined) => /^s3[an]?:\/\/([^/]+)/i.exec(uri ?? '')?.[1];
  const home = bucket(lineage.locate(call, 'mlflow-artifacts:/0'));
  return home !== undefined && bucket(source) === home;
}

function isWithin(call: Call, lineage: Lineage, source: string, root: string): boolean {
  const [path, folder] = [lineage.pathOf(call, source), lineage.pathOf(call, root)];
  if (path === undefined || folder === undefined) return false;
  return path === folder || path.startsWith(`${folder}/`);
}

const MAX_DECODES = 8;

/**
 * Refuses `..` in every spelling: plain, percent-encoded however often, with backslashes, in a query or fragment, in
 * letters that only look like it. Source: hardening.md rows A01 to A16.
 */
export function checkSpelling(source: string): void {
  if (source.length > LIMITS.sourceLength)
    throw invalidSource(source, `It is longer than ${LIMITS.sourceLength} characters.`);
  const refuse = () =>
    invalidSource(
      source,
      'An absolute path must be provided without relative path references present. Please provide an absolute path.',
    );
  let text = source;
  for (let i = 0; ; i++) {
    let decoded: string;
    try {
      decoded = decodeURIComponent(text);
    } catch {
      throw refuse(); // a broken escape is read differently by each reader
    }
    if (decoded === text) break;
    if (i === MAX_DECODES) throw refuse();
    text = decoded;
  }
  const plain = text.normalize('NFKC');
  if (/[\\\p{C}]/u.test(text) || /[\\\p{C}\ufffd]/u.test(plain)) throw refuse();
  for (const segment of plain.split(/[/?#;&=]/))
    if (/^[.\s]+$/.test(segment) || /\.\.$/.test(segment.trim())) throw refuse();
}
