import * as z from 'zod';
import type { Json } from '../kernel/json.ts';
import { kfpMessage } from '../protocols/kfp.ts';
import type { PipelineDocument } from './document.ts';
import type { Listed } from './listing.ts';
import {
  type Artifact,
  type Change,
  Description,
  type Experiment,
  ExperimentName,
  ExperimentRef,
  type Pipeline,
  PipelineName,
  PipelineRef,
  type Run,
  RunName,
  type StorageState,
  Tags,
  type TaskRecord,
  type Version,
  VersionName,
  VersionRef,
} from './model.ts';

/** Requests and answers as KFP spells them. Source: kfp.md section 1.3; kfp-server-api 2.17 models. */
const ignored = z.unknown().optional();
const optional = <T extends z.ZodType>(schema: T) =>
  z.preprocess((value) => (value === '' ? undefined : value), schema.optional());
/** One user's installation takes a namespace and ignores it: who asks says which workspace. */
const namespace = z.string().optional();

export const ListOn = {
  page_token: z.string().default(''),
  page_size: z
    .union([
      z.number(),
      z
        .string()
        .regex(/^-?\d{1,9}$/, 'must be a number')
        .transform(Number),
    ])
    .default(0),
  sort_by: z.string().default(''),
  filter: z.string().default(''),
  namespace,
};
export const listQuery = (input: {
  page_token: string;
  page_size: number;
  sort_by: string;
  filter: string;
}) => ({
  pageToken: input.page_token,
  pageSize: input.page_size,
  sortBy: input.sort_by,
  filter: input.filter,
});

export const ExperimentIn = kfpMessage({
  display_name: ExperimentName,
  description: Description.default(''),
  namespace,
  experiment_id: ignored,
  created_at: ignored,
  storage_state: ignored,
  last_run_created_at: ignored,
});

export const PipelineIn = kfpMessage({
  name: optional(PipelineName),
  display_name: optional(PipelineName),
  description: Description.default(''),
  namespace,
  tags: Tags.default({}),
  pipeline_id: ignored,
  created_at: ignored,
  error: ignored,
});

export const PipelinePatch = kfpMessage({
  pipeline_id: PipelineRef,
  display_name: PipelineName.optional(),
  description: Description.optional(),
  tags: Tags.optional(),
  name: ignored,
  namespace,
  created_at: ignored,
  error: ignored,
});

const Document = z.record(z.string(), z.unknown());
export const VersionIn = kfpMessage({
  pipeline_id: PipelineRef,
  name: optional(VersionName),
  display_name: optional(VersionName),
  description: Description.default(''),
  tags: Tags.default({}),
  code_source_url: optional(z.string().max(2048)),
  pipeline_spec: Document.optional(),
  package_url: z.object({ pipeline_url: z.string().optional() }).optional(),
  pipeline_version_id: ignored,
  created_at: ignored,
  error: ignored,
});

export const VersionPatch = kfpMessage({
  pipeline_id: PipelineRef,
  pipeline_version_id: VersionRef,
  display_name: VersionName.optional(),
  description: Description.optional(),
  tags: Tags.optional(),
  name: ignored,
  code_source_url: ignored,
  pipeline_spec: ignored,
  package_url: ignored,
  created_at: ignored,
  error: ignored,
});

const RuntimeConfig = kfpMessage({
  parameters: z.record(z.string(), z.unknown()).default({}),
  pipeline_root: optional(z.string().max(1024)),
});
export const RunIn = kfpMessage({
  experiment_id: optional(ExperimentRef),
  display_name: RunName,
  description: Description.default(''),
  pipeline_spec: Document.optional(),
  pipeline_version_id: optional(VersionRef),
  pipeline_version_reference: kfpMessage({
    pipeline_id: optional(PipelineRef),
    pipeline_version_id: optional(VersionRef),
  }).optional(),
  runtime_config: RuntimeConfig.default({ parameters: {}, pipeline_root: undefined }),
  service_account: optional(z.string().max(253)),
  run_id: ignored,
  storage_state: ignored,
  created_at: ignored,
  scheduled_at: ignored,
  finished_at: ignored,
  state: ignored,
  error: ignored,
  run_details: ignored,
  recurring_run_id: ignored,
  state_history: ignored,
  plugins_input: ignored,
  plugins_output: ignored,
  // Older clients send the experiment's id in the query, too.
  namespace,
});

/** What comes beside the file of an upload, in the query. */
const upload = {
  name: optional(PipelineName),
  display_name: optional(PipelineName),
  description: Description.default(''),
  namespace,
  tags: z
    .string()
    .default('')
    .transform((text, context) => {
      if (text === '') return {};
      const read = Tags.safeParse(jsonOf(text));
      if (read.success) return read.data;
      context.addIssue({ code: 'custom', message: 'must be a JSON object of short texts' });
      return z.NEVER;
    }),
  code_source_url: optional(z.string().max(2048)),
};
export const UploadOn = kfpMessage(upload);
export const UploadVersionOn = kfpMessage({ ...upload, pipelineid: PipelineRef });

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

// ---------------------------------------------------------------- answers

const time = (ms: number | undefined) =>
  ms === undefined ? undefined : new Date(ms).toISOString();
const storage = (state: StorageState) => state;
/** Unset fields are left out, as protobuf's JSON does. */
const set = (fields: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined && value !== ''),
  );
const status = (code: number, message: string | undefined) =>
  message === undefined ? undefined : set({ code: code || undefined, message });
/** google.rpc.Code INTERNAL. */
const FAILED_CODE = 13;

export const experimentOut = (experiment: Experiment) =>
  set({
    experiment_id: experiment.id,
    display_name: experiment.name,
    description: experiment.description,
    created_at: time(experiment.createdAt),
    last_run_created_at: time(experiment.lastRunAt ?? 0),
    storage_state: storage(experiment.storage),
  });

export const pipelineOut = (pipeline: Pipeline) =>
  set({
    pipeline_id: pipeline.id,
    name: pipeline.name,
    display_name: pipeline.displayName,
    description: pipeline.description,
    created_at: time(pipeline.createdAt),
    tags: Object.keys(pipeline.tags).length ? pipeline.tags : undefined,
  });

/** The IR alone, or beside its platform settings if it has any. */
const specOut = ({ pipeline, platform }: PipelineDocument) =>
  platform === undefined ? pipeline : { pipeline_spec: pipeline, platform_spec: platform };

export const versionOut = (version: Version, document?: PipelineDocument) =>
  set({
    pipeline_id: version.pipelineId,
    pipeline_version_id: version.id,
    name: version.name,
    display_name: version.displayName,
    description: version.description,
    created_at: time(version.createdAt),
    code_source_url: version.codeSourceUrl,
    tags: Object.keys(version.tags).length ? version.tags : undefined,
    pipeline_spec: document && specOut(document),
    // Ours: unknown to the proto, passed over by clients.
    warnings: version.warnings.length ? version.warnings : undefined,
  });

export interface RunParts {
  readonly parameters: Readonly<Record<string, Json>>;
  readonly tasks?: readonly TaskRecord[];
  readonly document?: PipelineDocument;
  readonly outputs?: Readonly<Record<string, Json>>;
  /** Of each task that runs or ran. */
  readonly valuesOf?: ReadonlyMap<string, TaskValues>;
}
export interface TaskValues {
  readonly inputs: Readonly<Record<string, Json>>;
  readonly outputs: Readonly<Record<string, Json>>;
}

export const runOut = (run: Run, parts: RunParts) =>
  set({
    experiment_id: run.experimentId,
    run_id: run.id,
    display_name: run.name,
    description: run.description,
    storage_state: storage(run.storage),
    ...(run.version
      ? {
          pipeline_version_reference: {
            pipeline_id: run.version.pipelineId,
            pipeline_version_id: run.version.versionId,
          },
        }
      : { pipeline_spec: parts.document && specOut(parts.document) }),
    runtime_config: set({ parameters: parts.parameters, pipeline_root: run.root }),
    service_account: run.serviceAccount,
    created_at: time(run.createdAt),
    scheduled_at: time(run.createdAt),
    finished_at: time(run.finishedAt),
    state: run.state,
    error: status(FAILED_CODE, run.error),
    state_history: run.history.map(changeOut),
    run_details: parts.tasks && {
      task_details: parts.tasks.map((task) => taskOut(task, parts.valuesOf?.get(task.id))),
    },
    // Ours.
    outputs: parts.outputs,
    warnings: run.warnings.length ? run.warnings : undefined,
    mlflow_run_id: run.id.replaceAll('-', ''),
  });

/** A note that is no error travels in the same place with code 0, where an unmodified client can read it. */
const changeOut = (change: Change<string>) =>
  set({
    update_time: time(change.at),
    state: change.state === 'CACHED' ? 'SKIPPED' : change.state,
    error: change.error === undefined ? status(0, change.note) : status(FAILED_CODE, change.error),
  });

const artifactIds = (artifacts: Readonly<Record<string, Artifact>>) =>
  Object.keys(artifacts).length
    ? Object.fromEntries(
        Object.entries(artifacts).map(([name, { identity }]) => [
          name,
          { artifact_ids: [identity] },
        ]),
      )
    : undefined;

const taskOut = (task: TaskRecord, values: TaskValues | undefined) =>
  set({
    run_id: task.runId,
    task_id: task.id,
    display_name: task.title,
    create_time: time(task.startedAt),
    start_time: time(task.startedAt),
    end_time: time(task.endedAt),
    // A cached task was not run: KFP's word for that is SKIPPED.
    state: task.state === 'CACHED' ? 'SKIPPED' : task.state,
    error: status(FAILED_CODE, task.error),
    inputs: artifactIds(task.inputs.artifacts),
    outputs: artifactIds(task.outputs.artifacts),
    executor_detail: jobsOut(task),
    state_history: task.history.map(changeOut),
    // Ours: the reason in plain words, the values, where artifacts lie, and the step's MLflow run.
    cache: set({
      hit: task.cache.hit || undefined,
      reason: task.cache.why,
      run_id: task.cache.from?.runId,
      task_id: task.cache.from?.task,
    }),
    parameters: values?.inputs,
    output_parameters: values?.outputs,
    input_artifacts: places(task.inputs.artifacts),
    output_artifacts: places(task.outputs.artifacts),
    mlflow_run_id: task.tracking?.runId,
    attempt: task.attempt || undefined,
  });

/** While it runs, the tries after the first are only prepared. */
function jobsOut({ state, jobs, failedJobs }: TaskRecord) {
  if (!jobs.length && !failedJobs.length) return undefined;
  const failed = [...failedJobs, ...(state === 'RUNNING' ? [] : jobs.slice(0, -1))];
  return set({
    main_job: state === 'RUNNING' ? jobs[0] : jobs.at(-1),
    failed_main_jobs: failed.length ? failed : undefined,
  });
}

const places = (artifacts: Readonly<Record<string, Artifact>>) =>
  Object.keys(artifacts).length
    ? Object.fromEntries(
        Object.entries(artifacts).map(([name, { uri, type, metadata }]) => [
          name,
          { uri, type: type.schemaTitle, metadata },
        ]),
      )
    : undefined;

export const listOut = <T>(
  name: string,
  { items, total, next }: Listed<T>,
  out: (item: T) => unknown,
) =>
  set({
    [name]: items.length ? items.map(out) : undefined,
    total_size: total || undefined,
    next_page_token: next,
  });
