import {
  chmodSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { startTimeOf } from './process.ts';

/** `DATA/server.json`: where the server of a data folder is found. */
export interface ServerFile {
  readonly pid: number;
  readonly startTime: string;
  /** Which folder: a copy of it brings these files along. Absent of a server from before there was any. */
  readonly folder?: string;
  readonly url: string;
}
type Claim = Omit<ServerFile, 'url'>;

const addressOf = (data: string) => join(data, 'server.json');
/** Old claims that a slow reader may still be looking at. */
const KEPT = 3;

function read<T>(path: string): T | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as T;
  } catch {
    return undefined;
  }
}

/** The same by whatever path it is reached; another for a copy. */
function identityOf(data: string): string | undefined {
  const found = statSync(data, { bigint: true, throwIfNoEntry: false });
  return found && `${found.dev}:${found.ino}`;
}

const lives = <T extends Claim>(claim: T | undefined, folder: string | undefined): claim is T =>
  typeof claim?.pid === 'number' &&
  (claim.folder === undefined || claim.folder === folder) &&
  startTimeOf(claim.pid) === claim.startTime;

/** The server that runs on this data folder now, if any. */
export function runningServer(data: string): ServerFile | undefined {
  const held = read<ServerFile>(addressOf(data));
  return lives(held, identityOf(data)) ? held : undefined;
}

export class Taken extends Error {
  constructor(data: string, { pid }: Claim) {
    const address = read<ServerFile>(addressOf(data));
    const named = address?.pid === pid ? address.url : 'another server';
    super(`${named} (pid ${pid}) already serves this data folder`);
  }
}

/**
 * Takes the folder for this process, or throws `Taken`. A claim is a numbered file, `DATA/lock/<n>`, written whole
 * beside its place and linked there. The highest number counts: if its process is gone, whoever links the next number
 * has the folder, and only one can. A claim is never moved or removed while it counts, so there is no moment in which
 * two could each find the folder free. It names the folder that it is for, so in a copy it claims nothing (decision
 * 006).
 */
export function takeLock(data: string): { publish(url: string): void; release(): void } {
  const folder = join(data, 'lock');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  chmodSync(data, 0o700);
  const identity = identityOf(data);
  const mine: Claim = {
    pid: process.pid,
    startTime: startTimeOf(process.pid) ?? '',
    ...(identity === undefined ? {} : { folder: identity }),
  };
  const beside = join(folder, `${process.pid}.new`);
  const written = (value: unknown) => writeFileSync(beside, JSON.stringify(value), { mode: 0o600 });
  written(mine);
  let number: number;
  try {
    for (;;) {
      const numbers = claims(folder);
      const newest = numbers.at(-1) ?? 0;
      const holder = read<Claim>(join(folder, String(newest)));
      if (lives(holder, identity)) throw new Taken(data, holder);
      number = newest + 1;
      if (!linked(beside, join(folder, String(number)))) continue;
      for (const old of numbers)
        if (old <= number - KEPT) rmSync(join(folder, String(old)), { force: true });
      break;
    }
  } finally {
    rmSync(beside, { force: true });
  }
  const replace = (path: string, value: unknown) => {
    written(value);
    renameSync(beside, path);
  };
  return {
    publish: (url) => replace(addressOf(data), { ...mine, url }),
    release() {
      if (read<Claim>(addressOf(data))?.pid === mine.pid) rmSync(addressOf(data), { force: true });
      replace(join(folder, String(number)), { pid: mine.pid, startTime: 'released' });
    },
  };
}

function claims(folder: string): number[] {
  const names = readdirSync(folder).filter((name) => /^\d+$/.test(name));
  return names.map(Number).sort((a, b) => a - b);
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
