import type * as z from 'zod';
import {
  type Component,
  PARAMETER_TYPES,
  type ParameterType,
  PipelineSpec,
  PlatformSpec,
  type Task,
} from './ir.ts';
import { notYet, refuse } from './refusal.ts';

/** What `read` hands on: a spec in which every name leads somewhere and every feature is one we compile. */
export interface ReadSpec {
  readonly spec: PipelineSpec;
  /** Settings that have no effect here, each naming its executor: shown on the version, never passed over in silence. */
  readonly warnings: readonly string[];
}

/** More would need machines inside machines. Source: kfp.md section 2.2 item 7. */
const MAX_TASKS = 400;
const MAX_DEPTH = 16;

/**
 * The first pass: a parsed document to a typed spec. Accepts the IR itself or `{pipeline_spec, platform_spec}`.
 * Throws `invalid`, naming the node and the feature or the fix.
 */
export function readSpec(document: unknown, platform?: unknown): ReadSpec {
  const { pipeline, platforms } = split(document, platform);
  refuseOlderForms(pipeline);
  const spec = parse(PipelineSpec, pipeline, '');
  if (spec.schemaVersion && !/^2\.[01]\./.test(spec.schemaVersion))
    throw refuse('schemaVersion', `is ${spec.schemaVersion}; 2.0 and 2.1 are understood.`);
  if (!spec.root.dag) throw refuse('root', 'must be a DAG of tasks.');
  if (Object.keys(spec.root.inputDefinitions.artifacts).length)
    throw notYet(
      `pipeline input '${Object.keys(spec.root.inputDefinitions.artifacts)[0]}'`,
      'an artifact as input of a pipeline',
    );
  checkDefinitions('root', spec.root);
  for (const [name, component] of Object.entries(spec.components))
    checkComponent(spec, name, component);
  checkTasks(spec, 'root', spec.root);
  countTasks(spec, spec.root, '', new Set());
  const warnings = platforms === undefined ? [] : settings(spec, platforms);
  if (spec.defaultPipelineRoot)
    warnings.push('defaultPipelineRoot has no effect here: give pipeline_root with the run.');
  return { spec, warnings };
}

/** Both shapes that come over the wire and out of a file. Source: kfp.md section 1.3, PipelineVersion. */
export function split(document: unknown, platform?: unknown) {
  if (!isObject(document)) throw refuse('the document', 'must be a mapping.');
  const pipeline = document['pipeline_spec'] ?? document['pipelineSpec'];
  if (pipeline === undefined) return { pipeline: document, platforms: platform };
  if (!isObject(pipeline)) throw refuse('pipeline_spec', 'must be a mapping.');
  return {
    pipeline,
    platforms: document['platform_spec'] ?? document['platformSpec'] ?? platform,
  };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function refuseOlderForms(pipeline: Record<string, unknown>): void {
  if (String(pipeline['apiVersion'] ?? '').startsWith('argoproj.io/'))
    throw refuse(
      'the document',
      'is an Argo Workflow of the v1 SDK. Compile the pipeline with kfp 2 and upload that.',
    );
  if (isObject(pipeline['spec']) && isObject(pipeline['metadata']))
    throw refuse('the document', 'is a Kubernetes object, not the spec of a pipeline.');
}

function parse<T extends z.ZodType>(schema: T, value: unknown, prefix: string): z.output<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = [prefix, ...(issue?.path ?? [])].filter((step) => step !== '').join('.');
  const why = issue?.message ?? 'is not understood';
  throw refuse(
    path || 'the document',
    why.endsWith('received undefined') ? 'is missing.' : `${why}.`,
  );
}

function checkComponent(spec: PipelineSpec, name: string, component: Component): void {
  const where = `component '${name}'`;
  checkDefinitions(where, component);
  if (component.taskConfigPassthroughs !== undefined)
    throw notYet(where, 'a task config passthrough');
  if (component.dag) {
    checkTasks(spec, where, component);
    return;
  }
  const label = component.executorLabel;
  if (!label) throw refuse(where, 'has neither a dag nor an executorLabel.');
  const executor = spec.deploymentSpec.executors[label];
  if (!executor)
    throw refuse(where, `names executor '${label}', which deploymentSpec does not hold.`);
  const used = `executor '${label}' of ${where}`;
  if (executor.importer !== undefined) throw notYet(used, 'dsl.importer');
  if (executor.resolver !== undefined) throw notYet(used, 'an artifact resolver');
  if (executor.customJob !== undefined) throw notYet(used, 'a custom job of one cloud');
  if (!executor.container) throw refuse(used, 'has no container.');
  if (executor.container.lifecycle !== undefined)
    throw notYet(used, 'a container lifecycle (pre-cache check)');
  if (
    !executor.container.command.length &&
    !executor.container.args.length &&
    !executor.container.image
  )
    throw refuse(used, 'has neither an image nor a command.');
}

function checkDefinitions(where: string, component: Component): void {
  const { inputDefinitions: inputs, outputDefinitions: outputs } = component;
  for (const [name, parameter] of Object.entries(inputs.parameters))
    typeOf(parameter, `${where}, input '${name}'`);
  for (const [name, parameter] of Object.entries(outputs.parameters))
    typeOf(parameter, `${where}, output '${name}'`);
  for (const [name, artifact] of [
    ...Object.entries(inputs.artifacts),
    ...Object.entries(outputs.artifacts),
  ])
    if (artifact.isArtifactList) throw notYet(`${where}, '${name}'`, 'a list of artifacts');
}

const OLD_TYPES: Readonly<Record<string, ParameterType>> = {
  INT: 'NUMBER_INTEGER',
  DOUBLE: 'NUMBER_DOUBLE',
  STRING: 'STRING',
};

/** The type of a parameter in either spelling. Throws `invalid`. */
export function typeOf(
  parameter: { parameterType?: string | undefined; type?: string | undefined },
  where: string,
): ParameterType {
  const word = parameter.parameterType ?? parameter.type ?? '';
  const type = OLD_TYPES[word] ?? PARAMETER_TYPES.find((known) => known === word);
  if (type) return type;
  if (word === 'TASK_FINAL_STATUS') throw notYet(where, "a task's final status (exit handler)");
  if (word === 'TASK_CONFIG') throw notYet(where, 'dsl.TaskConfig');
  throw refuse(where, `has the unknown type '${word}'.`);
}

function checkTasks(spec: PipelineSpec, where: string, component: Component): void {
  const tasks = component.dag?.tasks ?? {};
  if (!Object.keys(tasks).length) throw refuse(where, 'has no tasks.');
  for (const [name, task] of Object.entries(tasks)) {
    const at = where === 'root' ? `task '${name}'` : `task '${name}' of ${where}`;
    if (!Object.hasOwn(spec.components, task.componentRef.name))
      throw refuse(
        at,
        `names component '${task.componentRef.name}', which the spec does not hold.`,
      );
    refuseFeatures(at, task);
    for (const other of task.dependentTasks)
      if (!Object.hasOwn(tasks, other))
        throw refuse(at, `depends on task '${other}', which is not there.`);
  }
  const outputs = component.dag?.outputs;
  for (const [name, output] of Object.entries(outputs?.parameters ?? {}))
    if (output.valueFromOneof !== undefined)
      throw notYet(`${where}, output '${name}'`, 'dsl.OneOf');
  for (const [name, output] of Object.entries(outputs?.artifacts ?? {}))
    if (output.artifactSelectors.length > 1)
      throw notYet(`${where}, output '${name}'`, 'dsl.OneOf');
}

function refuseFeatures(at: string, task: Task): void {
  if (task.parameterIterator !== undefined || task.artifactIterator !== undefined)
    throw notYet(at, 'a loop (dsl.ParallelFor)');
  if (task.triggerPolicy?.condition) throw notYet(at, 'a condition (dsl.If, dsl.Condition)');
  const { strategy } = task.triggerPolicy ?? {};
  if (strategy !== undefined && strategy !== 'TRIGGER_STRATEGY_UNSPECIFIED')
    if (strategy !== 'ALL_UPSTREAM_TASKS_SUCCEEDED')
      throw notYet(at, 'running after a failure (dsl.ExitHandler, ignore_upstream_failure)');
  for (const [name, input] of Object.entries(task.inputs.parameters)) {
    const input_ = `${at}, input '${name}'`;
    if (input.taskFinalStatus !== undefined)
      throw notYet(input_, "a task's final status (exit handler)");
    if (input.parameterExpressionSelector !== undefined)
      throw notYet(input_, 'an expression on an input (a field of a loop item)');
    if (input.runtimeValue?.runtimeParameter !== undefined)
      throw notYet(input_, 'a runtime parameter of the old form');
  }
}

/** Also finds a component that contains itself, which no depth would end. */
function countTasks(
  spec: PipelineSpec,
  component: Component,
  path: string,
  open: ReadonlySet<string>,
  seen = { count: 0 },
): void {
  for (const [name, task] of Object.entries(component.dag?.tasks ?? {})) {
    const at = path ? `${path}.${name}` : name;
    const ref = task.componentRef.name;
    if (open.has(ref)) throw refuse(`task '${at}'`, `component '${ref}' contains itself.`);
    if (open.size >= MAX_DEPTH) throw refuse(`task '${at}'`, `is nested deeper than ${MAX_DEPTH}.`);
    const inner = spec.components[ref];
    if (!inner) continue;
    if (inner.dag) countTasks(spec, inner, at, new Set([...open, ref]), seen);
    else seen.count += 1;
    if (seen.count > MAX_TASKS)
      throw refuse(
        `task '${at}'`,
        `is one too many: a pipeline may have ${MAX_TASKS} tasks in all.`,
      );
  }
}

/** Settings of a cluster that change nothing about what a step does: they are ignored, and said to be. */
const WITHOUT_EFFECT = new Set([
  'imagePullPolicy',
  'imagePullSecret',
  'podMetadata',
  'enabledSharedMemory',
  'tolerations',
]);

function settings(spec: PipelineSpec, platforms: unknown): string[] {
  const warnings: string[] = [];
  for (const [platform, { deploymentSpec, pipelineConfig }] of Object.entries(
    parse(PlatformSpec, platforms, 'platform_spec').platforms,
  )) {
    if (isObject(pipelineConfig) && Object.keys(pipelineConfig).length)
      throw notYet(
        `platform '${platform}'`,
        `pipelineConfig (${Object.keys(pipelineConfig).join(', ')})`,
      );
    for (const [label, fields] of Object.entries(deploymentSpec?.executors ?? {}))
      for (const field of Object.keys(fields)) {
        const at = `executor '${label}' of platform '${platform}'`;
        if (!WITHOUT_EFFECT.has(field)) throw notYet(at, field);
        if (spec.deploymentSpec.executors[label])
          warnings.push(`${at}: ${field} has no effect here.`);
      }
  }
  return warnings;
}
