import * as z from 'zod';
import type { Route } from '../kernel/route.ts';
import { apiRoute } from '../protocols/api.ts';
import { ModelName, type NamedVersion, type RegisteredModel, type Tags } from './model.ts';
import type { RegistryService } from './service.ts';

const limits = { bodyBytes: 0, timeoutSeconds: 30 };
const Paging = {
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
  page: z.string().optional(),
};
const VersionShown = z.object({
  version: z.number(),
  stage: z.string(),
  aliases: z.array(z.string()),
  description: z.string(),
  uri: z.string(),
  runId: z.string().optional(),
  modelId: z.string().optional(),
  createdBy: z.string(),
  createdAt: z.number(),
  updatedAt: z.number(),
  tags: z.record(z.string(), z.string()),
});
const ModelShown = z.object({
  name: z.string(),
  description: z.string(),
  createdAt: z.number(),
  updatedAt: z.number(),
  aliases: z.record(z.string(), z.number()),
  tags: z.record(z.string(), z.string()),
  /** Of any stage. */
  latestVersion: z.number().optional(),
});

/** Our own face, for the dashboard: models by name, and one model with its versions, newest first. */
export function apiRoutes(registry: RegistryService): Route[] {
  return [
    apiRoute('GET', '/api/models', 'registry:read', {
      input: z.object(Paging),
      output: z.object({ models: z.array(ModelShown), next: z.string().optional() }),
      resource: () => 'models',
      limits,
      summary: 'Registered models by name, prompts left out.',
      async run(call, { limit, page }) {
        const found = await registry.searchModels(call, {
          orderBy: [],
          limit,
          ...(page === undefined ? {} : { token: page }),
        });
        return {
          models: found.items.map(({ model }) => shownModel(model)),
          ...(found.next === undefined ? {} : { next: found.next }),
        };
      },
    }),
    apiRoute('GET', '/api/models/{name}', 'registry:read', {
      input: z.object({ name: ModelName, ...Paging }),
      output: ModelShown.extend({
        versions: z.array(VersionShown),
        next: z.string().optional(),
      }),
      resource: ({ name }) => `models/${name}`,
      limits,
      summary: 'A registered model and its versions, newest first.',
      async run(call, { name, limit, page }) {
        const [{ model }, versions] = await Promise.all([
          registry.getModel(call, name),
          registry.listVersions(call, name, limit, page),
        ]);
        return {
          ...shownModel(model),
          versions: versions.items.map(shownVersion),
          ...(versions.next === undefined ? {} : { next: versions.next }),
        };
      },
    }),
  ];
}

/** `fromEntries` defines properties, so a tag named `__proto__` is a tag and nothing else. */
const tagsShown = (tags: Tags) =>
  Object.fromEntries([...tags].map(([key, value]) => [key, value ?? '']));

function shownModel(model: RegisteredModel) {
  const newest = Math.max(0, ...model.latest.values());
  return {
    name: model.name,
    description: model.description,
    createdAt: model.createdAt,
    updatedAt: model.updatedAt,
    aliases: Object.fromEntries(model.aliases),
    tags: tagsShown(model.tags),
    ...(newest ? { latestVersion: newest } : {}),
  };
}

const shownVersion = (version: NamedVersion) => ({
  version: version.version,
  stage: version.stage,
  aliases: [...version.aliases],
  description: version.description,
  uri: version.uri,
  ...(version.runId ? { runId: version.runId } : {}),
  ...(version.modelId ? { modelId: version.modelId } : {}),
  createdBy: version.userId,
  createdAt: version.createdAt,
  updatedAt: version.updatedAt,
  tags: tagsShown(version.tags),
});
