import { createHash } from 'node:crypto';
import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import { Problem } from '../kernel/problem.ts';
import type { Incoming } from '../kernel/route.ts';
import type { World } from '../kernel/world.ts';
import type { Blobs, Key, Table, Write } from '../platform/ports.ts';
import { settler } from '../platform/settle.ts';
import { digested } from './digest.ts';
import { answerBlob } from './send.ts';

/**
 * Data that arrives as files: the bytes lie at `data/<path>`, and each arrival of new bytes is told as
 * `artifacts.data.arrived`, which rules may listen to. A record of each path holds the digest of what was told last,
 * so the same bytes sent again, whether retried or repeated, are told once. Bytes are stored before they are told: each
 * attempt to tell looks whether they still lie there, so that the last arrival told is of what is read.
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
    /**
     * Stores the bytes and tells it, unless these very bytes were told for this path last. Where others took their place
     * in the meantime, that is told instead, which no rule for data hears.
     */
    async arrive(call: Call, path: string, bytes: ReadableStream<Uint8Array>): Promise<Drop> {
      const { body, sha256 } = digested(bytes);
      const { sizeBytes, etag, modifiedAt } = await blobs.put(call, blobOf(path), body);
      const digest = sha256();
      const told = (verb: 'arrived' | 'overtaken'): Event => ({
        type: `artifacts.data.${verb}`,
        subject: blobOf(path),
        data: { path, sizeBytes, etag, sha256: digest },
      });
      await settle(call, blobOf(path), async () => {
        const before = await table.get(call, keyOf(path));
        const known = before?.['digest'] === digest;
        if ((await blobs.head(call, blobOf(path)))?.etag !== etag) {
          if (!known) await table.commit(call, [], told('overtaken'));
          return;
        }
        const rev = Number(before?.['rev'] ?? 0);
        // Also where there is nothing to tell: who is about to tell of bytes that these have replaced looks again.
        const write: Write = {
          put: { ...keyOf(path), path, digest, etag, sizeBytes, rev: rev + 1 },
          if: before ? { equal: { rev } } : 'absent',
        };
        await table.commit(call, [write], known ? undefined : told('arrived'));
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

    /** Throws `missing`. The entry names the bytes: others may have arrived, and been told, before it is written. */
    async remove(call: Call, path: string): Promise<void> {
      const held = await blobs.head(call, blobOf(path));
      await blobs.remove(call, blobOf(path));
      await settle(call, blobOf(path), async () => {
        const before = await table.get(call, keyOf(path));
        if (!before && !held) throw absent(path);
        const etag = held?.etag ?? String(before?.['etag']);
        const lies = await blobs.head(call, blobOf(path));
        const condition = { equal: { rev: Number(before?.['rev']) } };
        const gone: Write =
          lies && lies.etag === before?.['etag']
            ? { check: keyOf(path), if: condition }
            : { remove: keyOf(path), if: condition };
        await table.commit(call, before ? [gone] : [], {
          type: 'artifacts.data.removed',
          subject: blobOf(path),
          data: { path, etag },
        });
      });
    },
  };
}

const absent = (path: string) => new Problem('missing', `No data at '${path}'.`, { field: 'path' });
