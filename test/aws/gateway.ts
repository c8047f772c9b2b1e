import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import type { GatewayEvent } from '../../functions/handlers/gateway.ts';

/** What Lambda takes and gives in one piece, as the gateway hands it on. Source: Lambda quotas, "Invocation payload". */
const LARGEST_PAYLOAD_BYTES = 6 * 1024 * 1024;

export interface Gateway {
  readonly url: string;
  /** `PUT /path status`, oldest first. */
  readonly asked: string[];
  stop(): Promise<void>;
}

type Http = (event: GatewayEvent) => Promise<APIGatewayProxyStructuredResultV2>;

/**
 * An HTTP API with payload format 2.0 as far as documents say what it does: bodies in base64, and 413 or 500 where
 * a payload passes Lambda's limit. `authorize` is the Lambda authorizer. A model of ours, shape only.
 */
export async function startGateway(
  http: Http,
  authorize: (headers: Headers) => Promise<unknown>,
): Promise<Gateway> {
  const asked: string[] = [];
  const server = createServer(async (incoming, outgoing) => {
    const answer = await pass(incoming, http, authorize).catch(
      (error: unknown): APIGatewayProxyStructuredResultV2 => ({
        statusCode: 500,
        body: String(error),
      }),
    );
    const { statusCode = 200, headers = {}, body = '', isBase64Encoded = false } = answer;
    asked.push(`${incoming.method} ${incoming.url?.replace(/\?.*/, '')} ${statusCode}`);
    outgoing.writeHead(statusCode, headers as Record<string, string>);
    outgoing.end(Buffer.from(body, isBase64Encoded ? 'base64' : 'utf8'));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    stop: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function pass(
  incoming: IncomingMessage,
  http: Http,
  authorize: (headers: Headers) => Promise<unknown>,
): Promise<APIGatewayProxyStructuredResultV2> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  const [path = '/', query = ''] = (incoming.url ?? '/').split('?');
  const headers = Object.fromEntries(
    Object.entries(incoming.headers).map(([name, value]) => [name, [value].flat().join(',')]),
  );
  const { method = 'GET' } = incoming;
  const event = {
    version: '2.0',
    rawPath: path,
    rawQueryString: query,
    headers,
    ...(chunks.length ? { body: Buffer.concat(chunks).toString('base64') } : {}),
    isBase64Encoded: true,
    requestContext: {
      domainName: incoming.headers.host,
      http: { method, path },
      authorizer: { lambda: await authorize(new Headers(headers)) },
    },
  } as unknown as GatewayEvent;
  if (JSON.stringify(event).length > LARGEST_PAYLOAD_BYTES)
    return { statusCode: 413, body: '{"message":"Request Too Long"}' };
  const answer = await http(event);
  if (JSON.stringify(answer).length > LARGEST_PAYLOAD_BYTES)
    return { statusCode: 500, body: '{"message":"Internal Server Error"}' };
  return answer;
}
