import { pipeline, Readable } from 'node:stream';
import { createGzip } from 'node:zlib';
import type { Call } from '../../kernel/call.ts';
import { Problem } from '../../kernel/problem.ts';
import type { BlobHead, Blobs } from '../ports.ts';

const BLOCK = 512;
/** What a header's 11 octal digits hold. */
const MOST_BYTES = 8 * 2 ** 30 - 1;

/**
 * All blobs below `prefix` (ends in `/`) as one gzipped tar, named below it; the same bytes for the same blobs. It
 * streams: one blob is open at a time. Throws `missing` if there is none and, in the stream, `conflict` if one changes
 * under way. Source: POSIX.1-2001 pax, "ustar Interchange Format" and "pax Header Block".
 */
export async function archiveOf(
  call: Call,
  blobs: Pick<Blobs, 'list' | 'get'>,
  prefix: string,
): Promise<ReadableStream<Uint8Array>> {
  const first = await blobs.list(call, prefix);
  if (first.blobs.length === 0) throw new Problem('missing', `There is nothing below ${prefix}.`);
  const gzip = createGzip({ level: 1 });
  // An error destroys the last of them, and with it the stream that is handed out.
  pipeline(Readable.from(tar(call, blobs, prefix, first)), gzip, () => {});
  return Readable.toWeb(gzip) as ReadableStream<Uint8Array>;
}

async function* tar(
  call: Call,
  blobs: Pick<Blobs, 'list' | 'get'>,
  prefix: string,
  first: Awaited<ReturnType<Blobs['list']>>,
): AsyncGenerator<Uint8Array> {
  let page = first;
  for (;;) {
    for (const head of page.blobs) yield* entry(call, blobs, prefix, head);
    if (page.next === undefined) break;
    page = await blobs.list(call, prefix, { after: page.next });
  }
  yield new Uint8Array(2 * BLOCK);
}

async function* entry(
  call: Call,
  blobs: Pick<Blobs, 'get'>,
  prefix: string,
  { path, sizeBytes }: BlobHead,
): AsyncGenerator<Uint8Array> {
  const name = path.slice(prefix.length);
  if (sizeBytes > MOST_BYTES) throw new Problem('too_large', `${path} is larger than 8 GiB.`);
  if (Buffer.byteLength(name) > 100) {
    const record = paxRecord('path', name);
    yield header('pax', record.length, 'x');
    yield record;
    yield padding(record.length);
  }
  yield header(name, sizeBytes, '0');
  const blob = await blobs.get(call, path);
  let read = 0;
  for await (const chunk of blob?.body ?? []) {
    read += chunk.byteLength;
    yield chunk;
  }
  if (read !== sizeBytes) throw new Problem('conflict', `${path} changed while it was read.`);
  yield padding(sizeBytes);
}

const padding = (size: number): Uint8Array => new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);

/** `<length of it all> path=<name>\n`. */
function paxRecord(key: string, value: string): Buffer {
  const rest = ` ${key}=${value}\n`;
  const bytes = Buffer.byteLength(rest);
  let length = bytes + String(bytes).length;
  length = bytes + String(length).length;
  return Buffer.from(`${length}${rest}`);
}

function header(name: string, size: number, type: '0' | 'x'): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(Buffer.from(name).subarray(0, 100).toString('latin1'), 0, 'latin1');
  const octal = (value: number, at: number, digits: number) =>
    block.write(value.toString(8).padStart(digits, '0'), at, 'latin1');
  octal(0o644, 100, 7);
  octal(0, 108, 7);
  octal(0, 116, 7);
  octal(size, 124, 11);
  octal(0, 136, 11);
  block.fill(' ', 148, 156);
  block.write(type, 156, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}
