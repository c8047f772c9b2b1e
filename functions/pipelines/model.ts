import * as z from 'zod';
import type { Id } from '../kernel/ids.ts';
import type { Json } from '../kernel/json.ts';

export type ExperimentId = Id<'KfpExperimentId'>;
export type PipelineId = Id<'PipelineId'>;
export type VersionId = Id<'VersionId'>;
export type RunId = Id<'PipelineRunId'>;

/** RFC 4122 text, the form that KFP's ids have: safe in keys, paths and cloud names. */
const uuid = () =>
  z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'must be a UUID');
export const ExperimentId = uuid().brand<'KfpExperimentId'>();
export const PipelineId = uuid().brand<'PipelineId'>();
export const VersionId = uuid().brand<'VersionId'>();
export const RunId = uuid().brand<'PipelineRunId'>();

/** What a request names: of a shape that could be one of ours, so that an unknown one is `missing`. */
const reference = () =>
  z.string().regex(/^[A-Za-z0-9][\w-]{0,63}$/, 'must be an id: letters, digits, _ and -');
export const ExperimentRef = reference().brand<'KfpExperimentId'>();
export const PipelineRef = reference().brand<'PipelineId'>();
export const VersionRef = reference().brand<'VersionId'>();
export const RunRef = reference().brand<'PipelineRunId'>();

export const LIMITS = {
  pageSize: 200,
  uploadBytes: 32 * 2 ** 20,
  formParts: 20,
  description: 10_000,
  tags: 20,
  parameters: 1_000,
  /** All parameters of a run together, as JSON. */
  parametersBytes: 4 * 2 ** 20,
  /** Values up to here stand in the record; more goes to a blob. */
  inlineBytes: 4 * 1024,
  /** Attempts of a run: its first and its retries. */
  attempts: 100,
} as const;

/** What people call things; nothing is derived from it but what passes `names.ts`. */
const label = (max: number) =>
  z
    .string()
    .min(1, 'must not be empty')
    .max(max, `must be at most ${max} characters`)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this refuses.
    .refine((text) => !/[\u0000-\u001f\u007f]/.test(text), 'must not hold control characters')
    .refine((text) => text.trim() !== '', 'must not be blank')
    .refine((text) => text.isWellFormed(), 'must be well-formed Unicode');
export const ExperimentName = label(128);
export const PipelineName = label(128);
export const VersionName = label(127);
export const RunName = label(256);
export const Description = z
  .string()
  .max(LIMITS.description, `must be at most ${LIMITS.description} characters`);
/** Source: kfp.md section 1.3, Pipeline. */
export const Tags = z
  .record(z.string(), z.string().max(63, 'must be at most 63 characters'))
  .refine((tags) => Object.keys(tags).length <= LIMITS.tags, `must be at most ${LIMITS.tags}`)
  .refine(
    (tags) => Object.keys(tags).every((key) => /^[^.]{1,63}$/.test(key)),
    'a key must have 1 to 63 characters and must not hold a dot',
  );

export type StorageState = 'AVAILABLE' | 'ARCHIVED';

export interface Experiment {
  readonly id: ExperimentId;
  readonly name: string;
  readonly description: string;
  readonly createdAt: number;
  readonly storage: StorageState;
  readonly lastRunAt?: number;
}

export interface Pipeline {
  readonly id: PipelineId;
  readonly name: string;
  readonly displayName: string;
  readonly description: string;
  readonly createdAt: number;
  readonly tags: Readonly<Record<string, string>>;
}

export interface Version {
  readonly id: VersionId;
  readonly pipelineId: PipelineId;
  readonly name: string;
  readonly displayName: string;
  readonly description: string;
  readonly createdAt: number;
  readonly tags: Readonly<Record<string, string>>;
  readonly codeSourceUrl?: string;
  /** SHA-256 of the document; names its blob. */
  readonly spec: string;
  readonly machine: string;
  /** What the spec asks for and does not get. */
  readonly warnings: readonly string[];
}

export const RunState = z.enum([
  'PENDING',
  'RUNNING',
  'SUCCEEDED',
  'FAILED',
  'CANCELING',
  'CANCELED',
]);
export type RunState = z.infer<typeof RunState>;
export const isActive = (state: RunState): boolean => state === 'PENDING' || state === 'RUNNING';
export const isFinal = (state: RunState): boolean =>
  state === 'SUCCEEDED' || state === 'FAILED' || state === 'CANCELED';

/** One entry of a history: `note` says why, also when nothing is wrong (a cache hit). */
export interface Change<State extends string> {
  readonly at: number;
  readonly state: State;
  readonly error?: string;
  readonly note?: string;
}

/** A map of values: in the record while small, else in a blob. */
export type Kept =
  | { readonly values: Readonly<Record<string, Json>> }
  | { readonly blob: string; readonly sizeBytes: number };

export interface Run {
  readonly id: RunId;
  readonly experimentId: ExperimentId;
  readonly name: string;
  readonly description: string;
  readonly storage: StorageState;
  readonly pipeline: string;
  readonly version?: { readonly pipelineId: PipelineId; readonly versionId: VersionId };
  readonly spec: string;
  readonly machine: string;
  readonly parameters: Kept;
  /** Where artifacts go, as the caller gave it; ours if absent. */
  readonly root?: string;
  readonly serviceAccount?: string;
  readonly createdBy: string;
  readonly createdAt: number;
  readonly finishedAt?: number;
  readonly state: RunState;
  readonly error?: string;
  readonly history: readonly Change<RunState>[];
  /** From 0; a retry is the next one, and another execution. */
  readonly attempt: number;
  /** True if another machine starts the execution, once by its name. */
  readonly startedElsewhere: boolean;
  readonly outputs?: Kept;
  readonly warnings: readonly string[];
}

export interface Artifact {
  readonly name: string;
  readonly uri: string;
  readonly type: {
    readonly schemaTitle?: string | undefined;
    readonly schemaVersion?: string | undefined;
  };
  readonly metadata: Readonly<Record<string, Json>>;
  /** Names what made it, not what is in it: a cached producer gives the same, so hits cascade. */
  readonly identity: string;
  /** Whether a file or folder lay at `uri`, in our keeping, when the step ended. */
  readonly present: boolean;
}

export type TaskState = 'RUNNING' | 'SUCCEEDED' | 'CACHED' | 'SKIPPED' | 'FAILED' | 'CANCELED';
export const hasOutputs = (state: TaskState): boolean =>
  state === 'SUCCEEDED' || state === 'CACHED';

/** Why a step ran or did not have to. */
export interface CacheVerdict {
  readonly hit: boolean;
  readonly why: string;
  readonly fingerprint?: string;
  /** What the fingerprint is made of, each hashed. */
  readonly parts?: Readonly<Record<string, string>>;
  readonly from?: { readonly runId: RunId; readonly task: string };
}

export interface TaskRecord {
  readonly runId: RunId;
  readonly id: string;
  readonly title: string;
  readonly state: TaskState;
  readonly attempt: number;
  readonly startedAt: number;
  readonly endedAt?: number;
  readonly error?: string;
  /** One for each try that the machine may make, in order. */
  readonly jobs: readonly string[];
  /** Of earlier attempts. */
  readonly failedJobs: readonly string[];
  readonly inputs: {
    readonly parameters: Kept;
    readonly artifacts: Readonly<Record<string, Artifact>>;
  };
  readonly outputs: {
    readonly parameters: Kept;
    readonly artifacts: Readonly<Record<string, Artifact>>;
  };
  readonly cache: CacheVerdict;
  /** The step's nested run, and its experiment, on the MLflow side. */
  readonly tracking?: { readonly experimentId: string; readonly runId: string };
  readonly history: readonly Change<TaskState>[];
}

/** What an earlier step with this fingerprint left behind. */
export interface CacheEntry {
  readonly runId: RunId;
  readonly task: string;
  readonly at: number;
  readonly outputs: TaskRecord['outputs'];
}

/** A run's execution: one an attempt. Source: ports.ts, Machines.start: at most 70 characters. */
export const executionOf = (run: Pick<Run, 'id' | 'attempt'>): string => `${run.id}-${run.attempt}`;

/** From an execution's name, with or without its workspace. Undefined: not one of a pipeline run. */
export function runOfExecution(name: string): { id: RunId; attempt: number } | undefined {
  const [, id, attempt] =
    /^(?:[a-z0-9]{8}-)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-(\d{1,3})$/.exec(name) ?? [];
  return id === undefined ? undefined : { id: id as RunId, attempt: Number(attempt) };
}
