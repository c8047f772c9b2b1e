import { createHash } from 'node:crypto';
import { Problem } from '../kernel/problem.ts';
import type { Item, Key, Write } from '../platform/ports.ts';
import { LIMITS, type ModelVersion, type RegisteredModel, type Stage, type Tags } from './model.ts';

/**
 * A model is one item under its name, with its aliases and the next number in it: an alias points at one version
 * because a map has one value a key, and two creates cannot take one number because the item moves only if unchanged.
 * Versions and long tags stand under the model's id, which a rename keeps.
 */
export const padded = (version: number) => String(version).padStart(8, '0'); // sorts as numbers do
const digest = (key: string) => createHash('sha256').update(key).digest('hex').slice(0, 32);
export const keys = {
  model: (name: string): Key => ({ pk: 'MODELS', sk: name }),
  version: (id: string, version: number): Key => ({
    pk: 'VERSIONS',
    sk: `${id}/${padded(version)}`,
  }),
  modelTag: (id: string, key: string): Key => ({ pk: `M#${id}`, sk: `T#${digest(key)}` }),
  versionTag: (id: string, version: number, key: string): Key => ({
    pk: `M#${id}`,
    sk: `V#${padded(version)}#${digest(key)}`,
  }),
};
const INLINE_BYTES = 512;
/** The model's id, of a version's item. */
export const idOf = (item: Item) => item.sk.slice(0, item.sk.indexOf('/'));

const isLong = (value: string) => Buffer.byteLength(value) > INLINE_BYTES;

/** What moving from one set of tags to another asks of the long values. */
export function longTags(before: Tags, after: Tags, keyOf: (key: string) => Key): Write[] {
  if (after.size > LIMITS.tags)
    throw new Problem('invalid', `A model or version may have at most ${LIMITS.tags} tags.`, {
      field: 'tags',
    });
  const writes: Write[] = [];
  for (const [key, value] of after)
    if (value !== null && isLong(value)) writes.push({ put: { ...keyOf(key), value } });
  for (const [key, value] of before) {
    if (value !== null) continue;
    const now = after.get(key);
    if (now === undefined || (now !== null && !isLong(now))) writes.push({ remove: keyOf(key) });
  }
  return writes;
}

const writeTags = (tags: Tags) =>
  JSON.stringify(
    [...tags].map(([key, value]) => [key, value !== null && isLong(value) ? null : value]),
  );

export function writeModel(model: RegisteredModel, rev: number): Item {
  const { name, tags, aliases, latest, ...plain } = model;
  return {
    ...keys.model(name),
    ...plain,
    tags: writeTags(tags),
    aliases: JSON.stringify([...aliases]),
    latest: JSON.stringify([...latest]),
    rev,
  };
}

export function readModel(item: Item): RegisteredModel {
  return {
    id: String(item['id']),
    name: item.sk,
    createdAt: Number(item['createdAt']),
    updatedAt: Number(item['updatedAt']),
    description: String(item['description']),
    tags: new Map(JSON.parse(String(item['tags']))),
    aliases: new Map(JSON.parse(String(item['aliases']))),
    latest: new Map(JSON.parse(String(item['latest']))),
    next: Number(item['next']),
  };
}

export function writeVersion(id: string, version: ModelVersion, rev: number): Item {
  return { ...keys.version(id, version.version), ...version, tags: writeTags(version.tags), rev };
}

export function readVersion(item: Item): ModelVersion {
  const text = (name: string) => String(item[name] ?? '');
  return {
    version: Number(item['version']),
    createdAt: Number(item['createdAt']),
    updatedAt: Number(item['updatedAt']),
    stage: item['stage'] as Stage,
    description: text('description'),
    source: text('source'),
    uri: text('uri'),
    runId: text('runId'),
    runLink: text('runLink'),
    modelId: text('modelId'),
    userId: text('userId'),
    tags: new Map(JSON.parse(text('tags'))),
  };
}
