import type { Call } from '../kernel/call.ts';
import { asProblem, Problem } from '../kernel/problem.ts';
import { newUlid, type World } from '../kernel/world.ts';
import type {
  Blobs,
  EndpointStatus,
  Endpoints,
  InferenceAnswer,
  InferenceRequest,
} from '../platform/ports.ts';
import { type Endpoint, LIMITS } from './model.ts';
import type { Routing } from './routing.ts';

export interface PredictionParts {
  readonly routing: Routing;
  readonly endpoints: Endpoints;
  readonly blobs: Blobs;
  readonly world: World;
}

/** Seconds until a caller who was refused for a cold start should try again, where the world names none. */
const RETRY_AFTER_SECONDS = 5;

/** The way of a prediction: name -> routing record -> model server. No table is touched while the record is young. */
export function predictions({ routing, endpoints, blobs, world }: PredictionParts) {
  const keeping = new Set<Promise<void>>();

  function sampled(rate: number): boolean {
    if (rate <= 0) return false;
    const [a = 0, b = 0] = world.randomBytes(2);
    return (a * 256 + b) / 65_536 < rate;
  }

  /** Keeps both bodies, cut to 1 MB each, after the answer; a failure is nobody's but the sample's. */
  function keep(call: Call, endpoint: Endpoint, request: InferenceRequest, kept: Kept): void {
    const work = (async () => {
      const at = world.now();
      const day = new Date(at).toISOString().slice(0, 10);
      const path = `serving/${endpoint.name}/samples/${day}/${newUlid(world)}.json`;
      const answer = await head(kept.body);
      const sample = {
        at,
        endpoint: endpoint.name,
        model: endpoint.served?.name,
        version: endpoint.served?.version,
        revision: endpoint.current,
        requestId: call.requestId,
        requestType: request.contentType,
        request: textOf(request.body.subarray(0, LIMITS.sampleBytes)),
        status: kept.status,
        answerType: kept.contentType,
        answer: textOf(answer),
      };
      const background = { ...call, deadline: at + 30_000 };
      await blobs.put(background, path, Buffer.from(JSON.stringify(sample)));
    })().catch(() => undefined);
    keeping.add(work);
    work.finally(() => keeping.delete(work)).catch(() => undefined);
  }

  async function ask(
    call: Call,
    endpoint: Endpoint,
    request: InferenceRequest,
  ): Promise<InferenceAnswer> {
    if (endpoint.current === undefined) throw notReady(endpoint);
    let answer: InferenceAnswer;
    try {
      answer = await endpoints.invoke(call, endpoint.name, request);
    } catch (error) {
      throw worded(endpoint, error);
    }
    if (!sampled(endpoint.sampleRate)) return answer;
    const { mine, theirs } = split(answer);
    keep(call, endpoint, request, { ...answer, body: mine });
    return { ...answer, body: theirs };
  }

  return {
    find: routing.find,
    only: routing.only,
    all: routing.all,
    ask,
    /** Whether it would answer: a server that sleeps at scale zero counts, since the first request wakes it. */
    async ready(call: Call, endpoint: Endpoint): Promise<boolean> {
      if (endpoint.current === undefined) return false;
      const live: EndpointStatus | undefined = await endpoints.describe(call, endpoint.name);
      return live?.revision !== undefined && live.state !== 'failed';
    },
    /** Resolves once every sample begun so far is kept or given up: what a Lambda waits for before it sleeps. */
    async settled(): Promise<void> {
      await Promise.all(keeping);
    },
  };
}
export type Predictions = ReturnType<typeof predictions>;

type Kept = Omit<InferenceAnswer, 'body'> & { body: ReadableStream<Uint8Array> | Uint8Array };

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

function split(answer: InferenceAnswer) {
  if (answer.body instanceof Uint8Array) return { mine: answer.body, theirs: answer.body };
  const [mine, theirs] = answer.body.tee();
  return { mine, theirs };
}

/** The first megabyte; the rest is read and dropped, so that the caller's half never waits for ours. */
async function head(body: ReadableStream<Uint8Array> | Uint8Array): Promise<Uint8Array> {
  if (body instanceof Uint8Array) return body.subarray(0, LIMITS.sampleBytes);
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body as unknown as AsyncIterable<Uint8Array>) {
    if (size < LIMITS.sampleBytes) chunks.push(chunk);
    size += chunk.length;
  }
  return Buffer.concat(chunks).subarray(0, LIMITS.sampleBytes);
}

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');
