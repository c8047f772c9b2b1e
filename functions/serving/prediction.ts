import type { Call } from '../kernel/call.ts';
import { asProblem, Problem } from '../kernel/problem.ts';
import type {
  EndpointStatus,
  Endpoints,
  InferenceAnswer,
  InferenceRequest,
} from '../platform/ports.ts';
import type { Endpoint } from './model.ts';
import type { Routing } from './routing.ts';

export interface PredictionParts {
  readonly routing: Routing;
  readonly endpoints: Endpoints;
}

/** Seconds until a caller who was refused for a cold start should try again, where the world names none. */
const RETRY_AFTER_SECONDS = 5;

/** The way of a prediction: name -> routing record -> model server. No table is touched while the record is young. */
export function predictions({ routing, endpoints }: PredictionParts) {
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
  };
}
export type Predictions = ReturnType<typeof predictions>;

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
