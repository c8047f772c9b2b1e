import type { Call } from '../../kernel/call.ts';
import type { Json } from '../../kernel/json.ts';
import type { Binding } from '../compiler/bind.ts';
import type { PlannedTask } from '../compiler/plan.ts';
import { typeOf } from '../compiler/read.ts';
import type { Artifact, Run, TaskRecord } from '../model.ts';
import { filled, taken, Unresolved } from '../parameters.ts';
import type { PipelinesStore } from '../store.ts';

export interface Inputs {
  readonly parameters: Readonly<Record<string, Json>>;
  readonly artifacts: Readonly<Record<string, Artifact>>;
}

/** Texts that only the control plane knows. Source: kfp.md section 2.5. */
export const constantsOf = (run: Run, task: PlannedTask, root: string): Record<string, string> => ({
  '{{$.pipeline_job_name}}': run.name,
  '{{$.pipeline_job_resource_name}}': run.id,
  '{{$.pipeline_job_uuid}}': run.id,
  '{{$.pipeline_task_name}}': task.id,
  '{{$.pipeline_task_uuid}}': `${run.id}.${task.id}`,
  '{{$.pipeline_job_create_time_utc}}': new Date(run.createdAt).toISOString(),
  '{{$.pipeline_job_schedule_time_utc}}': new Date(run.createdAt).toISOString(),
  '{{$.pipeline_root}}': root,
});

/**
 * What a task is given, from the run's parameters and the records of the tasks that it needs (`upstream`). What is
 * absent stays absent: the component's own defaults are the launcher's. Throws `Unresolved`.
 */
export async function inputsOf(
  call: Call,
  store: PipelinesStore,
  run: Run,
  task: PlannedTask,
  upstream: ReadonlyMap<string, TaskRecord>,
  constants: Readonly<Record<string, string>>,
): Promise<Inputs> {
  const given = await store.values(call, run.parameters);
  const outputs = new Map<string, Readonly<Record<string, Json>>>();

  async function outputOf(id: string, name: string): Promise<Json | undefined> {
    const record = upstream.get(id);
    if (!record) throw new Unresolved(`task '${id}' has left nothing`);
    const values = outputs.get(id) ?? (await store.values(call, record.outputs.parameters));
    outputs.set(id, values);
    return values[name];
  }

  async function resolve(binding: Binding): Promise<Json | undefined> {
    if ('input' in binding) return given[binding.input] ?? binding.otherwise;
    if ('task' in binding)
      return (await outputOf(binding.task, binding.output)) ?? binding.otherwise;
    const using = new Map<string, Json>();
    for (const [name, source] of Object.entries(binding.using ?? {}))
      using.set(name, (await resolve(source)) ?? null);
    return filled(binding.constant, (placeholder) => {
      const name = /\.inputs\.parameters\[['"](.+)['"]\]/.exec(placeholder)?.[1];
      return name === undefined ? constants[placeholder] : using.get(name);
    });
  }

  const parameters: Record<string, Json> = {};
  for (const [name, definition] of Object.entries(task.definitions.inputDefinitions.parameters)) {
    const binding = task.parameters[name];
    const value = binding && (await resolve(binding));
    if (value !== undefined && value !== null)
      parameters[name] = taken(name, value, typeOf(definition, name));
    else if (!definition.isOptional && definition.defaultValue === undefined)
      throw new Unresolved(`input '${name}' is required and nothing came for it`);
  }
  const artifacts: Record<string, Artifact> = {};
  for (const [name, { task: id, output }] of Object.entries(task.artifacts)) {
    const artifact = upstream.get(id)?.outputs.artifacts[output];
    if (!artifact)
      throw new Unresolved(`input '${name}': task '${id}' left no artifact '${output}'`);
    artifacts[name] = artifact;
  }
  return { parameters, artifacts };
}
