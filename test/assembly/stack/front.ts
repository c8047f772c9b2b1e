import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import type { Templates } from './assembly.ts';
import { listening } from './lambda.ts';

export type Answer = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

const FRONTS = ['AWS::ApiGatewayV2::Api', 'AWS::Lambda::Url'];

/**
 * A port for every address of the templates that the world reaches: the first API has the one asked for, the others the
 * ones after it. They listen before anything is made, since environments hold their addresses.
 */
export async function openFronts(
  templates: Templates,
  port: number,
  log: (line: Record<string, unknown>) => void,
) {
  const servers = new Map<string, Server>();
  const answers = new Map<string, Answer>();
  const places = Object.entries(templates).flatMap(([stack, { Resources }]) =>
    Object.entries(Resources)
      .filter(([, { Type }]) => FRONTS.includes(Type))
      .map(([id, { Type }]) => ({ at: `${stack}/${id}`, first: Type === FRONTS[0] })),
  );
  places.sort((a, b) => Number(b.first) - Number(a.first));
  for (const [index, { at }] of places.entries()) {
    const server = createServer((request, response) => {
      const answer = answers.get(at);
      const work = answer
        ? answer(request, response)
        : Promise.reject(new Error('the stack is starting'));
      work.catch((error: unknown) => {
        log({ level: 'error', message: 'front', at, url: request.url, error: String(error) });
        if (response.headersSent) response.destroy();
        else say(response, 500, 'Internal Server Error');
      });
    });
    server.requestTimeout = 0;
    await listening(server, port === 0 ? 0 : port + index);
    servers.set(at, server);
  }
  return {
    places: places.map(({ at }) => at),
    url(at: string): string {
      const server = servers.get(at);
      if (!server) throw new Error(`${at} has no address`);
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    },
    serve: (at: string, answer: Answer) => answers.set(at, answer),
    async close(): Promise<void> {
      for (const server of servers.values()) {
        server.closeAllConnections();
        await new Promise((done) => server.close(done));
      }
    },
  };
}
export type OpenFronts = Awaited<ReturnType<typeof openFronts>>;

/** As API Gateway words what never reached a function. */
export function say(response: ServerResponse, status: number, message: string): void {
  response
    .writeHead(status, { 'content-type': 'application/json' })
    .end(JSON.stringify({ message }));
}

/** The body, or undefined once it is over the limit: the rest is not read. */
export async function bodyUpTo(
  request: IncomingMessage,
  limit: number,
): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += (chunk as Buffer).length;
    if (size > limit) return undefined;
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

const TEXT = /^text\/|^application\/(json|javascript|xml|x-www-form-urlencoded|.*\+(json|xml))\b/i;

/** An HTTP request in Lambda's payload format 2.0. Source: API Gateway developer guide, "payload format version". */
export function eventOf(
  request: IncomingMessage,
  body: Buffer,
  about: {
    routeKey: string;
    apiId: string;
    path: string;
    authorizer?: unknown;
    parameters?: Record<string, string>;
  },
): Record<string, unknown> {
  const { method = 'GET', url = '/' } = request;
  const query = url.includes('?') ? url.slice(url.indexOf('?') + 1) : '';
  const { cookie, ...rest } = request.headers;
  const headers = Object.fromEntries(
    Object.entries(rest).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.join(',') : (value ?? ''),
    ]),
  );
  const parameters: Record<string, string> = {};
  for (const [name, value] of new URLSearchParams(query))
    parameters[name] = name in parameters ? `${parameters[name]},${value}` : value;
  const isText =
    TEXT.test(headers['content-type'] ?? '') && headers['content-encoding'] === undefined;
  const now = Date.now();
  const domainName = headers['host'] ?? '';
  return {
    version: '2.0',
    routeKey: about.routeKey,
    rawPath: about.path,
    rawQueryString: query,
    ...(cookie ? { cookies: cookie.split(/; */) } : {}),
    headers: { ...headers, 'x-forwarded-proto': 'https', 'x-forwarded-port': '443' },
    ...(query ? { queryStringParameters: parameters } : {}),
    ...(about.parameters ? { pathParameters: about.parameters } : {}),
    requestContext: {
      accountId: 'anonymous',
      apiId: about.apiId,
      ...(about.authorizer ? { authorizer: about.authorizer } : {}),
      domainName,
      domainPrefix: about.apiId,
      http: {
        method,
        path: about.path,
        protocol: 'HTTP/1.1',
        sourceIp: '127.0.0.1',
        userAgent: headers['user-agent'] ?? '',
      },
      requestId: `${now.toString(36)}-${Math.random().toString(36).slice(2)}`,
      routeKey: about.routeKey,
      stage: '$default',
      time: new Date(now).toUTCString(),
      timeEpoch: now,
    },
    ...(body.length ? { body: body.toString(isText ? 'utf8' : 'base64') } : {}),
    isBase64Encoded: body.length > 0 && !isText,
  };
}

/** A function's answer in format 2.0; what is no object with a status is a body of its own. */
export function answerWith(response: ServerResponse, bytes: Buffer): void {
  const result: unknown = JSON.parse(bytes.toString() || 'null');
  const whole = typeof result === 'object' && result !== null && 'statusCode' in result;
  if (!whole) {
    response.writeHead(200, { 'content-type': 'application/json' });
    return void response.end(typeof result === 'string' ? result : JSON.stringify(result));
  }
  const { statusCode, headers, cookies, body, isBase64Encoded } = result as {
    statusCode: number;
    headers?: Record<string, string>;
    cookies?: string[];
    body?: string;
    isBase64Encoded?: boolean;
  };
  const content = Buffer.from(body ?? '', isBase64Encoded ? 'base64' : 'utf8');
  const bare = statusCode === 204 || statusCode === 304;
  response.writeHead(statusCode, {
    ...withoutLength(headers ?? {}),
    ...(cookies?.length ? { 'set-cookie': cookies } : {}),
    ...(bare ? {} : { 'content-length': content.length }),
  });
  response.end(content);
}

const withoutLength = (headers: Record<string, string>) =>
  Object.fromEntries(
    Object.entries(headers).filter(
      ([name]) => !/^(content-length|connection|transfer-encoding)$/i.test(name),
    ),
  );

/** Head, eight NULs, body, as it comes. Source: AWS Lambda developer guide, "Response streaming", function URLs. */
export async function streamTo(
  response: ServerResponse,
  type: string,
  body: AsyncIterable<unknown>,
): Promise<void> {
  let head =
    type === 'application/vnd.awslambda.http-integration-response' ? Buffer.alloc(0) : undefined;
  if (!head) response.writeHead(200, { 'content-type': type });
  async function* rest(): AsyncGenerator<Buffer> {
    for await (const chunk of body) {
      if (!head) {
        yield chunk as Buffer;
        continue;
      }
      head = Buffer.concat([head, chunk as Buffer]);
      const end = head.indexOf(Buffer.alloc(8));
      if (end < 0) continue;
      const {
        statusCode = 200,
        headers = {},
        cookies = [],
      } = JSON.parse(head.subarray(0, end).toString());
      response.writeHead(statusCode, {
        ...withoutLength(headers),
        ...(cookies.length ? { 'set-cookie': cookies } : {}),
      });
      response.flushHeaders();
      const first = head.subarray(end + 8);
      head = undefined;
      if (first.length) yield first;
    }
  }
  await pipeline(rest(), response);
}
