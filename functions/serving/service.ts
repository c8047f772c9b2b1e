import * as z from 'zod';
import type { Call } from '../kernel/call.ts';
import type { Told } from '../kernel/event.ts';
import type { Page, Pages } from '../kernel/page.ts';
import { Problem } from '../kernel/problem.ts';
import { newUlid } from '../kernel/world.ts';
import type { EndpointStatus, Machines } from '../platform/ports.ts';
import { settler } from '../platform/settle.ts';
import { DEPLOY_MACHINE, type DeploymentParts, resolveModel, sameVersion } from './deployment.ts';
import { followings } from './following.ts';
import {
  Deployment,
  type Endpoint,
  type EndpointAsked,
  EndpointName,
  LIMITS,
  type Revision,
  type ServedVersion,
} from './model.ts';
import { switching } from './switching.ts';

export interface ServingParts extends DeploymentParts {
  readonly machines: Machines;
  readonly pages: Pages;
  /** Told after a change of this process's own making, so that routing here follows at once. */
  readonly changed: (call: Call) => void;
}

const subject = (name: string) => `endpoints/${name}`;
const missing = (name: string) => new Problem('missing', `Endpoint ${name} not found.`);

/**
 * An endpoint is a name that answers predictions with one model version, or with whatever an alias names.
 * A caller says what it should serve; a commit keeps that, and its event starts the machine `deploy-endpoint`, here
 * at once and in a follower again, by the same name. The machine (deployment.ts) brings the model up next to the old
 * one and then moves the record. An alias that moves starts the same machine, named by the event's id.
 */
export function servingService(parts: ServingParts) {
  const { store, endpoints, models, machines, world, pages, changed } = parts;
  const settle = settler(world);
  const { catchUp } = switching(parts);

  /** Once by name, however often it is asked. */
  async function start(call: Call, deployment: Deployment): Promise<void> {
    const execution = `${deployment.endpoint}-${deployment.deployment}`;
    const { endpoint, deployment: id, why, to } = deployment;
    const input = { endpoint, deployment: id, why, ...(to === undefined ? {} : { to }) };
    await machines.start(call, DEPLOY_MACHINE, execution, input);
  }

  async function found(call: Call, name: string): Promise<Endpoint> {
    const endpoint = await store.find(call, name);
    if (!endpoint) throw missing(name);
    return endpoint;
  }

  /** In turn with other changes of the endpoint; each attempt reads it anew. */
  async function inTurn<T>(call: Call, name: string, attempt: () => Promise<T>): Promise<T> {
    const answer = await settle(call, subject(name), attempt);
    changed(call);
    return answer;
  }

  async function deploy(call: Call, name: string, asked: EndpointAsked): Promise<Endpoint> {
    const id = newUlid(world); // older than what the name is resolved to, so that a later rename is a later one
    const wanted = await resolveModel(models, call, asked.model);
    await models.locate(call, wanted.source); // what cannot be served is refused now
    const before = await store.find(call, name);
    if (!before) await roomForOneMore(call);
    if (before && serves(before, asked, wanted)) return before;
    const now = world.now();
    const after: Endpoint = {
      ...(before ?? { name, createdAt: now }),
      ...asked,
      wanted,
      asked: id,
      pending: {},
      modelAsked: id,
      state: 'deploying',
      failure: undefined,
      generation: (before?.generation ?? 0) + 1,
      updatedAt: now,
    };
    const deployment = { endpoint: name, deployment: id, why: 'asked' };
    await store.change(call, before, after, [], {
      type: 'serving.endpoint.asked',
      subject: subject(name),
      data: { endpoint: name, model: asked.model, version: wanted.version, deployment },
    });
    return after;
  }

  /**
   * What one rollback goes back to, from the newest that anybody asked for: whether that answers already makes no
   * difference, since traffic may move at any moment.
   */
  async function earlier(call: Call, endpoint: Endpoint): Promise<string | undefined> {
    const { name, pending, target, current } = endpoint;
    if (pending && pending.to === undefined) return current;
    const from = pending?.to ?? target ?? current;
    return from === undefined ? undefined : (await store.revision(call, name, from))?.previous;
  }

  async function rollback(call: Call, name: string, to: string | undefined) {
    const before = await catchUp(call, name);
    if (!before) throw missing(name);
    const target = to ?? (await earlier(call, before));
    if (target === undefined)
      throw new Problem('precondition', `Endpoint ${name} has no earlier revision to go back to.`);
    const back = await store.revision(call, name, target);
    if (!back) throw new Problem('missing', `Revision ${target} of ${name} not found.`, FIELD_TO);
    if (back.inServiceAt === undefined)
      throw new Problem('precondition', `Revision ${target} never was in service.`, FIELD_TO);
    const after: Endpoint = {
      ...before,
      asked: newUlid(world),
      pending: { to: target },
      wanted: back.served,
      state: 'deploying',
      failure: undefined,
      generation: before.generation + 1,
      updatedAt: world.now(),
    };
    const deployment: Deployment = {
      endpoint: name,
      deployment: after.asked,
      why: 'rollback',
      to: target,
    };
    await store.change(call, before, after, [], {
      type: 'serving.rollback.asked',
      subject: subject(name),
      data: { endpoint: name, to: target, version: back.served.version, deployment },
      answer: after,
    });
    return { after, deployment };
  }

  return {
    /**
     * Makes the endpoint, or changes what it serves. Asking for what it serves already changes nothing.
     * Throws `missing` for a model version or alias that does not exist, `unsupported` for one whose files lie nowhere
     * that a model server reads, `exhausted` beyond the limit.
     */
    async deploy(call: Call, name: string, asked: EndpointAsked): Promise<Endpoint> {
      const after = await inTurn(call, name, () => deploy(call, name, asked));
      const { asked: deployment, pending } = after;
      // Also for a repeated request whose first one died before its machine started.
      if (pending) {
        const why = pending.to === undefined ? 'asked' : 'rollback';
        await start(call, { endpoint: name, deployment, why, ...pending });
      }
      return after;
    },

    /**
     * Back to the revision before the newest that was asked for, or to `to`: from one that comes up, to the one that
     * still answers. Rolling back twice goes back twice.
     * Throws `precondition` when there is none, `missing` for an unknown `to`.
     */
    async rollback(call: Call, name: string, to?: string): Promise<Endpoint> {
      const { after, deployment } = await inTurn(call, name, () => rollback(call, name, to));
      await start(call, deployment);
      return after;
    },

    /** Throws `missing`. The history goes with it. */
    async remove(call: Call, name: string): Promise<void> {
      const until = newUlid(world); // before the commit, after which somebody may make it again
      await inTurn(call, name, async () => {
        const before = await found(call, name);
        await store.remove(call, before, {
          type: 'serving.endpoint.removed',
          subject: subject(name),
          data: { endpoint: name, model: before.model },
        });
      });
      await endpoints.remove(call, name, until);
      await store.removeRevisions(call, name, until);
    },

    /** With what the world says of it. Throws `missing`. */
    async get(
      call: Call,
      name: string,
    ): Promise<{ endpoint: Endpoint; live: EndpointStatus | undefined }> {
      const endpoint = await found(call, name);
      return { endpoint, live: await endpoints.describe(call, name) };
    },

    async list(call: Call, limit: number, token?: string): Promise<Page<Endpoint>> {
      const after = token && pages.open<string>(call, 'endpoints', token);
      const { endpoints: items, next } = await store.page(call, limit, after);
      return next === undefined ? { items } : { items, next: pages.seal(call, 'endpoints', next) };
    },

    /** Newest first. Throws `missing`. */
    async revisions(
      call: Call,
      name: string,
      limit: number,
      token?: string,
    ): Promise<Page<Revision>> {
      await found(call, name);
      const query = ['revisions', name];
      const after = token && pages.open<string>(call, query, token);
      const { revisions: items, next } = await store.revisions(call, name, limit, after);
      return next === undefined ? { items } : { items, next: pages.seal(call, query, next) };
    },

    /** Lines of the model server's log. Throws `missing`. */
    async logs(call: Call, name: string, after?: string) {
      await found(call, name);
      return endpoints.logs(call, name, after);
    },

    ...followings({ store, models, world, start, changed }),

    /** Hears `serving.endpoint.asked` and `serving.rollback.asked`: starts what a lost process did not. */
    async restart(call: Call, told: Told): Promise<void> {
      const { deployment } = Asked.parse(told.data);
      await start(call, deployment);
    },

    /** Hears `serving.endpoint.removed`: ends what a lost process left running. */
    async clear(call: Call, told: Told): Promise<void> {
      const { endpoint } = Removed.parse(told.data);
      if (!(await store.find(call, endpoint))) await endpoints.remove(call, endpoint, told.id);
      await store.removeRevisions(call, endpoint, told.id);
    },
  };

  async function roomForOneMore(call: Call): Promise<void> {
    if ((await store.countUpTo(call, LIMITS.endpoints)) >= LIMITS.endpoints)
      throw new Problem(
        'exhausted',
        `A workspace holds at most ${LIMITS.endpoints} endpoints; delete one first.`,
      );
  }
}
export type ServingService = ReturnType<typeof servingService>;

const FIELD_TO = { field: 'to' };
const Asked = z.object({ deployment: Deployment });
const Removed = z.object({ endpoint: EndpointName });

/** Whether it serves this already, or is about to; what failed is not served. */
const serves = (endpoint: Endpoint, asked: EndpointAsked, wanted: ServedVersion): boolean =>
  endpoint.state !== 'failed' &&
  endpoint.failure === undefined &&
  endpoint.model === asked.model &&
  sameVersion(endpoint.wanted, wanted) &&
  (['minimum', 'maximum', 'concurrency', 'idleSeconds'] as const).every(
    (part) => endpoint.scale[part] === asked.scale[part],
  );
