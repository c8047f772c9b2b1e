import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Access, AwsError, type Caller } from './access.ts';
import { bodyOf, listening } from './lambda.ts';
import { type Credential, credentialOf, signedBy } from './sigv4.ts';
import type { Fields } from './values.ts';

/** Services that speak AWS's JSON: an operation, its arguments, who asks. */
export type JsonService = (caller: Caller, operation: string, body: Buffer) => Promise<unknown>;
/** Services that speak HTTP of their own. */
export type HttpService = (
  caller: Caller,
  request: IncomingMessage,
  response: ServerResponse,
) => Promise<void>;

export interface Services {
  /** By the name that requests are signed for. */
  readonly json: Readonly<Record<string, JsonService>>;
  readonly http: Readonly<Record<string, HttpService>>;
}

/** Bytes that a JSON service answered, to be passed on as they are. */
export class Raw {
  readonly status: number;
  readonly body: Buffer;
  constructor(status: number, body: Buffer) {
    this.status = status;
    this.body = body;
  }
}

const JSON_BYTES = 20 * 1024 * 1024;
const SKEW_MS = 15 * 60_000;

/**
 * The one address that SDKs of functions, jobs and people speak to in place of AWS: finds out by the signature who asks,
 * and hands the request to its service.
 */
export async function openGateway(log: (line: Fields) => void) {
  let access: Access | undefined;
  let services: Services = { json: {}, http: {} };
  const server = createServer((request, response) => {
    serve(request, response).catch((error: unknown) => refuse(request, response, error, log));
  });
  server.requestTimeout = 0;
  await listening(server);

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', url = '/', headers } = request;
    const credential = credentialOf({ method, url, headers });
    if (!access || !credential)
      throw new AwsError(
        'MissingAuthenticationToken',
        'Request is missing Authentication Token',
        403,
      );
    if (credential.expires !== undefined && headers.authorization !== undefined)
      throw new AwsError(
        'InvalidArgument',
        'Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified',
      );
    const known = access.byKey(credential.accessKeyId);
    if (!known)
      throw new AwsError(
        'InvalidClientTokenId',
        'The security token included in the request is invalid.',
        403,
      );
    checkTime(credential);
    const { service } = credential;
    const target = String(headers['x-amz-target'] ?? '').split('.')[1];
    const json = target === undefined ? undefined : services.json[service];
    const body = json ? await bodyOf(request) : Buffer.alloc(0);
    if (!signedBy({ method, url, headers }, credential, known.keys, body))
      throw new AwsError(
        'SignatureDoesNotMatch',
        'The request signature we calculated does not match the signature you provided.',
        403,
      );
    const http = services.http[service];
    if (!json || target === undefined) {
      if (!http)
        throw new AwsError(
          'UnknownService',
          `npm run stack does not know the service ${service}`,
          501,
        );
      return http(known, request, response);
    }
    if (body.length > JSON_BYTES)
      throw new AwsError('RequestTooLarge', 'The request is too large.', 413);
    const answer = await json(known, target, body);
    const raw =
      answer instanceof Raw ? answer : new Raw(200, Buffer.from(JSON.stringify(answer ?? {})));
    response.writeHead(raw.status, { 'content-type': 'application/x-amz-json-1.0' }).end(raw.body);
  }

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    open(to: Access, with_: Services): void {
      access = to;
      services = with_;
    },
    async close(): Promise<void> {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

/** A presigned URL ends when it says; a signed request is good for a quarter of an hour. */
function checkTime({ at, expires }: Credential): void {
  const signedAt = Date.parse(
    at.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'),
  );
  const now = Date.now();
  if (expires !== undefined && now > signedAt + expires * 1000)
    throw new AwsError('AccessDenied', 'Request has expired', 403);
  if (!(Math.abs(now - signedAt) < SKEW_MS) && expires === undefined)
    throw new AwsError(
      'RequestTimeTooSkewed',
      'The difference between the request time and the current time is too large.',
      403,
    );
}

/** In the shape of the protocol that was spoken: S3's XML, else AWS's JSON. */
function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  error: unknown,
  log: (line: Fields) => void,
): void {
  const known = error instanceof AwsError ? error : undefined;
  if (!known)
    log({
      level: 'error',
      message: 'gateway',
      url: request.url,
      error: error instanceof Error ? error.stack : String(error),
    });
  const [code, words, status] = known
    ? [known.code, known.message, known.status]
    : ['InternalFailure', String(error), 500];
  request.resume();
  if (response.headersSent) return void response.destroy();
  const isJson =
    request.headers['x-amz-target'] !== undefined ||
    /^\/(endpoints|2015-03-31)\//.test(request.url ?? '');
  if (isJson) {
    // JSON services refuse with 400, whatever the reason.
    response.writeHead(status >= 500 ? status : 400, {
      'content-type': 'application/x-amz-json-1.0',
      'x-amzn-errortype': code,
    });
    response.end(JSON.stringify({ __type: code, message: words, Message: words }));
    return;
  }
  const s3 = code === 'AccessDeniedException' ? 'AccessDenied' : code;
  const escaped = words.replace(/&/g, '&amp;').replace(/</g, '&lt;');
  response.writeHead(status === 400 && s3 === 'AccessDenied' ? 403 : status, {
    'content-type': 'application/xml',
  });
  response.end(
    request.method === 'HEAD'
      ? undefined
      : `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${s3}</Code><Message>${escaped}</Message></Error>`,
  );
}
