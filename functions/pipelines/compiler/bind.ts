import type { Json } from '../../kernel/json.ts';
import type { ArtifactType, Component, ParameterType, Task } from './ir.ts';
import { typeOf } from './read.ts';
import { refuse } from './refusal.ts';
import { accepts, mismatch } from './values.ts';

/** Where a parameter of a task comes from. `otherwise`: what a DAG's default says if nothing comes. */
export type Binding =
  | { readonly constant: Json; readonly using?: Readonly<Record<string, Binding>> }
  | { readonly input: string; readonly otherwise?: Json }
  | { readonly task: string; readonly output: string; readonly otherwise?: Json };
/** Which artifact: the one that this task puts out under this name. */
export interface Source {
  readonly task: string;
  readonly output: string;
}

/** One DAG on the way down: who its inputs come from, and what every task in it waits for. */
export interface Level {
  readonly path: readonly string[];
  readonly component: Component;
  parameter(name: string, where: string): Binding | undefined;
  artifact(name: string, where: string): Source | undefined;
  readonly needs: readonly string[];
}

export interface Bound {
  readonly parameters: Record<string, Binding>;
  readonly artifacts: Record<string, Source>;
}

/** Binds the inputs of tasks to what they come from, seeing through sub-DAGs. Throws `invalid`, naming the input. */
export function binder(
  componentOf: (task: Task) => Component,
  idOf: (path: readonly string[]) => string,
) {
  return { bind, outputOf };

  /** The leaf and output that an output of a task, perhaps a DAG, really is. */
  function outputOf(
    level: Pick<Level, 'path' | 'component'>,
    producer: string,
    key: string,
    kind: 'parameters' | 'artifacts',
    where: string,
  ): Source & { readonly type: string } {
    const task = level.component.dag?.tasks[producer];
    if (!task) throw refuse(where, `reads from task '${producer}', which is not there.`);
    const component = componentOf(task);
    const path = [...level.path, producer];
    const defined = component.outputDefinitions[kind];
    if (!Object.hasOwn(defined, key))
      throw refuse(where, `reads '${key}' of task '${producer}', which has no such output.`);
    if (!component.dag) {
      const type =
        kind === 'parameters'
          ? typeOf(component.outputDefinitions.parameters[key] ?? {}, where)
          : schemaOf(component.outputDefinitions.artifacts[key]?.artifactType);
      return { task: idOf(path), output: key, type };
    }
    const inside = { path, component };
    const at = `output '${key}' of task '${path.join('/')}'`;
    const from = component.dag.outputs;
    const parameter = from.parameters[key]?.valueFromParameter;
    if (kind === 'parameters' && parameter)
      return outputOf(inside, parameter.producerSubtask, parameter.outputParameterKey, kind, at);
    const artifact = from.artifacts[key]?.artifactSelectors[0];
    if (kind === 'artifacts' && artifact)
      return outputOf(inside, artifact.producerSubtask, artifact.outputArtifactKey, kind, at);
    throw refuse(at, 'comes from nowhere.');
  }

  function bind(level: Level, task: Task, component: Component, path: readonly string[]): Bound {
    const where = `task '${path.join('/')}'`;
    const given = task.inputs.parameters;
    const wanted = component.inputDefinitions;
    const parameters: Record<string, Binding> = {};
    const one = (name: string, stack: readonly string[]): Binding | undefined => {
      const at = `${where}, input '${name}'`;
      const input = given[name];
      if (!input) return undefined;
      if (stack.includes(name)) throw refuse(at, 'is made of itself.');
      if (input.componentInputParameter !== undefined)
        return level.parameter(input.componentInputParameter, at);
      if (input.taskOutputParameter) {
        const { producerTask, outputParameterKey } = input.taskOutputParameter;
        const { type, ...source } = outputOf(
          level,
          producerTask,
          outputParameterKey,
          'parameters',
          at,
        );
        const parameter = wanted.parameters[name];
        const taken = parameter && typeOf(parameter, at);
        if (taken && !accepts(taken, type as ParameterType))
          throw refuse(at, `takes ${taken}, but task '${producerTask}' gives ${type}.`);
        return source;
      }
      const constant =
        input.runtimeValue?.constant ?? oldConstant(input.runtimeValue?.constantValue);
      if (constant === undefined) throw refuse(at, 'has no source.');
      const using: Record<string, Binding> = {};
      for (const channel of mentioned(constant)) {
        if (!Object.hasOwn(given, channel))
          throw refuse(at, `mentions input '${channel}', which the task does not have.`);
        const binding = one(channel, [...stack, name]);
        if (binding) using[channel] = binding;
      }
      return Object.keys(using).length ? { constant, using } : { constant };
    };
    checkKnown(task, given, wanted.parameters, where);
    for (const [name, parameter] of Object.entries(wanted.parameters)) {
      const at = `${where}, input '${name}'`;
      const binding = one(name, []);
      if (binding) {
        parameters[name] = binding;
        checkConstant(binding, typeOf(parameter, at), at);
      } else if (!parameter.isOptional && parameter.defaultValue === undefined && !given[name])
        throw refuse(at, 'is required and not given.');
    }
    return { parameters, artifacts: bindArtifacts(level, task, component, where) };
  }

  function bindArtifacts(level: Level, task: Task, component: Component, where: string) {
    const artifacts: Record<string, Source> = {};
    checkKnown(task, task.inputs.artifacts, component.inputDefinitions.artifacts, where);
    for (const [name, artifact] of Object.entries(component.inputDefinitions.artifacts)) {
      const at = `${where}, input '${name}'`;
      const given = task.inputs.artifacts[name];
      const from = given?.taskOutputArtifact;
      const source = from
        ? outputOf(level, from.producerTask, from.outputArtifactKey, 'artifacts', at)
        : given?.componentInputArtifact !== undefined
          ? level.artifact(given.componentInputArtifact, at)
          : undefined;
      if (source) artifacts[name] = { task: source.task, output: source.output };
      else if (!artifact.isOptional) throw refuse(at, 'is required and not given.');
    }
    return artifacts;
  }
}

function checkKnown(task: Task, given: object, wanted: object, where: string): void {
  for (const name of Object.keys(given)) {
    // The SDK lists the channels that an f-string mentions beside the inputs that the component knows.
    if (Object.hasOwn(wanted, name) || name.startsWith('pipelinechannel--')) continue;
    throw refuse(
      `${where}, input '${name}'`,
      `component '${task.componentRef.name}' has no such input.`,
    );
  }
}

/** How a sub-DAG's tasks see its inputs: as what was bound to them, else its defaults, else nothing. */
export function inner(component: Component, bound: Bound): Pick<Level, 'parameter' | 'artifact'> {
  return {
    parameter(name, where) {
      const definition = component.inputDefinitions.parameters[name];
      if (!definition)
        throw refuse(where, `reads input '${name}' of its DAG, which is not defined.`);
      const binding = bound.parameters[name];
      const { defaultValue: otherwise } = definition;
      if (!binding) return otherwise === undefined ? undefined : { constant: otherwise };
      if (otherwise === undefined || 'constant' in binding || binding.otherwise !== undefined)
        return binding;
      return { ...binding, otherwise };
    },
    artifact(name, where) {
      if (!component.inputDefinitions.artifacts[name])
        throw refuse(where, `reads artifact '${name}' of its DAG, which is not defined.`);
      return bound.artifacts[name];
    },
  };
}

const schemaOf = (type: ArtifactType | undefined) => type?.schemaTitle ?? 'system.Artifact';

/** `{stringValue}`, `{intValue}` or `{doubleValue}` of schema 2.0.0. */
function oldConstant(value: Json | undefined): Json | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const { stringValue, intValue, doubleValue } = value;
  return stringValue ?? (intValue === undefined ? undefined : Number(intValue)) ?? doubleValue;
}

function checkConstant(binding: Binding, type: ParameterType, where: string): void {
  if (!('constant' in binding) || binding.constant === null) return;
  // A string input takes anything as its JSON text, and a placeholder is no value yet.
  if (type === 'STRING' || JSON.stringify(binding.constant).includes('{{$')) return;
  const why = mismatch(binding.constant, type);
  if (why) throw refuse(where, `${why}.`);
}

const MENTION = /\{\{\$\.inputs\.parameters\[(?:'([^']+)'|"([^"]+)")\]\}\}/g;

/** The inputs that a constant's placeholders name. */
function mentioned(constant: Json): string[] {
  if (typeof constant === 'string')
    return [...constant.matchAll(MENTION)].map(([, single, double]) => single ?? double ?? '');
  if (typeof constant !== 'object' || constant === null) return [];
  return Object.values(constant).flatMap((item) => (item === undefined ? [] : mentioned(item)));
}
