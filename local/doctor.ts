import {
  accessSync,
  constants,
  existsSync,
  lstatSync,
  readdirSync,
  statfsSync,
  statSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { release } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { codeOf } from './blob_files.ts';
import { type Check, fail, ok, reasonOf, skipped, type Verdict, warn } from './doctor_checks.ts';
import { runningServer } from './lock.ts';
import { checkTableFile } from './table_file.ts';
import { environmentOf, venvsFolder } from './venvs.ts';

export interface MachineAsked {
  /** The data folder; it need not be there yet. */
  readonly data: string;
  /** The port that was named; without one the default is looked at. */
  readonly port: number | undefined;
  readonly version: string;
  readonly env: NodeJS.ProcessEnv;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

const MIB = 1024 ** 2;
const TOO_LITTLE_BYTES = 200 * MIB;
const LITTLE_BYTES = 2048 * MIB;
/** A clock may differ by so much from the one that dated a file. */
const CLOCK_SLACK_MS = 5_000;
const DEFAULT_PORTS = [5000, 5001];
const PATIENCE_MS = 5_000;
/** Where an lmdb file must not lie: no shared memory between machines. Source: statfs(2); lmdb.h, "Caveats". */
const NETWORK_DISKS: Readonly<Record<number, string>> = {
  26985: 'NFS',
  1702057286: 'FUSE',
  4283649346: 'CIFS',
  4266872130: 'SMB2',
};

/** What a server on this machine stands on. Nothing is made or changed; a port is taken for a moment and let go. */
export function machineChecks(asked: MachineAsked): Check[] {
  const data = resolve(asked.data);
  return [
    {
      name: 'versions',
      looksAt: 'this program and its Node',
      run: () =>
        ok(
          `stillflow ${asked.version}, Node ${process.versions.node}, ${process.platform} ${release()}`,
        ),
    },
    { name: 'python', looksAt: 'python3 .. python on the PATH', run: () => python(asked) },
    {
      name: 'environment',
      looksAt: venvsFolder(data, asked.env),
      run: () => environment(data, asked),
    },
    { name: 'data folder', looksAt: data, run: () => dataFolder(data) },
    { name: 'disk', looksAt: nearest(data), run: () => disk(nearest(data)) },
    { name: 'table', looksAt: join(data, 'table/data.mdb'), run: () => table(join(data, 'table')) },
    { name: 'lock', looksAt: join(data, 'lock'), run: () => lock(data) },
    { name: 'port', looksAt: portsOf(asked).join(', '), run: () => port(data, asked) },
    {
      name: 'clock',
      looksAt: "this machine's clock and what the folder was written at",
      run: () => clock(data, asked.now()),
    },
  ];
}

const INSTALL_PYTHON =
  'install Python 3.10 or later with pip (apt-get install python3 python3-venv python3-pip, or python.org)';

async function python({ data, env }: MachineAsked): Promise<Verdict> {
  try {
    const { python: found, pip } = await environmentOf(resolve(data), env);
    if (!pip) return fail(`${found.program} ${found.version} has no pip`, INSTALL_PYTHON);
    return ok(`${found.program} is ${found.version}, with pip`);
  } catch (error) {
    return fail(reasonOf(error), INSTALL_PYTHON);
  }
}

async function environment(data: string, { env }: MachineAsked): Promise<Verdict> {
  const found = await environmentOf(data, env).catch(() => undefined);
  if (!found) return skipped('there is no Python to make it with');
  const name = 'the pinned environment of steps and model servers';
  if (found.builder)
    return warn(`${name} is being made by process ${found.builder}`, 'wait for it');
  if (found.ready) return ok(`${name} is at ${found.folder}`);
  const rest = existsSync(`${found.folder}.part`) ? ' (a build was cut off)' : '';
  return warn(
    `${name} is not made yet${rest}`,
    'nothing: the first step makes it, in about a minute and with the package index of your pip',
  );
}

function dataFolder(data: string): Verdict {
  const found = lstatSync(data, { throwIfNoEntry: false });
  const above = nearest(data);
  const writable = mayWrite(found ? data : above);
  if (!found)
    return writable
      ? ok(`not there yet; ${above} lets a start make it`)
      : fail(`it is not there, and ${above} cannot be written`, `chown it to you, or give --data`);
  if (!statSync(data).isDirectory())
    return fail('it is a file', 'move the file away, or give --data');
  if (!writable) return fail('it cannot be written', `chown -R it to who starts the server`);
  const disk = NETWORK_DISKS[statfsSync(data).type];
  if (disk)
    return warn(
      `it lies on ${disk}`,
      'move it to a disk of this machine: the table is a memory map, which two machines cannot share',
    );
  const others = statSync(data).mode & 0o077;
  if (others) return warn('others on this machine can look into it', `chmod 700 ${data}`);
  return ok('there, yours, and closed to others');
}

function disk(folder: string): Verdict {
  const { bavail, bsize, files, ffree } = statfsSync(folder);
  const free = bavail * bsize;
  const said = `${Math.floor(free / MIB)} MiB free`;
  const fix = 'make room, or start with --data on another disk; what is there stays whole';
  if (free < TOO_LITTLE_BYTES) return fail(said, fix);
  if (files > 0 && ffree < 1000) return fail(`${said}, ${ffree} files more`, fix);
  return free < LITTLE_BYTES
    ? warn(said, `${fix}; the Python environment alone takes 1.5 GiB`)
    : ok(said);
}

function table(folder: string): Verdict {
  if (!existsSync(join(folder, 'data.mdb'))) return ok('no table yet; the first start makes it');
  try {
    checkTableFile(folder);
    return ok('its heads and roots are whole (--deep looks further)');
  } catch (error) {
    return fail(reasonOf(error), 'put back a copy of the data folder (docs/guides/operations.md)');
  }
}

function lock(data: string): Verdict {
  if (!existsSync(join(data, 'lock'))) return ok('nobody has started here');
  const server = runningServer(data);
  if (server) return ok(`${server.url || 'a server that is starting'} has it (pid ${server.pid})`);
  const claims = readdirSync(join(data, 'lock')).filter((name) => /^\d+$/.test(name));
  return ok(`free; the last of ${claims.length} claims is of a process that has ended`);
}

async function port(data: string, asked: MachineAsked): Promise<Verdict> {
  const server = runningServer(data);
  if (server?.url) return answers(server.url);
  const busy: number[] = [];
  for (const each of portsOf(asked)) {
    const why = await whyTaken(each);
    if (why === undefined)
      return busy.length === 0
        ? ok(`${each} is free`)
        : warn(`${busy.join(', ')} is taken, ${each} is free`, `nothing: a start takes ${each}`);
    if (why !== 'EADDRINUSE') return fail(`${each} cannot be bound: ${why}`, 'give another --port');
    busy.push(each);
  }
  return fail(`${busy.join(' and ')} taken by another program`, 'end it, or start with --port');
}

const portsOf = ({ port: named }: MachineAsked): number[] =>
  named === undefined ? DEFAULT_PORTS : [named];

async function answers(url: string): Promise<Verdict> {
  const fix =
    'look at what it logged last; if it hangs, end it and start it again: nothing acknowledged is lost';
  try {
    const answer = await fetch(`${url}/health`, { signal: AbortSignal.timeout(PATIENCE_MS) });
    await answer.body?.cancel();
    return answer.ok ? ok(`${url} answers`) : fail(`${url}/health answers ${answer.status}`, fix);
  } catch (error) {
    return fail(`${url} does not answer: ${reasonOf(error)}`, fix);
  }
}

/** The code of the error that binding gives, or undefined if the port is free. */
function whyTaken(port: number): Promise<string | undefined> {
  return new Promise((done) => {
    const server = createServer();
    server.once('error', (error) => done(codeOf(error) ?? error.message));
    server.listen(port, '127.0.0.1', () => server.close(() => done(undefined)));
  });
}

function clock(data: string, now: number): Verdict {
  const newest = Math.max(
    0,
    ...['table/data.mdb', 'server.json', 'lock'].map(
      (name) => statSync(join(data, name), { throwIfNoEntry: false })?.mtimeMs ?? 0,
    ),
  );
  const behind = newest - now;
  if (behind > CLOCK_SLACK_MS)
    return warn(
      `the folder was last written ${Math.round(behind / 1000)} s after now`,
      'set the clock (timedatectl): times and ids of new records would sort before older ones',
    );
  return ok(new Date(now).toISOString());
}

function mayWrite(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The folder itself, or the nearest above it that is there. */
function nearest(folder: string): string {
  return existsSync(folder) || dirname(folder) === folder ? folder : nearest(dirname(folder));
}
