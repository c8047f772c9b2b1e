import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import type { FunctionSpec } from './functions.ts';
import { REGION } from './intrinsics.ts';

/** How an invocation ended. `error` is what AWS puts in X-Amz-Function-Error. */
export interface Ended {
  readonly error?: { readonly errorType: string; readonly errorMessage: string };
  readonly body: Buffer;
}
export interface Streamed {
  readonly type: string;
  readonly body: Readable;
}

export interface HostOptions {
  readonly gateway: string;
  /** Where functions' processes may write: their logs are kept in memory. */
  readonly scratch: string;
  readonly python: {
    readonly program: string;
    readonly runtime: string;
    opt(layer: string): string;
  };
  readonly log: (line: Record<string, unknown>) => void;
}

const MOST_A_FUNCTION = 4;
const MOST_PROCESSES = 48;
const START_MS = 30_000;
export const SYNC_BYTES = 6 * 1024 * 1024;
const KEPT_LOG = 100_000;

interface Invocation {
  readonly id: string;
  readonly payload: Buffer;
  readonly end: (how: Ended) => void;
  readonly stream?: (answer: Streamed) => void;
  /** Nothing is asked of the function but to come up. */
  readonly initialised?: () => void;
}
interface Sandbox {
  readonly spec: FunctionSpec;
  readonly child: ChildProcess;
  /** The runtime waits for its next event. */
  waiting?: ServerResponse;
  current?: Invocation;
  timer?: NodeJS.Timeout;
  usedAt: number;
  stop: (why: string) => void;
}

/** Lambda: each function in processes of its own, one request at a time each, fed over the Runtime API. */
export async function lambdaHost(functions: readonly FunctionSpec[], options: HostOptions) {
  const byName = new Map(
    functions.flatMap((spec) => [[spec.name, spec] as const, [spec.arn, spec] as const]),
  );
  const sandboxes = new Map<string, Sandbox>();
  const waiting: { spec: FunctionSpec; invocation: Invocation }[] = [];
  const logs = new Map<string, string>();
  const calls = new Map<string, number>();
  const failures: { at: string; errorType: string; errorMessage: string }[] = [];
  let closed = false;

  const server = createServer((request, response) => {
    serve(request, response).catch((error: unknown) => {
      options.log({ level: 'error', message: 'runtime api', error: String(error) });
      response.destroy();
    });
  });
  await listening(server);
  const { port } = server.address() as AddressInfo;

  function note(spec: FunctionSpec, chunk: string): void {
    logs.set(spec.name, ((logs.get(spec.name) ?? '') + chunk).slice(-KEPT_LOG));
  }

  function start(spec: FunctionSpec): Sandbox {
    const id = randomUUID();
    const { program, args, env } = commandOf(spec, id);
    const child = spawn(program, args, { cwd: spec.code, env, stdio: ['ignore', 'pipe', 'pipe'] });
    const sandbox: Sandbox = {
      spec,
      child,
      usedAt: Date.now(),
      stop(why) {
        if (!sandboxes.delete(id)) return;
        clearTimeout(sandbox.timer);
        child.kill('SIGKILL');
        fail(sandbox, 'Runtime.ExitError', why);
        advance();
      },
    };
    for (const out of [child.stdout, child.stderr])
      out?.setEncoding('utf8').on('data', (chunk: string) => note(spec, chunk));
    child.once('error', (error) => sandbox.stop(error.message));
    child.once('exit', (code, signal) => {
      const how = signal ? `signal: ${signal}` : `exit status ${code}`;
      sandbox.stop(`RequestId: ${sandbox.current?.id} Error: Runtime exited with error: ${how}`);
    });
    sandboxes.set(id, sandbox);
    return sandbox;
  }

  function commandOf(spec: FunctionSpec, id: string) {
    const { python } = options;
    const isPython = spec.runtime.startsWith('python');
    if (!isPython && !spec.runtime.startsWith('nodejs'))
      throw new Error(`${spec.at} runs on ${spec.runtime}, which npm run stack does not`);
    const home = join(options.scratch, 'tmp');
    mkdirSync(home, { recursive: true });
    const path = isPython ? python.program.replace(/\/[^/]+$/, '') : '/var/lang/bin';
    const env: Record<string, string> = {
      PATH: `${path}:/usr/local/bin:/usr/bin:/bin:/opt/bin`,
      LANG: 'en_US.UTF-8',
      TZ: ':UTC',
      ...spec.environment,
      AWS_ENDPOINT_URL: options.gateway,
      AWS_REGION: REGION,
      AWS_DEFAULT_REGION: REGION,
      AWS_ACCESS_KEY_ID: spec.caller.keys.accessKeyId,
      AWS_SECRET_ACCESS_KEY: spec.caller.keys.secretAccessKey,
      AWS_SESSION_TOKEN: spec.caller.keys.sessionToken ?? '',
      AWS_EXECUTION_ENV: `AWS_Lambda_${spec.runtime}`,
      AWS_LAMBDA_FUNCTION_NAME: spec.name,
      AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(spec.memoryMb),
      AWS_LAMBDA_LOG_GROUP_NAME: spec.logGroup,
      AWS_LAMBDA_LOG_STREAM_NAME: `stack/[$LATEST]${id.replaceAll('-', '')}`,
      AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${port}/${id}`,
      LAMBDA_TASK_ROOT: spec.code,
      LAMBDA_RUNTIME_DIR: isPython ? python.runtime : import.meta.dirname,
      _HANDLER: spec.handler,
    };
    if (!isPython)
      return { program: process.execPath, args: [join(import.meta.dirname, 'runtime.ts')], env };
    env['PYTHONPATH'] = python.runtime;
    env['STACK_LAYERS'] = spec.layers.map((layer) => python.opt(layer)).join(':');
    return { program: python.program, args: [join(import.meta.dirname, 'runtime.py')], env };
  }

  function fail(sandbox: Sandbox, errorType: string, errorMessage: string): void {
    const { current, spec } = sandbox;
    delete sandbox.current;
    if (!current) return;
    if (!closed) failures.push({ at: spec.at, errorType, errorMessage });
    if (!closed)
      options.log({
        level: 'error',
        message: 'function failed',
        function: spec.at,
        errorType,
        errorMessage,
      });
    const words = { errorType, errorMessage };
    current.end({ error: words, body: Buffer.from(JSON.stringify(words)) });
  }

  function give(sandbox: Sandbox): void {
    const { waiting: response, current, spec } = sandbox;
    if (!response || !current) return;
    delete sandbox.waiting;
    clearTimeout(sandbox.timer);
    const limitMs = spec.timeoutSeconds * 1000;
    sandbox.timer = setTimeout(() => {
      const seconds = spec.timeoutSeconds.toFixed(2);
      fail(
        sandbox,
        'Sandbox.Timedout',
        `RequestId: ${current.id} Error: Task timed out after ${seconds} seconds`,
      );
      sandbox.stop('timed out');
    }, limitMs);
    response.setHeader('lambda-runtime-aws-request-id', current.id);
    response.setHeader('lambda-runtime-deadline-ms', String(Date.now() + limitMs));
    response.setHeader('lambda-runtime-invoked-function-arn', spec.arn);
    response.end(current.payload);
  }

  /** Gives what waits to who is free, starting processes as far as there is room. */
  function advance(): void {
    if (closed) return;
    for (let at = 0; at < waiting.length; ) {
      const next = waiting[at];
      if (!next) return;
      const own = [...sandboxes.values()].filter(({ spec }) => spec === next.spec);
      const free = own.find(({ current }) => current === undefined);
      const most = next.spec.runtime.startsWith('python') ? 1 : MOST_A_FUNCTION; // they share one /tmp
      if (!free && (own.length >= most || !room())) {
        at += 1;
        continue;
      }
      waiting.splice(at, 1);
      const sandbox = free ?? start(next.spec);
      sandbox.current = next.invocation;
      sandbox.usedAt = Date.now();
      if (!free)
        sandbox.timer = setTimeout(() => {
          fail(
            sandbox,
            'Sandbox.Timedout',
            `the function did not initialise within ${START_MS / 1000} s`,
          );
          sandbox.stop('timed out');
        }, START_MS);
      give(sandbox);
    }
  }

  /** Whether one more process may start; the one that nobody asked for longest makes place. */
  function room(): boolean {
    if (sandboxes.size < MOST_PROCESSES) return true;
    const idle = [...sandboxes.entries()]
      .filter(([, { current }]) => current === undefined)
      .sort(([, a], [, b]) => a.usedAt - b.usedAt)[0];
    if (!idle) return false;
    const [id, { child, timer }] = idle;
    sandboxes.delete(id);
    clearTimeout(timer);
    child.kill('SIGKILL');
    return true;
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, id = '', , , ...path] = (request.url ?? '').split('/');
    const sandbox = sandboxes.get(id);
    if (!sandbox) return void response.writeHead(403).end();
    if (path.join('/') === 'invocation/next') {
      sandbox.waiting = response;
      if (sandbox.current?.initialised) {
        sandbox.current.initialised();
        delete sandbox.current;
      }
      give(sandbox);
      if (!sandbox.current) advance();
      return;
    }
    const current = sandbox.current;
    if (request.headers['lambda-runtime-function-response-mode'] === 'streaming' && current?.stream)
      return relayed(sandbox, current, request, response);
    const body = await bodyOf(request);
    response.writeHead(202).end();
    if (path.join('/') === 'init/error') {
      const { errorType: type, errorMessage = '' } = JSON.parse(body.toString());
      const named = String(request.headers['lambda-runtime-function-error-type'] ?? type);
      const words = named === 'Runtime.Unknown' ? `${type}: ${errorMessage}` : errorMessage;
      fail(sandbox, named === 'Runtime.Unknown' ? type : named, words);
      return sandbox.stop('init failed');
    }
    if (!current || path[1] !== current.id) return;
    clearTimeout(sandbox.timer);
    if (path[2] === 'error') {
      const { errorType, errorMessage } = JSON.parse(body.toString());
      failures.push({ at: sandbox.spec.at, errorType, errorMessage });
      delete sandbox.current;
      current.end({ error: { errorType, errorMessage }, body });
    } else if (body.length > SYNC_BYTES)
      fail(
        sandbox,
        'Function.ResponseSizeTooLarge',
        `Response payload size (${body.length} bytes) exceeded maximum allowed payload size (6291556 bytes).`,
      );
    else {
      delete sandbox.current;
      current.end({ body });
    }
  }

  async function relayed(
    sandbox: Sandbox,
    current: Invocation,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const body = new PassThrough();
    current.stream?.({ type: request.headers['content-type'] ?? '', body });
    request.on('error', (error) => body.destroy(error));
    request.pipe(body);
    await new Promise<void>((done) => request.once('close', done));
    clearTimeout(sandbox.timer);
    if (!request.complete) body.destroy(new Error('the function cut its answer off'));
    delete sandbox.current;
    current.end({ body: Buffer.alloc(0) });
    response.writeHead(202).end();
  }

  function find(nameOrArn: string): FunctionSpec | undefined {
    return byName.get(nameOrArn.replace(/:\$LATEST$/, ''));
  }

  return {
    find,
    functions,
    failures,
    /** How often each was invoked, by where it stands. */
    calls: (at: string) => calls.get(at) ?? 0,
    logOf: (at: string) => logs.get(functions.find((spec) => spec.at === at)?.name ?? '') ?? '',
    /** Starts one and waits until its handler is found. Throws in AWS's words if it is not, or what it needs is not. */
    async initialise(spec: FunctionSpec): Promise<void> {
      const sandbox = start(spec);
      await new Promise<void>((resolve, reject) => {
        const id = randomUUID();
        const end = ({ error }: Ended) =>
          reject(new Error(`${spec.at}: ${error?.errorType}: ${error?.errorMessage}`));
        sandbox.current = { id, payload: Buffer.alloc(0), end, initialised: resolve };
      });
    },
    /** Resolves when it has ended; `stream` hears of an answer that comes in parts. */
    invoke(
      spec: FunctionSpec,
      payload: Buffer,
      stream?: (answer: Streamed) => void,
    ): Promise<Ended> {
      calls.set(spec.at, (calls.get(spec.at) ?? 0) + 1);
      return new Promise((end) => {
        const invocation = { id: randomUUID(), payload, end, ...(stream ? { stream } : {}) };
        waiting.push({ spec, invocation });
        advance();
      });
    },
    async close(): Promise<void> {
      closed = true;
      for (const { child, timer } of sandboxes.values()) {
        clearTimeout(timer);
        child.kill('SIGKILL');
      }
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}
export type Host = Awaited<ReturnType<typeof lambdaHost>>;

export async function bodyOf(request: AsyncIterable<unknown>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

export const listening = (server: Server, port = 0): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve());
  });
