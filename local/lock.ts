import {
  chmodSync,
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { startTimeOf } from './process.ts';

/** `DATA/server.json`: both the lock on a data folder and the way to find its server. */
export interface ServerFile {
  readonly pid: number;
  readonly startTime: string;
  readonly url: string;
}

const pathOf = (data: string) => join(data, 'server.json');

/** The server that runs on this data folder now, if any. */
export function runningServer(data: string): ServerFile | undefined {
  try {
    const held = JSON.parse(readFileSync(pathOf(data), 'utf8')) as ServerFile;
    return startTimeOf(held.pid) === held.startTime ? held : undefined;
  } catch {
    return undefined;
  }
}

export class Taken extends Error {
  readonly by: ServerFile;
  constructor(by: ServerFile) {
    super(`${by.url || 'another server'} (pid ${by.pid}) already serves this data folder`);
    this.by = by;
  }
}

/** Takes the folder for this process, or throws `Taken`. `url` is filled in once it is known. */
export function takeLock(data: string): { publish(url: string): void; release(): void } {
  mkdirSync(data, { recursive: true, mode: 0o700 });
  chmodSync(data, 0o700);
  const mine = { pid: process.pid, startTime: startTimeOf(process.pid) ?? '', url: '' };
  for (;;) {
    try {
      const file = openSync(pathOf(data), 'wx', 0o600);
      writeSync(file, JSON.stringify(mine));
      closeSync(file);
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      const holder = runningServer(data);
      if (holder) throw new Taken(holder);
      rmSync(pathOf(data), { force: true });
    }
  }
  return {
    publish: (url) =>
      writeFileSync(pathOf(data), JSON.stringify({ ...mine, url }), { mode: 0o600 }),
    release: () => rmSync(pathOf(data), { force: true }),
  };
}
