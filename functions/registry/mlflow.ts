import * as z from 'zod';
import { Problem } from '../kernel/problem.ts';
import { repeated } from '../kernel/proto.ts';
import type { Route } from '../kernel/route.ts';
import { mlflowMessage, mlflowRoutes } from '../protocols/mlflow.ts';
import { LIMITS, ModelName } from './model.ts';
import type { RegistryService } from './service.ts';
import {
  asked,
  ByAlias,
  ByName,
  checkTag,
  Description,
  decodeSearch,
  decodeTags,
  encodeModel,
  encodeVersion,
  large,
  limits,
  ModelAnswer,
  ModelOnWire,
  NewAlias,
  Nothing,
  resource,
  Search,
  TagKey,
  TagSet,
  TagsOnWire,
  text,
  VersionAnswer,
  VersionOnWire,
} from './wire.ts';

const BASE = '/mlflow/registered-models';

export function modelRoutes(registry: RegistryService): Route[] {
  return [
    ...mlflowRoutes('POST', `${BASE}/create`, 'registry:write', {
      input: mlflowMessage({ ...ByName, tags: TagsOnWire, description: Description.optional() }),
      output: ModelAnswer,
      resource,
      limits: large,
      retry: 'natural', // the name: a second create finds it taken
      async run(call, { name, tags, description }) {
        const parts = { tags: decodeTags(tags), ...(description ? { description } : {}) };
        return { registered_model: encodeModel(await registry.createModel(call, name, parts)) };
      },
    }),
    ...mlflowRoutes('POST', `${BASE}/rename`, 'registry:write', {
      input: mlflowMessage({ ...ByName, new_name: ModelName }),
      output: ModelAnswer,
      resource,
      limits,
      retry: 'natural',
      run: async (call, { name, new_name }) => ({
        registered_model: encodeModel(await registry.renameModel(call, name, new_name)),
      }),
    }),
    ...mlflowRoutes('PATCH', `${BASE}/update`, 'registry:write', {
      input: mlflowMessage({ ...ByName, description: Description.default('') }),
      output: ModelAnswer,
      resource,
      limits: large,
      retry: 'natural',
      run: async (call, { name, description }) => ({
        registered_model: encodeModel(await registry.describeModel(call, name, description)),
      }),
    }),
    ...mlflowRoutes('DELETE', `${BASE}/delete`, 'registry:write', {
      input: mlflowMessage(ByName),
      output: Nothing,
      resource,
      limits,
      retry: 'natural',
      run: (call, { name }) => registry.removeModel(call, name),
    }),
    ...mlflowRoutes('GET', `${BASE}/get`, 'registry:read', {
      input: mlflowMessage(ByName),
      output: ModelAnswer,
      resource,
      limits: asked,
      run: async (call, { name }) => ({
        registered_model: encodeModel(await registry.getModel(call, name)),
      }),
    }),
    ...mlflowRoutes('GET', `${BASE}/search`, 'registry:read', {
      input: mlflowMessage(Search),
      output: z.object({
        registered_models: z.array(ModelOnWire).optional(),
        next_page_token: z.string().optional(),
      }),
      resource: () => 'models',
      limits: asked,
      async run(call, input) {
        const page = await registry.searchModels(
          call,
          decodeSearch(input, 100, LIMITS.searchModels, 0),
        );
        return {
          ...(page.items.length ? { registered_models: page.items.map(encodeModel) } : {}),
          ...(page.next ? { next_page_token: page.next } : {}),
        };
      },
    }),
    ...(['GET', 'POST'] as const).flatMap((method) =>
      mlflowRoutes(method, `${BASE}/get-latest-versions`, 'registry:read', {
        input: mlflowMessage({
          ...ByName,
          stages: repeated(text(100)).refine((list) => list.length <= 20, 'has too many entries'),
        }),
        output: z.object({ model_versions: z.array(VersionOnWire).optional() }),
        resource,
        limits,
        async run(call, { name, stages }) {
          const versions = await registry.latestVersions(call, name, stages);
          return versions.length ? { model_versions: versions.map(encodeVersion) } : {};
        },
      }),
    ),
    ...mlflowRoutes('POST', `${BASE}/set-tag`, 'registry:write', {
      input: mlflowMessage({ ...ByName, ...TagSet }),
      output: Nothing,
      resource,
      limits: large,
      retry: 'natural',
      run(call, { name, key, value }) {
        checkTag(key, value);
        return registry.setModelTag(call, name, key, value);
      },
    }),
    ...mlflowRoutes('DELETE', `${BASE}/delete-tag`, 'registry:write', {
      input: mlflowMessage({ ...ByName, ...TagKey }),
      output: Nothing,
      resource,
      limits,
      retry: 'natural',
      run(call, { name, key }) {
        checkTag(key, '');
        return registry.removeModelTag(call, name, key);
      },
    }),
    ...aliasRoutes(registry),
  ];
}

function aliasRoutes(registry: RegistryService): Route[] {
  const path = `${BASE}/alias`;
  return [
    ...mlflowRoutes('POST', path, 'registry:write', {
      input: mlflowMessage(NewAlias),
      output: Nothing,
      resource,
      limits,
      retry: 'natural', // a retry points the alias where it points already
      run: (call, alias) => registry.setAlias(call, alias),
    }),
    ...mlflowRoutes('DELETE', path, 'registry:write', {
      input: mlflowMessage(ByAlias),
      output: Nothing,
      resource,
      limits,
      retry: 'natural',
      run: (call, { name, alias }) => registry.removeAlias(call, name, alias),
    }),
    ...mlflowRoutes('GET', path, 'registry:read', {
      input: mlflowMessage(ByAlias),
      output: VersionAnswer,
      resource,
      limits: asked,
      run: async (call, { name, alias }) => {
        const version = await registry.resolveAlias(call, name, alias);
        // 400, not 404. Source: mlflow sqlalchemy_store.py, get_model_version_by_alias.
        if (!version)
          throw new Problem('invalid', `Registered model alias ${alias} not found.`, {
            field: 'alias',
          });
        return { model_version: encodeVersion(version) };
      },
    }),
  ];
}
