import { createHash } from 'node:crypto';

type Body = Uint8Array | ReadableStream<Uint8Array>;

/** The same bytes; `sha256` says theirs, in hex, once all of them have been read. */
export function digested(bytes: Body): { body: Body; sha256: () => string } {
  const hash = createHash('sha256');
  const sha256 = () => hash.digest('hex');
  if (bytes instanceof Uint8Array) {
    hash.update(bytes);
    return { body: bytes, sha256 };
  }
  const body = bytes.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        hash.update(chunk);
        controller.enqueue(chunk);
      },
    }),
  );
  return { body, sha256 };
}
