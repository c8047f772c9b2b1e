import * as z from 'zod';
import type { Json } from '../../kernel/json.ts';

/**
 * The part of KFP's intermediate representation that we compile, as it stands in a spec (protobuf's JSON, camelCase).
 * Fields of features that are not compiled are kept as unknown, so that `read` can refuse them by name.
 * Source: kubeflow/pipelines api/v2alpha1/pipeline_spec.proto; kfp.md section 2.
 */
const json = z.json() as z.ZodType<Json>;
const record = <T extends z.ZodType>(item: T) => z.record(z.string(), item).default({});
const text = z.string();
const flag = z.boolean().default(false);

export const PARAMETER_TYPES = [
  'NUMBER_DOUBLE',
  'NUMBER_INTEGER',
  'STRING',
  'BOOLEAN',
  'LIST',
  'STRUCT',
] as const;
export type ParameterType = (typeof PARAMETER_TYPES)[number];

const InputParameter = z.object({
  parameterType: text.optional(),
  /** As schema 2.0.0 words it: INT, DOUBLE, STRING. */
  type: text.optional(),
  defaultValue: json.optional(),
  isOptional: flag,
  literals: z.array(json).default([]),
});
const ArtifactType = z.object({
  schemaTitle: text.optional(),
  schemaVersion: text.optional(),
  instanceSchema: text.optional(),
});
export type ArtifactType = z.output<typeof ArtifactType>;
const InputArtifact = z.object({
  artifactType: ArtifactType.default({}),
  isArtifactList: flag,
  isOptional: flag,
});
const OutputParameter = z.object({
  parameterType: text.optional(),
  type: text.optional(),
});
const OutputArtifact = z.object({
  artifactType: ArtifactType.default({}),
  isArtifactList: flag,
  metadata: record(json),
});

const TaskParameter = z.object({
  componentInputParameter: text.optional(),
  taskOutputParameter: z.object({ producerTask: text, outputParameterKey: text }).optional(),
  runtimeValue: z
    .object({
      constant: json.optional(),
      constantValue: json.optional(),
      runtimeParameter: text.optional(),
    })
    .optional(),
  taskFinalStatus: z.unknown().optional(),
  parameterExpressionSelector: text.optional(),
});
const TaskArtifact = z.object({
  componentInputArtifact: text.optional(),
  taskOutputArtifact: z.object({ producerTask: text, outputArtifactKey: text }).optional(),
});
const number = z.union([z.number(), text.regex(/^\d+(\.\d+)?$/).transform(Number)]);
const duration = text.regex(/^\d+(\.\d+)?s$/, 'must be a duration such as 30s');

const Task = z.object({
  componentRef: z.object({ name: text }),
  taskInfo: z.object({ name: text.optional() }).default({}),
  inputs: z
    .object({ parameters: record(TaskParameter), artifacts: record(TaskArtifact) })
    .default({ parameters: {}, artifacts: {} }),
  dependentTasks: z.array(text).default([]),
  cachingOptions: z
    .object({ enableCache: flag, cacheKey: text.optional() })
    .default({ enableCache: false }),
  triggerPolicy: z
    .object({ condition: text.optional(), strategy: z.unknown() })
    .partial()
    .optional(),
  retryPolicy: z
    .object({
      maxRetryCount: number.default(0),
      backoffDuration: duration.optional(),
      backoffFactor: number.optional(),
      backoffMaxDuration: duration.optional(),
    })
    .optional(),
  parameterIterator: z.unknown().optional(),
  artifactIterator: z.unknown().optional(),
  iteratorPolicy: z.unknown().optional(),
});
export type Task = z.output<typeof Task>;

const DagOutputs = z.object({
  parameters: record(
    z.object({
      valueFromParameter: z.object({ producerSubtask: text, outputParameterKey: text }).optional(),
      valueFromOneof: z.unknown().optional(),
    }),
  ),
  artifacts: record(
    z.object({
      artifactSelectors: z
        .array(z.object({ producerSubtask: text, outputArtifactKey: text }))
        .default([]),
    }),
  ),
});

export const Component = z.object({
  inputDefinitions: z
    .object({ parameters: record(InputParameter), artifacts: record(InputArtifact) })
    .default({ parameters: {}, artifacts: {} }),
  outputDefinitions: z
    .object({ parameters: record(OutputParameter), artifacts: record(OutputArtifact) })
    .default({ parameters: {}, artifacts: {} }),
  dag: z
    .object({
      tasks: record(Task),
      outputs: DagOutputs.default({ parameters: {}, artifacts: {} }),
    })
    .optional(),
  executorLabel: text.optional(),
  taskConfigPassthroughs: z.unknown().optional(),
});
export type Component = z.output<typeof Component>;

const Accelerator = z.object({
  type: text.optional(),
  count: number.optional(),
  resourceType: text.optional(),
  resourceCount: text.optional(),
});
const Resources = z.object({
  cpuLimit: number.optional(),
  memoryLimit: number.optional(),
  cpuRequest: number.optional(),
  memoryRequest: number.optional(),
  resourceCpuLimit: text.optional(),
  resourceMemoryLimit: text.optional(),
  resourceCpuRequest: text.optional(),
  resourceMemoryRequest: text.optional(),
  accelerator: Accelerator.optional(),
});
export type Resources = z.output<typeof Resources>;
const Container = z.object({
  image: text.default(''),
  command: z.array(text).default([]),
  args: z.array(text).default([]),
  env: z.array(z.object({ name: text, value: text.default('') })).default([]),
  resources: Resources.default({}),
  lifecycle: z.unknown().optional(),
});
export type Container = z.output<typeof Container>;
const Executor = z.object({
  container: Container.optional(),
  importer: z.unknown().optional(),
  resolver: z.unknown().optional(),
  customJob: z.unknown().optional(),
});

export const PipelineSpec = z.object({
  pipelineInfo: z.object({
    name: text.min(1, 'must not be empty'),
    displayName: text.optional(),
    description: text.optional(),
  }),
  schemaVersion: text.optional(),
  sdkVersion: text.optional(),
  defaultPipelineRoot: text.optional(),
  deploymentSpec: z.object({ executors: record(Executor) }).default({ executors: {} }),
  components: record(Component),
  root: Component,
});
export type PipelineSpec = z.output<typeof PipelineSpec>;

const SettingsOfExecutor = z.record(z.string(), z.unknown());
export const PlatformSpec = z.object({
  platforms: record(
    z.object({
      deploymentSpec: z.object({ executors: record(SettingsOfExecutor) }).optional(),
      pipelineConfig: z.unknown().optional(),
    }),
  ),
});
export type PlatformSpec = z.output<typeof PlatformSpec>;
