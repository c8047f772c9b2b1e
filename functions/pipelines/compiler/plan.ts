import type { Json } from '../../kernel/json.ts';
import type {
  ArtifactType,
  Component,
  Container,
  ParameterType,
  PipelineSpec,
  Task,
} from './ir.ts';
import { taskIds } from './names.ts';
import { inOrder, neighbours } from './order.ts';
import { typeOf } from './read.ts';
import { refuse } from './refusal.ts';
import { deadlineSeconds, type StepResources, stepResources } from './resources.ts';
import { environment, type RetryPolicy, retryOf } from './settings.ts';
import { type Shape, shapeOf } from './shape.ts';
import { accepts, mismatch } from './values.ts';

/** Tasks times what each waits for; a dense graph costs time for each. */
const MAX_WAITS = 20_000;

/** Where a parameter of a task comes from. `otherwise`: what a DAG's default says if nothing comes. */
export type Binding =
  | { readonly constant: Json; readonly using?: Readonly<Record<string, Binding>> }
  | { readonly input: string; readonly otherwise?: Json }
  | { readonly task: string; readonly output: string; readonly otherwise?: Json };
/** Which artifact: the one that this task puts out under this name. */
interface Source {
  readonly task: string;
  readonly output: string;
}

export interface Parameter {
  readonly type: ParameterType;
  readonly optional: boolean;
  readonly otherwise?: Json;
  readonly literals?: readonly Json[];
}

export interface PlannedTask {
  readonly id: string;
  /** As people see it. */
  readonly title: string;
  readonly component: string;
  /** Tasks that must have succeeded. */
  readonly needs: readonly string[];
  readonly parameters: Readonly<Record<string, Binding>>;
  readonly artifacts: Readonly<Record<string, Source>>;
  /** As the spec has them; the launcher reads defaults and types from here. */
  readonly definitions: Pick<Component, 'inputDefinitions' | 'outputDefinitions'>;
  readonly cache: { readonly enabled: boolean; readonly key?: string };
  readonly retry?: RetryPolicy;
  readonly container: Pick<Container, 'image' | 'command' | 'args'> & {
    readonly env: Readonly<Record<string, string>>;
  };
  readonly resources: StepResources;
  readonly deadlineSeconds: number;
}

/** A pipeline without nesting: leaf tasks in topological order, every input bound to where it comes from. */
export interface Plan {
  readonly name: string;
  readonly parameters: Readonly<Record<string, Parameter>>;
  readonly tasks: readonly PlannedTask[];
  readonly outputs: {
    readonly parameters: Readonly<Record<string, Source>>;
    readonly artifacts: Readonly<Record<string, Source>>;
  };
  readonly shape: Shape;
  readonly warnings: readonly string[];
}

/** One DAG on the way down: who its inputs come from, and what every task in it waits for. */
interface Level {
  readonly path: readonly string[];
  readonly component: Component;
  parameter(name: string, where: string): Binding | undefined;
  artifact(name: string, where: string): Source | undefined;
  readonly needs: readonly string[];
}

/** The second pass: sub-DAGs are inlined, so that all later parts see tasks only. Throws `invalid`, naming the node. */
export function planOf(spec: PipelineSpec, warnings: readonly string[] = []): Plan {
  const idOf = taskIds();
  const tasks: PlannedTask[] = [];
  let waits = 0;
  const componentOf = (task: Task) => spec.components[task.componentRef.name] as Component;

  function walk(level: Level): string[] {
    const inside: string[] = [];
    const own = level.component.dag?.tasks ?? {};
    const leaves = new Map<string, readonly string[]>();
    for (const name of inOrder(own, level.path)) {
      const task = own[name] as Task;
      const path = [...level.path, name];
      const needs = [
        ...level.needs,
        ...neighbours(task).flatMap((other) => leaves.get(other) ?? []),
      ];
      const component = componentOf(task);
      const bound = bind(level, task, component, path);
      const ids = component.dag
        ? walk({ path, component, ...inner(component, bound), needs })
        : [leaf(level, name, task, component, bound, needs)];
      leaves.set(name, ids);
      inside.push(...ids);
    }
    return inside;
  }

  function leaf(
    level: Level,
    name: string,
    task: Task,
    component: Component,
    bound: Bound,
    needs: readonly string[],
  ): string {
    const path = [...level.path, name];
    const where = `task '${path.join('/')}'`;
    const unique = [...new Set(needs)];
    waits += unique.length;
    if (waits > MAX_WAITS)
      throw refuse(
        where,
        `waits for too many: the tasks of a pipeline may wait for ${MAX_WAITS} others in all. Let it wait for the last of them only.`,
      );
    const id = idOf(path);
    const executor = spec.deploymentSpec.executors[component.executorLabel ?? ''];
    const container = executor?.container as Container;
    const resources = stepResources(container, where);
    const retry = retryOf(task, where);
    const { inputDefinitions, outputDefinitions } = component;
    tasks.push({
      id,
      title: task.taskInfo.name ?? name,
      component: task.componentRef.name,
      needs: unique,
      ...bound,
      definitions: { inputDefinitions, outputDefinitions },
      cache: {
        enabled: task.cachingOptions.enableCache,
        ...(task.cachingOptions.cacheKey ? { key: task.cachingOptions.cacheKey } : {}),
      },
      ...(retry ? { retry } : {}),
      container: {
        image: container.image,
        command: container.command,
        args: container.args,
        env: environment(container, where),
      },
      resources,
      deadlineSeconds: deadlineSeconds(container, resources.runner, where),
    });
    return id;
  }

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
    for (const name of Object.keys(given)) {
      // The SDK lists the channels that an f-string mentions beside the inputs that the component knows.
      if (Object.hasOwn(wanted.parameters, name) || name.startsWith('pipelinechannel--')) continue;
      throw refuse(
        `${where}, input '${name}'`,
        `component '${task.componentRef.name}' has no such input.`,
      );
    }
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
    for (const name of Object.keys(task.inputs.artifacts))
      if (
        !Object.hasOwn(component.inputDefinitions.artifacts, name) &&
        !name.startsWith('pipelinechannel--')
      )
        throw refuse(
          `${where}, input '${name}'`,
          `component '${task.componentRef.name}' has no such input.`,
        );
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

  const parameters = parametersOf(spec.root);
  walk({
    path: [],
    component: spec.root,
    needs: [],
    parameter(name, where) {
      if (!Object.hasOwn(parameters, name))
        throw refuse(where, `reads the pipeline's input '${name}', which is not defined.`);
      return { input: name };
    },
    artifact(name, where) {
      throw refuse(where, `reads the pipeline's artifact '${name}', which is not defined.`);
    },
  });
  const top = { path: [], component: spec.root };
  const { shape, waits: crossings } = shapeOf(new Map(tasks.map(({ id, needs }) => [id, needs])));
  return {
    name: spec.pipelineInfo.name,
    parameters,
    tasks,
    outputs: {
      parameters: outputsOf(spec.root, 'parameters', (key, producer, output) =>
        outputOf(top, producer, output, 'parameters', `pipeline output '${key}'`),
      ),
      artifacts: outputsOf(spec.root, 'artifacts', (key, producer, output) =>
        outputOf(top, producer, output, 'artifacts', `pipeline output '${key}'`),
      ),
    },
    shape,
    warnings: [
      ...warnings,
      ...crossings.map(
        ({ task, also }) =>
          `task '${task}' also waits for ${also.map((id) => `'${id}'`).join(', ')}: the graph crosses there.`,
      ),
    ],
  };
}

interface Bound {
  readonly parameters: Record<string, Binding>;
  readonly artifacts: Record<string, Source>;
}

/** How a sub-DAG's tasks see its inputs: as what was bound to them, else its defaults, else nothing. */
function inner(component: Component, bound: Bound): Pick<Level, 'parameter' | 'artifact'> {
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

function parametersOf(root: Component): Record<string, Parameter> {
  return Object.fromEntries(
    Object.entries(root.inputDefinitions.parameters).map(([name, parameter]) => {
      const where = `pipeline input '${name}'`;
      const type = typeOf(parameter, where);
      const { defaultValue: otherwise, literals } = parameter;
      if (otherwise !== undefined && otherwise !== null) {
        const why = mismatch(otherwise, type);
        if (why) throw refuse(where, `its default ${why}.`);
      }
      return [
        name,
        {
          type,
          optional: parameter.isOptional || otherwise !== undefined,
          ...(otherwise === undefined ? {} : { otherwise }),
          ...(literals.length ? { literals } : {}),
        },
      ];
    }),
  );
}

function outputsOf(
  root: Component,
  kind: 'parameters' | 'artifacts',
  resolve: (key: string, producer: string, output: string) => Source,
): Record<string, Source> {
  const found: Record<string, Source> = {};
  for (const [key, { valueFromParameter: from }] of Object.entries(
    root.dag?.outputs.parameters ?? {},
  ))
    if (kind === 'parameters' && from)
      found[key] = bare(resolve(key, from.producerSubtask, from.outputParameterKey));
  for (const [key, { artifactSelectors }] of Object.entries(root.dag?.outputs.artifacts ?? {})) {
    const [from] = artifactSelectors;
    if (kind === 'artifacts' && from)
      found[key] = bare(resolve(key, from.producerSubtask, from.outputArtifactKey));
  }
  return found;
}

const bare = ({ task, output }: Source): Source => ({ task, output });
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
