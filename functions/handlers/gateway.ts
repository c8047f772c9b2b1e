import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';

/** An HTTP API's event and a function URL's have this one shape; what the gateway found out comes beside it. */
export type GatewayEvent = APIGatewayProxyEventV2 & {
  readonly requestContext: { readonly authorizer?: unknown };
};

/** Lambda passes on answers up to 6 MB, of which our headers and JSON quoting take a part. */
export const LARGEST_ANSWER_BYTES = 5_500_000;

const TEXT = /^text\/|[/+](json|yaml|xml|x-ndjson)\b|^application\/(javascript|openapi)/;

/**
 * The request as the client sent it. Undefined if its path holds a dot segment or is no path at all: URL parsers would
 * resolve it to another path than the one that the gateway routed by.
 */
export function requestOf(event: GatewayEvent): Request | undefined {
  const { rawPath, rawQueryString, requestContext } = event;
  if (/(^|\/)(\.|%2e){1,2}(\/|$)/i.test(rawPath) || !rawPath.startsWith('/')) return undefined;
  const path = rawPath.replace(/[?#\\]/g, encodeURIComponent);
  const query = rawQueryString ? `?${rawQueryString}` : '';
  const headers = new Headers();
  for (const [name, value] of Object.entries(event.headers))
    if (value !== undefined) headers.set(name, latin1(value));
  if (event.cookies?.length) headers.set('cookie', event.cookies.join('; '));
  const { method } = requestContext.http;
  const body = event.body && Buffer.from(event.body, event.isBase64Encoded ? 'base64' : 'utf8');
  headers.delete('transfer-encoding');
  if (body) headers.set('content-length', String(body.length));
  const url = `https://${requestContext.domainName}${path}${query}`;
  return new Request(url, { method, headers, ...(body ? { body } : {}) });
}

/** Headers hold no character above U+00FF; a client that sent one gets it back percent-encoded. */
const latin1 = (value: string) =>
  [...value].every((character) => character <= '\u00ff') ? value : encodeURIComponent(value);

/** Status and headers as Lambda words them. */
export function headOf(response: Response): {
  statusCode: number;
  headers: Record<string, string>;
  cookies: string[];
} {
  const headers = Object.fromEntries(
    [...response.headers].filter(([name]) => name !== 'set-cookie'),
  );
  return { statusCode: response.status, headers, cookies: response.headers.getSetCookie() };
}

/** The whole answer, text as text and bytes as base64. */
export async function resultOf(response: Response): Promise<APIGatewayProxyStructuredResultV2> {
  const bytes = Buffer.from(await response.arrayBuffer());
  const type = response.headers.get('content-type') ?? '';
  const text = TEXT.test(type) && !response.headers.has('content-encoding');
  if ((text ? bytes.length : bytes.length * (4 / 3)) > LARGEST_ANSWER_BYTES)
    return {
      statusCode: 500,
      headers: { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' },
      body: 'The answer is larger than the gateway passes on: ask for a smaller page or range.\n',
    };
  return {
    ...headOf(response),
    body: bytes.toString(text ? 'utf8' : 'base64'),
    isBase64Encoded: !text,
  };
}
