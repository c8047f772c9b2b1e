import type { Call } from '../kernel/call.ts';
import type { Pages } from '../kernel/page.ts';
import { Problem } from '../kernel/problem.ts';
import type { Incoming } from '../kernel/route.ts';
import type { Blob, BlobHead, Platform } from '../platform/ports.ts';
import { digested } from './digest.ts';
import { ARTIFACT_LIMITS, type Entry, join, proxiedPath } from './model.ts';
import { answerBlob, shownAs } from './send.ts';

/**
 * Files by URI. `mlflow-artifacts:/<x>` is the blob `artifacts/<x>` of the caller's workspace, whose bytes come through
 * us; a bucket or folder URI is ours if it lies in this workspace. Nothing else is read or written: a URI of another
 * workspace is as unknown as one of another house. A path of a request goes below its root or is refused. What is
 * written or removed through us is an entry of the audit; what a client does at the store itself is in the store's log.
 */
export type ArtifactsService = ReturnType<typeof artifactsService>;

export function artifactsService(
  { blobs, table }: Pick<Platform, 'blobs' | 'table'>,
  pages: Pages,
) {
  /** The blob that a URI names, or undefined if it is none of this workspace's. Throws `invalid`. */
  const at = (call: Call, uri: string): string | undefined => {
    const proxied = proxiedPath(uri);
    if (proxied !== undefined) return proxied === '' ? 'artifacts' : `artifacts/${proxied}`;
    return blobs.pathOf(call, uri);
  };

  const mustBeAt = (call: Call, uri: string): string => {
    const path = at(call, uri);
    if (path === undefined)
      throw new Problem('unsupported', `This server does not keep the artifacts at '${uri}'.`);
    return path;
  };

  const gone = (uri: string) =>
    new Problem('missing', `No artifact at '${uri.slice(0, 1_100)}'.`, { field: 'path' });

  /** One page below a folder, relative to it. */
  const page = async (call: Call, folder: string, after: string | undefined) => {
    const prefix = `${folder}/`;
    const found = await blobs.list(call, prefix, {
      folders: true,
      limit: ARTIFACT_LIMITS.page,
      ...(after === undefined ? {} : { after }),
    });
    const entries: Entry[] = [
      ...found.folders.map((name) => ({ path: name.replace(/\/$/, ''), isDir: true })),
      ...found.blobs.map(({ path, sizeBytes }) => ({
        path: path.slice(prefix.length),
        isDir: false,
        sizeBytes,
      })),
    ];
    return { entries, next: found.next };
  };

  const tellWritten = (
    call: Call,
    { path, sizeBytes, etag }: BlobHead,
    known: { sha256?: string },
  ): Promise<void> =>
    table.commit(call, [], {
      type: 'artifacts.file.written',
      subject: path,
      data: { path, sizeBytes, etag, ...known },
    });

  const byPath = (a: Entry, b: Entry) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0);

  return {
    at,

    /** Where a job or a model server reads this URI, or undefined if it is none of this workspace's. */
    locate(call: Call, uri: string): string | undefined {
      const path = at(call, uri);
      return path === undefined ? undefined : blobs.locate(call, path);
    },

    /** Throws `missing`, `unsupported`. */
    async read(call: Call, uri: string, range?: { first: number; last?: number }): Promise<Blob> {
      const blob = await blobs.get(call, mustBeAt(call, uri), range);
      if (!blob) throw gone(uri);
      return blob;
    },

    head: (call: Call, uri: string): Promise<BlobHead | undefined> =>
      blobs.head(call, mustBeAt(call, uri)),

    async write(
      call: Call,
      uri: string,
      bytes: Uint8Array | ReadableStream<Uint8Array>,
    ): Promise<BlobHead> {
      const { body, sha256 } = digested(bytes);
      const head = await blobs.put(call, mustBeAt(call, uri), body);
      await tellWritten(call, head, { sha256: sha256() });
      return head;
    },

    /** The file, and everything below it. Idempotent. What was removed is told, also when the rest fails. */
    async remove(call: Call, uri: string): Promise<void> {
      const path = mustBeAt(call, uri);
      let files = 0;
      const removed = async (file: string) => {
        await blobs.remove(call, file);
        files += 1;
      };
      try {
        if (await blobs.head(call, path)) await removed(path);
        for (;;) {
          const below = await blobs.list(call, `${path}/`, { limit: ARTIFACT_LIMITS.page });
          for (const blob of below.blobs) await removed(blob.path);
          if (below.next === undefined) return;
        }
      } finally {
        if (files > 0)
          await table.commit(call, [], {
            type: 'artifacts.file.removed',
            subject: path,
            data: { path, files },
          });
      }
    },

    /** What lies directly below `path` of a root, in order, relative to the root. A file, or nothing, has nothing below. */
    async list(
      call: Call,
      rootUri: string,
      path: string | undefined,
      token?: string,
    ): Promise<{ files: Entry[]; next?: string }> {
      const uri = path === undefined ? rootUri : join(rootUri, path);
      const query = { list: uri };
      const after = token === undefined ? undefined : pages.open<string>(call, query, token);
      const found = await page(call, mustBeAt(call, uri), after);
      const files = found.entries
        .map((entry) => (path === undefined ? entry : { ...entry, path: `${path}/${entry.path}` }))
        .sort(byPath);
      return {
        files,
        ...(found.next === undefined ? {} : { next: pages.seal(call, query, found.next) }),
      };
    },

    /** All that lies directly below a folder, relative to it; for the wire that has no pages. Throws `too_large`. */
    async listAll(call: Call, uri: string): Promise<Entry[]> {
      const folder = mustBeAt(call, uri);
      const files: Entry[] = [];
      let after: string | undefined;
      do {
        const found = await page(call, folder, after);
        files.push(...found.entries);
        if (files.length > ARTIFACT_LIMITS.unpaged)
          throw new Problem(
            'too_large',
            `The folder holds more than ${ARTIFACT_LIMITS.unpaged} files; list the folders below it.`,
            { field: 'path' },
          );
        after = found.next;
      } while (after !== undefined);
      return files.sort(byPath);
    },

    /** The bytes below a root as a download; answers Range, If-None-Match and HEAD. Throws `missing`, `invalid`. */
    async send(call: Call, rootUri: string, path: string, incoming: Incoming): Promise<Response> {
      const uri = join(rootUri, path);
      const answer = await answerBlob(blobs, call, mustBeAt(call, uri), incoming);
      if (!answer) throw gone(uri);
      return answer;
    },

    /** One URL a part, which anybody who holds it may put to for 15 minutes. Throws `invalid` for too many. */
    async startUpload(call: Call, uri: string, parts: number) {
      const path = mustBeAt(call, uri);
      const most = ARTIFACT_LIMITS.partsBehindGateway;
      if (blobs.largestAnswerBytes !== undefined && parts > most)
        throw new Problem(
          'invalid',
          `Invalid value for 'num_parts': at most ${most} here; raise MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE.`,
          { field: 'num_parts' },
        );
      const upload = await blobs.startUpload(call, path);
      const urls: string[] = [];
      for (let part = 1; part <= parts; part++)
        urls.push(await blobs.signPart(call, path, upload, part));
      return { upload, urls };
    },

    async completeUpload(
      call: Call,
      uri: string,
      upload: string,
      parts: readonly { part: number; etag: string }[],
    ): Promise<BlobHead> {
      const head = await blobs.completeUpload(call, mustBeAt(call, uri), upload, parts);
      await tellWritten(call, head, {});
      return head;
    },

    abortUpload: (call: Call, uri: string, upload: string): Promise<void> =>
      blobs.abortUpload(call, mustBeAt(call, uri), upload),

    /** A URL that reads the file for 15 minutes. Throws `missing`. */
    async sign(call: Call, uri: string): Promise<{ url: string; sizeBytes: number }> {
      const path = mustBeAt(call, uri);
      const head = await blobs.head(call, path);
      if (!head) throw gone(uri);
      const url = await blobs.sign(call, path, 'GET', ARTIFACT_LIMITS.urlSeconds, shownAs(path));
      return { url, sizeBytes: head.sizeBytes };
    },
  };
}
