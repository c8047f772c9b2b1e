import { readJson, writeJson } from '../kernel/json.ts';
import { Problem } from '../kernel/problem.ts';
import { type Incoming, type Protocol, routesOf } from '../kernel/route.ts';
import { INFERENCE_WORDS } from './inference.ts';
import { fromQuery } from './mlflow.ts';
import { jsonAnswer, type Wording } from './words.ts';

/** Our own face: RFC 9457 problems, with the statuses of the inference wire. */
export const API_WORDS = INFERENCE_WORDS satisfies Wording<string>;

async function decode(incoming: Incoming): Promise<unknown> {
  const outside = { ...fromQuery(incoming.query), ...incoming.params };
  if (incoming.method === 'GET' || incoming.method === 'DELETE') return outside;
  const text = await incoming.text();
  if (text === '') return outside;
  if (!/^application\/([\w.+-]+\+)?json\b/i.test(incoming.headers.get('content-type') ?? ''))
    throw new Problem('media', 'Send the body as application/json.', { field: 'Content-Type' });
  const body = readJson(text);
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new Problem('invalid', 'The body must be a JSON object.');
  return { ...body, ...outside };
}

export const api: Protocol = {
  name: 'api',
  decode,
  encode: (answer) =>
    answer === undefined ? new Response(null, { status: 204 }) : jsonAnswer(200, writeJson(answer)),
  invalid(error) {
    const issue = error.issues[0];
    const field = (issue?.path ?? []).join('.');
    return new Problem(
      'invalid',
      field ? `${field}: ${issue?.message}` : (issue?.message ?? 'not understood'),
      { field },
    );
  },
  problem(problem) {
    const [status] = API_WORDS[problem.code];
    const { code, field, message: detail } = problem;
    const title = code.replaceAll('_', ' ');
    const body = {
      type: `about:blank#${code}`,
      title,
      status: problem.status ?? status,
      detail,
      ...(field ? { field } : {}),
    };
    return jsonAnswer(body.status, JSON.stringify(body), 'application/problem+json');
  },
};

export const apiRoute = routesOf(api);
