import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');

/** A real server in a process of its own, as `npm start` gives it. */
export interface ChildServer {
  readonly url: string;
  readonly data: string;
  readonly process: ChildProcess;
  /** What it logged to stderr so far. */
  log(): string;
  /** SIGKILL, as a crash would. */
  kill(): Promise<void>;
  /** The same data and port again. */
  restart(): Promise<ChildServer>;
  /** Asks it to stop and removes its data, unless `keep`. */
  stop(options?: { keep?: boolean }): Promise<void>;
}

export interface ChildOptions {
  readonly data?: string;
  readonly port?: number;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

const READY_MS = 30_000;

/** Starts `bin/stillflow.ts start` on a free port and waits for its ready line. */
export async function startServer(options: ChildOptions = {}): Promise<ChildServer> {
  const data = options.data ?? mkdtempSync(join(tmpdir(), 'stillflow-'));
  const args = [
    'start',
    '--data',
    data,
    '--port',
    String(options.port ?? 0),
    ...(options.args ?? []),
  ];
  const child = spawn(process.execPath, [join(root, 'bin/stillflow.ts'), ...args], {
    cwd: root,
    env: { ...process.env, STILLFLOW_VENVS: join(root, '.venvs/steps'), ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-200_000);
  });
  const url = await new Promise<string>((found, failed) => {
    let out = '';
    const late = setTimeout(
      () => failed(new Error(`not ready in ${READY_MS} ms:\n${errors}`)),
      READY_MS,
    );
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text;
      const ready = /Stillflow ready at (\S+)/.exec(out)?.[1];
      if (!ready) return;
      clearTimeout(late);
      found(ready);
    });
    child.once('exit', (code, signal) => {
      clearTimeout(late);
      failed(new Error(`ended with ${code ?? signal} before it was ready:\n${errors}`));
    });
  });
  const ended = new Promise<void>((done) => child.once('exit', () => done()));
  const kill = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  return {
    url,
    data,
    process: child,
    log: () => errors,
    kill,
    async restart() {
      await kill();
      return startServer({ ...options, data, port: Number(new URL(url).port) });
    },
    async stop({ keep = false } = {}) {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGTERM');
        const late = setTimeout(() => child.kill('SIGKILL'), 10_000);
        await ended;
        clearTimeout(late);
      }
      if (!keep) rmSync(data, { recursive: true, force: true });
    },
  };
}
