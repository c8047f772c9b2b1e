import type { Json } from '../kernel/json.ts';
import type { Gate } from '../triggers/model.ts';
import type { RunSeen } from '../triggers/runs.ts';
import type { Decision } from './model.ts';

/** Both sides of the comparison; undefined where nothing is known. */
export interface Compared {
  readonly version: number;
  readonly after: number | undefined;
  readonly champion: number | undefined;
  readonly before: number | undefined;
}

/** The output `<task>.<name>`; a task is found by its name. Undefined if it was skipped or gave none. */
export function outputAt(run: RunSeen, place: string): Json | undefined {
  const dot = place.indexOf('.');
  const task = run.tasks.find(({ name }) => name === place.slice(0, dot));
  return task?.outputs[place.slice(dot + 1)];
}

const NAMES = ['version', 'model_version'];

/**
 * The version that the pipeline registered: where the gate says; else the newest that a step's MLflow run made
 * (`versions` come newest first); else the one output of that name.
 */
export function candidateOf(
  run: RunSeen,
  gate: Gate,
  versions: readonly { version: number; runId?: string | undefined }[],
): number | undefined {
  if (gate.version !== undefined) return versionOf(outputAt(run, gate.version));
  const made = versions.find(({ runId }) => runId !== undefined && run.tracked.includes(runId));
  if (made) return made.version;
  const found = run.tasks
    .flatMap(({ outputs }) => NAMES.map((name) => versionOf(outputs[name])))
    .filter((version) => version !== undefined);
  return new Set(found).size === 1 ? found[0] : undefined;
}

/** A positive whole number, as number or text; a pipeline that registers nothing says 0 or an empty text. */
function versionOf(value: Json | undefined): number | undefined {
  const version = typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : value;
  return typeof version === 'number' && Number.isSafeInteger(version) && version > 0
    ? version
    : undefined;
}

/** A finite number, as number or text. */
export function numberOf(value: Json | undefined): number | undefined {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : undefined;
}

/** Why there is nothing to compare, and what to say where an output was the version. */
export function noVersion({ tasks }: RunSeen, { version }: Gate): string {
  const why = 'the pipeline registered no new version';
  if (version !== undefined) return `${why}: ${version}, which gate.version names, gave no number`;
  const places = tasks.flatMap(({ name, outputs }) =>
    Object.keys(outputs).map((output) => `"${name}.${output}"`),
  );
  if (!places.length) return why;
  const shown = places.slice(0, MAX_PLACES).join(', ');
  const more = places.length > MAX_PLACES ? ', ..' : '';
  return oneLine(`${why}; if an output says its number, set gate.version to it: ${shown}${more}`);
}
const MAX_PLACES = 5;

const MAX_REASON = 500;
/** A reason as a list shows it: what stands first matters most, and the whole stands in the run. */
export function oneLine(text: string): string {
  const line = text.replace(/\s+/g, ' ').trim();
  return line.length > MAX_REASON ? `${line.slice(0, MAX_REASON - 2)}..` : line;
}

/** Why a run that did not succeed was refused: what its failed task said, else what the machine said. */
export function refusalOf(run: RunSeen | undefined, error: string): Decision {
  const failed = run?.tasks.find(({ state }) => state === 'FAILED');
  const said = failed ? `${failed.name}: ${failed.error ?? 'failed'}` : error;
  return { outcome: 'refused', reason: oneLine(said) };
}

/** Whether the new version takes the alias. A metric that is missing or not a number never wins, nor loses. */
export function decide(gate: Gate, { version, after, champion, before }: Compared): Decision {
  const { metric, direction, minimumImprovement, alias } = gate;
  const seen = {
    version,
    ...(champion === undefined ? {} : { champion }),
    ...(after === undefined ? {} : { after }),
    ...(before === undefined ? {} : { before }),
  };
  const decision = (outcome: Decision['outcome'], reason: string) => ({ outcome, reason, ...seen });
  if (after === undefined || !Number.isFinite(after))
    return decision('refused', `${metric} of version ${version} is missing or not a number`);
  if (champion === undefined)
    return decision('promote', `there is no ${alias} yet; ${metric} is ${shown(after)}`);
  if (champion === version)
    return decision('promote', `version ${version} has the alias ${alias} already`);
  if (before === undefined || !Number.isFinite(before))
    return decision(
      'refused',
      `${metric} of the ${alias}, version ${champion}, is missing or not a number`,
    );
  const gain = direction === 'lower' ? before - after : after - before;
  const needed = minimumImprovement * Math.abs(before);
  const both = `${metric} ${shown(after)} against ${shown(before)} of version ${champion}`;
  if (gain > 0 && gain >= needed) return decision('promote', both);
  const short = gain > 0 ? `better, but by less than ${minimumImprovement * 100} %` : 'not better';
  return decision('kept', `${both}: ${short}`);
}

const shown = (value: number): string => String(Number(value.toPrecision(6)));
