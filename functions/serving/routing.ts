import type { Call } from '../kernel/call.ts';
import { Problem } from '../kernel/problem.ts';
import type { World } from '../kernel/world.ts';
import { type Endpoint, LIMITS } from './model.ts';
import type { ServingStore } from './store.ts';

interface Held {
  readonly endpoints: ReadonlyMap<string, Endpoint>;
  readonly readAt: number;
}

/** Who serves what, in memory: one query fills a workspace, age and this process's own changes empty it. */
export interface Routing {
  /** Throws `missing`; a name that is not known is looked for once more in the table. */
  find(call: Call, name: string): Promise<Endpoint>;
  /** As of a second ago at most: for what goes wrong by an old record. Throws `missing`. */
  recent(call: Call, name: string): Promise<Endpoint>;
  /** The only endpoint there is. Throws `invalid` with their names when there are more, `missing` when none. */
  only(call: Call): Promise<Endpoint>;
  /** At most the workspace's limit. */
  all(call: Call): Promise<Endpoint[]>;
  forget(call: Call): void;
}

export function routing(store: ServingStore, world: World): Routing {
  const held = new Map<string, Held>();
  const reading = new Map<string, Promise<Held>>();

  /** One read however many wait for it. */
  function read(call: Call): Promise<Held> {
    const already = reading.get(call.workspace);
    if (already) return already;
    const startedAt = world.now();
    const fresh = store.all(call).then((all) => {
      const next = { endpoints: new Map(all.map((e) => [e.name, e])), readAt: startedAt };
      if (reading.get(call.workspace) === fresh) held.set(call.workspace, next);
      return next;
    });
    reading.set(call.workspace, fresh);
    const done = () => {
      if (reading.get(call.workspace) === fresh) reading.delete(call.workspace);
    };
    fresh.then(done, done);
    return fresh;
  }

  async function current(call: Call, limitMs: number = LIMITS.routingAgeMs): Promise<Held> {
    const known = held.get(call.workspace);
    const age = known ? world.now() - known.readAt : Number.POSITIVE_INFINITY;
    return known && age >= 0 && age < limitMs ? known : read(call);
  }

  return {
    async find(call, name) {
      const known = held.has(call.workspace);
      const first = (await current(call)).endpoints.get(name);
      const endpoint = first ?? (known ? (await read(call)).endpoints.get(name) : undefined);
      if (!endpoint) throw missing(name);
      return endpoint;
    },
    async recent(call, name) {
      const endpoint = (await current(call, LIMITS.routingRecentMs)).endpoints.get(name);
      if (!endpoint) throw missing(name);
      return endpoint;
    },
    async only(call) {
      const { endpoints } = await current(call);
      const [first, ...more] = endpoints.size
        ? endpoints.values()
        : (await read(call)).endpoints.values();
      if (!first)
        throw new Problem('missing', 'There is no endpoint yet: PUT /api/endpoints/{name}.');
      if (more.length) throw ambiguous([first, ...more].map(({ name }) => name));
      return first;
    },
    async all(call) {
      return [...(await current(call)).endpoints.values()];
    },
    /** A read under way may have begun before the change: it answers its waiters, and is not kept. */
    forget(call) {
      held.delete(call.workspace);
      reading.delete(call.workspace);
    },
  };
}

const missing = (name: string) => new Problem('missing', `Endpoint ${name} not found.`);

const SHOWN = 20;

function ambiguous(names: string[]): Problem {
  const shown = names.slice(0, SHOWN).join(', ');
  const rest = names.length > SHOWN ? ` and ${names.length - SHOWN} more` : '';
  return new Problem(
    'invalid',
    `There are ${names.length} endpoints; ask /endpoints/{name}/invocations. Their names: ${shown}${rest}.`,
  );
}
