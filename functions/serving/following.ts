import type { Call } from '../kernel/call.ts';
import type { Told } from '../kernel/event.ts';
import type { World } from '../kernel/world.ts';
import { settler } from '../platform/settle.ts';
import {
  AliasMoved,
  type Deployment,
  type Endpoint,
  Renamed,
  readModelUri,
  renamedUri,
  type ServedVersion,
  Withdrawn,
} from './model.ts';
import type { ServingStore } from './store.ts';
import { type Registered, withdrawn } from './switching.ts';

export interface FollowingParts {
  readonly store: ServingStore;
  readonly models: Registered;
  readonly world: World;
  /** Once by name, however often it is asked. */
  readonly start: (call: Call, deployment: Deployment) => Promise<void>;
  readonly changed: (call: Call) => void;
}

const subject = (name: string) => `endpoints/${name}`;
/** So many revisions and their endpoint are one commit. */
const AT_ONCE = 90;
const MOST_LOOKS = 3;

/** What endpoints do about changes in the registry. Each may hear its event twice, and late. */
export function followings({ store, models, world, start, changed }: FollowingParts) {
  const settle = settler(world);

  /** Returns whether it changed anything. */
  async function withdrawOne(call: Call, name: string): Promise<boolean> {
    const before = await store.find(call, name);
    if (!before?.served) return false;
    const { generation, served, model } = before;
    const why = await withdrawn(models, call, model, served);
    if (why === before.withdrawn) return false;
    const after = {
      ...before,
      withdrawn: why,
      generation: generation + 1,
      updatedAt: world.now(),
    };
    await store.change(call, before, after, [], {
      type: 'serving.endpoint.withdrawn',
      subject: subject(name),
      data: { endpoint: name, model: served.name, version: served.version, why: why ?? null },
    });
    return true;
  }

  /** Looks again after a change, since the registry may have changed while it was written. */
  async function look(call: Call, name: string): Promise<void> {
    for (let looks = 0; looks < MOST_LOOKS; looks += 1)
      if (!(await settle(call, subject(name), () => withdrawOne(call, name)))) return;
  }

  /**
   * Whether the endpoint means the model that was renamed: it was pointed there before, or what it wants is now there
   * and nowhere else. Whoever was pointed there since may mean another one that bears the old name.
   */
  async function meant(call: Call, endpoint: Endpoint, { told, from, to }: Renaming) {
    const { modelAsked, wanted } = endpoint;
    if (modelAsked === undefined || modelAsked < told) return true;
    const gone = (name: string) =>
      withdrawn(models, call, `models:/${name}/1`, { ...wanted, name });
    return (
      wanted.name === from && (await gone(from)) !== undefined && (await gone(to)) === undefined
    );
  }

  /** One page of the history, and with the first one the endpoint itself. Returns where the next page begins. */
  async function renamePage(
    call: Call,
    name: string,
    renaming: Renaming,
    after: string | undefined,
  ): Promise<string | undefined> {
    const before = await store.find(call, name);
    if (!before) return undefined;
    const { told, from, to, uri, version } = renaming;
    const own = await meant(call, before, renaming);
    const old = (id: string | undefined) => own || (id !== undefined && id < told);
    const page = await store.revisions(call, name, AT_ONCE, after);
    const revisions = page.revisions
      .filter(({ revision, served }) => served.name === from && old(revision))
      .map((each) => ({ ...each, served: version(each.served), model: uri(each.model) }));
    const { current, target, asked, pending, served, wanted, model } = before;
    const renamed: Endpoint = {
      ...before,
      model: own ? uri(model) : model,
      served: served && old(current) ? version(served) : served,
      wanted: old(pending ? asked : target) ? version(wanted) : wanted,
      generation: before.generation + 1,
      updatedAt: world.now(),
    };
    const same = renamed.model === model && renamed.wanted === wanted && renamed.served === served;
    if (!revisions.length && same) return page.next;
    await store.change(call, before, renamed, revisions, {
      type: 'serving.model.renamed',
      subject: subject(name),
      data: { endpoint: name, from, to },
    });
    return page.next;
  }

  async function renameOne(call: Call, name: string, renaming: Renaming): Promise<void> {
    let after: string | undefined;
    do {
      const from = after;
      after = await settle(call, subject(name), () => renamePage(call, name, renaming, from));
    } while (after !== undefined);
    await look(call, name);
    const follows = readModelUri((await store.find(call, name))?.model ?? '');
    // An alias that moved under the new name, before this was heard, had no follower here.
    if (follows.name === renaming.to && follows.alias !== undefined)
      await start(call, { endpoint: name, deployment: renaming.told, why: 'alias' });
  }

  return {
    /** Hears `registry.alias.set`: all who follow that alias are deployed anew, once per event. */
    async follow(call: Call, told: Told): Promise<void> {
      const { name, alias } = AliasMoved.parse(told.data);
      for (const endpoint of await store.all(call)) {
        const follows = readModelUri(endpoint.model);
        if (follows.name === name && follows.alias === alias)
          await start(call, { endpoint: endpoint.name, deployment: told.id, why: 'alias' });
      }
    },

    /**
     * Hears `registry.model.renamed`: endpoints go with the model, and so does their history. Whoever registers another
     * model under the old name has no endpoint.
     */
    async rename(call: Call, told: Told): Promise<void> {
      const { name, newName } = Renamed.parse(told.data);
      if (name === newName) return;
      const renaming = renamingOf(told.id, name, newName);
      for (const endpoint of await store.all(call))
        if (touches(endpoint, name)) await renameOne(call, endpoint.name, renaming);
      changed(call);
    },

    /**
     * Hears `registry.version.deleted`, `registry.model.deleted` and `registry.alias.removed`: what answers goes on, from
     * files that nobody has deleted, and its endpoint says that it could not be deployed anew.
     */
    async withdraw(call: Call, told: Told): Promise<void> {
      const { name } = Withdrawn.parse(told.data);
      for (const endpoint of await store.all(call))
        if (touches(endpoint, name)) await look(call, endpoint.name);
    },
  };
}

/** `told`: the event's ULID, which sorts with those of deployments. */
const renamingOf = (told: string, from: string, to: string) => ({
  told,
  from,
  to,
  version: (served: ServedVersion): ServedVersion =>
    served.name === from ? { ...served, name: to } : served,
  uri: (uri: string): string => (readModelUri(uri).name === from ? renamedUri(uri, to) : uri),
});
type Renaming = ReturnType<typeof renamingOf>;

const touches = ({ model, served, wanted }: Endpoint, name: string): boolean =>
  readModelUri(model).name === name || served?.name === name || wanted.name === name;
