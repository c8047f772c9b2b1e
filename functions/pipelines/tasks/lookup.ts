import type { Call } from '../../kernel/call.ts';
import type { Blobs } from '../../platform/ports.ts';
import { fingerprintOf, fingerprintParts, missBecause } from '../cache.ts';
import type { PlannedTask } from '../compiler/plan.ts';
import type { CacheEntry, CacheVerdict, Run } from '../model.ts';
import type { PipelinesStore } from '../store.ts';
import type { Inputs } from './inputs.ts';

/** Whether an earlier step of this pipeline did the same already, and in any case why or why not. */
export async function lookUp(
  call: Call,
  store: PipelinesStore,
  blobs: Blobs,
  run: Run,
  task: PlannedTask,
  inputs: Inputs,
): Promise<{ verdict: CacheVerdict; entry?: CacheEntry }> {
  if (!task.cache.enabled)
    return { verdict: { hit: false, why: 'not cached: caching is off for this task' } };
  const parts = fingerprintParts(task, inputs.parameters, inputs.artifacts);
  const fingerprint = fingerprintOf(parts);
  const miss = (why: string) => ({
    verdict: { hit: false, why: `cache miss: ${why}`, fingerprint, parts },
  });
  const entry = await store.cached(call, run.pipeline, fingerprint);
  if (!entry) {
    const last = await store.lastParts(call, run.pipeline, task.id);
    return miss(
      last ? missBecause(parts, last.parts, last.runId) : 'this task has not succeeded before',
    );
  }
  const gone = await firstGone(call, blobs, entry);
  if (gone !== undefined) return miss(`output '${gone}' of run ${entry.runId} is gone`);
  const why = `cache hit: task '${entry.task}' of run ${entry.runId} did the same`;
  const from = { runId: entry.runId, task: entry.task };
  return { verdict: { hit: true, why, fingerprint, from }, entry };
}

/** The first artifact that lay in our keeping and does not any more. */
async function firstGone(call: Call, blobs: Blobs, entry: CacheEntry): Promise<string | undefined> {
  for (const [name, { uri, present }] of Object.entries(entry.outputs.artifacts))
    if (present && !(await liesAt(call, blobs, uri))) return name;
  return undefined;
}

/** Whether a file, or a folder with one, is where an artifact of ours says. False for other people's places. */
export async function liesAt(call: Call, blobs: Blobs, uri: string): Promise<boolean> {
  const path = blobs.pathOf(call, uri);
  if (path === undefined) return false;
  if (await blobs.head(call, path)) return true;
  return (await blobs.list(call, `${path}/`, { limit: 1 })).blobs.length > 0;
}
