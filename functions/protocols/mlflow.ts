import type * as z from 'zod';
import type { Action } from '../kernel/call.ts';
import { readJson, writeJson } from '../kernel/json.ts';
import { Problem } from '../kernel/problem.ts';
import { type MessageRules, message } from '../kernel/proto.ts';
import {
  type Incoming,
  type Method,
  type Protocol,
  type Route,
  type RouteParts,
  routesOf,
} from '../kernel/route.ts';
import { jsonAnswer, type Wording } from './words.ts';

/** Source: mlflow/exceptions.py, ERROR_CODE_TO_HTTP_STATUS. */
export const MLFLOW_WORDS = {
  invalid: [400, 'INVALID_PARAMETER_VALUE'],
  unauthenticated: [401, 'UNAUTHENTICATED'],
  denied: [403, 'PERMISSION_DENIED'],
  missing: [404, 'RESOURCE_DOES_NOT_EXIST'],
  exists: [400, 'RESOURCE_ALREADY_EXISTS'],
  precondition: [400, 'INVALID_PARAMETER_VALUE'],
  conflict: [409, 'RESOURCE_CONFLICT'],
  gone: [404, 'RESOURCE_DOES_NOT_EXIST'],
  too_large: [400, 'INVALID_PARAMETER_VALUE'],
  media: [400, 'INVALID_PARAMETER_VALUE'],
  exhausted: [429, 'REQUEST_LIMIT_EXCEEDED'],
  unsupported: [501, 'NOT_IMPLEMENTED'],
  unavailable: [503, 'TEMPORARILY_UNAVAILABLE'],
  internal: [500, 'INTERNAL_ERROR'],
} as const satisfies Wording<string>;

/** Unknown fields are ignored; lowerCamelCase is read in a body, never in a query string (mlflow.md section 1). */
const BODY: MessageRules = { unknown: 'ignore', camel: true };

/** A request message of MLflow's wire. */
export const mlflowMessage = <Shape extends z.ZodRawShape>(shape: Shape) => message(shape, BODY);

const SEE_DOCS = 'See the API docs for more information about request parameters.';

async function decode(incoming: Incoming): Promise<unknown> {
  if (incoming.method === 'GET') {
    const fields = Object.entries(fromQuery(incoming.query));
    const snake = fields.filter(([name]) => !/[A-Z]/.test(name));
    return { ...Object.fromEntries(snake), ...incoming.params };
  }
  const text = await incoming.text();
  const type = incoming.headers.get('content-type') ?? '';
  if (text !== '' && !/^application\/json\s*(;\s*charset=utf-8\s*)?$/i.test(type.trim()))
    throw new Problem(
      'invalid',
      `Bad Request. Content-Type should be application/json, got '${type}'.`,
    );
  return { ...parsed(text), ...incoming.params };
}

/** Malformed JSON counts as an empty body, so the error names the first missing field, as in stock MLflow. */
function parsed(text: string): Record<string, unknown> {
  if (text === '') return {};
  const once = unlessMalformed(text);
  const body = typeof once === 'string' ? unlessMalformed(once) : once; // old clients encode twice
  return typeof body === 'object' && body !== null && !Array.isArray(body)
    ? (body as Record<string, unknown>)
    : {};
}

function unlessMalformed(text: string): unknown {
  try {
    return readJson(text, { exact: true, bare: true }); // Python's json writes NaN bare
  } catch (error) {
    if (error instanceof Problem && error.cause instanceof SyntaxError) return {};
    throw error;
  }
}

export function fromQuery(query: URLSearchParams): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const name of new Set(query.keys())) {
    if (name === '__proto__') continue;
    const values = query.getAll(name);
    fields[name] = values.length > 1 ? values : values[0];
  }
  return fields;
}

/** `metrics[0].value`. */
const spelled = (path: readonly PropertyKey[]) =>
  path.reduce<string>(
    (text, step) =>
      typeof step === 'number'
        ? `${text}[${step}]`
        : text
          ? `${text}.${String(step)}`
          : String(step),
    '',
  );

/** A schema says a whole message of its own, as stock words it, with `params: { whole: true }`. */
function invalid(error: z.ZodError, input: unknown): Problem {
  const issue = error.issues[0];
  const path = issue?.path ?? [];
  const field = spelled(path);
  const value = path.reduce<unknown>(
    (held, step) => (held as Record<PropertyKey, unknown> | undefined)?.[step],
    input,
  );
  if (issue?.code === 'custom' && issue.params?.['whole'] === true)
    return new Problem('invalid', issue.message, { field });
  if (value === undefined || value === null)
    return new Problem('invalid', `Missing value for required parameter '${field}'. ${SEE_DOCS}`, {
      field,
    });
  if (issue?.code === 'too_big' || issue?.code === 'too_small' || issue?.code === 'invalid_format')
    return new Problem('invalid', `Invalid value for parameter '${field}': it ${issue.message}.`, {
      field,
    });
  const shown = typeof value === 'number' ? String(value) : writeJson(value);
  const text = shown.length > 200 ? `${shown.slice(0, 200)}...` : shown;
  const hint = `Hint: Value was of type '${pythonType(value)}'. ${SEE_DOCS}`;
  return new Problem(
    'invalid',
    `Invalid value ${text} for parameter '${field}' supplied: ${issue?.message}. ${hint}`,
    { field },
  );
}

function pythonType(value: unknown): string {
  if (typeof value === 'string') return 'str';
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'bigint') return 'int';
  if (typeof value === 'number') return Number.isInteger(value) ? 'int' : 'float';
  return Array.isArray(value) ? 'list' : 'dict';
}

export const mlflow: Protocol = {
  name: 'mlflow',
  decode,
  encode: (answer) => jsonAnswer(200, writeJson(answer ?? {})),
  invalid,
  problem(problem) {
    const [status, word] = MLFLOW_WORDS[problem.code];
    const body = { error_code: problem.word ?? word, message: problem.message };
    return jsonAnswer(problem.status ?? status, JSON.stringify(body));
  },
};

export const mlflowRoute = routesOf(mlflow);

/** One route under both of stock's prefixes: clients use `/api`, the web UI `/ajax-api`. */
export function mlflowRoutes<Input extends z.ZodType, Answer>(
  method: Method,
  path: string,
  action: Action,
  parts: RouteParts<Input, Answer>,
  version: '2.0' | '3.0' = '2.0',
): Route[] {
  return ['/api', '/ajax-api'].map((prefix) =>
    mlflowRoute(method, `${prefix}/${version}${path}`, action, parts),
  );
}
