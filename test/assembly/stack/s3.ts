import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import { type Access, AwsError, type Caller } from './access.ts';
import type { Account } from './account.ts';
import type { Buses } from './bus.ts';
import { bodyOf } from './lambda.ts';
import { sign } from './sigv4.ts';
import { fields } from './values.ts';

interface Place {
  readonly bucket: string;
  readonly key: string;
  readonly query: URLSearchParams;
}

/** Path style, which every SDK speaks to an address of numbers. */
function placeOf(url: string): Place {
  const { pathname, searchParams } = new URL(url, 'http://stack');
  const [, bucket = '', ...key] = pathname.split('/');
  return { bucket, key: decodeURIComponent(key.join('/')), query: searchParams };
}

/** What IAM asks of a request. Source: Service authorization reference, "Actions, resources, ... for Amazon S3". */
export function s3Actions(
  method: string,
  { bucket, key, query }: Place,
  copied: string | undefined,
) {
  const objects = `arn:aws:s3:::${bucket}/${key}`;
  const on = (action: string, resource = objects) => ({ action: `s3:${action}`, resource });
  const whole = `arn:aws:s3:::${bucket}`;
  if (key === '') {
    if (method === 'GET' && query.has('uploads')) return [on('ListBucketMultipartUploads', whole)];
    if (method === 'GET' && query.has('location')) return [on('GetBucketLocation', whole)];
    if (method === 'GET' || method === 'HEAD') {
      const prefix = query.get('prefix');
      return [
        { ...on('ListBucket', whole), context: prefix === null ? {} : { 's3:prefix': prefix } },
      ];
    }
    throw new AwsError('NotImplemented', `npm run stack does not know ${method} of a bucket`, 501);
  }
  if (query.has('tagging')) return [on(method === 'GET' ? 'GetObjectTagging' : 'PutObjectTagging')];
  if (query.has('acl')) throw new AwsError('NotImplemented', 'npm run stack knows no ACLs', 501);
  if (method === 'GET' && query.has('uploadId')) return [on('ListMultipartUploadParts')];
  if (method === 'GET' || method === 'HEAD') return [on('GetObject')];
  if (method === 'DELETE')
    return [on(query.has('uploadId') ? 'AbortMultipartUpload' : 'DeleteObject')];
  if (method === 'PUT' || method === 'POST') {
    const source =
      copied &&
      `arn:aws:s3:::${decodeURIComponent(copied).replace(/^\//, '').replace(/\?.*$/, '')}`;
    return [on('PutObject'), ...(source ? [on('GetObject', source)] : [])];
  }
  throw new AwsError('MethodNotAllowed', `The specified method ${method} is not allowed.`, 405);
}

/** The oracle's own. */
const ORACLE_REGION = 'us-east-1';
const HOP =
  /^(host|connection|expect|authorization|x-amz-date|x-amz-security-token|transfer-encoding|keep-alive)$/;

/** S3 on an oracle: requests are checked, signed anew by its own keys and passed on; what lands is told. */
export function s3On(
  url: string,
  keys: { accessKeyId: string; secretAccessKey: string },
  { account, access, buses }: { account: Account; access: Access; buses: Buses },
) {
  const host = new URL(url).host;
  const telling = new Set(
    account
      .of('AWS::S3::Bucket')
      .filter(
        ({ properties }) =>
          fields(properties['NotificationConfiguration'])['EventBridgeConfiguration'],
      )
      .map(({ ref }) => ref),
  );
  for (const { at, properties } of account.of('AWS::S3::Bucket'))
    for (const kind of Object.keys(fields(properties['NotificationConfiguration'])))
      if (kind !== 'EventBridgeConfiguration')
        throw new Error(`${at} has a ${kind}, which npm run stack does not support`);

  /** The oracle's answer to a request signed by its own keys. */
  function ask(
    method: string,
    path: string,
    headers: Record<string, string> = {},
    body?: Uint8Array | IncomingMessage,
  ): Promise<IncomingMessage> {
    const content = headers['x-amz-content-sha256'] ?? 'UNSIGNED-PAYLOAD';
    const signed = sign({ method, url: path, headers: { ...headers, host } }, keys, {
      region: ORACLE_REGION,
      service: 's3',
      now: new Date(),
      content,
    });
    return new Promise((resolve, reject) => {
      const asked = httpRequest(url + path, { method, headers: signed }, resolve).on(
        'error',
        reject,
      );
      if (body instanceof Uint8Array) asked.end(body);
      else if (body) body.pipe(asked);
      else asked.end();
    });
  }

  async function tell(
    method: string,
    { bucket, key, query }: Place,
    copied: boolean,
  ): Promise<void> {
    const done =
      method === 'POST' ? query.has('uploadId') : method === 'PUT' && !query.has('partNumber');
    if (!telling.has(bucket) || !(done || method === 'DELETE')) return;
    if (method === 'DELETE') {
      if (query.has('uploadId')) return;
      buses.emit('default', {
        source: 'aws.s3',
        detailType: 'Object Deleted',
        resources: [`arn:aws:s3:::${bucket}`],
        detail: { version: '0', bucket: { name: bucket }, object: { key }, reason: 'DeleteObject' },
      });
      return;
    }
    const head = await ask(
      'HEAD',
      `/${bucket}/${key.split('/').map(encodeURIComponent).join('/')}`,
    );
    head.resume();
    const size = Number(head.headers['content-length']);
    const etag = String(head.headers.etag).replaceAll('"', '');
    const reason =
      method === 'POST' ? 'CompleteMultipartUpload' : copied ? 'CopyObject' : 'PutObject';
    buses.emit('default', {
      source: 'aws.s3',
      detailType: 'Object Created',
      resources: [`arn:aws:s3:::${bucket}`],
      detail: { version: '0', bucket: { name: bucket }, object: { key, size, etag }, reason },
    });
  }

  async function answer(
    caller: Caller,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { method = 'GET', url: path = '/' } = request;
    const place = placeOf(path);
    const copied = request.headers['x-amz-copy-source'];
    const removed = method === 'POST' && place.key === '' && place.query.has('delete');
    const body = removed ? await bodyOf(request) : undefined;
    const asked = removed
      ? [...String(body).matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key]) => ({
          action: 's3:DeleteObject',
          resource: `arn:aws:s3:::${place.bucket}/${key}`,
        }))
      : s3Actions(method, place, copied === undefined ? undefined : String(copied));
    for (const one of asked) access.check(caller, one);
    const headers = Object.fromEntries(
      Object.entries(request.headers).flatMap(([name, value]) =>
        HOP.test(name) || value === undefined ? [] : [[name, String(value)]],
      ),
    );
    if (headers['x-amz-content-sha256']?.startsWith('STREAMING-AWS4'))
      throw new AwsError('NotImplemented', 'npm run stack takes no body signed in chunks', 501);
    const query = [...place.query]
      .filter(([name]) => !/^X-Amz-/.test(name))
      .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`);
    const onward = path.replace(/\?.*$/s, '') + (query.length ? `?${query.join('&')}` : '');
    const told = await ask(method, onward, headers, body ?? request);
    const status = told.statusCode ?? 500;
    const bucket = { action: 's3:ListBucket', resource: `arn:aws:s3:::${place.bucket}` };
    if (
      status === 404 &&
      (method === 'GET' || method === 'HEAD') &&
      place.key !== '' &&
      !access.may(caller, bucket)
    ) {
      told.resume();
      access.check(caller, bucket); // S3 tells who may not list neither that a key is there nor that it is not
    }
    if (status < 300) await tell(method, place, copied !== undefined);
    response.writeHead(status, told.headers);
    await new Promise<void>((resolve) => {
      told.pipe(response).once('close', resolve);
      told.once('error', () => response.destroy());
    });
  }

  return {
    answer,
    ask,
    async create(): Promise<void> {
      for (const { ref } of account.of('AWS::S3::Bucket')) {
        const made = await ask('PUT', `/${ref}`);
        made.resume();
        if (![200, 409].includes(made.statusCode ?? 0))
          throw new Error(`the bucket ${ref} could not be made: ${made.statusCode}`);
      }
    },
    mayRead(caller: Caller, bucket: string, key: string): void {
      access.check(caller, { action: 's3:GetObject', resource: `arn:aws:s3:::${bucket}/${key}` });
    },
    /** As the holder of a role reads it. Undefined if it is not there. */
    async read(caller: Caller, bucket: string, key: string): Promise<Buffer | undefined> {
      this.mayRead(caller, bucket, key);
      const told = await ask(
        'GET',
        `/${bucket}/${key.split('/').map(encodeURIComponent).join('/')}`,
      );
      const body = await bodyOf(told);
      return told.statusCode === 200 ? body : undefined;
    },
    async write(caller: Caller, bucket: string, key: string, bytes: Uint8Array): Promise<void> {
      access.check(caller, { action: 's3:PutObject', resource: `arn:aws:s3:::${bucket}/${key}` });
      const path = `/${bucket}/${key.split('/').map(encodeURIComponent).join('/')}`;
      const told = await ask('PUT', path, { 'content-length': String(bytes.length) }, bytes);
      const body = await bodyOf(told);
      if (told.statusCode !== 200) throw new Error(`${key}: ${told.statusCode} ${body}`);
      await tell('PUT', { bucket, key, query: new URLSearchParams() }, false);
    },
    /** Keys below a prefix, as the holder of a role lists them. */
    async list(caller: Caller, bucket: string, prefix: string): Promise<string[]> {
      access.check(caller, {
        action: 's3:ListBucket',
        resource: `arn:aws:s3:::${bucket}`,
        context: { 's3:prefix': prefix },
      });
      const keys: string[] = [];
      for (let after = ''; ; ) {
        const query = `list-type=2&prefix=${encodeURIComponent(prefix)}${after && `&start-after=${encodeURIComponent(after)}`}`;
        const page = String(await bodyOf(await ask('GET', `/${bucket}?${query}`)));
        const found = [...page.matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key = '']) =>
          unescaped(key),
        );
        keys.push(...found);
        after = found.at(-1) ?? '';
        if (!/<IsTruncated>true</.test(page) || !after) return keys;
      }
    },
  };
}
export type S3 = ReturnType<typeof s3On>;

const ENTITIES: Readonly<Record<string, string>> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
};
const unescaped = (text: string) =>
  text.replace(/&(?:#(x?)([0-9a-f]+)|(\w+));/gi, (all, hex, code, name) =>
    name ? (ENTITIES[name] ?? all) : String.fromCodePoint(Number.parseInt(code, hex ? 16 : 10)),
  );
