import type { Json } from '../../kernel/json.ts';
import { type Binding, type Bound, binder, inner, type Level, type Source } from './bind.ts';
import type { Component, Container, ParameterType, PipelineSpec, Task } from './ir.ts';
import { taskIds } from './names.ts';
import { inOrder, neighbours } from './order.ts';
import { typeOf } from './read.ts';
import { refuse } from './refusal.ts';
import { deadlineSeconds, type StepResources, stepResources } from './resources.ts';
import { environment, type RetryPolicy, retryOf } from './settings.ts';
import { type Shape, shapeOf } from './shape.ts';
import { mismatch } from './values.ts';

/** Tasks times what each waits for; a dense graph costs time for each. */
const MAX_WAITS = 20_000;

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

/** The second pass: sub-DAGs are inlined, so that all later parts see tasks only. Throws `invalid`, naming the node. */
export function planOf(spec: PipelineSpec, warnings: readonly string[] = []): Plan {
  const idOf = taskIds();
  const tasks: PlannedTask[] = [];
  let waits = 0;
  const componentOf = (task: Task) => spec.components[task.componentRef.name] as Component;
  const { bind, outputOf } = binder(componentOf, idOf);

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
