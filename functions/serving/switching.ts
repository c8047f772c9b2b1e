import type { Call } from '../kernel/call.ts';
import { isMissing } from '../kernel/problem.ts';
import type { World } from '../kernel/world.ts';
import type { EndpointStatus, Endpoints } from '../platform/ports.ts';
import { type Endpoint, type Revision, readModelUri, type ServedVersion } from './model.ts';
import type { ServingStore } from './store.ts';

/** What of the registry says whether something could be deployed anew. Both throw `missing`. */
export interface Registered {
  version(call: Call, name: string, version: number): Promise<ServedVersion>;
  aliased(call: Call, name: string, alias: string): Promise<ServedVersion>;
}

export interface SwitchingParts {
  readonly store: ServingStore;
  readonly endpoints: Pick<Endpoints, 'describe'>;
  readonly models: Registered;
  readonly world: World;
}

/**
 * Why what is served could not be deployed anew, or undefined. Whoever deletes a version deletes its entry, and its
 * files stay; a name that is made again may bear other files under the same number.
 */
export async function withdrawn(
  models: Registered,
  call: Call,
  model: string,
  { name, version, source }: ServedVersion,
): Promise<string | undefined> {
  const found = await models.version(call, name, version).catch((error: unknown) => {
    if (!isMissing(error)) throw error;
  });
  if (found?.source !== source)
    return `Version ${version} of ${name} was deleted from the registry; the endpoint goes on with its files.`;
  const { name: followed, alias } = readModelUri(model);
  if (alias === undefined) return undefined;
  try {
    await models.aliased(call, followed, alias);
    return undefined;
  } catch (error) {
    if (!isMissing(error)) throw error;
    return `${followed} has no alias ${alias} any more; the endpoint goes on with version ${version}.`;
  }
}

/**
 * The record of what answers follows the world: traffic moves first, and whoever decides by the record (the next
 * deployment, a rollback, a failure) brings it up to the world before. All commits fail as `Refused` when the record
 * has changed since it was read, and it is read before the world is asked: an old answer never moves it back.
 */
export function switching({ store, endpoints, models, world }: SwitchingParts) {
  /** `revision` is what answers from now on: the target, or one that was overtaken and came up all the same. */
  async function moveTo(call: Call, before: Endpoint, revision: Revision): Promise<Endpoint> {
    const { name, current, target, pending } = before;
    const { revision: id, served, why } = revision;
    const now = world.now();
    const after: Endpoint = {
      ...before,
      current: id,
      served,
      signature: revision.signature,
      state: target === id && pending === undefined ? 'in-service' : 'deploying',
      failure: undefined,
      withdrawn: await withdrawn(models, call, before.model, served),
      generation: before.generation + 1,
      updatedAt: now,
    };
    const revisions: Revision[] = [{ ...revision, state: 'in-service', inServiceAt: now }];
    const old = current && (await store.revision(call, name, current));
    if (old) revisions.push({ ...old, state: 'superseded' });
    const next = target && target !== id && (await store.revision(call, name, target));
    // A rollback keeps its place in the history; anything else goes back to what answered before it.
    if (next && next.why !== 'rollback') revisions.push({ ...next, previous: id });
    await store.change(call, before, after, revisions, {
      type: why === 'rollback' ? 'serving.endpoint.rolled-back' : 'serving.endpoint.deployed',
      subject: `endpoints/${name}`,
      data: {
        endpoint: name,
        revision: id,
        model: served.name,
        version: served.version,
        before: before.served?.version ?? null,
        why,
      },
    });
    return after;
  }

  /**
   * The record after it has caught up with `status`, which was asked after `before` was read. Only while a deployment
   * is under way, and only forward: to what never was in service by the record and has not been given up.
   */
  async function observe(
    call: Call,
    before: Endpoint,
    status: EndpointStatus | undefined,
  ): Promise<Endpoint> {
    const { name, current, target } = before;
    const answers = status?.revision;
    if (target === current || answers === undefined || answers === current) return before;
    const revision = await store.revision(call, name, answers);
    if (!revision || revision.state === 'failed' || revision.inServiceAt !== undefined)
      return before;
    // The key of a request's retry belongs to what the request itself changes.
    const { retry: _, ...own } = call;
    return moveTo(own, before, revision);
  }

  return {
    moveTo,
    observe,
    /** Reads the record and brings it up to the world; undefined where there is no such endpoint. */
    async catchUp(call: Call, name: string): Promise<Endpoint | undefined> {
      const before = await store.find(call, name);
      if (!before || before.target === before.current) return before;
      return observe(call, before, await endpoints.describe(call, name));
    },
  };
}
export type Switching = ReturnType<typeof switching>;
