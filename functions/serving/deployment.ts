import type { Call } from '../kernel/call.ts';
import type { Told } from '../kernel/event.ts';
import { Problem } from '../kernel/problem.ts';
import type { World } from '../kernel/world.ts';
import { endedOf } from '../platform/ended.ts';
import { reasonOf } from '../platform/failure.ts';
import type { Endpoints } from '../platform/ports.ts';
import { settler } from '../platform/settle.ts';
import {
  type Deployment,
  type Endpoint,
  type Revision,
  readModelUri,
  type ServedVersion,
  type Signature,
} from './model.ts';
import type { ServingStore } from './store.ts';
import { type Registered, switching, withdrawn } from './switching.ts';

/** What serving asks of the registry and of artifacts, both on lower floors. */
export interface Models extends Registered {
  /** Where a version's source lies, as `Blobs.locate` words it. */
  locate(call: Call, source: string): Promise<string> | string;
  /** Undefined where the model says nothing of its inputs. */
  signature(call: Call, uri: string): Promise<Signature | undefined>;
}

export interface DeploymentParts {
  readonly store: ServingStore;
  readonly endpoints: Endpoints;
  readonly models: Models;
  readonly world: World;
}

/** `stop`: there is nothing to deploy, and `reason` says why. */
export type Resolved =
  | { action: 'deploy'; version: number; model: string }
  | { action: 'stop'; reason: string };

/** Machines catch it as `Problem.gone`: another deployment of this endpoint came later. */
const superseded = (endpoint: string) =>
  new Problem('gone', `A later deployment of ${endpoint} has taken over.`);

export const DEPLOY_MACHINE = 'deploy-endpoint';
const subject = (endpoint: string) => `endpoints/${endpoint}`;

export const resolveModel = (models: Models, call: Call, uri: string): Promise<ServedVersion> => {
  const { name, version, alias } = readModelUri(uri);
  return alias === undefined
    ? models.version(call, name, version ?? 0)
    : models.aliased(call, name, alias);
};

/**
 * The steps of the machine `deploy-endpoint`; each may run twice. The endpoint's record says which deployment is the
 * target: the alias is read after the record, and the record moves only if it has not changed since, so that whoever
 * resolves last serves what the alias says last, in whatever order the events came. A step of a deployment that is no
 * longer the target ends as superseded. What answers is changed by switching.ts alone.
 */
export function deployments({ store, endpoints, models, world }: DeploymentParts) {
  const settle = settler(world);
  const { catchUp, observe, moveTo } = switching({ store, endpoints, models, world });

  async function targeted(call: Call, deployment: Deployment) {
    const { endpoint: name, deployment: id } = deployment;
    const endpoint = await store.find(call, name);
    const revision = await store.revision(call, name, id);
    if (!endpoint || !revision || endpoint.target !== id) throw superseded(name);
    return { endpoint, revision };
  }

  async function specOf(call: Call, endpoint: Endpoint, revision: Revision) {
    return {
      name: endpoint.name,
      revision: revision.revision,
      modelUri: await models.locate(call, revision.served.source),
      env: {},
      scale: endpoint.scale,
    };
  }

  async function resolve(call: Call, deployment: Deployment): Promise<Resolved> {
    const { endpoint: name, deployment: id, why, to } = deployment;
    const before = await catchUp(call, name);
    if (!before) return { action: 'stop', reason: 'the endpoint has been removed' };
    const known = await store.revision(call, name, id);
    if (known) return { action: 'deploy', version: known.served.version, model: known.served.name };
    if (why === 'alias' && readModelUri(before.model).alias === undefined)
      return { action: 'stop', reason: 'the endpoint follows no alias' };
    if (why !== 'alias' && before.asked !== id)
      return { action: 'stop', reason: 'a later request has taken over' };
    const back = to === undefined ? undefined : await store.revision(call, name, to);
    if (to !== undefined && !back)
      throw new Problem('missing', `Revision ${to} of ${name} not found.`);
    const served = back?.served ?? (await resolveModel(models, call, before.model));
    if (why === 'alias' && isUp(before, served)) {
      await followed(call, before);
      return { action: 'stop', reason: `version ${served.version} is served already` };
    }
    const previous = back ? back.previous : before.current;
    const revision: Revision = {
      endpoint: name,
      revision: id,
      model: before.model,
      served,
      signature: await models.signature(call, await models.locate(call, served.source)),
      state: 'pending',
      why,
      startedAt: world.now(),
      ...(previous === undefined ? {} : { previous }),
    };
    const after: Endpoint = {
      ...before,
      target: id,
      pending: before.asked === id ? undefined : before.pending,
      wanted: served,
      state: 'deploying',
      failure: undefined,
      generation: before.generation + 1,
      updatedAt: world.now(),
    };
    const revisions = [revision, ...(await overtaken(call, before))];
    await store.change(call, before, after, revisions, {
      type: 'serving.revision.started',
      subject: subject(name),
      data: { endpoint: name, revision: id, model: served.name, version: served.version, why },
    });
    return { action: 'deploy', version: served.version, model: served.name };
  }

  /** The target that gives way to another, closed: nobody waits for it any more. */
  async function overtaken(call: Call, { name, target, current }: Endpoint): Promise<Revision[]> {
    const given = target === current ? undefined : target;
    const old = given && (await store.revision(call, name, given));
    return old && old.state === 'pending' ? [{ ...old, state: 'superseded' }] : [];
  }

  /** The alias names what is served, whatever failed before: nothing is left to say against it. */
  async function followed(call: Call, before: Endpoint): Promise<void> {
    const { name, model, served, target, current, state } = before;
    if (!served || target !== current || state !== 'in-service') return;
    const why = await withdrawn(models, call, model, served);
    if (before.failure === undefined && before.withdrawn === why) return;
    const generation = before.generation + 1;
    const now = world.now();
    const after = { ...before, failure: undefined, withdrawn: why, generation, updatedAt: now };
    await store.change(call, before, after, [], {
      type: 'serving.alias.followed',
      subject: subject(name),
      data: { endpoint: name, model: served.name, version: served.version },
    });
  }

  async function switchOver(call: Call, deployment: Deployment): Promise<{ version: number }> {
    const { endpoint, revision } = await targeted(call, deployment);
    if (endpoint.current !== deployment.deployment) await moveTo(call, endpoint, revision);
    return { version: revision.served.version };
  }

  async function ready(call: Call, deployment: Deployment): Promise<void> {
    const { endpoint: name, deployment: id } = deployment;
    const { endpoint } = await targeted(call, deployment);
    await endpoints.complete?.(call, name);
    const status = await endpoints.describe(call, name);
    const { current } = await observe(call, endpoint, status);
    if (current === id) return;
    if (!status) throw new Problem('unavailable', `${name} is not there yet.`);
    // The old revision may still answer, and its state says so: the failure is the target's.
    const under = status.state === 'creating' || status.state === 'updating';
    if (status.target === id && !under && status.failure !== undefined)
      throw new Problem('precondition', status.failure);
    throw new Problem('unavailable', `${name} is ${status.state}.`);
  }

  /** An alias moved to what cannot be served at all: what answers stays, and the endpoint says why it did not follow. */
  async function missed(
    call: Call,
    before: Endpoint,
    { deployment: id, why }: Deployment,
    reason: string,
  ): Promise<void> {
    const { name, current, state, served } = before;
    // Deployments sort by time: one that came later has the last word.
    const newest = current !== undefined && current < id && state === 'in-service';
    if (why !== 'alias' || !newest || before.failure === reason) return;
    // It may have moved back meanwhile, and whoever heard of that had nothing to clear yet.
    const now = await resolveModel(models, call, before.model).catch(() => undefined);
    if (now && isUp(before, now)) return;
    const generation = before.generation + 1;
    const after: Endpoint = { ...before, failure: reason, generation, updatedAt: world.now() };
    await store.change(call, before, after, [], {
      type: 'serving.revision.failed',
      subject: subject(name),
      data: { endpoint: name, revision: id, reason, kept: served?.version ?? null },
    });
  }

  async function fail(call: Call, deployment: Deployment, reason: string): Promise<void> {
    const { endpoint: name, deployment: id } = deployment;
    const before = await store.find(call, name);
    if (!before) return;
    if (before.target !== id && before.asked !== id)
      return missed(call, before, deployment, reason);
    if (before.current === id || before.state !== 'deploying') return;
    const revision = await store.revision(call, name, id);
    // Failed before it became the target: only a later step's failure takes the target back.
    const target = before.target === id ? before.current : before.target;
    const pending = before.asked === id ? undefined : before.pending;
    const under = target && target !== before.current && (await store.revision(call, name, target));
    const idle = target === undefined ? 'failed' : 'in-service';
    const after: Endpoint = {
      ...before,
      target,
      pending,
      wanted: (under ? under.served : before.served) ?? before.wanted,
      state: under || pending ? 'deploying' : idle,
      failure: reason,
      generation: before.generation + 1,
      updatedAt: world.now(),
    };
    const revisions: Revision[] = revision
      ? [{ ...revision, state: 'failed', failure: reason }]
      : [];
    await store.change(call, before, after, revisions, {
      type: 'serving.revision.failed',
      subject: subject(name),
      data: { endpoint: name, revision: id, reason, kept: before.served?.version ?? null },
    });
  }

  /** Keeps the old revision and the reason; the world is told to stay with the old one, or with none. */
  async function giveUp(
    call: Call,
    deployment: Deployment,
    reason: string,
  ): Promise<{ kept?: number }> {
    const { endpoint: name } = deployment;
    await settle(call, subject(name), async () => {
      await catchUp(call, name);
      await fail(call, deployment, reason);
    });
    const endpoint = await store.find(call, name);
    if (!endpoint) await endpoints.remove(call, name, deployment.deployment);
    if (!endpoint || endpoint.target !== endpoint.current) return {};
    const old = endpoint.current && (await store.revision(call, name, endpoint.current));
    if (!old) await endpoints.remove(call, name, deployment.deployment);
    else await endpoints.deploy(call, await specOf(call, endpoint, old));
    return old ? { kept: old.served.version } : {};
  }

  return {
    /** Names the version to serve and makes its revision the target. Throws `missing`. */
    resolve: (call: Call, deployment: Deployment) =>
      settle(call, subject(deployment.endpoint), () => resolve(call, deployment)),

    /** Asks the world for the target; returns at once. Throws `gone` when superseded. */
    async start(call: Call, deployment: Deployment): Promise<void> {
      const { endpoint, revision } = await targeted(call, deployment);
      await endpoints.deploy(call, await specOf(call, endpoint, revision));
    },

    /**
     * The record of what answers moves with the world, to the target in the end. Throws `unavailable` until the target
     * answers, `precondition` once it never will, `gone` when superseded.
     */
    ready: (call: Call, deployment: Deployment) =>
      settle(call, subject(deployment.endpoint), () => ready(call, deployment)),

    /** Which version answers, as the record says now. Throws `gone` when superseded. */
    switchOver: (call: Call, deployment: Deployment) =>
      settle(call, subject(deployment.endpoint), () => switchOver(call, deployment)),

    giveUp,

    /** Hears the end of executions: a deployment that was stopped, or ran out of time, keeps the old revision too. */
    async close(call: Call, told: Told): Promise<void> {
      const { machine, execution, state, cause, error } = endedOf(told);
      if (machine !== DEPLOY_MACHINE || state === 'SUCCEEDED') return;
      const [, endpoint = '', deployment = ''] = /^(.+)-([^-]{26})$/.exec(execution) ?? [];
      const before = await store.find(call, endpoint);
      if (before?.target !== deployment && before?.asked !== deployment) return;
      if (before.state !== 'deploying') return;
      const reason = reasonOf({ error, cause }) ?? `The deployment ended ${state}.`;
      await giveUp(call, { endpoint, deployment, why: 'asked' }, reason.slice(0, 1000));
    },
  };
}
export type Deployments = ReturnType<typeof deployments>;

/** A model that was deleted and made again counts its versions from 1 again: the files tell them apart. */
export const sameVersion = (a: ServedVersion, b: ServedVersion): boolean =>
  a.name === b.name && a.version === b.version && a.source === b.source;

/** Whether this version is what the endpoint serves, or is about to. */
const isUp = (endpoint: Endpoint, served: ServedVersion): boolean =>
  endpoint.target !== undefined && sameVersion(endpoint.wanted, served);
