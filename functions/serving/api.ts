import * as z from 'zod';
import type { Route } from '../kernel/route.ts';
import { apiRoute } from '../protocols/api.ts';
import { type Endpoint, EndpointAsked, EndpointName, Revision, Scale } from './model.ts';
import type { ServingService } from './service.ts';

const Named = z.strictObject({ name: EndpointName });
const Paged = z.strictObject({
  limit: z.coerce.number().int().min(1).max(100).default(50),
  pageToken: z.string().max(4096).optional(),
});

const EndpointOnWire = z.object({
  name: z.string(),
  model: z.string(),
  state: z.enum(['deploying', 'in-service', 'failed']),
  failure: z.string().optional(),
  /** Set when the version that answers is no longer in the registry. */
  withdrawn: z.string().optional(),
  /** What answers now. */
  version: z.int().optional(),
  revision: z.string().optional(),
  /** What it is on its way to, while it deploys. */
  target: z.object({ version: z.int(), deployment: z.string() }).optional(),
  scale: Scale,
  createdAt: z.number(),
  updatedAt: z.number(),
});
type EndpointOnWire = z.infer<typeof EndpointOnWire>;

const RevisionOnWire = Revision.omit({ signature: true, served: true, endpoint: true }).extend({
  name: z.string(),
  version: z.int(),
});

function onWire(endpoint: Endpoint): EndpointOnWire {
  const { name, model, state, failure, withdrawn, scale, createdAt, updatedAt } = endpoint;
  const moving = state === 'deploying';
  return {
    name,
    model,
    state,
    ...(failure === undefined ? {} : { failure }),
    ...(withdrawn === undefined ? {} : { withdrawn }),
    ...(endpoint.served && endpoint.current
      ? { version: endpoint.served.version, revision: endpoint.current }
      : {}),
    ...(moving
      ? {
          target: {
            version: endpoint.wanted.version,
            deployment:
              endpoint.pending === undefined && endpoint.target !== undefined
                ? endpoint.target
                : endpoint.asked,
          },
        }
      : {}),
    scale,
    createdAt,
    updatedAt,
  };
}

const revisionOnWire = ({ signature: _, served, endpoint: __, ...rest }: Revision) => ({
  ...rest,
  name: served.name,
  version: served.version,
});

const read = { bodyBytes: 0, timeoutSeconds: 10 };
const write = { bodyBytes: 16_384, timeoutSeconds: 30 };
const resource = ({ name }: { name: string }) => `endpoints/${name}`;

/** Deploying, rolling back and looking at endpoints: our own words. */
export function servingRoutes(serving: ServingService): Route[] {
  return [
    apiRoute('GET', '/api/endpoints', 'serving:read', {
      input: Paged,
      output: z.object({
        endpoints: z.array(EndpointOnWire),
        nextPageToken: z.string().optional(),
      }),
      resource: () => 'endpoints',
      limits: read,
      summary: 'List endpoints',
      run: async (call, { limit, pageToken }) => {
        const { items, next } = await serving.list(call, limit, pageToken);
        return { endpoints: items.map(onWire), ...(next ? { nextPageToken: next } : {}) };
      },
    }),
    apiRoute('PUT', '/api/endpoints/{name}', 'serving:write', {
      input: EndpointAsked.extend({ name: EndpointName }),
      output: EndpointOnWire,
      resource,
      limits: write,
      retry: 'natural', // asking again for what it serves changes nothing
      summary: 'Deploy a model version or an alias under a name',
      run: async (call, { name, ...asked }) => onWire(await serving.deploy(call, name, asked)),
    }),
    apiRoute('GET', '/api/endpoints/{name}', 'serving:read', {
      input: Named,
      output: EndpointOnWire.extend({
        live: z
          .object({
            state: z.string(),
            copies: z.int(),
            failure: z.string().optional(),
            /** The one that answers as the host sees it, ahead of the record while one takes over from another. */
            revision: z.string().optional(),
          })
          .optional(),
      }),
      resource,
      limits: read,
      summary: 'One endpoint, and how its model server is',
      run: async (call, { name }) => {
        const { endpoint, live } = await serving.get(call, name);
        const shown = live && {
          state: live.state,
          copies: live.copies,
          ...(live.failure === undefined ? {} : { failure: live.failure }),
          ...(live.revision === undefined ? {} : { revision: live.revision }),
        };
        return { ...onWire(endpoint), ...(shown ? { live: shown } : {}) };
      },
    }),
    apiRoute('DELETE', '/api/endpoints/{name}', 'serving:delete', {
      input: Named,
      output: z.undefined(),
      resource,
      limits: write,
      retry: 'natural', // a second delete is `missing`
      summary: 'Stop serving under a name',
      run: (call, { name }) => serving.remove(call, name),
    }),
    apiRoute('POST', '/api/endpoints/{name}/rollback', 'serving:write', {
      input: Named.extend({ to: z.string().max(26).optional() }),
      output: EndpointOnWire,
      resource,
      limits: write,
      retry: 'header',
      summary: 'Back to the previous revision, or to one by name',
      run: (call, { name, to }) => serving.rollback(call, name, to),
      encode: (answer) => onWire(answer),
    }),
    apiRoute('GET', '/api/endpoints/{name}/revisions', 'serving:read', {
      input: Paged.extend({ name: EndpointName }),
      output: z.object({
        revisions: z.array(RevisionOnWire),
        nextPageToken: z.string().optional(),
      }),
      resource,
      limits: read,
      summary: 'Revisions, newest first',
      run: async (call, { name, limit, pageToken }) => {
        const { items, next } = await serving.revisions(call, name, limit, pageToken);
        return { revisions: items.map(revisionOnWire), ...(next ? { nextPageToken: next } : {}) };
      },
    }),
    apiRoute('GET', '/api/endpoints/{name}/logs', 'serving:read', {
      input: Named.extend({ after: z.string().max(200).optional() }),
      output: z.object({ lines: z.array(z.string()), next: z.string() }),
      resource,
      limits: read,
      summary: "The model server's log",
      run: (call, { name, after }) => serving.logs(call, name, after),
    }),
  ];
}
