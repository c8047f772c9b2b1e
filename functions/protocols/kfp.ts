import type * as z from 'zod';
import { readJson, writeJson } from '../kernel/json.ts';
import { Problem } from '../kernel/problem.ts';
import { message } from '../kernel/proto.ts';
import { type Incoming, type Protocol, routesOf } from '../kernel/route.ts';
import { fromQuery } from './mlflow.ts';
import { jsonAnswer, type Wording } from './words.ts';

/** HTTP status and gRPC code. Source: grpc-gateway runtime/errors.go, HTTPStatusFromCode; 413 and 415 are ours. */
export const KFP_WORDS = {
  invalid: [400, 3],
  unauthenticated: [401, 16],
  denied: [403, 7],
  missing: [404, 5],
  exists: [409, 6],
  precondition: [400, 9],
  conflict: [409, 10],
  gone: [404, 5],
  too_large: [413, 3],
  media: [415, 3],
  exhausted: [429, 8],
  unsupported: [501, 12],
  unavailable: [503, 14],
  internal: [500, 13],
} as const satisfies Wording<number>;

/** A request message of KFP's wire: snake_case or camelCase, unknown fields refused (kfp.md section 1.1). */
export const kfpMessage = <Shape extends z.ZodRawShape>(shape: Shape) =>
  message(shape, { unknown: 'refuse', camel: true });

async function decode(incoming: Incoming): Promise<unknown> {
  const outside = { ...fromQuery(incoming.query), ...incoming.params };
  if (incoming.method === 'GET' || incoming.method === 'DELETE') return outside;
  const text = await incoming.text();
  if (text === '') return outside;
  const body = readJson(text);
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new Problem('invalid', 'The body must be a JSON object.');
  return { ...body, ...outside };
}

export const kfp: Protocol = {
  name: 'kfp',
  decode,
  encode: (answer) => jsonAnswer(200, writeJson(answer ?? {})),
  invalid(error) {
    const issue = error.issues[0];
    const field = (issue?.path ?? []).join('.');
    const where = field ? `Invalid input error: ${field}: ` : 'Invalid input error: ';
    return new Problem('invalid', `${where}${issue?.message ?? 'not understood'}`, { field });
  },
  problem(problem) {
    const [status, code] = KFP_WORDS[problem.code];
    const { message: text } = problem;
    const details = [{ '@type': 'type.googleapis.com/google.rpc.Status', code, message: text }];
    return jsonAnswer(
      problem.status ?? status,
      JSON.stringify({ error: text, code, message: text, details }),
    );
  },
};

export const kfpRoute = routesOf(kfp);
