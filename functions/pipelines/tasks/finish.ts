import * as z from 'zod';
import type { Call } from '../../kernel/call.ts';
import type { Json } from '../../kernel/json.ts';
import { reasonOf } from '../../platform/failure.ts';
import type { PlannedTask } from '../compiler/plan.ts';
import { typeOf } from '../compiler/read.ts';
import { mismatch } from '../compiler/values.ts';
import { type Artifact, hasOutputs, type Run, type TaskRecord } from '../model.ts';
import { moved } from '../transitions.ts';
import { type TaskParts, told } from './begin.ts';
import { liesAt } from './lookup.ts';
import { blankTask, metricsOf, runOf, shownOf, stepFolder, taskIn } from './step.ts';

/** What the launcher left. Source: runtimes/launcher/README.md, "The result file". */
const Result = z.object({
  state: z.enum(['succeeded', 'failed']),
  exitCode: z.number(),
  error: z.string().default(''),
  parameterValues: z.record(z.string(), z.json() as z.ZodType<Json>).default({}),
  artifacts: z
    .record(
      z.string(),
      z.object({
        artifacts: z.array(
          z.object({
            name: z.string().default(''),
            uri: z.string().max(4096).default(''),
            type: z
              .object({ schemaTitle: z.string().optional(), schemaVersion: z.string().optional() })
              .default({}),
            metadata: z.record(z.string(), z.json() as z.ZodType<Json>).default({}),
          }),
        ),
      }),
    )
    .default({}),
});
type Result = z.output<typeof Result>;

/** What the machine hands over: how the job state ended. */
const Ended = z.object({
  go: z.string(),
  error: z.string().optional(),
  cause: z.string().optional(),
});
type Ended = z.output<typeof Ended>;

/** All of a step's artifacts together, as JSON; they stand in the record. */
const MAX_ARTIFACTS_BYTES = 120_000;
const MAX_RESULT_BYTES = 16 * 2 ** 20;
const MAX_ERROR = 2000;

type Outcome =
  | { readonly outputs: { parameters: Record<string, Json>; artifacts: Record<string, Artifact> } }
  | { readonly error: string };

/**
 * The publisher: reads what the launcher left and commits the task's end, outputs and cache entry in one go; then what
 * the machine shows. A second call finds the task ended and only shows it. Source: kfp.md section 3.3 items 6 to 9.
 */
export function finishTask({ platform, store, specs, tracking, stepTokens }: TaskParts) {
  const { world, blobs, jobs, url } = platform;

  return async function finish(call: Call, input: Json): Promise<Json> {
    const { run, plan, current } = await runOf(call, input, store, specs);
    // A later attempt has begun: what this one says is nobody's business any more.
    if (!current) return { shown: { state: 'SKIPPED' } };
    const task = taskIn(plan, input);
    const ended = Ended.parse((input as { ended?: Json }).ended);
    const found = await store.getTask(call, run.id, task.id);
    const isOver = found && (hasOutputs(found.state) || found.attempt === run.attempt);
    if (isOver && found.state !== 'RUNNING') return { shown: shownOf(found, url) };
    const record =
      found?.attempt === run.attempt ? found : blankTask(run, task, UNBEGUN, world.now(), found);
    const { result, index } = await lastResult(call, run, task, record);
    const outcome = await outcomeOf(call, run, task, record, ended, result);
    const at = world.now();
    // Tries after the last one that ran were only prepared.
    const tried = index < 0 ? record : { ...record, jobs: record.jobs.slice(0, index + 1) };
    const finished =
      'error' in outcome
        ? failed(tried, outcome.error, at)
        : await succeeded(call, run, tried, outcome.outputs, at);
    await publish(call, finished, at);
    const [named] = record.jobs;
    if (named !== undefined) await stepTokens?.revoke(call, named);
    const { fingerprint, parts } = finished.cache;
    const cached =
      finished.state === 'SUCCEEDED' && fingerprint && parts
        ? store.cacheWrites(run.pipeline, fingerprint, parts, {
            runId: run.id,
            task: task.id,
            at,
            outputs: finished.outputs,
          })
        : [];
    const verb = finished.state === 'SUCCEEDED' ? 'finished' : 'failed';
    await store.putTask(call, finished, told(verb, finished), cached);
    return { shown: shownOf(finished, url) };
  };

  async function outcomeOf(
    call: Call,
    run: Run,
    task: PlannedTask,
    record: TaskRecord,
    ended: Ended,
    result: Result | undefined,
  ): Promise<Outcome> {
    if (ended.go === 'ran' && result?.state === 'succeeded')
      return checked(call, run, task, result);
    const job = await lastJob(call, record);
    const why =
      (result?.state === 'failed' && result.error) ||
      job?.failure ||
      reasonOf(ended) ||
      'The job ended without leaving a result.';
    return { error: why.slice(0, MAX_ERROR) };
  }

  /** Of the last try that left one. */
  async function lastResult(call: Call, run: Run, task: PlannedTask, record: TaskRecord) {
    for (let index = record.jobs.length - 1; index >= 0; index--) {
      const path = `${stepFolder(run, task.id, index)}/executor_output.json`;
      const blob = await blobs.get(call, path);
      if (!blob) continue;
      if (blob.sizeBytes > MAX_RESULT_BYTES) {
        await blob.body.cancel();
        const error = `The outputs of this step are larger than ${MAX_RESULT_BYTES} bytes.`;
        return { index, result: { ...EMPTY, state: 'failed' as const, error } };
      }
      const read = Result.safeParse(parsed(await new Response(blob.body).text()));
      const broken = { ...EMPTY, error: 'The result that the step left cannot be read.' };
      return { index, result: read.data ?? broken };
    }
    return { index: -1, result: undefined };
  }

  async function lastJob(call: Call, record: TaskRecord) {
    for (const name of [...record.jobs].reverse()) {
      const job = await jobs.describe(call, name);
      if (job) return job;
    }
    return undefined;
  }

  /** Every declared output, of its declared type. */
  async function checked(
    call: Call,
    run: Run,
    task: PlannedTask,
    result: Result,
  ): Promise<Outcome> {
    const { outputDefinitions } = task.definitions;
    const parameters: Record<string, Json> = {};
    for (const [name, definition] of Object.entries(outputDefinitions.parameters)) {
      const value = result.parameterValues[name];
      if (value === undefined) return { error: `The step left no output parameter '${name}'.` };
      const why = mismatch(value, typeOf(definition, name));
      if (why) return { error: `Output parameter '${name}' ${why}.` };
      parameters[name] = value;
    }
    const artifacts: Record<string, Artifact> = {};
    for (const [name, { artifactType }] of Object.entries(outputDefinitions.artifacts)) {
      const [left] = result.artifacts[name]?.artifacts ?? [];
      if (!left) continue;
      artifacts[name] = {
        name: left.name || name,
        uri: left.uri,
        type: left.type.schemaTitle ? left.type : artifactType,
        metadata: left.metadata,
        identity: `${run.id}/${task.id}/${run.attempt}/${name}`,
        present: await liesAt(call, blobs, left.uri),
      };
    }
    if (Buffer.byteLength(JSON.stringify(artifacts)) > MAX_ARTIFACTS_BYTES)
      return {
        error: `The metadata of the step's artifacts is larger than ${MAX_ARTIFACTS_BYTES} bytes: put it into a file.`,
      };
    return { outputs: { parameters, artifacts } };
  }

  async function succeeded(
    call: Call,
    run: Run,
    record: TaskRecord,
    outputs: { parameters: Record<string, Json>; artifacts: Record<string, Artifact> },
    at: number,
  ): Promise<TaskRecord> {
    const parameters = await store.keep(call, `kfp/values/${run.id}`, outputs.parameters);
    return {
      ...moved(record, 'SUCCEEDED', at),
      endedAt: at,
      outputs: { parameters, artifacts: outputs.artifacts },
    };
  }

  /** The MLflow side first: once the task's end is committed, nobody comes back. */
  async function publish(call: Call, record: TaskRecord, at: number): Promise<void> {
    if (!record.tracking) return;
    const { runId } = record.tracking;
    const metrics = metricsOf(record);
    if (Object.keys(metrics).length) await tracking.log(call, runId, { metrics, at });
    const status = record.state === 'SUCCEEDED' ? 'FINISHED' : 'FAILED';
    await tracking.end(call, runId, status, at);
  }
}

/** begin-task itself came to nothing, again and again. */
const UNBEGUN = { hit: false, why: 'it never began' };

const EMPTY = {
  state: 'failed' as const,
  exitCode: 1,
  error: '',
  parameterValues: {},
  artifacts: {},
} satisfies Result;

const failed = (record: TaskRecord, error: string, at: number): TaskRecord => ({
  ...moved(record, 'FAILED', at, error),
  endedAt: at,
});

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
