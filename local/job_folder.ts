import type { Dirent } from 'node:fs';
import {
  constants,
  copyFile,
  cp,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  rename,
  rm,
} from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Job, JobSpec } from '../functions/platform/ports.ts';
import type { ProcessId } from './processes.ts';

/**
 * A job's folder: everything known of a job, so that a server that was killed finds it again.
 *
 *   spec.json            what was asked, kept by `prepare` or `submit`; the first one wins
 *   submitted.json       {at}: it shall run
 *   halt.json            {reason, at}: why it was signalled
 *   done.json            the Job as it ended; nothing changes after it
 *   nodes/<n>/pid exit log    the wrapper's (wrapper.ts)
 *   nodes/<n>/ml/...          what SageMaker mounts as its base folder (aws.md section 4.1)
 *   nodes/<n>/scratch/...     HOME and TMPDIR, removed at the end
 */
export interface JobFolder {
  readonly path: string;
  readonly workspace: string;
  readonly name: string;
}

export interface Submitted {
  /** Milliseconds since the epoch; the queue's order. */
  readonly at: number;
}
export interface Halt {
  readonly reason: 'stopped' | 'deadline' | 'node' | 'memory';
  readonly at: number;
  /** Of a node that had too much. */
  readonly memoryBytes?: number;
}
/** What a SageMaker-shaped request may hold beyond our spec. */
export interface LocalSpec extends JobSpec {
  readonly hyperparameters?: Readonly<Record<string, string>>;
}

export const nodeFolder = (folder: JobFolder, node: number) =>
  join(folder.path, 'nodes', String(node));

let written = 0;

/** Written whole, on the disk when it resolves. With `first`, an existing file stays as it is. */
export async function writeRecord(path: string, value: unknown, first = false): Promise<void> {
  written += 1;
  const temporary = `${path}.${process.pid}.${written}.tmp`;
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(JSON.stringify(value));
    await file.sync();
  } finally {
    await file.close();
  }
  if (first) {
    await link(temporary, path).catch((error: unknown) => {
      if (!hasCode(error, 'EEXIST')) throw error;
    });
    await rm(temporary, { force: true });
  } else await rename(temporary, path);
  const parent = await open(dirname(path), 'r');
  try {
    await parent.sync();
  } finally {
    await parent.close();
  }
}

/** A record of ours, or undefined if it was never written. What we wrote is trusted to have its shape. */
export async function readRecord<T>(path: string): Promise<T | undefined> {
  const text = await readText(path);
  return text === undefined ? undefined : (JSON.parse(text) as T);
}

export async function readText(path: string, limitBytes = 4 << 20): Promise<string | undefined> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      const size = Math.min(limitBytes, (await file.stat()).size);
      const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(size), 0, size, 0);
      return buffer.toString('utf8', 0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

const hasCode = (error: unknown, ...codes: string[]) =>
  error instanceof Error && 'code' in error && codes.includes(String(error.code));
const isAbsent = (error: unknown) => hasCode(error, 'ENOENT', 'ENOTDIR');

export const exists = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    (error: unknown) => {
      if (isAbsent(error)) return false;
      throw error;
    },
  );

export const readSpec = (folder: JobFolder) =>
  readRecord<LocalSpec>(join(folder.path, 'spec.json'));
export const readSubmitted = (folder: JobFolder) =>
  readRecord<Submitted>(join(folder.path, 'submitted.json'));
export const readHalt = (folder: JobFolder) => readRecord<Halt>(join(folder.path, 'halt.json'));
export const readDone = (folder: JobFolder) => readRecord<Job>(join(folder.path, 'done.json'));
export const readPid = (node: string) => readRecord<ProcessId>(join(node, 'pid'));

/** The exit code that the wrapper wrote last, or undefined. */
export async function readExit(node: string): Promise<number | undefined> {
  const text = await readText(join(node, 'exit'), 64);
  return text === undefined ? undefined : Number.parseInt(text, 10);
}

/** Copies a file or a folder without following links; special files and links are left out. */
export async function copyTree(from: string, to: string): Promise<void> {
  const source = await lstat(from);
  if (source.isFile()) {
    await mkdir(to, { recursive: true });
    await copyFile(from, join(to, basename(from)), constants.COPYFILE_FICLONE);
    return;
  }
  await cp(from, to, {
    recursive: true,
    mode: constants.COPYFILE_FICLONE,
    filter: async (path) => {
      const entry = await lstat(path);
      return entry.isFile() || entry.isDirectory();
    },
  });
}

/**
 * Moves what a job left under `from` to its place, file by file and each one whole: a reader sees the old bytes or
 * the new. May run again after a crash. Links and special files stay behind. At most 100,000 files.
 */
export async function putInPlace(from: string, to: string): Promise<void> {
  let left = 100_000;
  const move = async (source: string, target: string): Promise<void> => {
    let entries: Dirent[];
    try {
      entries = await readdir(source, { withFileTypes: true });
    } catch (error) {
      if (isAbsent(error)) return;
      throw error;
    }
    if (entries.length) await mkdir(target, { recursive: true });
    for (const entry of entries) {
      const [path, place] = [join(source, entry.name), join(target, entry.name)];
      if (entry.isDirectory()) await move(path, place);
      else if (entry.isFile()) {
        left -= 1;
        if (left < 0) throw new Error('an output holds more than 100,000 files');
        await moveFile(path, place);
      }
    }
  };
  await move(from, to);
}

async function moveFile(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (!hasCode(error, 'EXDEV')) throw error;
    await copyFile(from, `${to}.part`);
    await rename(`${to}.part`, to);
    await rm(from);
  }
}

/** The first 1,024 characters of the container's failure file, as SageMaker reads it. */
export async function readFailure(node: string): Promise<string | undefined> {
  const text = await readText(join(node, 'ml', 'output', 'failure'), 8192);
  return text?.slice(0, 1024) || undefined;
}

/** The last bytes of a log, for a failure without a failure file. */
export async function tail(path: string, bytes: number): Promise<string> {
  try {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      const from = Math.max(0, size - bytes);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(bytes), 0, bytes, from);
      const text = buffer.toString('utf8', 0, bytesRead);
      return from > 0 ? text.slice(text.indexOf('\n') + 1) : text;
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isAbsent(error)) return '';
    throw error;
  }
}
