import { readJson, writeJson } from '../kernel/json.ts';
import { Problem } from '../kernel/problem.ts';
import type { Incoming, Protocol } from '../kernel/route.ts';
import { fromQuery } from './mlflow.ts';
import { jsonAnswer, type Wording } from './words.ts';

/** Source: the Open Inference Protocol's REST error object, `{"error": text}`. */
export const INFERENCE_WORDS = {
  invalid: [400, 'invalid'],
  unauthenticated: [401, 'unauthenticated'],
  denied: [403, 'denied'],
  missing: [404, 'missing'],
  exists: [409, 'exists'],
  precondition: [409, 'precondition'],
  conflict: [409, 'conflict'],
  gone: [410, 'gone'],
  too_large: [413, 'too_large'],
  media: [415, 'media'],
  exhausted: [429, 'exhausted'],
  unsupported: [501, 'unsupported'],
  unavailable: [503, 'unavailable'],
  internal: [500, 'internal'],
} as const satisfies Wording<string>;

export const inference: Protocol = {
  name: 'inference',
  async decode(incoming: Incoming) {
    const outside = { ...fromQuery(incoming.query), ...incoming.params };
    if (incoming.method === 'GET') return outside;
    const text = await incoming.text();
    return { ...outside, body: text === '' ? undefined : readJson(text) };
  },
  encode: (answer) => jsonAnswer(200, writeJson(answer ?? {})),
  invalid(error) {
    const issue = error.issues[0];
    const field = (issue?.path ?? []).filter((step) => step !== 'body').join('.');
    return new Problem(
      'invalid',
      field ? `${field}: ${issue?.message}` : (issue?.message ?? 'not understood'),
      { field },
    );
  },
  problem: (problem) =>
    jsonAnswer(
      problem.status ?? INFERENCE_WORDS[problem.code][0],
      JSON.stringify({ error: problem.message }),
    ),
};
