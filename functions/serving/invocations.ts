import * as z from 'zod';
import type { Call } from '../kernel/call.ts';
import { Problem } from '../kernel/problem.ts';
import { type Incoming, type Protocol, type Route, routesOf } from '../kernel/route.ts';
import { inference } from '../protocols/inference.ts';
import { mlflow } from '../protocols/mlflow.ts';
import { type Endpoint, LIMITS } from './model.ts';
import type { Predictions } from './prediction.ts';

/** The body goes on unread; problems carry MLflow's words and the status that the scoring server gives. */
const invocations: Protocol = {
  ...mlflow,
  name: 'invocations',
  decode: (incoming: Incoming) => ({ ...incoming.params }),
  problem(problem) {
    const worded = mlflow.problem(problem);
    const { status } = inference.problem(problem);
    return new Response(worded.body, { status, headers: worded.headers });
  },
};
const route = routesOf(invocations);

const limits = { bodyBytes: LIMITS.bodyBytes, timeoutSeconds: LIMITS.timeoutSeconds };
const Named = z.object({ name: z.string().max(200) });
const resource = ({ name }: { name: string }) => `endpoints/${name}`;

/**
 * MLflow's scoring server and SageMaker's hosting contract, for one endpoint by name; bare only while there is
 * exactly one. Bytes and content type go on as they came, and so does the answer.
 */
export function invocationRoutes(predictions: Predictions): Route[] {
  async function invoke(call: Call, endpoint: Endpoint, incoming: Incoming): Promise<Response> {
    const contentType = incoming.headers.get('content-type');
    if (!contentType)
      throw new Problem('media', 'Content-Type is missing: application/json or text/csv.', {
        field: 'Content-Type',
      });
    const body = await incoming.bytes();
    const answer = await predictions.ask(call, endpoint, {
      path: '/invocations',
      contentType,
      body,
    });
    return new Response(answer.body as BodyInit, {
      status: answer.status,
      headers: { 'Content-Type': answer.contentType },
    });
  }

  async function ping(call: Call, endpoint: Endpoint): Promise<Response> {
    if (await predictions.ready(call, endpoint)) return new Response('\n');
    throw new Problem('unavailable', `Endpoint ${endpoint.name} is not ready.`, {
      retryAfterSeconds: 5,
    });
  }

  const predict = {
    output: z.unknown(),
    limits,
    retry: 'none',
    streams: true,
    rawBody: true,
  } as const;
  const look = { output: z.unknown(), limits: { bodyBytes: 0, timeoutSeconds: 10 } };
  return [
    route('POST', '/endpoints/{name}/invocations', 'serving:invoke', {
      ...predict,
      input: Named,
      resource,
      summary: 'Predict (MLflow scoring server, SageMaker contract)',
      run: async (call, { name }, incoming) =>
        invoke(call, await predictions.find(call, name), incoming),
    }),
    route('GET', '/endpoints/{name}/ping', 'serving:read', {
      ...look,
      input: Named,
      resource,
      summary: 'Whether an endpoint answers',
      run: async (call, { name }) => ping(call, await predictions.find(call, name)),
    }),
    route('POST', '/invocations', 'serving:invoke', {
      ...predict,
      input: z.object({}),
      resource: () => 'endpoints',
      summary: 'Predict, while there is exactly one endpoint',
      run: async (call, _input, incoming) => invoke(call, await predictions.only(call), incoming),
    }),
    route('GET', '/ping', 'serving:read', {
      ...look,
      input: z.object({}),
      resource: () => 'endpoints',
      summary: 'Whether the only endpoint answers',
      run: async (call) => ping(call, await predictions.only(call)),
    }),
  ];
}
