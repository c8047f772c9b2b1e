import type * as z from 'zod';
import type { Action, Call } from './call.ts';
import type { Problem } from './problem.ts';

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** What came over the wire, read at most once. */
export interface Incoming {
  readonly method: string;
  /** Path parameters, each decoded exactly once. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly headers: Headers;
  /** `http://127.0.0.1:5000`: the address of this server as the guard accepted it; links are built from it. */
  readonly origin: string;
  /** The body as text, at most `limits.bodyBytes`. Throws `too_large`. */
  text(): Promise<string>;
  /** The body as bytes, at most `limits.bodyBytes`. Throws `too_large`. */
  bytes(): Promise<Uint8Array>;
  /** The body as it comes; it fails with `too_large` once it passes `limits.bodyBytes`. */
  stream(): ReadableStream<Uint8Array>;
}

/** How one wire words requests, answers and problems. */
export interface Protocol {
  readonly name: string;
  /** All the request says, as one plain value for the route's schema. */
  decode(incoming: Incoming): unknown;
  /** The answer of a route that ran. */
  encode(answer: unknown): Response;
  problem(problem: Problem): Response;
  /** What a schema refused, as a problem that names the field and the fix. */
  invalid(error: z.ZodError, input: unknown): Problem;
}

export interface Limits {
  /** The largest body that is read. 0 for none. */
  readonly bodyBytes: number;
  readonly timeoutSeconds: number;
}

/** `header`: the Idempotency-Key; `natural`: a name or id in the request; `none`: at least once after a lost answer. */
export type Retry = 'header' | 'natural' | 'none';

export interface RouteParts<Input extends z.ZodType, Answer> {
  readonly input: Input;
  /** The answer's schema: for OpenAPI and tests, never run on the way out. */
  readonly output: z.ZodType;
  /** What the request touches, such as `runs/4f..`; the policy decides on it. */
  readonly resource: (input: z.output<Input>) => string;
  readonly limits: Limits;
  /** Must be given if the action's verb is not `read`. */
  readonly retry?: Retry;
  /** True if the answer is a stream that the gateway may not buffer. */
  readonly streams?: boolean;
  /** True if anyone may ask without a credential: health, version. */
  readonly open?: boolean;
  /** True if the body is not decoded: `run` reads it from `incoming`. */
  readonly rawBody?: boolean;
  /** One line for the API reference. */
  readonly summary?: string;
  /** Answers a plain value for `encode`, or a Response of its own. */
  readonly run: (
    call: Call,
    input: z.output<Input>,
    incoming: Incoming,
  ) => Promise<Answer> | Answer;
  /** With `retry: 'header'`: from what `run` answered (and the event kept) to the wire. */
  readonly encode?: (answer: Answer, input: z.output<Input>) => unknown;
}

/** A route is data: the router, the API stack, the policy's list of actions, the docs and the tests read it. */
export interface Route {
  readonly method: Method;
  /** `/apis/v2beta1/runs/{run_id}:archive`; `{path*}` takes the rest of the path. */
  readonly path: string;
  readonly action: Action;
  readonly protocol: Protocol;
  readonly input: z.ZodType;
  readonly output: z.ZodType;
  readonly resource: (input: never) => string;
  readonly limits: Limits;
  readonly retry: Retry | undefined;
  readonly streams: boolean;
  readonly open: boolean;
  readonly rawBody: boolean;
  readonly summary: string | undefined;
  readonly run: (call: Call, input: never, incoming: Incoming) => unknown;
  readonly encode: ((answer: never, input: never) => unknown) | undefined;
}

/** `route` for one protocol: each `protocols/` file exports its own. */
export function routesOf(protocol: Protocol) {
  return function route<Input extends z.ZodType, Answer>(
    method: Method,
    path: string,
    action: Action,
    parts: RouteParts<Input, Answer>,
  ): Route {
    return {
      method,
      path,
      action,
      protocol,
      input: parts.input,
      output: parts.output,
      resource: parts.resource,
      limits: parts.limits,
      retry: parts.retry,
      streams: parts.streams ?? false,
      open: parts.open ?? false,
      rawBody: parts.rawBody ?? false,
      summary: parts.summary,
      run: parts.run,
      encode: parts.encode,
    };
  };
}

/** Why a route may not be mounted, or undefined. A route that changes something must say how it is retried. */
export function unmountable(route: Route): string | undefined {
  const named = `${route.method} ${route.path}`;
  if (!/^[a-z]+:[a-z-]+$/.test(route.action ?? '')) return `${named} has no action`;
  if (typeof route.resource !== 'function') return `${named} does not say what it touches`;
  if (!route.input || !route.output) return `${named} has no schema`;
  if (!(route.limits?.bodyBytes >= 0) || !(route.limits.timeoutSeconds > 0))
    return `${named} has no limits`;
  const writes = !route.action.endsWith(':read');
  if (writes && !route.retry) return `${named} changes something and has no retry key`;
  if (route.retry === 'header' && !route.encode)
    return `${named} keeps its answer for a repeat and cannot encode it`;
  if (route.open && writes) return `${named} changes something without a credential`;
  return undefined;
}
