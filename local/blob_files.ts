import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { Problem } from '../functions/kernel/problem.ts';

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants;

/** A folder that was reached without following a link. `path` is used in place of its name until `close`. */
export interface Place {
  readonly path: string;
  /** Makes what was renamed into it durable. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export const codeOf = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error ? String(error.code) : undefined;

/**
 * Walks from `root` to a folder below it, one segment at a time and never through a symbolic link. On Linux each step
 * starts from the open folder before it, so a folder swapped for a link meanwhile leads nowhere else (hardening.md A22).
 * Undefined if a folder is missing and `make` is not set. Throws `conflict` where a segment is a file or a link.
 */
export async function enter(
  root: string,
  segments: readonly string[],
  make: boolean,
): Promise<Place | undefined> {
  const top = await openRoot(root, make);
  if (!top) return undefined;
  let here = top;
  let path = root;
  try {
    for (const segment of segments) {
      const from = process.platform === 'linux' ? `/proc/self/fd/${here.fd}` : path;
      const name = join(from, segment);
      if (make && (await made(name))) await here.sync();
      const next = await openFolder(name);
      await here.close();
      here = next;
      path = join(path, segment);
    }
  } catch (error) {
    await here.close();
    const code = codeOf(error);
    if (code === 'ENOENT' && !make) return undefined;
    if (code === 'ENOTDIR' || code === 'ELOOP' || code === 'EEXIST')
      throw new Problem('conflict', `A part of the path ${segments.join('/')} is not a folder.`);
    throw diskProblem(error);
  }
  return {
    path: process.platform === 'linux' ? `/proc/self/fd/${here.fd}` : path,
    sync: () => here.sync(),
    close: () => here.close(),
  };
}

const openFolder = (path: string) => open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);

/** Undefined if it was taken away and `make` is not set. */
async function openRoot(root: string, make: boolean): Promise<FileHandle | undefined> {
  try {
    if (make) await mkdir(root, { recursive: true });
    return await openFolder(root);
  } catch (error) {
    if (codeOf(error) === 'ENOENT' && !make) return undefined;
    throw diskProblem(error);
  }
}

async function made(name: string): Promise<boolean> {
  try {
    await mkdir(name);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/** A regular file, opened without following a link; undefined if there is none of this name. */
export async function openFile(name: string): Promise<FileHandle | undefined> {
  try {
    // Looked at first: opening a named pipe would wait for its writer.
    if (!(await lstat(name)).isFile()) return undefined;
    return await open(name, O_RDONLY | O_NOFOLLOW);
  } catch (error) {
    const code = codeOf(error);
    if (code === 'ENOENT' || code === 'ELOOP' || code === 'ENOTDIR') return undefined;
    throw diskProblem(error);
  }
}

/** What a full or failing disk is to a caller; other errors stay as they are. */
export function diskProblem(cause: unknown): unknown {
  const code = codeOf(cause);
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new Problem('unavailable', 'The disk is full.', { cause, retryAfterSeconds: 30 });
  if (code === 'EIO' || code === 'EROFS' || code === 'EMFILE' || code === 'ENFILE')
    return new Problem('unavailable', 'The disk cannot be used now.', {
      cause,
      retryAfterSeconds: 5,
    });
  if (code === 'ENAMETOOLONG')
    return new Problem('invalid', 'The path is too long for this disk.', { cause });
  return cause;
}

const CHUNK = 1024 * 1024;

/** Bytes `first` to `last` of a file as they are asked for, 1 MB at most in memory; closes the file at the end. */
export function streamFile(
  file: FileHandle,
  first: number,
  last: number,
): ReadableStream<Uint8Array> {
  let at = first;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const want = Math.min(CHUNK, last + 1 - at);
        const { bytesRead, buffer } =
          want > 0
            ? await file.read(Buffer.allocUnsafe(want), 0, want, at)
            : { bytesRead: 0, buffer: Buffer.alloc(0) };
        at += bytesRead;
        if (bytesRead > 0) controller.enqueue(buffer.subarray(0, bytesRead));
        if (at > last) {
          await file.close();
          controller.close();
        } else if (bytesRead === 0) {
          await file.close();
          controller.error(new Problem('unavailable', 'The file was cut while it was read.'));
        }
      },
      cancel: () => file.close(),
    },
    { highWaterMark: 0 },
  );
}

/** Writes a body to a new file, in pieces of some 1 MB; the caller syncs it. Says how many bytes; `seen` is shown each. */
export async function writeBody(
  file: FileHandle,
  body: Uint8Array | ReadableStream<Uint8Array>,
  maxBytes: number,
  seen: (chunk: Uint8Array) => void = () => undefined,
): Promise<number> {
  let size = 0;
  let held: Uint8Array[] = [];
  let heldBytes = 0;
  const flush = async () => {
    if (heldBytes > 0) await writeAll(file, held, heldBytes);
    held = [];
    heldBytes = 0;
  };
  for await (const chunk of body instanceof Uint8Array ? [body] : body) {
    size += chunk.length;
    if (size > maxBytes)
      throw new Problem('too_large', `The body is larger than ${maxBytes} bytes.`);
    seen(chunk);
    held.push(chunk);
    heldBytes += chunk.length;
    if (heldBytes >= CHUNK) await flush();
  }
  await flush();
  return size;
}

async function writeAll(file: FileHandle, chunks: readonly Uint8Array[], bytes: number) {
  const [only] = chunks;
  const all = only && chunks.length === 1 ? only : Buffer.concat(chunks, bytes);
  for (let at = 0; at < bytes; ) at += (await file.write(all, at, bytes - at)).bytesWritten;
}
