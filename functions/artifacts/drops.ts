import { createHash } from 'node:crypto';
import type { Call } from '../kernel/call.ts';
import { Problem } from '../kernel/problem.ts';
import type { Incoming } from '../kernel/route.ts';
import type { World } from '../kernel/world.ts';
import type { Blobs, Key, Table, Write } from '../platform/ports.ts';
import { settler } from '../platform/settle.ts';
import { answerBlob } from './send.ts';

/**
 * Data that arrives as files: the bytes lie at `data/<path>`, and each arrival of new bytes is told as
 * `artifacts.data.arrived`, which rules may listen to. A record of each path holds the digest of what was told last,
 * so the same bytes sent again, whether retried or repeated, are told once.
 */
export interface Drop {
  readonly path: string;
  readonly sizeBytes: number;
  readonly etag: string;
  /** Milliseconds since the epoch. */
  readonly modifiedAt: number;
}

export type DropsService = ReturnType<typeof dropsService>;

const keyOf = (path: string): Key => ({
  pk: 'DATA',
  sk: createHash('sha256').update(path).digest('hex'),
});
const blobOf = (path: string) => `data/${path}`;

export function dropsService(blobs: Blobs, table: Table, world: World) {
  const settle = settler(world);
  return {
    /** Stores the bytes and tells it, unless these very bytes were told for this path already. */
    async arrive(call: Call, path: string, body: ReadableStream<Uint8Array>): Promise<Drop> {
      const hash = createHash('sha256');
      const watched = body.pipeThrough(
        new TransformStream<Uint8Array, Uint8Array>({
          transform(chunk, controller) {
            hash.update(chunk);
            controller.enqueue(chunk);
          },
        }),
      );
      const head = await blobs.put(call, blobOf(path), watched);
      const digest = hash.digest('hex');
      const { sizeBytes, etag, modifiedAt } = head;
      await settle(call, blobOf(path), async () => {
        const before = await table.get(call, keyOf(path));
        if (before?.['digest'] === digest) return;
        const rev = Number(before?.['rev'] ?? 0);
        const write: Write = {
          put: { ...keyOf(path), path, digest, etag, sizeBytes, rev: rev + 1 },
          if: before ? { equal: { rev } } : 'absent',
        };
        await table.commit(call, [write], {
          type: 'artifacts.data.arrived',
          subject: blobOf(path),
          data: { path, sizeBytes, etag },
        });
      });
      return { path, sizeBytes, etag, modifiedAt };
    },

    /** Throws `missing`. */
    async send(call: Call, path: string, incoming: Incoming): Promise<Response> {
      const answer = await answerBlob(blobs, call, blobOf(path), incoming);
      if (!answer) throw absent(path);
      return answer;
    },

    /** In path order, below a folder or all. `next` is the last path shown. */
    async list(
      call: Call,
      folder: string | undefined,
      after: string | undefined,
      limit: number,
    ): Promise<{ drops: Drop[]; next?: string }> {
      const prefix = folder === undefined ? 'data/' : `${blobOf(folder)}/`;
      const page = await blobs.list(call, prefix, {
        limit,
        ...(after === undefined ? {} : { after }),
      });
      const drops = page.blobs.map((blob) => ({ ...blob, path: blob.path.slice('data/'.length) }));
      return { drops, ...(page.next === undefined ? {} : { next: page.next }) };
    },

    /** Throws `missing`. */
    async remove(call: Call, path: string): Promise<void> {
      const held = await blobs.head(call, blobOf(path));
      await blobs.remove(call, blobOf(path));
      await settle(call, blobOf(path), async () => {
        const before = await table.get(call, keyOf(path));
        if (!before && !held) throw absent(path);
        if (!before) return;
        const rev = Number(before['rev']);
        await table.commit(call, [{ remove: keyOf(path), if: { equal: { rev } } }], {
          type: 'artifacts.data.removed',
          subject: blobOf(path),
          data: { path },
        });
      });
    },
  };
}

const absent = (path: string) => new Problem('missing', `No data at '${path}'.`, { field: 'path' });
