import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { Agent, type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type {
  EndpointSpec,
  InferenceAnswer,
  InferenceRequest,
} from '../functions/platform/ports.ts';
import { readRecord, tail } from './job_folder.ts';
import { signalGroup } from './processes.ts';
import { removeTree } from './remove_tree.ts';
import { TETHER } from './wrapper.ts';

/** What to run for a model: the command is told where to write `{"port": N}` once it listens on 127.0.0.1:N. */
export interface ServerCommand {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}
export type CommandFor = (spec: EndpointSpec, readyFile: string) => Promise<ServerCommand>;

export interface CopyOptions {
  readonly spec: EndpointSpec;
  /** A folder of this start alone: pid, log, ready.json, scratch. */
  readonly folder: string;
  readonly commandFor: CommandFor;
  readonly env: Readonly<Record<string, string>>;
  readonly startTimeoutMs: number;
  readonly graceMs: number;
  /** Gives up on a start under way. */
  readonly signal: AbortSignal;
}

/** The server answered nothing: it is gone, or it hung up before its first byte. */
export class HungUp extends Error {}

/** One running model server. */
export interface Copy {
  /** Requests that it is answering. */
  readonly active: number;
  /** Resolves when its process has ended. */
  readonly ended: Promise<void>;
  /** Counts a request that `ask` will send, at once: two who choose a copy together must see each other. */
  take(): void;
  /** Sends what was taken. Throws `HungUp`. `deadlineMs` from now. */
  ask(request: InferenceRequest, deadlineMs: number): Promise<InferenceAnswer>;
  /** Lets running requests end, then SIGTERM, then SIGKILL. */
  stop(drainMs: number): Promise<void>;
}

/** Starts a server and resolves when it has answered its ping. Throws with its last output. */
export async function startCopy(options: CopyOptions): Promise<Copy> {
  const { folder, spec } = options;
  await mkdir(join(folder, 'scratch'), { recursive: true });
  const ready = join(folder, 'ready.json');
  const { command, env } = await options.commandFor(spec, ready);
  const child = spawn('/bin/sh', ['-c', TETHER, 'tether', folder, ...command], {
    cwd: join(folder, 'scratch'),
    env: {
      ...options.env,
      HOME: join(folder, 'scratch'),
      TMPDIR: join(folder, 'scratch'),
      ...env,
      ...spec.env,
    },
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  // The pipe is only held, never written: an error on it says no more than the exit.
  child.stdin?.on('error', () => {});
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  }).then(async () => void (await removeTree(join(folder, 'scratch'))));
  const copy = running(child, ended, options);
  try {
    await copy.listening(ready);
    return copy;
  } catch (error) {
    await copy.stop(0);
    const why = error instanceof Error ? error.message : String(error);
    const last = (await tail(join(folder, 'log'), 1500)).trim();
    throw new Error(last ? `${why} Its last output: ${last}` : why);
  }
}

function running(child: ChildProcess, ended: Promise<void>, options: CopyOptions) {
  const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });
  let port = 0;
  let active = 0;
  let gone = false;
  let idle: (() => void) | undefined;
  void ended.then(() => {
    gone = true;
    agent.destroy();
  });

  const release = () => {
    active -= 1;
    if (active === 0) idle?.();
  };

  function send(asked: InferenceRequest, deadlineMs: number): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const ping = asked.path === '/ping';
      const sent = request(
        {
          host: '127.0.0.1',
          port,
          agent,
          path: asked.path,
          method: ping ? 'GET' : 'POST',
          headers: ping
            ? {}
            : { 'content-type': asked.contentType, 'content-length': asked.body.byteLength },
          timeout: Math.max(1, Math.min(deadlineMs, 2 ** 31 - 1)),
        },
        resolve,
      );
      sent.once('timeout', () => sent.destroy(new Error('the model did not answer in time')));
      sent.once('error', (cause: NodeJS.ErrnoException) =>
        reject(
          cause.code === 'ECONNREFUSED' || cause.code === 'ECONNRESET' || cause.code === 'EPIPE'
            ? new HungUp('the model server hung up', { cause })
            : cause,
        ),
      );
      sent.end(ping ? undefined : asked.body);
    });
  }

  return {
    get active() {
      return active;
    },
    ended,
    async listening(ready: string): Promise<void> {
      const end = performance.now() + options.startTimeoutMs;
      for (;;) {
        if (options.signal.aborted) throw new Error('The start was given up.');
        if (gone) throw new Error('The model server ended before it was ready.');
        if (performance.now() > end)
          throw new Error(`The model server was not ready after ${options.startTimeoutMs} ms.`);
        port = port || ((await readRecord<{ port: number }>(ready))?.port ?? 0);
        if (port) {
          const answer = await send(PING, 2000).catch(() => undefined);
          answer?.resume();
          if (answer?.statusCode === 200) return;
        }
        await delay(25);
      }
    },
    take() {
      active += 1;
    },
    async ask(asked: InferenceRequest, deadlineMs: number): Promise<InferenceAnswer> {
      try {
        if (gone) throw new HungUp('the model server is gone');
        const answer = await send(asked, deadlineMs);
        answer.once('close', release);
        return {
          status: answer.statusCode ?? 502,
          contentType: answer.headers['content-type'] ?? 'application/octet-stream',
          body: Readable.toWeb(answer) as ReadableStream<Uint8Array>,
          revision: options.spec.revision,
        };
      } catch (error) {
        release();
        throw error;
      }
    },
    async stop(drainMs: number): Promise<void> {
      if (active > 0 && drainMs > 0 && !gone)
        await Promise.race([
          new Promise<void>((resolve) => (idle = resolve)),
          ended,
          delay(drainMs, undefined, { ref: false }),
        ]);
      if (child.pid !== undefined && !gone) signalGroup(child.pid, 'SIGTERM');
      await Promise.race([ended, delay(options.graceMs, undefined, { ref: false })]);
      if (child.pid !== undefined && !gone) signalGroup(child.pid, 'SIGKILL');
      await ended;
    },
  };
}

const PING: InferenceRequest = { path: '/ping', contentType: '', body: new Uint8Array() };
