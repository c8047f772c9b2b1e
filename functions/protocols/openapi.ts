import * as z from 'zod';
import type { Route } from '../kernel/route.ts';
import { apiRoute } from './api.ts';

export const VERSION = '0.1.0';

type Schema = Record<string, unknown>;

function schemaOf(type: z.ZodType, io: 'input' | 'output'): Schema {
  const { $schema: _, ...schema } = z.toJSONSchema(type, { io, unrepresentable: 'any' }) as Schema;
  return schema;
}

/** `/openapi.json` over these routes. */
export const openapiRoute = (routes: readonly Route[]): Route =>
  describedBy(() => openapi(routes, VERSION));

/** `/openapi.json` with what `write` says when it is first asked for. */
export function describedBy(write: () => Record<string, unknown>): Route {
  let written: Record<string, unknown> | undefined;
  return apiRoute('GET', '/openapi.json', 'workspaces:read', {
    input: z.object({}),
    output: z.record(z.string(), z.unknown()),
    resource: () => 'openapi',
    limits: { bodyBytes: 0, timeoutSeconds: 10 },
    open: true,
    summary: 'This API, in OpenAPI 3.1',
    run: () => {
      written ??= write();
      return written;
    },
  });
}

/** OpenAPI 3.1 of a route table: what the routes declare, and nothing written a second time. */
export function openapi(routes: readonly Route[], version: string): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    const path = route.path.replace(/\{(\w+)\*\}/g, '{$1}');
    const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    const parameters: unknown[] = names.map((name) => ({
      name,
      in: 'path',
      required: true,
      schema: { type: 'string' },
    }));
    const input = schemaOf(route.input, 'input');
    const fields = Object.entries((input['properties'] as Record<string, unknown>) ?? {}).filter(
      ([name]) => !names.includes(name),
    );
    const required = (input['required'] as string[] | undefined) ?? [];
    const inQuery =
      route.method === 'GET' ||
      (route.method === 'DELETE' && route.limits.bodyBytes === 0) ||
      route.rawBody;
    if (inQuery)
      for (const [name, schema] of fields)
        parameters.push({ name, in: 'query', required: required.includes(name), schema });
    const retry =
      route.retry === 'header'
        ? [{ name: 'Idempotency-Key', in: 'header', required: false, schema: { type: 'string' } }]
        : [];
    const body = route.rawBody
      ? {
          content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } },
        }
      : {
          content: {
            'application/json': { schema: { ...input, properties: Object.fromEntries(fields) } },
          },
        };
    paths[path] = {
      ...paths[path],
      [route.method.toLowerCase()]: {
        operationId: `${route.method.toLowerCase()} ${route.path}`,
        tags: [route.action.split(':')[0]],
        ...(route.summary ? { summary: route.summary } : {}),
        'x-action': route.action,
        ...(route.retry ? { 'x-retry-key': route.retry } : {}),
        parameters: [...parameters, ...retry],
        ...(route.limits.bodyBytes > 0 && (route.rawBody || !inQuery) ? { requestBody: body } : {}),
        responses: {
          200: {
            description: 'Done.',
            content: { 'application/json': { schema: schemaOf(route.output, 'output') } },
          },
          default: { description: `A problem, as the ${route.protocol.name} wire words it.` },
        },
        ...(route.open ? { security: [] } : {}),
      },
    };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Stillflow',
      version,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    security: [{ bearer: [] }, { basic: [] }],
    components: {
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer' },
        basic: { type: 'http', scheme: 'basic' },
      },
    },
    paths,
  };
}
