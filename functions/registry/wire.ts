import * as z from 'zod';
import { Problem } from '../kernel/problem.ts';
import { repeated, safeInt } from '../kernel/proto.ts';
import type { Limits } from '../kernel/route.ts';
import { mlflowMessage } from '../protocols/mlflow.ts';
import { checkKey } from '../tracking/model.ts';
import {
  AliasName,
  LIMITS,
  ModelName,
  type NamedVersion,
  NewAliasName,
  sortedAliases,
  type Tags,
  VersionNumber,
} from './model.ts';
import type { ShownModel } from './readings.ts';

/** MLflow's messages of the registry, both ways. */
export const text = (max: number) => z.string().max(max, `may have at most ${max} characters`);

const KEY_LENGTH = 1_000; // the key's own check words its limit
const Tag = mlflowMessage({ key: text(KEY_LENGTH), value: z.string().default('') });
export const TagsOnWire = repeated(Tag).refine(
  (tags) => tags.length <= 1_000,
  'has too many entries',
);
export const ByName = { name: ModelName };
export const ByVersion = { name: ModelName, version: VersionNumber };
export const ByAlias = { name: ModelName, alias: AliasName };
export const NewAlias = { name: ModelName, alias: NewAliasName, version: VersionNumber };
export const TagSet = { key: text(KEY_LENGTH), value: z.string().default('') };
export const TagKey = { key: text(KEY_LENGTH) };
export const Description = text(LIMITS.descriptionLength);
export const Search = {
  filter: z.string().optional(),
  max_results: safeInt().optional(),
  order_by: repeated(text(1_000)).refine((list) => list.length <= 20, 'has too many entries'),
  page_token: z.string().optional(),
};

/** Throws `invalid`. Source: mlflow/utils/validation.py, _validate_registered_model_tag. */
export function checkTag(key: string, value: string, field = 'key'): void {
  checkKey(key, field, field);
  if ([...value].length > LIMITS.tagLength)
    throw new Problem(
      'invalid',
      `'value' exceeds the maximum length of ${LIMITS.tagLength} characters`,
      { field: 'value' },
    );
}

/** The last of two equal keys wins. */
export function decodeTags(pairs: readonly { key: string; value: string }[]): Tags {
  const tags = new Map<string, string>();
  pairs.forEach(({ key, value }, i) => {
    checkTag(key, value, `tags[${i}].key`);
    tags.set(key, value);
  });
  return tags;
}

/** A search as the service takes it. `max`: the most that one page may hold; `min`: the least. */
export function decodeSearch(
  input: {
    filter?: string | undefined;
    max_results?: number | undefined;
    order_by: readonly string[];
    page_token?: string | undefined;
  },
  standard: number,
  max: number,
  min: 0 | 1 = 1,
) {
  const limit = input.max_results ?? standard;
  if (limit < min)
    throw new Problem(
      'invalid',
      `Invalid value for max_results. It must be a positive integer, but got ${limit}`,
      { field: 'max_results' },
    );
  if (limit > max)
    throw new Problem(
      'invalid',
      `Invalid value for request parameter max_results. It must be at most ${max}, but got value ${limit}`,
      { field: 'max_results' },
    );
  return {
    ...(input.filter ? { filter: input.filter } : {}),
    orderBy: input.order_by,
    limit,
    ...(input.page_token ? { token: input.page_token } : {}),
  };
}

/** Of a request that says a name or two, one that brings values, and one that says all in its address. */
export const limits: Limits = { bodyBytes: 16_384, timeoutSeconds: 10 };
export const large: Limits = { bodyBytes: 2_000_000, timeoutSeconds: 10 };
export const asked: Limits = { bodyBytes: 0, timeoutSeconds: 30 };
export const resource = ({ name }: { name: string }) => `models/${name}`;

const PairOnWire = z.object({ key: z.string(), value: z.string() });
export const VersionOnWire = z.object({
  name: z.string(),
  version: z.string(),
  creation_timestamp: z.number(),
  last_updated_timestamp: z.number(),
  user_id: z.string(),
  current_stage: z.string(),
  description: z.string(),
  source: z.string(),
  run_id: z.string(),
  status: z.literal('READY'),
  run_link: z.string(),
  tags: z.array(PairOnWire).optional(),
  aliases: z.array(z.string()).optional(),
});
export const ModelOnWire = z.object({
  name: z.string(),
  creation_timestamp: z.number(),
  last_updated_timestamp: z.number(),
  description: z.string(),
  latest_versions: z.array(VersionOnWire).optional(),
  tags: z.array(PairOnWire).optional(),
  aliases: z.array(z.object({ alias: z.string(), version: z.string() })).optional(),
});
export const VersionAnswer = z.object({ model_version: VersionOnWire });
export const ModelAnswer = z.object({ registered_model: ModelOnWire });
export const Nothing = z.object({});

const pairs = (tags: Tags) => [...tags].map(([key, value]) => ({ key, value: value ?? '' }));

/** Without model_id, as in stock: there the logged model's own tag links back (mlflow.md section 5.6 item 34). */
export const encodeVersion = (version: NamedVersion) => ({
  name: version.name,
  version: String(version.version),
  creation_timestamp: version.createdAt,
  last_updated_timestamp: version.updatedAt,
  user_id: version.userId,
  current_stage: version.stage,
  description: version.description,
  source: version.source,
  run_id: version.runId,
  status: 'READY' as const,
  run_link: version.runLink,
  ...(version.tags.size ? { tags: pairs(version.tags) } : {}),
  ...(version.aliases.length ? { aliases: [...version.aliases] } : {}),
});

export const encodeModel = ({ model, latest }: ShownModel) => ({
  name: model.name,
  creation_timestamp: model.createdAt,
  last_updated_timestamp: model.updatedAt,
  description: model.description,
  ...(latest.length ? { latest_versions: latest.map(encodeVersion) } : {}),
  ...(model.tags.size ? { tags: pairs(model.tags) } : {}),
  ...(model.aliases.size
    ? {
        aliases: sortedAliases(model).map(([alias, version]) => ({
          alias,
          version: String(version),
        })),
      }
    : {}),
});
