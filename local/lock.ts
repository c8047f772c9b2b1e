import {
  chmodSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { startTimeOf } from './process.ts';

/** `DATA/server.json`: both the lock on a data folder and the way to find its server. */
export interface ServerFile {
  readonly pid: number;
  readonly startTime: string;
  /** Empty until the server listens. */
  readonly url: string;
}

const pathOf = (data: string) => join(data, 'server.json');

function read(path: string): ServerFile | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as ServerFile;
  } catch {
    return undefined;
  }
}
const lives = (held: ServerFile | undefined): held is ServerFile =>
  held !== undefined && startTimeOf(held.pid) === held.startTime;

/** The server that runs on this data folder now, if any. */
export function runningServer(data: string): ServerFile | undefined {
  const held = read(pathOf(data));
  return lives(held) ? held : undefined;
}

export class Taken extends Error {
  constructor(by: ServerFile) {
    super(`${by.url || 'another server'} (pid ${by.pid}) already serves this data folder`);
  }
}

/**
 * Takes the folder for this process, or throws `Taken`. The file is written whole beside its place and linked there,
 * so nobody ever reads half of it, and of many who try at once one succeeds. A file that a dead server left is moved
 * away under a name of ours and looked at once more there: what turns out to be a living server's is linked back.
 */
export function takeLock(data: string): { publish(url: string): void; release(): void } {
  mkdirSync(data, { recursive: true, mode: 0o700 });
  chmodSync(data, 0o700);
  const mine: ServerFile = { pid: process.pid, startTime: startTimeOf(process.pid) ?? '', url: '' };
  const beside = `${pathOf(data)}.${process.pid}`;
  const written = (file: ServerFile) =>
    writeFileSync(beside, JSON.stringify(file), { mode: 0o600 });
  written(mine);
  try {
    while (!linked(beside, pathOf(data))) {
      const holder = runningServer(data);
      if (holder) throw new Taken(holder);
      clearAway(pathOf(data), `${beside}.stale`);
    }
  } finally {
    rmSync(beside, { force: true });
  }
  const isMine = () => {
    const held = read(pathOf(data));
    return held?.pid === mine.pid && held.startTime === mine.startTime;
  };
  return {
    publish(url) {
      // Whoever was moved aside for an instant by a third one, and lost the place to it, finds that out here.
      const holder = isMine() ? undefined : runningServer(data);
      if (holder) throw new Taken(holder);
      written({ ...mine, url });
      renameSync(beside, pathOf(data));
    },
    release() {
      if (isMine()) rmSync(pathOf(data), { force: true });
    },
  };
}

function linked(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function clearAway(path: string, aside: string): void {
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  const moved = read(aside);
  if (lives(moved)) linked(aside, path);
  rmSync(aside, { force: true });
}
