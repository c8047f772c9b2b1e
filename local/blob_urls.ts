import { createHmac, timingSafeEqual } from 'node:crypto';
import { type Call, systemCall } from '../functions/kernel/call.ts';
import { WorkspaceId } from '../functions/kernel/ids.ts';
import { asProblem, Problem } from '../functions/kernel/problem.ts';
import type { World } from '../functions/kernel/world.ts';
import type { ShownAs } from '../functions/platform/ports.ts';
import type { LocalBlobs } from './blobs.ts';

/** What one URL allows. */
interface Grant {
  readonly workspace: string;
  readonly path: string;
  readonly method: 'GET' | 'PUT';
  readonly upload?: string;
  readonly part?: number;
  readonly shown?: ShownAs;
}

export interface BlobUrls {
  sign(grant: Grant, expiresSeconds: number): string;
  /** Throws `denied`. */
  open(url: URL): Grant;
}

const LONGEST_SECONDS = 900;
const PREFIX = '/blobs/';

/** URLs that carry their own permission: an HMAC over workspace, path, method, upload, part and expiry. */
export function blobUrls(options: { secret: Uint8Array; url: string; world: World }): BlobUrls {
  const key = createHmac('sha256', options.secret).update('stillflow blob urls').digest();
  const signature = (grant: Grant, expires: string) =>
    createHmac('sha256', key)
      .update(
        JSON.stringify([
          grant.workspace,
          grant.path,
          grant.method,
          grant.upload ?? '',
          grant.part ?? 0,
          grant.shown?.contentType ?? '',
          grant.shown?.contentDisposition ?? '',
          expires,
        ]),
      )
      .digest();
  return {
    sign(grant, expiresSeconds) {
      const seconds = Math.max(1, Math.min(expiresSeconds, LONGEST_SECONDS));
      const expires = String(Math.floor(options.world.now() / 1000 + seconds));
      const url = new URL(options.url);
      url.pathname =
        PREFIX + [grant.workspace, ...grant.path.split('/')].map(encodeURIComponent).join('/');
      url.searchParams.set('method', grant.method);
      url.searchParams.set('expires', expires);
      if (grant.upload !== undefined) url.searchParams.set('upload', grant.upload);
      if (grant.part !== undefined) url.searchParams.set('part', String(grant.part));
      if (grant.shown) {
        url.searchParams.set('type', grant.shown.contentType);
        url.searchParams.set('disposition', grant.shown.contentDisposition);
      }
      url.searchParams.set('signature', signature(grant, expires).toString('base64url'));
      return url.href;
    },

    open(url) {
      const refused = () => new Problem('denied', 'This URL is not valid, or no longer.');
      const [workspace = '', ...path] = decoded(url.pathname.slice(PREFIX.length), refused);
      const query = url.searchParams;
      const upload = query.get('upload');
      const part = query.get('part');
      const [contentType, contentDisposition] = [query.get('type'), query.get('disposition')];
      const method = query.get('method');
      if (method !== 'GET' && method !== 'PUT') throw refused();
      const grant: Grant = {
        workspace,
        path: path.join('/'),
        method,
        ...(upload === null ? {} : { upload }),
        ...(part === null ? {} : { part: Number(part) }),
        ...(contentType === null || contentDisposition === null
          ? {}
          : { shown: { contentType, contentDisposition } }),
      };
      const expires = query.get('expires') ?? '';
      const given = Buffer.from(query.get('signature') ?? '', 'base64url');
      const right = signature(grant, expires);
      if (given.length !== right.length || !timingSafeEqual(given, right)) throw refused();
      if (!(Number(expires) * 1000 > options.world.now())) throw refused();
      return grant;
    },
  };
}

function decoded(path: string, refused: () => Problem): string[] {
  try {
    return path.split('/').map(decodeURIComponent);
  } catch {
    throw refused();
  }
}

const STATUS: Partial<Record<Problem['code'], number>> = {
  invalid: 400,
  denied: 403,
  missing: 404,
  conflict: 409,
  too_large: 413,
  unavailable: 503,
};

/** The server's side of a signed URL. Answers are downloads, never pages. */
export async function serveBlobs(
  request: Request,
  blobs: LocalBlobs,
  urls: BlobUrls,
  world: World,
): Promise<Response | undefined> {
  const url = new URL(request.url);
  if (!url.pathname.startsWith(PREFIX)) return undefined;
  try {
    const grant = urls.open(url);
    const method = request.method === 'HEAD' ? 'GET' : request.method;
    if (method !== grant.method)
      throw new Problem('denied', `This URL is for ${grant.method} only.`);
    const call = systemCall(
      WorkspaceId.parse(grant.workspace),
      'signed-url',
      'signed-url',
      world.now() + 3_600_000,
    );
    return grant.method === 'GET'
      ? await download(request, call, grant, blobs)
      : await upload(request, call, grant, blobs);
  } catch (error) {
    const problem = asProblem(error);
    const status = problem.status ?? STATUS[problem.code] ?? 500;
    return new Response(`${problem.message}\n`, {
      status,
      headers: { 'Content-Type': 'text/plain; charset=utf-8', 'Cache-Control': 'no-store' },
    });
  }
}

async function download(
  request: Request,
  call: Call,
  grant: Grant,
  blobs: LocalBlobs,
): Promise<Response> {
  const head = await blobs.head(call, grant.path);
  if (!head) throw new Problem('missing', `${grant.path} is not there.`);
  const range = rangeOf(request.headers.get('range'), head.sizeBytes);
  const last = Math.min(range?.last ?? head.sizeBytes - 1, head.sizeBytes - 1);
  const headers = new Headers({
    'Content-Type': grant.shown?.contentType ?? 'application/octet-stream',
    'Content-Disposition': grant.shown?.contentDisposition ?? 'attachment',
    'X-Content-Type-Options': 'nosniff',
    'Content-Length': String(range ? last - range.first + 1 : head.sizeBytes),
    'Accept-Ranges': 'bytes',
    'Last-Modified': new Date(head.modifiedAt).toUTCString(),
    ETag: `"${head.etag}"`,
  });
  if (range) headers.set('Content-Range', `bytes ${range.first}-${last}/${head.sizeBytes}`);
  const status = range ? 206 : 200;
  if (request.method === 'HEAD') return new Response(null, { status, headers });
  const blob = await blobs.get(call, grant.path, range);
  // Replaced between the two looks: the length above would be a lie.
  if (blob?.etag !== head.etag) {
    await blob?.body.cancel();
    throw new Problem('conflict', `${grant.path} changed while it was opened; ask again.`);
  }
  return new Response(blob.body, { status, headers });
}

/** One range; several, or another unit, are answered with the whole, as RFC 9110 section 14.2 allows. */
function rangeOf(
  header: string | null,
  size: number,
): { first: number; last?: number } | undefined {
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(header ?? '') ?? [];
  if (first === '' && last === '') return undefined;
  const range =
    first === ''
      ? { first: Math.max(0, size - Number(last)) }
      : { first: Number(first), ...(last === '' ? {} : { last: Number(last) }) };
  if (range.first >= size || (range.last ?? range.first) < range.first)
    throw new Problem('invalid', `The range is outside of ${size} bytes.`, { status: 416 });
  return range;
}

async function upload(
  request: Request,
  call: Call,
  { path, upload, part }: Grant,
  blobs: LocalBlobs,
): Promise<Response> {
  const body = request.body ?? new Uint8Array();
  const etag =
    upload === undefined || part === undefined
      ? (await blobs.put(call, path, body, 'absent')).etag
      : await blobs.putPart(call, path, upload, part, body);
  return new Response(null, { status: 200, headers: { ETag: `"${etag}"` } });
}
