import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Problem } from '../../functions/kernel/problem.ts';
import { compile } from '../../functions/pipelines/compiler/compile.ts';
import { type Shape, shapeOf } from '../../functions/pipelines/compiler/shape.ts';
import { readDocument } from '../../functions/pipelines/document.ts';
import type { Scope, State } from '../../statemachines/asl.ts';

// biome-ignore lint/suspicious/noExplicitAny: specs are edited field by field.
type Any = any;
const golden = (name: string): Any =>
  readDocument(readFileSync(join(import.meta.dirname, `../golden/${name}.yaml`), 'utf8')).pipeline;

function refusal(document: unknown, platform?: unknown): string {
  try {
    compile(document, platform);
  } catch (error) {
    expect(error).toBeInstanceOf(Problem);
    expect((error as Problem).code).toBe('invalid');
    return (error as Problem).message;
  }
  throw new Error('it was compiled');
}

/** A spec of bare container tasks: name to the names it waits for. */
function graph(needs: Record<string, string[]>): Any {
  return {
    pipelineInfo: { name: 'graph' },
    schemaVersion: '2.1.0',
    deploymentSpec: { executors: { e: { container: { image: 'busybox', command: ['true'] } } } },
    components: { c: { executorLabel: 'e' } },
    root: {
      dag: {
        tasks: Object.fromEntries(
          Object.entries(needs).map(([name, dependentTasks]) => [
            name,
            { componentRef: { name: 'c' }, dependentTasks, taskInfo: { name } },
          ]),
        ),
      },
    },
  };
}

describe('what is refused names the node', () => {
  const edit = (name: string, change: (spec: Any) => void) => {
    const spec = golden(name);
    change(spec);
    return spec;
  };
  const tasks = (spec: Any) => spec.root.dag.tasks;
  test.each<[string, Any, string]>([
    [
      'a cycle',
      graph({ a: ['c'], b: ['a'], c: ['b'] }),
      "task 'a': waits for itself: a -> c -> b -> a.",
    ],
    [
      'a missing component',
      edit('diamond', (s) => void delete s.components['comp-add']),
      "task 'add': names component 'comp-add', which the spec does not hold.",
    ],
    [
      'a missing executor',
      edit('diamond', (s) => void delete s.deploymentSpec.executors['exec-add']),
      "component 'comp-add': names executor 'exec-add'",
    ],
    [
      'a missing dependency',
      graph({ a: ['ghost'] }),
      "task 'a': depends on task 'ghost', which is not there.",
    ],
    [
      'an unknown input',
      edit('diamond', (s) => {
        tasks(s).add.inputs.parameters.c = { runtimeValue: { constant: 1 } };
      }),
      "task 'add', input 'c': component 'comp-add' has no such input.",
    ],
    [
      'a missing input',
      edit('diamond', (s) => void delete tasks(s).add.inputs.parameters.a),
      "task 'add', input 'a': is required and not given.",
    ],
    [
      'an unknown output',
      edit('diamond', (s) => {
        tasks(s).double.inputs.parameters.n.taskOutputParameter.outputParameterKey = 'x';
      }),
      "task 'double', input 'n': reads 'x' of task 'start', which has no such output.",
    ],
    [
      'a constant of another type',
      edit('diamond', (s) => {
        tasks(s)['start-2'].inputs.parameters.n.runtimeValue.constant = 'one';
      }),
      "task 'start-2', input 'n': must be an integer within 2^53, not \"one\".",
    ],
    [
      'an output of another type',
      edit('diamond', (s) => {
        s.components['comp-start'].outputDefinitions.parameters.Output.parameterType = 'LIST';
      }),
      "input 'n': takes NUMBER_INTEGER, but task 'start' gives LIST.",
    ],
    [
      'an undefined pipeline input',
      edit('diamond', (s) => void delete s.root.inputDefinitions),
      "task 'start', input 'n': reads the pipeline's input 'n', which is not defined.",
    ],
    [
      'names that clash once they are plain',
      graph({ 'a b': [], 'a/b': [] }),
      "task 'a/b': gets the name 'a-b', which task 'a b' already has.",
    ],
    [
      'too many tasks',
      graph(Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`t${i}`, []]))),
      "task 't400': is one too many: a pipeline may have 400 tasks in all.",
    ],
    [
      'a graph too dense',
      graph(
        Object.fromEntries(
          Array.from({ length: 400 }, (_, i) => [
            `t${i}`,
            Array.from({ length: i }, (_, j) => `t${j}`),
          ]),
        ),
      ),
      "task 't200': waits for too many: the tasks of a pipeline may wait for 20000 others in all. Let it wait for the last of them only.",
    ],
    [
      'a component inside itself',
      edit('nested', (s) => {
        s.components['comp-inner'].dag.tasks.write.componentRef.name = 'comp-inner';
      }),
      "task 'inner.write': component 'comp-inner' contains itself.",
    ],
    [
      'a condition',
      golden('condition'),
      "task 'condition-1': a condition (dsl.If, dsl.Condition) is not supported yet.",
    ],
    [
      'a loop',
      edit('diamond', (s) => {
        tasks(s).add.parameterIterator = {};
      }),
      "task 'add': a loop (dsl.ParallelFor) is not supported yet.",
    ],
    [
      'an exit handler',
      edit('diamond', (s) => {
        tasks(s).add.triggerPolicy = { strategy: 'ALL_UPSTREAM_TASKS_COMPLETED' };
      }),
      "task 'add': running after a failure",
    ],
    [
      'an importer',
      edit('diamond', (s) => {
        s.deploymentSpec.executors['exec-add'] = { importer: {} };
      }),
      "executor 'exec-add' of component 'comp-add': dsl.importer is not supported yet.",
    ],
    [
      'a list of artifacts',
      edit('two_step', (s) => {
        s.components['comp-train'].inputDefinitions.artifacts.data.isArtifactList = true;
      }),
      "component 'comp-train', 'data': a list of artifacts is not supported yet.",
    ],
    [
      'a final status',
      edit('diamond', (s) => {
        tasks(s).add.inputs.parameters.a = { taskFinalStatus: {} };
      }),
      "task 'add', input 'a': a task's final status",
    ],
    [
      'an expression',
      edit('diamond', (s) => {
        tasks(s).add.inputs.parameters.a.parameterExpressionSelector = 'x';
      }),
      "task 'add', input 'a': an expression on an input",
    ],
    [
      'no name',
      edit('diamond', (s) => void delete s.pipelineInfo.name),
      'pipelineInfo.name: is missing.',
    ],
    ['no root', edit('diamond', (s) => void delete s.root), 'root: is missing.'],
    [
      'an unknown schema',
      edit('diamond', (s) => {
        s.schemaVersion = '3.0.0';
      }),
      'schemaVersion: is 3.0.0',
    ],
    [
      'an Argo workflow',
      { apiVersion: 'argoproj.io/v1alpha1', kind: 'Workflow' },
      'is an Argo Workflow of the v1 SDK.',
    ],
    ['a list', [], 'the document: must be a mapping.'],
    [
      'too many retries',
      edit('settings', (s) => {
        tasks(s).collect.retryPolicy.maxRetryCount = 1000;
      }),
      "task 'collect': retries 1000 times; at most 20 are supported.",
    ],
    [
      'an odd amount of memory',
      edit('settings', (s) => {
        s.deploymentSpec.executors['exec-collect'].container.resources = {
          resourceMemoryLimit: '{{$.x}}',
        };
      }),
      "task 'collect': '{{$.x}}' is no amount of memory.",
    ],
    [
      'a default of another type',
      edit('settings', (s) => {
        s.root.inputDefinitions.parameters.names.defaultValue = 'a';
      }),
      'pipeline input \'names\': its default must be a list, not "a".',
    ],
  ])('%s', (_what, document, message) => {
    expect(refusal(document)).toContain(message);
  });

  test('a setting of a cluster that changes what a step does, while a harmless one only warns', () => {
    const platform = (fields: object) => ({
      platforms: { kubernetes: { deploymentSpec: { executors: { 'exec-add': fields } } } },
    });
    expect(refusal(golden('diamond'), platform({ secretAsEnv: [] }))).toContain(
      "executor 'exec-add' of platform 'kubernetes': secretAsEnv is not supported yet.",
    );
    expect(
      compile(golden('diamond'), platform({ imagePullPolicy: 'Always' })).plan.warnings,
    ).toEqual([
      "executor 'exec-add' of platform 'kubernetes': imagePullPolicy has no effect here.",
    ]);
    expect(compile({ pipeline_spec: golden('diamond'), platform_spec: platform({}) }).machine).toBe(
      compile(golden('diamond')).machine,
    );
  });
});

describe('the runner follows from resources and image', () => {
  const of = (change: (container: Any) => void) => {
    const spec = golden('settings');
    change(spec.deploymentSpec.executors['exec-collect'].container);
    return compile(spec).plan.tasks.find(({ id }) => id === 'collect');
  };
  test.each<[string, (container: Any) => void, object]>([
    ['a light Python step', () => undefined, { runner: 'lambda', cpus: 2, memoryBytes: 4e9 }],
    [
      'a GPU',
      (c) => {
        c.resources = {
          accelerator: { resourceType: 'nvidia.com/gpu', resourceCount: '1' },
        };
      },
      { runner: 'sagemaker', accelerator: { type: 'nvidia.com/gpu', count: 1 } },
    ],
    [
      'much memory',
      (c) => {
        c.resources = { resourceMemoryLimit: '64Gi' };
      },
      { runner: 'sagemaker', memoryBytes: 64 * 2 ** 30 },
    ],
    [
      'many CPUs',
      (c) => {
        c.resources = { resourceCpuLimit: '16' };
      },
      { runner: 'sagemaker', cpus: 16 },
    ],
    [
      'an image of its own',
      (c) => {
        c.image = 'ghcr.io/me/mine:1';
      },
      { runner: 'sagemaker' },
    ],
    [
      'its own wish',
      (c) => void c.env.push({ name: 'STILLFLOW_RUNNER', value: 'sagemaker' }),
      { runner: 'sagemaker' },
    ],
    [
      'a long deadline',
      (c) => void c.env.push({ name: 'STILLFLOW_DEADLINE_SECONDS', value: '7200' }),
      { runner: 'sagemaker' },
    ],
  ])('%s', (_what, change, resources) => {
    expect(of(change)?.resources).toMatchObject(resources);
  });
  test('a variable may name one above it', () => {
    const task = of((c) => {
      c.env = [
        { name: 'A', value: 'x' },
        { name: 'B', value: '$(A)/$(C)/$$(A)' },
      ];
    });
    expect(task?.container.env).toEqual({ A: 'x', B: 'x/$(C)/$(A)' });
  });
});

test('no text of a user stands in a machine but names of tasks', () => {
  const spec = golden('two_step');
  spec.pipelineInfo.name = '{% $secret %}';
  spec.root.dag.tasks.train.taskInfo.name = '{% 1 + 1 %}';
  spec.deploymentSpec.executors['exec-train'].container.args = ['{% $eval("x") %}'];
  const text = JSON.stringify(compile(spec).definition);
  for (const each of ['$secret', '1 + 1', '$eval', 'python3', 'executor_main'])
    expect(text).not.toContain(each);
});

test('a name too long for a state is shortened and stays unique', () => {
  const long = 'x'.repeat(200);
  const { plan, definition } = compile(graph({ [`${long}1`]: [], [`${long}2`]: [`${long}1`] }));
  expect(new Set(plan.tasks.map(({ id }) => id)).size).toBe(2);
  for (const name of namesIn(definition)) expect(name.length).toBeLessThanOrEqual(80);
});

// ---------------------------------------------------------------- properties

/** Any graph without cycles: task i waits for some of those before it. */
const graphs = fc
  .integer({ min: 1, max: 14 })
  .chain((size) =>
    fc.tuple(
      ...Array.from({ length: size }, (_, i) =>
        fc.subarray(Array.from({ length: i }, (_, j) => `t${j}`)),
      ),
    ),
  )
  .map((needs) => Object.fromEntries(needs.map((each, i) => [`t${i}`, each])));

/** Builds series and parallel parts out of one another, as the SDK's own flows do. */
const seriesParallel = fc.letrec<{ part: Part }>((tie) => ({
  part: fc.oneof(
    { maxDepth: 4, depthSize: 'medium' },
    fc.constant<Part>('task'),
    fc.array(tie('part'), { minLength: 2, maxLength: 3 }).map((series) => ({ series })),
    fc.array(tie('part'), { minLength: 2, maxLength: 3 }).map((parallel) => ({ parallel })),
  ),
})).part;
type Part = 'task' | { series: Part[] } | { parallel: Part[] };

function needsOf(part: Part): Map<string, string[]> {
  const needs = new Map<string, string[]>();
  const walk = (each: Part, before: string[]): string[] => {
    if (each === 'task') {
      const id = `t${needs.size}`;
      needs.set(id, before);
      return [id];
    }
    if ('parallel' in each) return each.parallel.flatMap((one) => walk(one, before));
    return each.series.reduce((last, one) => walk(one, last), before);
  };
  walk(part, []);
  return needs;
}

const leaves = (shape: Shape): string[] =>
  typeof shape === 'string'
    ? [shape]
    : ('series' in shape ? shape.series : shape.parallel).flatMap(leaves);

function namesIn(scope: Scope): string[] {
  return Object.entries(scope.States).flatMap(([name, state]) => [
    name,
    ...(state.Type === 'Parallel' ? state.Branches.flatMap(namesIn) : []),
  ]);
}

/** Walks a machine as the engine would, every job succeeding; gives each task's start and end in ticks. */
function walked(definition: Scope): Map<string, { start: number; end: number }> {
  const seen = new Map<string, { start: number; end: number }>();
  const walk = (scope: Scope, at: number): number => {
    let now = at;
    for (let name: string | undefined = scope.StartAt; name !== undefined; ) {
      const state = scope.States[name] as State;
      if (state.Type === 'Parallel') now = Math.max(...state.Branches.map((b) => walk(b, now)));
      const [, task, step] = /^(t\d+)(\.\w+)?$/.exec(name) ?? [];
      if (task && !step) {
        expect(seen.has(task), `${task} twice`).toBe(false);
        seen.set(task, { start: now, end: Number.POSITIVE_INFINITY });
      }
      if (task && step === '.done')
        seen.set(task, { start: seen.get(task)?.start ?? 0, end: ++now });
      if (state.Type === 'Choice') {
        const rule = state.Choices[0];
        name = rule?.Next;
      } else if ('Next' in state && state.Next) name = state.Next;
      else name = undefined;
    }
    return now;
  };
  walk(definition, 0);
  return seen;
}

describe('any graph', () => {
  test('is drawn with each task once, after all that it needs', () => {
    fc.assert(
      fc.property(graphs, (needs) => {
        const { definition } = compile(graph(needs));
        const seen = walked(definition);
        expect([...seen.keys()].sort()).toEqual(Object.keys(needs).sort());
        for (const [task, before] of Object.entries(needs))
          for (const other of before)
            expect(seen.get(other)?.end).toBeLessThanOrEqual(seen.get(task)?.start ?? -1);
        const names = namesIn(definition);
        expect(new Set(names).size).toBe(names.length);
      }),
      { numRuns: 300 },
    );
  });

  test('that is series-parallel is drawn without one barrier too many', () => {
    fc.assert(
      fc.property(seriesParallel, (part) => {
        const needs = needsOf(part);
        const { shape, waits } = shapeOf(needs);
        expect(waits).toEqual([]);
        expect(leaves(shape).sort()).toEqual([...needs.keys()].sort());
        // As early as its inputs allow: a task starts when the last of them has ended.
        const seen = walked(compile(graph(Object.fromEntries(needs))).definition);
        for (const [task, before] of needs)
          expect(seen.get(task)?.start).toBe(
            Math.max(0, ...before.map((other) => seen.get(other)?.end ?? -1)),
          );
      }),
      { numRuns: 300 },
    );
  });

  test('that is not is told so, task by task', () => {
    expect(compile(golden('cross')).plan.warnings).toEqual([
      "task 'one' also waits for 'make-2': the graph crosses there.",
    ]);
  });

  test('compiles to the same machine each time', () => {
    fc.assert(
      fc.property(graphs, (needs) => {
        expect(compile(graph(needs))).toEqual(compile(graph(needs)));
      }),
      { numRuns: 50 },
    );
  });
});
