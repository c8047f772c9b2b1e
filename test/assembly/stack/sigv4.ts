import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { Keys } from './access.ts';

/** Signature version 4, both ways. Source: AWS General Reference, "Create a signed AWS API request". */
export interface Signable {
  readonly method: string;
  /** Path and query as they stand in the request line. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}
export interface Credential {
  readonly accessKeyId: string;
  /** `20261124`. */
  readonly day: string;
  readonly region: string;
  readonly service: string;
  readonly signedHeaders: readonly string[];
  readonly signature: string;
  /** `20261124T101112Z`. */
  readonly at: string;
  readonly sessionToken: string | undefined;
  /** Seconds; of a presigned URL only. */
  readonly expires: number | undefined;
}

const one = (value: string | string[] | undefined): string =>
  Array.isArray(value) ? value.join(',') : (value ?? '');
const hash = (text: string | Uint8Array) => createHash('sha256').update(text).digest('hex');
const hmac = (key: string | Buffer, text: string) =>
  createHmac('sha256', key).update(text).digest();
const strict = (text: string) =>
  encodeURIComponent(text).replace(
    /[!'()*]/g,
    (at) => `%${at.charCodeAt(0).toString(16).toUpperCase()}`,
  );

/** What a request says of who signed it, from its header or its presigned query. Undefined if it is not signed. */
export function credentialOf({ url, headers }: Signable): Credential | undefined {
  const query = new URL(url, 'http://stack').searchParams;
  const presigned = query.get('X-Amz-Algorithm') !== null;
  const header = one(headers['authorization']);
  const part = (name: string) =>
    presigned
      ? (query.get(`X-Amz-${name}`) ?? '')
      : (new RegExp(`${name}=([^,\\s]+)`).exec(header)?.[1] ?? '');
  const [accessKeyId = '', day = '', region = '', service = ''] = part('Credential').split('/');
  if (!accessKeyId || !service) return undefined;
  const token = presigned
    ? query.get('X-Amz-Security-Token')
    : one(headers['x-amz-security-token']);
  return {
    accessKeyId,
    day,
    region,
    service,
    signedHeaders: part('SignedHeaders').split(';'),
    signature: part('Signature'),
    at: presigned ? part('Date') : one(headers['x-amz-date']),
    sessionToken: token || undefined,
    expires: presigned ? Number(part('Expires')) : undefined,
  };
}

/** Whether the holder of these keys signed it. `body` is hashed where no header says what its hash is. */
export function signedBy(
  request: Signable,
  credential: Credential,
  keys: Keys,
  body: Uint8Array,
): boolean {
  if (credential.sessionToken !== keys.sessionToken) return false;
  const content =
    credential.expires === undefined
      ? one(request.headers['x-amz-content-sha256']) || hash(body)
      : 'UNSIGNED-PAYLOAD';
  const right = Buffer.from(signatureOf(request, credential, keys.secretAccessKey, content));
  const given = Buffer.from(credential.signature);
  return given.length === right.length && timingSafeEqual(given, right);
}

type Scope = Pick<Credential, 'day' | 'region' | 'service' | 'signedHeaders' | 'at'>;

function signatureOf(request: Signable, scope: Scope, secret: string, content: string): string {
  const { day, region, service, signedHeaders, at } = scope;
  const [path = '/', query = ''] = request.url.split(/\?(.*)/s);
  // S3 alone signs the path as it is sent; everyone else encodes it once more.
  const uri = service === 's3' ? path : path.split('/').map(strict).join('/');
  const pairs = query
    .split('&')
    .filter((pair) => pair !== '' && !pair.startsWith('X-Amz-Signature='))
    .map((pair) => {
      const [name = '', value = ''] = pair.split(/=(.*)/s);
      return `${strict(decodeURIComponent(name))}=${strict(decodeURIComponent(value.replace(/\+/g, '%20')))}`;
    })
    .sort();
  const headers = signedHeaders.map(
    (name) => `${name}:${one(request.headers[name]).trim().replace(/ +/g, ' ')}\n`,
  );
  const canonical = [
    request.method,
    uri,
    pairs.join('&'),
    headers.join(''),
    signedHeaders.join(';'),
    content,
  ].join('\n');
  const toSign = [
    'AWS4-HMAC-SHA256',
    at,
    `${day}/${region}/${service}/aws4_request`,
    hash(canonical),
  ].join('\n');
  const key = [day, region, service, 'aws4_request'].reduce<string | Buffer>(
    (key, part) => hmac(key, part),
    `AWS4${secret}`,
  );
  return hmac(key as Buffer, toSign).toString('hex');
}

/** The headers with which another server takes the request as these keys' own. */
export function sign(
  request: Signable,
  keys: Pick<Keys, 'accessKeyId' | 'secretAccessKey'>,
  scope: { region: string; service: string; now: Date; content: string },
): Record<string, string> {
  const at = scope.now.toISOString().replace(/[-:]|\.\d{3}/g, '');
  const headers: Record<string, string> = {
    ...Object.fromEntries(
      Object.entries(request.headers).map(([name, value]) => [name, one(value)]),
    ),
    'x-amz-date': at,
    'x-amz-content-sha256': scope.content,
  };
  const signedHeaders = Object.keys(headers)
    .filter((name) => name === 'host' || name.startsWith('x-amz-'))
    .sort();
  const day = at.slice(0, 8);
  const { region, service } = scope;
  const whole = { day, region, service, signedHeaders, at };
  const signature = signatureOf(
    { ...request, headers },
    whole,
    keys.secretAccessKey,
    scope.content,
  );
  const credential = `${keys.accessKeyId}/${day}/${region}/${service}/aws4_request`;
  headers['authorization'] =
    `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=${signedHeaders.join(';')}, Signature=${signature}`;
  return headers;
}
