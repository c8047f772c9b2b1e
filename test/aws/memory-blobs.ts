import type { Call } from '../../functions/kernel/call.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import { locations } from '../../functions/platform/aws/locations.ts';
import type { Blob, BlobHead, Blobs } from '../../functions/platform/ports.ts';

/** As much of Blobs as the SageMaker adapters ask for, over a map that `files` shows. */
export function memoryBlobs(bucket: string, files = new Map<string, Uint8Array>()): Blobs {
  const key = (call: Call, path: string) => `${call.workspace}/${path}`;
  const headOf = (path: string, bytes: Uint8Array): BlobHead => ({
    path,
    sizeBytes: bytes.byteLength,
    etag: String(bytes.byteLength),
    modifiedAt: 0,
  });
  const some: Partial<Blobs> = {
    ...locations(bucket),
    async put(call, path, body, condition) {
      if (condition === 'absent' && files.has(key(call, path)))
        throw new Problem('conflict', `${path} exists`);
      const bytes = new Uint8Array(await new Response(body as BodyInit).arrayBuffer());
      files.set(key(call, path), bytes);
      return headOf(path, bytes);
    },
    async head(call, path) {
      const bytes = files.get(key(call, path));
      return bytes && headOf(path, bytes);
    },
    async get(call, path, range): Promise<Blob | undefined> {
      const bytes = files.get(key(call, path))?.slice(range?.first ?? 0);
      if (!bytes) return undefined;
      return {
        ...headOf(path, bytes),
        body: new Response(bytes).body as ReadableStream<Uint8Array>,
      };
    },
    async list(call, prefix) {
      const found = [...files].filter(([name]) => name.startsWith(key(call, prefix)));
      const blobs = found.map(([name, bytes]) =>
        headOf(name.slice(call.workspace.length + 1), bytes),
      );
      return { blobs, folders: [] };
    },
    async remove(call, path) {
      files.delete(key(call, path));
    },
  };
  return some as Blobs;
}
