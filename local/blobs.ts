import { createHash } from 'node:crypto';
import { type BigIntStats, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import {
  type FileHandle,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  rmdir,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import type { Call } from '../functions/kernel/call.ts';
import { hex } from '../functions/kernel/ids.ts';
import { pathSegments } from '../functions/kernel/path.ts';
import { Problem } from '../functions/kernel/problem.ts';
import type { World } from '../functions/kernel/world.ts';
import type { BlobCondition, BlobHead, Blobs } from '../functions/platform/ports.ts';
import {
  codeOf,
  diskProblem,
  enter,
  openFile,
  type Place,
  streamFile,
  writeBody,
} from './blob_files.ts';
import { listFolder } from './blob_list.ts';
import { blobUrls, serveBlobs } from './blob_urls.ts';

export interface LocalBlobsOptions {
  /** Made if absent. Blobs lie at `data/<workspace>/<path>`, where jobs read and write them as files. */
  readonly folder: string;
  readonly world: World;
  /** Signs URLs. */
  readonly secret: Uint8Array;
  /** `http://127.0.0.1:5000`: what signed URLs start with. */
  readonly url: string;
}

export interface LocalBlobs extends Blobs {
  /** Answers `/blobs/..` of a signed URL (GET, HEAD, PUT, ranges); undefined for any other path. */
  serve(request: Request): Promise<Response | undefined>;
  /** Keeps one part of an upload, whole or not at all; for `serve`. Says its etag. */
  putPart(
    call: Call,
    path: string,
    upload: string,
    part: number,
    body: Uint8Array | ReadableStream<Uint8Array>,
  ): Promise<string>;
}

const MAX_BYTES = 5 * 1024 ** 3;
const MIN_PART_BYTES = 5 * 1024 * 1024;
const MAX_PARTS = 10_000;
/** In a completed upload's folder: what was completed, for who asks again since the answer was lost. */
const COMPLETED = 'completed';
const KEEP_COMPLETED_MS = 48 * 3_600_000;

/** Blobs as plain files: written aside, synced, then moved into place in one step. */
export function openBlobs(options: LocalBlobsOptions): LocalBlobs {
  const { world } = options;
  const folder = resolve(options.folder);
  const [data, aside, uploads] = ['data', 'aside', 'uploads'].map((name) => {
    mkdirSync(join(folder, name), { recursive: true });
    return join(folder, name);
  }) as [string, string, string];
  // What a killed process left half written was never anybody's blob.
  for (const name of readdirSync(aside)) rmSync(join(aside, name), { force: true });
  for (const name of readdirSync(uploads)) {
    const mark = statSync(join(uploads, name, COMPLETED), { throwIfNoEntry: false });
    if (mark && mark.mtimeMs < world.now() - KEEP_COMPLETED_MS)
      rmSync(join(uploads, name), { recursive: true, force: true });
  }
  const locks = new Map<string, Promise<unknown>>();
  const urls = blobUrls(options);
  let written = world.randomBytes(1)[0] ?? 0;

  /** One after another for one path, so that a condition holds until its rename. */
  async function alone<T>(name: string, work: () => Promise<T>): Promise<T> {
    const before = locks.get(name) ?? Promise.resolve();
    const mine = before.then(work, work);
    const settled = mine.catch(() => undefined);
    locks.set(name, settled);
    try {
      return await mine;
    } finally {
      if (locks.get(name) === settled) locks.delete(name);
    }
  }

  const split = (call: Call, path: string) => {
    const segments = pathSegments(path, 'path');
    return { folders: [call.workspace, ...segments.slice(0, -1)], name: segments.at(-1) ?? '' };
  };

  async function within<T>(
    call: Call,
    path: string,
    work: (name: string) => Promise<T | undefined>,
  ): Promise<T | undefined> {
    const { folders, name } = split(call, path);
    const place = await enter(data, folders, false).catch((error) => {
      if (error instanceof Problem && error.code === 'conflict') return undefined;
      throw error;
    });
    if (!place) return undefined;
    try {
      return await work(join(place.path, name));
    } finally {
      await place.close();
    }
  }

  async function writtenAside(
    write: (file: FileHandle) => Promise<unknown>,
  ): Promise<{ name: string; stats: BigIntStats }> {
    const name = join(aside, hex(world.randomBytes(16)));
    // Made again if somebody took the folders away.
    const file = await open(name, 'wx')
      .catch(async (error) => {
        if (codeOf(error) !== 'ENOENT') throw error;
        await mkdir(aside, { recursive: true });
        return open(name, 'wx');
      })
      .catch((error) => {
        throw diskProblem(error);
      });
    try {
      await write(file);
      // Two writes within one tick of the disk's clock still differ: the etag is made of this.
      written = (written + 1) % 1000;
      const at = (world.now() + written / 1000) / 1000;
      await file.utimes(at, at);
      await file.sync();
      return { name, stats: await file.stat({ bigint: true }) };
    } catch (error) {
      await unlink(name).catch(() => undefined);
      throw diskProblem(error);
    } finally {
      await file.close();
    }
  }

  /** Moves a synced file to its place. `conflict` when the condition does not hold or a folder is there. */
  async function moveIn(call: Call, path: string, from: string, condition?: BlobCondition) {
    const { folders, name } = split(call, path);
    for (let attempt = 1; ; attempt++) {
      let place: Place | undefined;
      try {
        place = await enter(data, folders, true);
        if (!place) throw new Error('a folder was not made');
        const to = join(place.path, name);
        await checkTarget(to, path, condition);
        // A link is made only where nothing is; a rename replaces in one step.
        if (condition === 'absent') await link(from, to);
        else await rename(from, to);
        await place.sync();
        return;
      } catch (error) {
        const code = codeOf(error);
        // The last blob of the folder was removed meanwhile, and the folder with it.
        if (code === 'ENOENT' && attempt < 10) continue;
        if (code === 'ENOENT')
          throw new Problem('unavailable', 'The folder is being removed.', {
            cause: error,
            retryAfterSeconds: 5,
          });
        if (code === 'EEXIST') throw new Problem('conflict', `${path} exists.`);
        throw diskProblem(error);
      } finally {
        await place?.close();
      }
    }
  }

  async function checkTarget(to: string, path: string, condition: BlobCondition | undefined) {
    const there = await lstat(to, { bigint: true }).catch((error) => {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    });
    if (there?.isDirectory()) {
      // An empty folder holds no blob and may give way.
      await rmdir(to).catch(() => {
        throw new Problem('conflict', `${path} is a folder: a blob cannot have its name.`);
      });
      return;
    }
    if (typeof condition !== 'object') return;
    if (!there?.isFile() || etagOf(there) !== condition.unchanged)
      throw new Problem('conflict', `${path} has changed.`);
  }

  async function place(
    call: Call,
    path: string,
    write: (file: FileHandle) => Promise<unknown>,
    condition?: BlobCondition,
  ): Promise<BlobHead> {
    const { name, stats } = await writtenAside(write);
    try {
      await alone(`${call.workspace}/${path}`, () => moveIn(call, path, name, condition));
    } finally {
      await unlink(name).catch(() => undefined);
    }
    return headOf(path, stats);
  }

  const uploadFolder = (call: Call, upload: string) => {
    if (!/^[0-9a-f]{32}$/.test(upload)) throw noUpload();
    return join(uploads, `${call.workspace}-${upload}`);
  };
  async function checkUpload(call: Call, path: string, upload: string): Promise<string> {
    const at = uploadFolder(call, upload);
    const meant = await readFile(join(at, 'path'), 'utf8').catch(() => undefined);
    if (meant !== path) throw noUpload();
    return at;
  }
  const completedOf = async (at: string) =>
    JSON.parse(await readFile(join(at, COMPLETED), 'utf8').catch(() => 'null')) as Completed | null;
  /** Of an upload that still takes parts. */
  async function openUpload(call: Call, path: string, upload: string): Promise<string> {
    const at = await checkUpload(call, path, upload);
    if (await completedOf(at)) throw noUpload();
    return at;
  }

  const blobs: LocalBlobs = {
    async put(call, path, body, condition) {
      split(call, path);
      return place(call, path, (file) => writeBody(file, body, MAX_BYTES), condition);
    },

    async head(call, path) {
      return within(call, path, async (name) => {
        const stats = await lstat(name, { bigint: true }).catch((error) => {
          if (codeOf(error) === 'ENOENT') return undefined;
          throw diskProblem(error);
        });
        return stats?.isFile() ? headOf(path, stats) : undefined;
      });
    },

    async get(call, path, range) {
      const file = await within(call, path, openFile);
      if (!file) return undefined;
      try {
        const head = headOf(path, await file.stat({ bigint: true }));
        const first = range?.first ?? 0;
        const last = Math.min(range?.last ?? Number.MAX_SAFE_INTEGER, head.sizeBytes - 1);
        if (range && (first < 0 || first > last))
          throw new Problem('invalid', `The range starts after the end, ${head.sizeBytes} bytes.`, {
            field: 'Range',
            status: 416,
          });
        return { ...head, body: streamFile(file, first, last) };
      } catch (error) {
        await file.close();
        throw error;
      }
    },

    list: (call, prefix, listOptions = {}) =>
      listFolder(data, call.workspace, prefix, listOptions, headOf),

    async remove(call, path) {
      const { folders } = split(call, path);
      await alone(`${call.workspace}/${path}`, async () => {
        await within(call, path, async (name) => {
          const stats = await lstat(name).catch(() => undefined);
          if (stats && !stats.isDirectory()) await unlink(name).catch(ignoreMissing);
        });
      });
      for (let depth = folders.length; depth > 1; depth--) {
        const parent = await enter(data, folders.slice(0, depth - 1), false).catch(() => undefined);
        if (!parent) return;
        const gone = await rmdir(join(parent.path, folders[depth - 1] ?? '')).then(
          () => true,
          () => false,
        );
        if (depth === folders.length || gone) await parent.sync();
        await parent.close();
        if (!gone) return;
      }
    },

    async sign(call, path, method, expiresSeconds, shown) {
      split(call, path);
      const grant = { workspace: call.workspace, path, method, ...(shown ? { shown } : {}) };
      return urls.sign(grant, expiresSeconds);
    },

    async startUpload(call, path) {
      split(call, path);
      const upload = hex(world.randomBytes(16));
      const at = uploadFolder(call, upload);
      mkdirSync(at, { recursive: true });
      const file = await open(join(at, 'path'), 'wx');
      await file.writeFile(path);
      await file.sync();
      await file.close();
      return upload;
    },

    async signPart(call, path, upload, part) {
      await openUpload(call, path, upload);
      checkPart(part);
      return urls.sign({ workspace: call.workspace, path, method: 'PUT', upload, part }, 900);
    },

    async putPart(call, path, upload, part, body) {
      const at = await openUpload(call, path, upload);
      checkPart(part);
      const hash = createHash('sha256');
      const { name } = await writtenAside((file) =>
        writeBody(file, body, MAX_BYTES, (chunk) => hash.update(chunk)),
      );
      const etag = hash.digest('hex').slice(0, 32);
      // The newest of one number wins, as in S3.
      await alone(at, async () => {
        const old = (await readdir(at)).filter((one) => one.startsWith(`${part}-`));
        await rename(name, join(at, `${part}-${etag}`));
        for (const one of old) if (one !== `${part}-${etag}`) await unlink(join(at, one));
      });
      return etag;
    },

    async completeUpload(call, path, upload, parts) {
      const at = await checkUpload(call, path, upload);
      return alone(at, async () => {
        const asked = parts.map(({ part, etag }) => `${part}-${etag}`);
        const before = await completedOf(at);
        if (before) {
          if (before.parts !== digestOf(asked)) throw noUpload();
          return before.head;
        }
        const there = new Set(await readdir(at));
        if (parts.length === 0) throw badParts('no part is named');
        parts.forEach(({ part, etag }, index) => {
          checkPart(part);
          if (index > 0 && part <= (parts[index - 1]?.part ?? 0))
            throw badParts('parts are not in ascending order');
          if (!/^[0-9a-f]{32}$/.test(etag) || !there.has(`${part}-${etag}`))
            throw badParts(`part ${part} with etag ${etag} was not sent`);
        });
        const names = asked.map((name) => join(at, name));
        for (const name of names.slice(0, -1))
          if ((await lstat(name)).size < MIN_PART_BYTES)
            throw badParts('a part but the last is smaller than 5 MB');
        const head = await place(call, path, (file) => writeParts(file, names));
        const completed: Completed = { parts: digestOf(asked), head };
        // A crash before it leaves the parts, which give the same blob again.
        await writeFile(join(at, `${COMPLETED}.new`), JSON.stringify(completed), { flush: true });
        await rename(join(at, `${COMPLETED}.new`), join(at, COMPLETED));
        for (const name of there) if (name !== 'path') await unlink(join(at, name));
        return head;
      });
    },

    async abortUpload(call, path, upload) {
      if (await openUpload(call, path, upload).catch(() => undefined))
        await rm(uploadFolder(call, upload), { recursive: true, force: true });
    },

    locate: (call, prefix) => {
      const segments = pathSegments(prefix.replace(/\/$/, ''), 'prefix');
      return join(data, call.workspace, ...segments);
    },

    pathOf(call, uri) {
      const root = join(data, call.workspace) + sep;
      if (!uri.startsWith(root)) return undefined;
      try {
        return pathSegments(uri.slice(root.length).replace(/\/$/, ''), 'uri').join('/');
      } catch {
        return undefined;
      }
    },

    serve: (request) => serveBlobs(request, blobs, urls, world),
  };
  return blobs;
}

/** A blob that an upload became: of which parts, and as it was then. */
interface Completed {
  readonly parts: string;
  readonly head: BlobHead;
}
const digestOf = (parts: readonly string[]) =>
  createHash('sha256').update(parts.join(' ')).digest('hex');

async function writeParts(to: FileHandle, names: readonly string[]): Promise<void> {
  let size = 0;
  for (const name of names) {
    const file = await openFile(name);
    if (!file) throw badParts('a part is gone');
    const { size: bytes } = await file.stat();
    size += bytes;
    if (size > MAX_BYTES) {
      await file.close();
      throw new Problem('too_large', `The blob is larger than ${MAX_BYTES} bytes.`);
    }
    await writeBody(to, streamFile(file, 0, bytes - 1), MAX_BYTES);
  }
}

const etagOf = ({ size, mtimeNs, ino }: BigIntStats) =>
  [size, mtimeNs, ino].map((number) => number.toString(36)).join('-');

const headOf = (path: string, stats: BigIntStats): BlobHead => ({
  path,
  sizeBytes: Number(stats.size),
  etag: etagOf(stats),
  modifiedAt: Number(stats.mtimeNs / 1_000_000n),
});

const noUpload = () => new Problem('missing', 'No such upload: it was completed or aborted.');
const badParts = (why: string) =>
  new Problem('invalid', `The upload cannot be completed: ${why}.`, { field: 'parts' });
function checkPart(part: number) {
  if (!Number.isInteger(part) || part < 1 || part > MAX_PARTS)
    throw new Problem('invalid', `A part's number is 1 to ${MAX_PARTS}.`, { field: 'part' });
}
function ignoreMissing(error: unknown) {
  if (codeOf(error) !== 'ENOENT') throw diskProblem(error);
}
