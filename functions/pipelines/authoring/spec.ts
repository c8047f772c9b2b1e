import type { Json } from '../../kernel/json.ts';
import type {
  ArtifactKind,
  Given,
  Kind,
  ParameterKind,
  Step,
  StepProps,
  TuningStep,
} from './step.ts';
import { type Trial, trialsOf } from './trials.ts';

/** A pipeline whose steps are written down in TypeScript. */
export interface PipelineSteps {
  /** By name: letters, digits and dashes, as a task of kfp's is called. */
  readonly steps: Readonly<Record<string, Step>>;
  readonly parameters?: Readonly<
    Record<string, ParameterKind | { readonly type: ParameterKind; readonly default: Json }>
  >;
  readonly description?: string;
}

type Fields = { [name: string]: Json };
const PYTHON = 'python:3.11';
const isArtifact = (kind: Kind): kind is ArtifactKind => kind.startsWith('system.');
/** Puts the text behind it into a file and lets kfp's own executor find the function in there. */
const RUN_FUNCTION =
  'folder=$(mktemp -d)\nprintf "%s" "$0" > "$folder/component.py"\n' +
  '_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main --component_module_path "$folder/component.py" "$@"\n';

/**
 * The IR of a pipeline written in steps: what kfp's compiler would have written, so nothing later knows the difference.
 * `read` gives the text of a Python file. Throws in one line that names the step; all else the compiler checks.
 */
export function specOfSteps(
  name: string,
  { steps, parameters = {}, description }: PipelineSteps,
  read: (file: string) => string,
): Json {
  const plain = Object.entries(steps).flatMap(([step, one]) =>
    one.kind === 'tuning' ? tuned(step, one as TuningStep) : [[step, one.props] as const],
  );
  const all = new Map(plain);
  if (all.size < plain.length)
    throw new Error(`pipeline '${name}': two steps get the same name, a trial's among them`);
  const kinds = Object.fromEntries(
    Object.entries(parameters).map(([key, one]) => [key, typeof one === 'string' ? one : one.type]),
  );
  const components: Fields = {};
  const executors: Fields = {};
  const tasks: Fields = {};
  for (const [step, props] of all) {
    const kindOf = (input: string, given: Given) => kindOfGiven(step, input, given, all, kinds);
    components[`comp-${step}`] = componentOf(step, props, kindOf);
    executors[`exec-${step}`] = { container: containerOf(step, props, read) };
    tasks[step] = taskOf(step, props, kindOf);
  }
  const inputs = Object.fromEntries(
    Object.entries(parameters).map(([key, one]): [string, Json] => [
      key,
      typeof one === 'string'
        ? { parameterType: one }
        : { parameterType: one.type, defaultValue: one.default, isOptional: true },
    ]),
  );
  return {
    pipelineInfo: { name, ...(description === undefined ? {} : { description }) },
    schemaVersion: '2.1.0',
    sdkVersion: 'stillflow',
    components,
    deploymentSpec: { executors },
    root: { inputDefinitions: { parameters: inputs }, dag: { tasks } },
  };
}

type KindOf = (input: string, given: Given) => Kind;

function kindOfGiven(
  step: string,
  input: string,
  given: Given,
  all: ReadonlyMap<string, StepProps>,
  parameters: Readonly<Record<string, ParameterKind>>,
): Kind {
  const at = `step '${step}', input '${input}'`;
  if (typeof given === 'string') return 'STRING';
  if (typeof given === 'boolean') return 'BOOLEAN';
  if (typeof given === 'number')
    return Number.isInteger(given) ? 'NUMBER_INTEGER' : 'NUMBER_DOUBLE';
  if ('parameter' in given) {
    const kind = Object.hasOwn(parameters, given.parameter) && parameters[given.parameter];
    if (!kind) throw new Error(`${at}: the pipeline has no parameter '${given.parameter}'`);
    return kind;
  }
  if ('step' in given) {
    const outputs = all.get(given.step)?.outputs;
    if (!outputs) throw new Error(`${at}: there is no step '${given.step}' that gives anything`);
    const kind = Object.hasOwn(outputs, given.output) && outputs[given.output];
    if (!kind) throw new Error(`${at}: step '${given.step}' gives no '${given.output}'`);
    return kind;
  }
  const { constant } = given;
  if (Array.isArray(constant)) return 'LIST';
  if (typeof constant === 'object') return 'STRUCT';
  return kindOfGiven(step, input, constant, all, parameters);
}

const definitions = (kinds: readonly (readonly [string, Kind])[]): Fields => ({
  parameters: Object.fromEntries(
    kinds.flatMap(([name, kind]) => (isArtifact(kind) ? [] : [[name, { parameterType: kind }]])),
  ),
  artifacts: Object.fromEntries(
    kinds.flatMap(([name, kind]) =>
      isArtifact(kind)
        ? [[name, { artifactType: { schemaTitle: kind, schemaVersion: '0.0.1' } }]]
        : [],
    ),
  ),
});

function componentOf(step: string, { inputs = {}, outputs = {} }: StepProps, kindOf: KindOf): Json {
  const taken = Object.entries(inputs).map(([name, given]) => [name, kindOf(name, given)] as const);
  return {
    executorLabel: `exec-${step}`,
    inputDefinitions: definitions(taken),
    outputDefinitions: definitions(Object.entries(outputs)),
  };
}

function containerOf(step: string, props: StepProps, read: (file: string) => string): Json {
  const { python, command, image = PYTHON, env = {}, cpus, memoryGb, accelerator } = props;
  if ((python === undefined) === (command === undefined))
    throw new Error(`step '${step}' needs either python or a command`);
  const { deadlineSeconds } = props;
  const variables = {
    ...env,
    ...(deadlineSeconds === undefined
      ? {}
      : { STILLFLOW_DEADLINE_SECONDS: String(deadlineSeconds) }),
  };
  return {
    image,
    ...(python
      ? {
          command: ['sh', '-ec', RUN_FUNCTION, read(python.file)],
          args: ['--executor_input', '{{$}}', '--function_to_execute', python.function],
        }
      : { command: [...(command ?? [])] }),
    env: Object.entries(variables).map(([name, value]) => ({ name, value })),
    resources: {
      ...(cpus === undefined ? {} : { resourceCpuLimit: String(cpus) }),
      ...(memoryGb === undefined ? {} : { resourceMemoryLimit: `${memoryGb}G` }),
      ...(accelerator
        ? {
            accelerator: {
              resourceType: accelerator.type,
              resourceCount: String(accelerator.count),
            },
          }
        : {}),
    },
  };
}

function taskOf(step: string, props: StepProps, kindOf: KindOf): Json {
  const { inputs = {}, after = [], retries, cached = true } = props;
  const parameters: Fields = {};
  const artifacts: Fields = {};
  const needs = new Set(after);
  for (const [name, given] of Object.entries(inputs)) {
    const artifact = isArtifact(kindOf(name, given));
    if (typeof given === 'object' && 'step' in given) {
      needs.add(given.step);
      if (artifact)
        artifacts[name] = {
          taskOutputArtifact: { producerTask: given.step, outputArtifactKey: given.output },
        };
      else
        parameters[name] = {
          taskOutputParameter: { producerTask: given.step, outputParameterKey: given.output },
        };
    } else if (typeof given === 'object' && 'parameter' in given)
      parameters[name] = { componentInputParameter: given.parameter };
    else
      parameters[name] = {
        runtimeValue: {
          constant: (typeof given === 'object' ? given.constant : given) as Json,
        },
      };
  }
  return {
    componentRef: { name: `comp-${step}` },
    taskInfo: { name: step },
    inputs: { parameters, artifacts },
    dependentTasks: [...needs],
    cachingOptions: { enableCache: cached },
    ...(retries === undefined ? {} : { retryPolicy: { maxRetryCount: retries } }),
  };
}

// ---------------------------------------------------------------- tuning

/** A step a trial, and the one that compares them. */
function tuned(name: string, { tuning }: TuningStep): [string, StepProps][] {
  const { search, objective, trialsAs = 'step', ...props } = tuning;
  const outputs = props.outputs ?? {};
  if (outputs[objective.output] !== 'NUMBER_DOUBLE')
    throw new Error(
      `step '${name}': its objective '${objective.output}' must be a NUMBER_DOUBLE among its outputs`,
    );
  const trials = trialsOf(name, search);
  const trialName = (at: number) => `${name}-trial-${at + 1}`;
  const env = trialsAs === 'training' ? { ...props.env, STILLFLOW_RUNNER: 'sagemaker' } : props.env;
  const made = trials.map((trial, at): [string, StepProps] => [
    trialName(at),
    { ...props, ...(env ? { env } : {}), inputs: { ...props.inputs, ...trial } },
  ]);
  const artifacts = Object.entries(outputs).filter(([, kind]) => isArtifact(kind));
  return [...made, [name, chooser(trials, objective, artifacts, trialName)]];
}

function chooser(
  trials: readonly Trial[],
  { output, goal }: TuningStep['tuning']['objective'],
  artifacts: readonly (readonly [string, Kind])[],
  trialName: (at: number) => string,
): StepProps {
  const inputs: Record<string, Given> = { tried: { constant: trials as Json[] } };
  trials.forEach((_, at) => {
    inputs[`value_${at + 1}`] = { step: trialName(at), output };
    artifacts.forEach(([artifact], which) => {
      inputs[`artifact_${which}_${at + 1}`] = { step: trialName(at), output: artifact };
    });
  });
  return {
    command: [
      ...['sh', '-ec', RUN_FUNCTION, sourceOf(trials.length, goal, artifacts)],
      ...['--executor_input', '{{$}}', '--function_to_execute', 'best'],
    ],
    inputs,
    outputs: {
      value: 'NUMBER_DOUBLE',
      trial: 'NUMBER_INTEGER',
      parameters: 'STRUCT',
      ...Object.fromEntries(artifacts),
    },
  };
}

/** Our own words only: what a user named is handed over as an input. */
function sourceOf(
  count: number,
  goal: 'minimize' | 'maximize',
  artifacts: readonly (readonly [string, Kind])[],
): string {
  const numbers = Array.from({ length: count }, (_, at) => at + 1);
  const taken = numbers.flatMap((at) => [
    `value_${at}: float`,
    ...artifacts.map((_, which) => `artifact_${which}_${at}: dsl.Input[dsl.Artifact]`),
  ]);
  const given = artifacts.map(([name]) => `${name}: dsl.Output[dsl.Artifact]`);
  const rows = artifacts.map(
    ([name], which) => `    keep([${numbers.map((at) => `artifact_${which}_${at}`)}], ${name})`,
  );
  return `import collections
import os
import shutil
from typing import NamedTuple

from kfp import dsl


def best(tried: list, ${[...taken, ...given].join(', ')}) -> NamedTuple(
    "Best", [("value", float), ("trial", int), ("parameters", dict)]
):
    values = [${numbers.map((at) => `value_${at}`)}]
    at = values.index(${goal === 'minimize' ? 'min' : 'max'}(values))

    def keep(candidates, kept):
        source = candidates[at].path
        (shutil.copytree if os.path.isdir(source) else shutil.copyfile)(source, kept.path)
        kept.metadata.update(candidates[at].metadata)

${rows.join('\n')}
    return collections.namedtuple("Best", "value trial parameters")(values[at], at + 1, tried[at])
`;
}
