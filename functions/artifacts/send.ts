import type { Call } from '../kernel/call.ts';
import type { Incoming } from '../kernel/route.ts';
import type { BlobHead, Blobs } from '../platform/ports.ts';
import { byteRange, typeOf } from './model.ts';

/** A blob as a download, never as a page of ours; undefined if it is not there. */
export async function answerBlob(
  blobs: Blobs,
  call: Call,
  path: string,
  incoming: Incoming,
): Promise<Response | undefined> {
  const asked = incoming.headers.get('range');
  const known = incoming.headers.get('if-none-match');
  const headOnly = incoming.method === 'HEAD';
  if (!asked && !known && !headOnly) {
    const blob = await blobs.get(call, path);
    return blob && new Response(blob.body, { headers: fileHeaders(blob, blob.sizeBytes) });
  }
  const head = await blobs.head(call, path);
  if (!head) return undefined;
  if (known && matches(known, tagOf(head)))
    return new Response(null, { status: 304, headers: { ETag: tagOf(head) } });
  if (headOnly) return new Response(null, { headers: fileHeaders(head, head.sizeBytes) });
  const range = byteRange(asked, head.sizeBytes);
  if (range === 'outside')
    return new Response(null, {
      status: 416,
      headers: { 'Content-Range': `bytes */${head.sizeBytes}` },
    });
  const blob = await blobs.get(call, path, range);
  if (!blob) return undefined;
  if (!range) return new Response(blob.body, { headers: fileHeaders(head, head.sizeBytes) });
  const headers = fileHeaders(head, range.last - range.first + 1);
  headers['Content-Range'] = `bytes ${range.first}-${range.last}/${head.sizeBytes}`;
  return new Response(blob.body, { status: 206, headers });
}

const tagOf = ({ etag }: BlobHead) => `"${etag.replace(/["\\\s]/g, '')}"`;

const matches = (header: string, tag: string) =>
  header
    .split(',')
    .some((given) => given.trim() === '*' || given.trim().replace(/^W\//, '') === tag);

function fileHeaders(head: BlobHead, length: number): Record<string, string> {
  const name = head.path.slice(head.path.lastIndexOf('/') + 1);
  const plain = name.replace(/[^\x20-\x7e]|["\\]/g, '_');
  return {
    'Content-Type': typeOf(name),
    'Content-Length': String(length),
    'Content-Disposition': `attachment; filename="${plain}"; filename*=UTF-8''${encodeURIComponent(name)}`,
    'Accept-Ranges': 'bytes',
    ETag: tagOf(head),
    'Last-Modified': new Date(head.modifiedAt).toUTCString(),
  };
}
