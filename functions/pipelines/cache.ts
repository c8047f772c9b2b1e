import { createHash } from 'node:crypto';
import type { Json } from '../kernel/json.ts';
import type { PlannedTask } from './compiler/plan.ts';
import type { Artifact } from './model.ts';

/** The parts of a fingerprint, each hashed, so that a miss can say which of them differs from the last time. */
export type FingerprintParts = Readonly<Record<string, string>>;

const digest = (value: unknown) =>
  createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 32);

/** JSON with its keys in order: equal values give equal text. */
function ordered(value: Json): Json {
  if (Array.isArray(value)) return value.map(ordered);
  if (typeof value !== 'object' || value === null) return value;
  const names = Object.keys(value).sort();
  return Object.fromEntries(names.map((name) => [name, ordered(value[name] as Json)]));
}

/**
 * What decides whether a step would do the same again: who made its input artifacts, its input values as passed,
 * the kinds of its outputs, command, arguments and image. Environment, resources and retries do not.
 * Source: kfp.md section 2.9; backend/src/v2/cacheutils/cache.go, GenerateCacheKey.
 */
export function fingerprintParts(
  task: PlannedTask,
  parameters: Readonly<Record<string, Json>>,
  artifacts: Readonly<Record<string, Artifact>>,
): FingerprintParts {
  if (task.cache.key) return { 'its cache key': digest([task.component, '\0', task.cache.key]) };
  const { outputDefinitions: outputs } = task.definitions;
  const parts: Record<string, string> = {};
  for (const name of Object.keys(parameters).sort())
    parts[`input '${name}'`] = digest(ordered(parameters[name] as Json));
  for (const name of Object.keys(artifacts).sort())
    parts[`input artifact '${name}'`] = digest(artifacts[name]?.identity);
  parts['its outputs'] = digest(ordered(JSON.parse(JSON.stringify(outputs)) as Json));
  parts['its command'] = digest([task.container.command, task.container.args]);
  parts['its image'] = digest(task.container.image);
  return parts;
}

export const fingerprintOf = (parts: FingerprintParts): string => digest(Object.entries(parts));

/** `input 'rows' differs from run ...`: which parts are not as they were. */
export function missBecause(now: FingerprintParts, last: FingerprintParts, run: string): string {
  const names = [...new Set([...Object.keys(now), ...Object.keys(last)])];
  const changed = names.filter((name) => now[name] !== last[name]);
  const shown = changed.slice(0, 3).join(', ') + (changed.length > 3 ? ', ...' : '');
  return changed.length
    ? `${shown} ${changed.length > 1 ? 'differ' : 'differs'} from run ${run}`
    : `what run ${run} left is not there any more`;
}
