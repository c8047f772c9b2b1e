import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { lockedPython } from '../test/clients/venv.ts';
import { treeOf } from './tree.ts';

const root = resolve(import.meta.dirname, '..');
const START_SECONDS = 240;
const STOP_SECONDS = 15;

/** A server under test. */
export interface Contender {
  readonly name: string;
  /** Puts runs in by another way than its own REST face, which would take it too long. */
  fill?(folder: string, experiment: string, count: number): Promise<void>;
  command(folder: string, port: number): Promise<Command>;
}

interface Command {
  readonly argv: readonly [string, ...string[]];
  readonly env?: Readonly<Record<string, string>>;
}

export interface Running {
  readonly url: string;
  readonly pid: number;
  /** From spawn to the first 200 of /health. */
  readonly startMs: number;
  stop(): Promise<void>;
}

function mlflow(name: string, args: readonly string[], env: Record<string, string>): Contender {
  const python = () => lockedPython('bench-mlflow', join(root, 'bench/mlflow/requirements.lock'));
  const store = (folder: string) => join(folder, 'mlflow.db');
  return {
    name,
    async command(folder, port) {
      const places = ['--backend-store-uri', `sqlite:///${store(folder)}`];
      const artifacts = ['--artifacts-destination', join(folder, 'artifacts')];
      const address = ['--host', '127.0.0.1', '--port', String(port)];
      const server = ['-m', 'mlflow', 'server', ...address, ...places, ...artifacts, ...args];
      return { argv: [await python(), ...server], env };
    },
    async fill(folder, experiment, count) {
      const script = join(root, 'bench/mlflow/fill.py');
      const child = spawn(await python(), [script, store(folder), experiment, String(count)], {
        stdio: ['ignore', 'ignore', 'inherit'],
      });
      const code = await new Promise((done) => child.on('exit', done));
      if (code !== 0) throw new Error(`bench/mlflow/fill.py ended with ${code}`);
    },
  };
}

const stillflow = (name: string, entry: string): Contender => ({
  name,
  async command(folder, port) {
    const args = ['start', '--port', String(port), '--data', folder];
    return { argv: [process.execPath, join(root, entry), ...args] };
  },
});

const floor = (mode: 'wal' | 'memory'): Contender => ({
  name: `floor ${mode}`,
  async command(folder, port) {
    return {
      argv: [process.execPath, join(root, 'bench/floor.ts'), mode, folder, String(port)],
    };
  },
});

/** In the order in which they run, each alone. */
export const CONTENDERS: readonly Contender[] = [
  mlflow('mlflow 1w', ['--workers', '1'], { MLFLOW_SERVER_ENABLE_JOB_EXECUTION: 'false' }),
  mlflow('mlflow default', [], {}),
  stillflow('stillflow', 'dist/stillflow.js'),
  stillflow('stillflow source', 'bin/stillflow.ts'),
  floor('wal'),
  floor('memory'),
];

export async function start(contender: Contender, folder: string): Promise<Running> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const { argv, env } = await contender.command(folder, port);
  const [file, ...args] = argv;
  const from = performance.now();
  const child = spawn(file, args, {
    cwd: folder,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (chunk) => {
    said = (said + chunk).slice(-4000);
  });
  const pid = child.pid;
  if (pid === undefined) throw new Error(`${file} does not start`);
  const ended = new Promise<void>((done) => child.on('exit', () => done()));
  const cut = () => {
    for (const each of treeOf(pid)) end(each);
    process.exit(1);
  };
  process.once('SIGINT', cut).once('SIGTERM', cut);
  const stop = async () => {
    process.off('SIGINT', cut).off('SIGTERM', cut);
    const tree = treeOf(pid);
    child.kill('SIGTERM');
    await Promise.race([ended, pause(STOP_SECONDS * 1000, undefined, { ref: false })]);
    for (const each of tree) end(each);
    await ended;
  };
  while (!(await isUp(url))) {
    if (child.exitCode === null && performance.now() - from < START_SECONDS * 1000) await pause(3);
    else {
      await stop();
      throw new Error(`${contender.name} does not start:\n${said}`);
    }
  }
  return { url, pid, startMs: performance.now() - from, stop };
}

function end(pid: number) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

const isUp = (url: string) =>
  fetch(`${url}/health`).then(
    (answer) => answer.text().then(() => answer.status === 200),
    () => false,
  );

function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => done(port));
    });
  });
}
