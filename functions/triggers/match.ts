import type { Told } from '../kernel/event.ts';
import { hears } from '../kernel/event.ts';
import type { Json } from '../kernel/json.ts';
import { Problem } from '../kernel/problem.ts';
import { type Expected, LIMITS, type On, Place, Start } from './model.ts';

/** An event as rules see it: `$.type`, `$.subject`, `$.data...`. */
export type Seen = Pick<Told, 'id' | 'type' | 'subject' | 'at' | 'data'>;

/** What lies at `$.data.path`, or undefined. Only own members are seen. */
function placed(seen: Seen, place: string): unknown {
  const { id, type, subject, at, data } = seen;
  let held: unknown = { id, type, subject, at, data };
  for (const [, name, index] of place.matchAll(/\.([\w-]+)|\[(\d+)\]/g)) {
    const step = name ?? Number(index);
    if (typeof held !== 'object' || held === null || !Object.hasOwn(held, step)) return undefined;
    held = (held as Record<string | number, unknown>)[step];
  }
  return held;
}

function meets(value: unknown, expected: Expected): boolean {
  if (Array.isArray(expected)) return expected.some((one) => one === value);
  if (typeof expected !== 'object' || expected === null) return expected === value;
  if ('prefix' in expected) return typeof value === 'string' && value.startsWith(expected.prefix);
  if (typeof value !== 'number') return false;
  return 'above' in expected ? value > expected.above : value < expected.below;
}

const DATA_ARRIVED = 'artifacts.data.arrived';

/** Whether a rule is for this event; a clock's rule never is. */
export function isFor(on: On, seen: Seen): boolean {
  if (on.event) {
    if (seen.type.startsWith('triggers.') || !hears([on.event.type], seen.type)) return false;
    return Object.entries(on.event.match).every(([place, expected]) =>
      meets(placed(seen, place), expected),
    );
  }
  if (!on.data || seen.type !== DATA_ARRIVED) return false;
  const path = placed(seen, '$.data.path');
  return typeof path === 'string' && path.startsWith(on.data.prefix);
}

const STARTED = /^(?<rule>[A-Za-z0-9-]{1,40})-(?<firing>[0-9A-HJKMNP-TV-Z]{26})$/;

/** The firing whose run or retraining the event tells of, by the name that `startedName` gave it. */
export function toldOfStart(seen: Seen): { rule: string; firing: string } | undefined {
  const names = [placed(seen, '$.data.name'), placed(seen, '$.data.retraining')];
  for (const name of [...names, seen.subject.split('/').at(-1)]) {
    const start = typeof name === 'string' ? startNamed(name) : undefined;
    if (start) return start;
  }
  return undefined;
}

export function startNamed(name: string): { rule: string; firing: string } | undefined {
  const { rule, firing } = STARTED.exec(name)?.groups ?? {};
  return rule === undefined || firing === undefined ? undefined : { rule, firing };
}

/** The run that the event is about, of a pipeline or of MLflow. */
export function runOf(seen: Seen): string | undefined {
  const runId = placed(seen, '$.data.runId');
  return typeof runId === 'string' ? runId : undefined;
}
export const startedName = (rule: string, firing: string): string => `${rule}-${firing}`;

/**
 * What makes two events the same change: data that arrives again with the same bytes is no news. What came through us
 * says its SHA-256, since a store's etag need not follow from the bytes. S3 tells of it once more, by the etag, which
 * is also all there is of a file that somebody put into the bucket past us.
 */
export function changesOf(on: On, seen: Seen): string[] {
  if (!on.data) return [];
  const path = placed(seen, '$.data.path');
  const sha256 = placed(seen, '$.data.sha256');
  const etag = placed(seen, '$.data.etag');
  return [
    ...(typeof sha256 === 'string' ? [JSON.stringify([path, 'sha256', sha256])] : []),
    ...(typeof etag === 'string' ? [JSON.stringify([path, etag])] : []),
  ];
}

/** The start with its places filled in. Throws `invalid` naming the parameter whose place the event lacks. */
export function filled(start: Start, seen: Seen): Start {
  const parameters = Object.fromEntries(
    Object.entries(start.parameters).map(([name, value]) => [
      name,
      fill(value, `Parameter '${name}'`, seen),
    ]),
  );
  const bytes = Buffer.byteLength(JSON.stringify(parameters));
  if (bytes > LIMITS.parameterBytes)
    throw new Problem('invalid', `The parameters are larger than ${LIMITS.parameterBytes} bytes.`);
  if (start.experiment === undefined) return { ...start, parameters };
  const experiment = fill(start.experiment, 'experiment', seen);
  const named = Start.shape.experiment.safeParse(experiment);
  if (!named.success)
    throw new Problem('invalid', `The experiment at ${start.experiment} must be a name or an id.`);
  return { ...start, parameters, experiment: named.data };
}

function fill(value: Json, name: string, seen: Seen): Json {
  if (typeof value === 'string') {
    if (value.startsWith('$$.')) return value.slice(1);
    if (!Place.safeParse(value).success) return value;
    const found = placed(seen, value);
    if (found === undefined)
      throw new Problem('invalid', `${name}: the event has nothing at ${value}.`);
    return found as Json;
  }
  if (Array.isArray(value)) return value.map((item) => fill(item, name, seen));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, fill(item, name, seen)]),
  );
}
