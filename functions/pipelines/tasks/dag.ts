import type { Call } from '../../kernel/call.ts';
import type { Json } from '../../kernel/json.ts';
import type { Plan } from '../compiler/plan.ts';
import { type Artifact, hasOutputs, type Run, type TaskRecord } from '../model.ts';
import type { TaskParts } from './begin.ts';
import { runOf } from './step.ts';

const MAX_ERROR = 1000;

/**
 * After the last task: whether the whole has succeeded, and the pipeline's own outputs. The machine then ends
 * accordingly, and the run's final state follows from its end. A second call says the same.
 */
export function finishDag({ store, specs }: TaskParts) {
  return async function finish(call: Call, input: Json): Promise<Json> {
    const { run, plan, current } = await runOf(call, input, store, specs);
    if (!current) return { state: 'FAILED', error: 'a later attempt has begun', shown: {} };
    const records = await store.getTasks(
      call,
      run.id,
      plan.tasks.map(({ id }) => id),
    );
    const counts: Record<string, number> = {};
    for (const { id } of plan.tasks) {
      const state = records.get(id)?.state ?? 'PENDING';
      counts[state] = (counts[state] ?? 0) + 1;
    }
    const error = whyFailed(plan, records);
    if (error !== undefined)
      return { state: 'FAILED', error: error.slice(0, MAX_ERROR), shown: counts };
    await keepOutputs(call, run, plan, records);
    return { state: 'SUCCEEDED', shown: counts };
  };

  async function keepOutputs(
    call: Call,
    run: Run,
    plan: Plan,
    records: ReadonlyMap<string, TaskRecord>,
  ): Promise<void> {
    const values: Record<string, Json> = {};
    for (const [name, { task, output }] of Object.entries(plan.outputs.parameters)) {
      const record = records.get(task);
      const read = record && (await store.values(call, record.outputs.parameters))[output];
      if (read !== undefined) values[name] = read;
    }
    for (const [name, { task, output }] of Object.entries(plan.outputs.artifacts)) {
      const artifact: Artifact | undefined = records.get(task)?.outputs.artifacts[output];
      if (artifact)
        values[name] = {
          uri: artifact.uri,
          schemaTitle: artifact.type.schemaTitle ?? 'system.Artifact',
        };
    }
    if (!Object.keys(values).length) return;
    const outputs = await store.keep(call, `kfp/values/${run.id}`, values);
    await store.changeRun(call, run.id, (now) =>
      now.attempt !== run.attempt || now.outputs
        ? undefined
        : {
            record: { ...now, outputs },
            event: {
              type: 'pipelines.run.published',
              subject: `pipelines/runs/${run.id}`,
              data: { id: run.id, outputs: Object.keys(values) },
            },
          },
    );
  }
}

/** The tasks that failed, each with its reason; a task that was only skipped is none of them. */
function whyFailed(plan: Plan, records: ReadonlyMap<string, TaskRecord>): string | undefined {
  const unfinished = plan.tasks.filter(({ id }) => !hasOutputs(records.get(id)?.state ?? 'FAILED'));
  if (!unfinished.length) return undefined;
  const failed = unfinished.flatMap(({ id }) => {
    const record = records.get(id);
    return record?.state === 'FAILED' ? [`${id}: ${record.error ?? 'failed'}`] : [];
  });
  return failed.length
    ? failed.join(' ')
    : `Not all tasks ran: ${unfinished.map(({ id }) => id).join(', ')}.`;
}
