import type { Call } from '../kernel/call.ts';
import { Problem } from '../kernel/problem.ts';
import type { Incoming } from '../kernel/route.ts';
import type { BlobHead, Blobs, ShownAs } from '../platform/ports.ts';
import { ARTIFACT_LIMITS, byteRange, typeOf } from './model.ts';

/**
 * A blob as a download, never as a page of ours; undefined if it is not there. Where a gateway limits our answers the
 * bytes come from the store itself, by a redirect that the client follows with its Range. Throws `too_large`.
 */
export async function answerBlob(
  blobs: Blobs,
  call: Call,
  path: string,
  incoming: Incoming,
): Promise<Response | undefined> {
  const asked = incoming.headers.get('range');
  const known = incoming.headers.get('if-none-match');
  const headOnly = incoming.method === 'HEAD';
  const most = blobs.largestAnswerBytes;
  if (!asked && !known && !headOnly && most === undefined) {
    const blob = await blobs.get(call, path);
    return blob && new Response(blob.body, { headers: fileHeaders(blob, blob.sizeBytes) });
  }
  const head = await blobs.head(call, path);
  if (!head) return undefined;
  if (known && matches(known, tagOf(head)))
    return new Response(null, { status: 304, headers: { ETag: tagOf(head) } });
  if (headOnly) return new Response(null, { headers: fileHeaders(head, head.sizeBytes) });
  if (most !== undefined && !isSigned(incoming.headers)) return redirect(blobs, call, head);
  const range = byteRange(asked, head.sizeBytes);
  if (range === 'outside')
    return new Response(null, {
      status: 416,
      headers: { 'Content-Range': `bytes */${head.sizeBytes}` },
    });
  const length = range ? range.last - range.first + 1 : head.sizeBytes;
  if (most !== undefined && length > most)
    throw new Problem(
      'too_large',
      `Through the gateway come at most ${most} bytes at once: ask for a Range, or for a URL of the store at mlflow-artifacts/presigned.`,
      { field: 'path' },
    );
  const blob = await blobs.get(call, path, range);
  if (!blob) return undefined;
  if (!range) return new Response(blob.body, { headers: fileHeaders(head, head.sizeBytes) });
  const headers = fileHeaders(head, length);
  headers['Content-Range'] = `bytes ${range.first}-${range.last}/${head.sizeBytes}`;
  return new Response(blob.body, { status: 206, headers });
}

const tagOf = ({ etag }: BlobHead) => `"${etag.replace(/["\\\s]/g, '')}"`;

const matches = (header: string, tag: string) =>
  header
    .split(',')
    .some((given) => given.trim() === '*' || given.trim().replace(/^W\//, '') === tag);

/**
 * Clients that sign for AWS take their `x-amz-` headers along to the store, which refuses a signed URL beside headers
 * that it does not sign. Source: aws.md section 3.2.
 */
const isSigned = (headers: Headers) => [...headers.keys()].some((name) => /^x-amz-/.test(name));

/** 307, not 302: it keeps the method. The client leaves its token behind, since the store is another host. */
async function redirect(blobs: Blobs, call: Call, head: BlobHead): Promise<Response> {
  const url = await blobs.sign(
    call,
    head.path,
    'GET',
    ARTIFACT_LIMITS.redirectSeconds,
    shownAs(head.path),
  );
  return new Response(null, { status: 307, headers: { Location: url } });
}

/** As a download under its own name, never as a page. */
export function shownAs(path: string): ShownAs {
  const name = path.slice(path.lastIndexOf('/') + 1);
  const plain = name.replace(/[^\x20-\x7e]|["\\]/g, '_');
  return {
    contentType: typeOf(name),
    contentDisposition: `attachment; filename="${plain}"; filename*=UTF-8''${encodeURIComponent(name)}`,
  };
}

function fileHeaders(head: BlobHead, length: number): Record<string, string> {
  const { contentType, contentDisposition } = shownAs(head.path);
  return {
    'Content-Type': contentType,
    'Content-Length': String(length),
    'Content-Disposition': contentDisposition,
    'Accept-Ranges': 'bytes',
    ETag: tagOf(head),
    'Last-Modified': new Date(head.modifiedAt).toUTCString(),
  };
}
