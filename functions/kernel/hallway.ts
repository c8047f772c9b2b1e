import { createHash } from 'node:crypto';
import { Hono } from 'hono';
import type { Call, Caller, RetryKey } from './call.ts';
import type { RequestId, WorkspaceId } from './ids.ts';
import { asProblem, Problem } from './problem.ts';
import { type Incoming, type Route, unmountable } from './route.ts';
import { newUlid, type World } from './world.ts';

/** Who a credential says is asking, and in which workspace. */
export interface Identity {
  readonly workspace: WorkspaceId;
  readonly caller: Caller;
}

/** What the six steps need; each world passes its own. */
export interface Hallway {
  readonly world: World;
  /** Host and origin of the request; the address it was accepted under. Throws `denied`. */
  guard(request: Request): string;
  /** Throws `unauthenticated`. Undefined: nobody in particular. */
  authenticate(headers: Headers): Promise<Identity | undefined>;
  /** Throws `denied` where the headers name a workspace that is not the caller's: a refusal that the audit keeps. */
  checkTenant(headers: Headers, identity: Identity): void;
  allow(call: Call, resource: string): boolean;
  /** What an earlier request with this key was answered, if any. Throws `invalid` when that was another request. */
  repeated(call: Call, retry: RetryKey): Promise<{ answer: unknown } | undefined>;
  /** A refusal, to be kept for the audit. */
  refused(call: Call, resource: string, problem: Problem): Promise<void>;
  log(line: Record<string, unknown>): void;
}

/** On every answer, also the refusals. Source: hardening.md D09 to D11. */
const SECURITY_HEADERS: readonly (readonly [string, string])[] = [
  ['X-Content-Type-Options', 'nosniff'],
  ['X-Frame-Options', 'SAMEORIGIN'],
  ['Referrer-Policy', 'no-referrer'],
  ['Cross-Origin-Resource-Policy', 'same-origin'],
  ['Permissions-Policy', 'camera=(), geolocation=(), microphone=()'],
];
const STRICT_CSP = "default-src 'none'; frame-ancestors 'self'; sandbox";

/** All routes behind guard, authenticate, decode, allow, run, encode. Throws if one may not be mounted. */
export function mount(routes: readonly Route[], hallway: Hallway): Hono {
  const app = new Hono({ strict: true });
  const taken = new Set<string>();
  const exact = new Map<string, Route>();
  for (const route of routes) {
    const name = `${route.method} ${route.path}`;
    const why = unmountable(route) ?? (taken.has(name) ? `${name} is mounted twice` : undefined);
    if (why) throw new Error(why);
    taken.add(name);
    if (!route.path.includes('{')) exact.set(name, route);
    const { pattern, suffix } = honoPattern(route.path);
    app.on(route.method, pattern, (context) =>
      walk(route, suffix, context.req.raw, context.req.param(), hallway),
    );
  }
  // A path without parameters needs no search; what is not spelled exactly so goes the long way and ends the same.
  const { fetch } = app;
  app.fetch = (request, ...rest) => {
    const route = exact.get(`${request.method} ${pathOf(request.url)}`);
    if (!route) return fetch(request, ...rest);
    return walk(route, '', request, {}, hallway).catch(outside);
  };
  const outside = (error: unknown) => {
    hallway.log({ level: 'error', message: 'outside any route', error: String(error) });
    return secured(new Response('Internal error\n', { status: 500 }));
  };
  app.notFound((context) =>
    secured(
      new Response(`Not Found: ${context.req.path}\n`, {
        status: 404,
        headers: { 'Content-Type': 'text/plain; charset=utf-8' },
      }),
    ),
  );
  app.onError(outside);
  return app;
}

/** Of `http://host:port/path?query#hash`, as it was sent. */
function pathOf(url: string): string {
  const from = url.indexOf('/', url.indexOf('://') + 3);
  const path = from < 0 ? '/' : url.slice(from);
  const end = path.search(/[?#]/);
  return end < 0 ? path : path.slice(0, end);
}

/** `/runs/{run_id}:archive` for hono: the verb belongs to the segment, so it goes into the parameter's pattern. */
export function honoPattern(path: string): { pattern: string; suffix: string } {
  const suffix = /\}(:[A-Za-z]+)$/.exec(path)?.[1] ?? '';
  const base = suffix ? path.slice(0, -suffix.length) : path;
  const pattern = base.replace(
    /\{(\w+)(\*?)\}/g,
    (whole, name: string, rest: string, at: number) => {
      if (rest) return `:${name}{.+}`;
      const last = at + whole.length === base.length;
      return last ? `:${name}{[^/]+${suffix}}` : `:${name}`;
    },
  );
  return { pattern, suffix };
}

async function walk(
  route: Route,
  suffix: string,
  request: Request,
  params: Record<string, string>,
  hallway: Hallway,
): Promise<Response> {
  const startedAt = hallway.world.now();
  const requestId = newUlid(hallway.world) as RequestId;
  let call: Call | undefined;
  // Until the request has been read nothing more is known of what it would have touched.
  let resource = route.path;
  try {
    const origin = hallway.guard(request);
    const known = await hallway.authenticate(request.headers);
    const identity = known ?? (route.open ? ANYONE : undefined);
    if (!identity)
      throw new Problem(
        'unauthenticated',
        'This request needs a token: Authorization: Bearer sf_...',
      );
    const deadline = startedAt + route.limits.timeoutSeconds * 1000;
    call = { ...identity, action: route.action, requestId, deadline };
    if (known) hallway.checkTenant(request.headers, known);
    const incoming = reader(request, trimmed(params, suffix), route, origin);
    // A raw body is left to `run`, and HEAD has none: both say all they say in the address, as GET does.
    const bodiless = route.rawBody || request.method === 'HEAD';
    const read = await route.protocol.decode(bodiless ? { ...incoming, method: 'GET' } : incoming);
    const parsed = route.input.safeParse(read);
    if (!parsed.success) throw route.protocol.invalid(parsed.error, read);
    const input = parsed.data as never;
    resource = route.resource(input);
    if (!hallway.allow(call, resource))
      throw new Problem('denied', `${call.caller.name} may not ${route.action} on ${resource}.`);
    const answer = await once(route, call, input, incoming, hallway);
    if (answer instanceof Response) return secured(answer, requestId);
    const shown = route.encode ? route.encode(answer as never, input) : answer;
    return secured(route.protocol.encode(shown), requestId);
  } catch (error) {
    const problem = asProblem(error);
    const log = (why: unknown) =>
      hallway.log({
        level: 'error',
        requestId,
        route: `${route.method} ${route.path}`,
        error: stackOf(why),
      });
    // Whether or not it could be kept, it is refused.
    if (problem.code === 'denied' && call)
      await hallway.refused(call, resource, problem).catch(log);
    if (problem.code === 'internal') log(problem.cause ?? error);
    const response = route.protocol.problem(problem);
    if (problem.retryAfterSeconds !== undefined)
      response.headers.set('Retry-After', String(problem.retryAfterSeconds));
    if (problem.code === 'unauthenticated')
      // One challenge alone: Chromium does not ask the user when another one follows in the same header.
      response.headers.set(
        'WWW-Authenticate',
        'Basic realm="stillflow: a token as password, or as Bearer"',
      );
    return secured(response, requestId);
  }
}

const ANYONE: Identity = {
  workspace: 'default0' as WorkspaceId,
  caller: { name: 'anyone', role: 'read' },
};

const stackOf = (error: unknown) =>
  error instanceof Error ? (error.stack ?? error.message) : String(error);

/** Runs the route, or answers from the record when the request repeats an Idempotency-Key. */
async function once(
  route: Route,
  call: Call,
  input: never,
  incoming: Incoming,
  hallway: Hallway,
): Promise<unknown> {
  const key = route.retry === 'header' ? incoming.headers.get('idempotency-key') : null;
  if (!key) return route.run(call, input, incoming);
  if (!/^[\x21-\x7e]{1,200}$/.test(key))
    throw new Problem('invalid', 'Idempotency-Key must be 1 to 200 visible ASCII characters.', {
      field: 'Idempotency-Key',
    });
  const digest = createHash('sha256')
    .update(JSON.stringify([route.method, route.path, incoming.params, [...incoming.query]]))
    .update(await incoming.bytes())
    .digest('hex');
  const retry = { key, digest };
  const before = await hallway.repeated(call, retry);
  if (before) return before.answer;
  try {
    return await route.run({ ...call, retry }, input, incoming);
  } catch (error) {
    const winner = await hallway.repeated(call, retry);
    if (winner) return winner.answer;
    throw error;
  }
}

/** Adds what every answer carries. Answers of ours are never cached by a proxy, and never run as a page. */
export function secured(response: Response, requestId?: string): Response {
  const { headers } = response;
  for (const [name, value] of SECURITY_HEADERS) if (!headers.has(name)) headers.set(name, value);
  if (!headers.has('Cache-Control')) headers.set('Cache-Control', 'no-store');
  if (!headers.has('Content-Security-Policy')) headers.set('Content-Security-Policy', STRICT_CSP);
  if (requestId) headers.set('X-Request-Id', requestId);
  return response;
}

function trimmed(params: Record<string, string>, suffix: string): Record<string, string> {
  if (!suffix) return params;
  return Object.fromEntries(
    Object.entries(params).map(([name, value]) => [
      name,
      value.endsWith(suffix) ? value.slice(0, -suffix.length) : value,
    ]),
  );
}

function utf8(bytes: Uint8Array): string {
  try {
    return STRICT_UTF8.decode(bytes);
  } catch (cause) {
    throw new Problem('invalid', 'The body is not valid UTF-8.', { cause });
  }
}

const STRICT_UTF8 = new TextDecoder('utf-8', { fatal: true });

function reader(
  request: Request,
  params: Record<string, string>,
  route: Route,
  origin: string,
): Incoming {
  const { bodyBytes } = route.limits;
  const tooLarge = () => new Problem('too_large', `The body is larger than ${bodyBytes} bytes.`);
  const declared = Number(request.headers.get('content-length') ?? Number.NaN);
  if (declared > bodyBytes) throw tooLarge();
  let whole: Promise<Uint8Array> | undefined;
  const collect = async () => {
    // In this order: merely naming `body` makes Node's adapter build a whole stream.
    if (Number.isFinite(declared)) return new Uint8Array(await request.arrayBuffer());
    if (!request.body) return new Uint8Array();
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of request.body as unknown as AsyncIterable<Uint8Array>) {
      size += chunk.length;
      if (size > bodyBytes) throw tooLarge();
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  };
  const bytes = () => (whole ??= collect());
  let query: URLSearchParams | undefined;
  return {
    method: request.method,
    params,
    get query() {
      query ??= new URL(request.url).searchParams; // few requests are asked for it
      return query;
    },
    headers: request.headers,
    origin,
    bytes,
    text: async () => utf8(await bytes()),
    stream() {
      let size = 0;
      const body = request.body ?? new Blob([]).stream();
      return body.pipeThrough(
        new TransformStream<Uint8Array, Uint8Array>({
          transform(chunk, controller) {
            size += chunk.length;
            if (size > bodyBytes) controller.error(tooLarge());
            else controller.enqueue(chunk);
          },
        }),
      );
    },
  };
}
