import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { runningServer } from '../lock.ts';

/** The server that the demo plays with: its own child, or one that ran before and is never ended. */
export interface DemoServer {
  readonly url: string;
  readonly own: boolean;
  /** What it asks for, if it asks. */
  readonly token: string | undefined;
  /** SIGKILL, as a crash would, and the same data and port again. Milliseconds until it answered. */
  crash(): Promise<number>;
  stop(): Promise<void>;
}

export interface ServerAsked {
  readonly data: string;
  readonly port: number;
  /** Of a server that runs already. */
  readonly url: string | undefined;
  readonly env: NodeJS.ProcessEnv;
  /** This command's own file. */
  readonly command: string;
}

const READY_MS = 60_000;
const STOP_MS = 10_000;
/** Its log, in the data folder. */
const LOG_FILE = 'demo-server.log';

export async function findOrStart(asked: ServerAsked): Promise<DemoServer> {
  const { data, env } = asked;
  const running = runningServer(data);
  const url = asked.url ?? (running?.url || undefined);
  if (url === undefined) return startOwn(asked);
  const token =
    env['MLFLOW_TRACKING_TOKEN'] ?? (asked.url === undefined ? await operator(data) : undefined);
  return {
    url: url.replace(/\/+$/, ''),
    own: false,
    token,
    crash: () => Promise.reject(new Error('a server of somebody else is never killed')),
    stop: async () => {},
  };
}

/** What this user's own commands show the server of a data folder. */
async function operator(data: string): Promise<string> {
  const { OPERATOR_FILE } = await import('../start.ts');
  return readFileSync(join(data, OPERATOR_FILE), 'utf8');
}

async function startOwn(asked: ServerAsked): Promise<DemoServer> {
  let { child, url } = await startChild(asked, asked.port);
  const ended = () => child.exitCode !== null || child.signalCode !== null;
  return {
    url,
    own: true,
    token: undefined,
    async crash() {
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
      const began = performance.now();
      ({ child, url } = await startChild(asked, Number(new URL(url).port)));
      return performance.now() - began;
    },
    async stop() {
      if (ended()) return;
      const gone = once(child, 'exit');
      child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await gone;
      clearTimeout(late);
    },
  };
}

async function startChild({ data, env, command }: ServerAsked, port: number) {
  mkdirSync(data, { recursive: true, mode: 0o700 });
  const log = openSync(join(data, LOG_FILE), 'a', 0o600);
  const args = [command, 'start', '--data', data, '--port', String(port)];
  const child: ChildProcess = spawn(process.execPath, args, {
    env,
    stdio: ['ignore', 'pipe', log],
    // Ctrl-C is for the demo, which then stops the server.
    detached: true,
  });
  closeSync(log);
  // However the demo ends, its server does not outlive it.
  const leave = () => child.kill('SIGTERM');
  process.once('exit', leave);
  child.once('exit', () => process.off('exit', leave));
  const url = new Promise<string>((found, failed) => {
    let out = '';
    child.once('error', failed);
    child.once('exit', (code, signal) =>
      failed(
        new Error(`the server ended with ${code ?? signal}: its log is ${join(data, LOG_FILE)}`),
      ),
    );
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      out += text;
      const ready = /Stillflow ready at (\S+)/.exec(out)?.[1];
      if (ready) found(ready);
    });
  });
  const late = new AbortController();
  const tooLate = delay(READY_MS, undefined, { signal: late.signal }).then((): never => {
    child.kill('SIGKILL');
    throw new Error(`the server was not ready after ${READY_MS / 1000} s`);
  });
  tooLate.catch(() => {});
  try {
    return { child, url: await Promise.race([url, tooLate]) };
  } finally {
    late.abort();
  }
}
