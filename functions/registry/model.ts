import * as z from 'zod';
import { checkedSegment } from '../kernel/path.ts';
import { Problem } from '../kernel/problem.ts';
import { compareText } from '../kernel/text.ts';

export const STAGES = ['None', 'Staging', 'Production', 'Archived'] as const;
export type Stage = (typeof STAGES)[number];

/** A tag whose value is kept beside the record reads as null until it is asked for. */
export type Tags = ReadonlyMap<string, string | null>;

export interface RegisteredModel {
  /** Its versions belong to this id, so a rename carries them in one commit. */
  readonly id: string;
  readonly name: string;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly description: string;
  readonly tags: Tags;
  /** Which version each alias points at. */
  readonly aliases: ReadonlyMap<string, number>;
  /** The newest version of each stage. */
  readonly latest: ReadonlyMap<Stage, number>;
  /** The number the next version gets; it only grows. */
  readonly next: number;
}

export interface ModelVersion {
  readonly version: number;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly stage: Stage;
  readonly description: string;
  /** As it was given: a storage URI, `runs:/..` or `models:/..`. */
  readonly source: string;
  /** Where the files lie. */
  readonly uri: string;
  readonly runId: string;
  readonly runLink: string;
  readonly modelId: string;
  readonly userId: string;
  readonly tags: Tags;
}

/** A version with what it has from its model. */
export interface NamedVersion extends ModelVersion {
  readonly name: string;
  readonly aliases: readonly string[];
}

export const LIMITS = {
  nameLength: 256,
  nameBytes: 900,
  descriptionLength: 10_000,
  sourceLength: 2_000,
  tagLength: 100_000,
  /** So that a record with all its long tags is one commit. */
  tags: 90,
  aliases: 200,
  searchModels: 1_000,
  searchVersions: 200_000,
} as const;

export const PROMPT_TAG = 'mlflow.prompt.is_prompt';
/** What prompt versions name as their source, since they have no files. Source: mlflow/prompt/constants.py. */
export const PROMPT_SOURCES: readonly string[] = ['dummy-source', 'prompt-template'];

/** A message of our own, whole, where stock's tests match on its words. */
const refused = (message: string) => ({ message, params: { whole: true } });

/** One segment that means the same wherever it is read, since it becomes a key and part of URIs. */
export const ModelName = z
  .string()
  .refine((name) => name.trim() !== '', refused("Missing value for required parameter 'name'."))
  .superRefine((name, context) => {
    const refuse = (why: string) =>
      context.addIssue({
        code: 'custom',
        message: `Invalid model name '${name.slice(0, 300)}'. ${why}`,
        params: { whole: true },
      });
    if (/[/:]/.test(name)) return refuse("Names cannot contain '/' or ':'.");
    if (name.length > LIMITS.nameLength || Buffer.byteLength(name) > LIMITS.nameBytes)
      return refuse(`It exceeds the maximum length of ${LIMITS.nameLength} characters.`);
    try {
      checkedSegment(name, 'name');
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      refuse(error.message);
    }
  });

/** What may be asked for after the @ in `models:/name@alias`. Source: mlflow/utils/validation.py, `[\w\-]` of Python. */
export const AliasName = z
  .string()
  .min(1, 'must not be empty')
  .max(255, 'may have at most 255 characters')
  .refine((name) => /^[\p{L}\p{N}_-]+$/u.test(name), {
    error: (issue) =>
      `Invalid alias name: '${String(issue.input).slice(0, 300)}'. Names may only contain alphanumerics, underscores (_), and dashes (-).`,
    params: { whole: true },
  });

/** What may be set: not a name that reads as a version. */
export const NewAliasName = AliasName.refine(
  (name) => name.toLowerCase() !== 'latest',
  refused("'latest' alias name (case insensitive) is reserved."),
).refine((name) => !/^v\p{Nd}+$/iu.test(name), {
  error: (issue) => `Version alias name '${issue.input}' is reserved.`,
  params: { whole: true },
});

export const VersionNumber = z.string().transform((text, context): number => {
  const number = Number(text);
  if (/^\d{1,8}$/.test(text)) return number;
  context.addIssue({
    code: 'custom',
    message: `Parameter 'version' must be an integer, got '${text.slice(0, 100)}'.`,
    params: { whole: true },
  });
  return z.NEVER;
});

/** Any case in, canonical out. Throws `invalid`. */
export function stageOf(text: string): Stage {
  const stage = STAGES.find((name) => name.toLowerCase() === text.toLowerCase());
  if (stage) return stage;
  throw new Problem(
    'invalid',
    `Invalid Model Version stage: ${text.slice(0, 100)}. Value must be one of ${STAGES.join(', ')}.`,
    { field: 'stage' },
  );
}

export const isPrompt = (tags: Tags): boolean => tags.get(PROMPT_TAG)?.toLowerCase() === 'true';

export const missingModel = (name: string) =>
  new Problem('missing', `Registered Model with name=${name} not found`, { field: 'name' });
export const missingVersion = (name: string, version: number) =>
  new Problem('missing', `Model Version (name=${name}, version=${version}) not found`, {
    field: 'version',
  });

export const named = (model: RegisteredModel, version: ModelVersion): NamedVersion => ({
  ...version,
  name: model.name,
  aliases: sortedAliases(model).flatMap(([alias, n]) => (n === version.version ? [alias] : [])),
});

/** By name, as stock's key has them. */
export const sortedAliases = ({ aliases }: Pick<RegisteredModel, 'aliases'>) =>
  [...aliases].sort(([a], [b]) => compareText(a, b));
