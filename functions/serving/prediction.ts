import { isDeepStrictEqual } from 'node:util';
import type { Call } from '../kernel/call.ts';
import { asProblem, Problem } from '../kernel/problem.ts';
import type { Endpoints, InferenceAnswer, InferenceRequest } from '../platform/ports.ts';
import type { Endpoint, ServedVersion, Signature } from './model.ts';
import type { Routing } from './routing.ts';
import type { ServingStore } from './store.ts';

export interface PredictionParts {
  readonly routing: Routing;
  readonly endpoints: Endpoints;
  readonly store: Pick<ServingStore, 'revision'>;
}

/** What a revision is: it never changes. */
export interface Answering {
  readonly served: ServedVersion;
  readonly signature?: Signature | undefined;
}

/** An answer, and who gave it where the host says so. */
export interface Answered {
  readonly answer: InferenceAnswer;
  readonly by: Answering | undefined;
}

/** A request's body for a model of this signature. Throws `invalid`. */
export type Shape = (signature: Signature | undefined) => Uint8Array;

interface Shaped {
  readonly signature: Signature | undefined;
  readonly body: Uint8Array;
}

/** Seconds until a caller who was refused for a cold start should try again, where the world names none. */
const RETRY_AFTER_SECONDS = 5;
const HELD_REVISIONS = 1000;
const MOST_SHAPES = 3;

/**
 * The way of a prediction: name -> routing record -> model server. No table is touched while the record is young. While
 * one revision takes over from another the record is behind, or ahead: what is said of an answer is what its revision
 * was deployed from, and a body is shaped again for the one that turns out to answer.
 */
export function predictions({ routing, endpoints, store }: PredictionParts) {
  const held = new Map<string, Answering>();

  async function ask(
    call: Call,
    endpoint: Endpoint,
    request: InferenceRequest,
  ): Promise<InferenceAnswer> {
    if (endpoint.current === undefined) throw notReady(endpoint);
    try {
      return await endpoints.invoke(call, endpoint.name, request);
    } catch (error) {
      throw worded(endpoint, error);
    }
  }

  async function revision(
    call: Call,
    { name, current, served, signature }: Endpoint,
    id: string | undefined,
  ): Promise<Answering | undefined> {
    if (id === undefined) return undefined;
    if (id === current && served) return { served, signature };
    const key = `${call.workspace}/${name}/${id}`;
    const known = held.get(key) ?? (await store.revision(call, name, id));
    if (!known) return undefined;
    if (held.size >= HELD_REVISIONS) held.clear();
    held.set(key, known);
    return known;
  }

  /** A signature of what the endpoint serves or is about to, other than these. */
  async function another(
    call: Call,
    name: string,
    tried: readonly (Signature | undefined)[],
  ): Promise<Pick<Answering, 'signature'> | undefined> {
    const endpoint = await routing.recent(call, name);
    for (const id of [endpoint.current, endpoint.target]) {
      const found = await revision(call, endpoint, id);
      if (found && !tried.some((one) => isDeepStrictEqual(one, found.signature))) return found;
    }
    return undefined;
  }

  /** For the signature of the record, or where that refuses it, of what takes over. */
  async function shapedFirst(call: Call, endpoint: Endpoint, shape: Shape): Promise<Shaped> {
    const { signature } = endpoint;
    try {
      return { signature, body: shape(signature) };
    } catch (error) {
      const other = await another(call, endpoint.name, [signature]);
      if (!other) throw error;
      return { signature: other.signature, body: shape(other.signature) };
    }
  }

  /** The body to ask anew with, since another model answered than this one is for; undefined: the answer stands. */
  async function shapedAnew(
    call: Call,
    { name }: Endpoint,
    shape: Shape,
    { answer, by }: Answered,
    tried: readonly Shaped[],
  ): Promise<Shaped | undefined> {
    const before = tried.at(-1);
    const anew = ({ signature }: Pick<Answering, 'signature'>) => {
      const body = shape(signature);
      return before && Buffer.compare(body, before.body) === 0 ? undefined : { signature, body };
    };
    if (by) return isDeepStrictEqual(by.signature, before?.signature) ? undefined : anew(by);
    if (answer.status < 400 || answer.status >= 500) return undefined;
    const signatures = tried.map(({ signature }) => signature);
    const other = await another(call, name, signatures);
    try {
      return other && anew(other);
    } catch {
      return undefined; // the model's own refusal says more
    }
  }

  /** Asks with the body that the model which answers wants. Throws `invalid` where that one cannot be asked so. */
  async function askShaped(call: Call, endpoint: Endpoint, shape: Shape): Promise<Answered> {
    const tried: Shaped[] = [];
    let next: Shaped | undefined = await shapedFirst(call, endpoint, shape);
    while (tried.length < MOST_SHAPES) {
      const { body } = next;
      tried.push(next);
      const request = { path: '/invocations', contentType: 'application/json', body };
      const answer = await ask(call, endpoint, request);
      let stands = false;
      try {
        const by = await revision(call, endpoint, answer.revision);
        next = await shapedAnew(call, endpoint, shape, { answer, by }, tried);
        stands = next === undefined;
        if (!next) return { answer, by };
      } finally {
        if (!stands) await discard(answer);
      }
    }
    throw new Problem('unavailable', `Endpoint ${endpoint.name} is being switched.`, {
      retryAfterSeconds: 1,
    });
  }

  return {
    find: routing.find,
    recent: routing.recent,
    only: routing.only,
    all: routing.all,
    ask,
    askShaped,
    /** What answers now as its host says, or if that says nothing what did last. Undefined before the first. */
    async answering(call: Call, endpoint: Endpoint): Promise<Answering | undefined> {
      const live = await endpoints.describe(call, endpoint.name);
      return revision(call, endpoint, live?.revision ?? endpoint.current);
    },
    /** Whether it would answer: a server that sleeps at scale zero counts, since the first request wakes it. */
    async ready(call: Call, endpoint: Endpoint): Promise<boolean> {
      if (endpoint.current === undefined) return false;
      const live = await endpoints.describe(call, endpoint.name);
      return live?.revision !== undefined && live.state !== 'failed';
    },
  };
}
export type Predictions = ReturnType<typeof predictions>;

/** An answer that nobody reads holds its connection. */
async function discard({ body }: InferenceAnswer): Promise<void> {
  if (body instanceof ReadableStream) await body.cancel().catch(() => undefined);
}

function notReady({ name, state, failure }: Endpoint): Problem {
  return state === 'failed'
    ? new Problem(
        'unavailable',
        `Endpoint ${name} did not come up: ${failure ?? 'see its logs'}.`,
        {
          retryAfterSeconds: RETRY_AFTER_SECONDS * 6,
        },
      )
    : new Problem('unavailable', `Endpoint ${name} is being deployed.`, {
        retryAfterSeconds: RETRY_AFTER_SECONDS,
      });
}

/** A cold start that took longer than anyone waits is 503 with a time to wait. */
function worded(endpoint: Endpoint, error: unknown): Problem {
  const problem = asProblem(error);
  if (problem.code !== 'unavailable') return problem;
  return new Problem('unavailable', problem.message, {
    cause: error,
    retryAfterSeconds: problem.retryAfterSeconds ?? RETRY_AFTER_SECONDS,
    field: endpoint.name,
  });
}
