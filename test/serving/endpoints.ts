import { Problem } from '../../functions/kernel/problem.ts';
import type {
  EndpointSpec,
  EndpointStatus,
  Endpoints,
  InferenceAnswer,
  InferenceRequest,
} from '../../functions/platform/ports.ts';

export type Model = (request: InferenceRequest) => InferenceAnswer | Promise<InferenceAnswer>;

/** What a model server answers, as MLflow's does. */
export const answer = (body: unknown, status = 200): InferenceAnswer => ({
  status,
  contentType: 'application/json',
  body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
});

/**
 * Endpoints in memory, with the port's promises: deploy returns at once, the old revision answers until the new one is
 * up, a target that fails leaves the old one. Models are functions by model URI, or one for all under `*`; a URI without
 * one never starts.
 */
export function memoryEndpoints(models: Map<string, Model>) {
  const modelAt = (uri: string) => models.get(uri) ?? models.get('*');
  interface Held {
    spec: EndpointSpec;
    live: EndpointSpec | undefined;
    state: EndpointStatus['state'];
    failure?: string;
  }
  const held = new Map<string, Held>();
  const deployed: string[] = [];
  const removed: string[] = [];
  let slow = false;
  let mute = false;
  let removing: (name: string) => Promise<void> = async () => {};
  const keyOf = (call: { workspace: string }, name: string) => `${call.workspace}-${name}`;

  function settle(entry: Held): void {
    if (slow || entry.live?.revision === entry.spec.revision || entry.failure !== undefined) return;
    if (modelAt(entry.spec.modelUri)) {
      entry.live = entry.spec;
      entry.state = 'in-service';
    } else {
      entry.state = entry.live ? 'in-service' : 'failed';
      entry.failure = `no model lies at ${entry.spec.modelUri}`;
    }
  }

  const port: Endpoints = {
    async deploy(call, spec) {
      const entry = held.get(keyOf(call, spec.name));
      if (entry?.spec.revision === spec.revision && entry.failure === undefined) return;
      deployed.push(`${spec.name}:${spec.modelUri}`);
      if (entry?.live?.revision === spec.revision) {
        held.set(keyOf(call, spec.name), { spec, live: entry.live, state: 'in-service' });
        return;
      }
      held.set(keyOf(call, spec.name), {
        spec,
        live: entry?.live,
        state: entry?.live ? 'updating' : 'creating',
      });
    },
    async describe(call, name) {
      const entry = held.get(keyOf(call, name));
      if (!entry) return undefined;
      settle(entry);
      return {
        name,
        revision: entry.live?.revision,
        target: entry.spec.revision,
        state: entry.state,
        copies: entry.live ? 1 : 0,
        ...(entry.failure === undefined ? {} : { failure: entry.failure }),
      };
    },
    async invoke(call, name, request) {
      const entry = held.get(keyOf(call, name));
      if (!entry) throw new Problem('missing', `Endpoint ${name} not found.`);
      const { live } = entry;
      const model = live && modelAt(live.modelUri);
      if (!model) throw new Problem('unavailable', `${name} is starting.`);
      const answered = await model(request);
      return mute ? answered : { ...answered, revision: live.revision };
    },
    async remove(call, name, until) {
      await removing(name);
      const target = held.get(keyOf(call, name))?.spec.revision;
      if (until !== undefined && target !== undefined && target > until) return;
      removed.push(name);
      held.delete(keyOf(call, name));
    },
    async logs(_call, name) {
      return { lines: [`${name} is listening`], next: '1' };
    },
  };
  return {
    port,
    deployed,
    removed,
    /** Called before an endpoint is taken down, which takes the world a while. */
    beforeRemoval: (act: typeof removing) => {
      removing = act;
    },
    /** While slow, no target comes up. */
    setSlow: (now: boolean) => {
      slow = now;
    },
    /** Traffic moves to every target now, slow or not, and nobody has heard of it yet. */
    comeUp() {
      const before = slow;
      slow = false;
      for (const entry of held.values()) settle(entry);
      slow = before;
    },
    /** While mute, answers do not say which revision gave them. */
    setMute: (now: boolean) => {
      mute = now;
    },
    live: (name: string) => [...held].find(([key]) => key.endsWith(`-${name}`))?.[1].live?.modelUri,
  };
}
