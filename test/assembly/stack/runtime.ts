import { existsSync } from 'node:fs';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { Writable } from 'node:stream';

/**
 * Node's side of a Lambda: finds the handler as AWS's runtime does, and serves it over the Runtime API. Nothing of the
 * stack is imported here: this process is the function's own. Source: AWS Lambda developer guide, "Runtime API",
 * "Define handler in Node.js", "Response streaming".
 */
const api = `http://${process.env['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime`;
const root = process.env['LAMBDA_TASK_ROOT'] ?? '';
const streams = Symbol('awslambda.streaming');
/** Between head and body of a streamed HTTP answer. */
const DELIMITER = Buffer.alloc(8);
const HTTP_ANSWER = 'application/vnd.awslambda.http-integration-response';

type Handler = (event: unknown, ...rest: unknown[]) => unknown;

function call(path: string, method: string, headers: Record<string, string> = {}): ClientRequest {
  return request(`${api}${path}`, { method, headers });
}

async function answered(asked: ClientRequest): Promise<{ head: IncomingMessage; body: Buffer }> {
  const head = await new Promise<IncomingMessage>((resolve, reject) =>
    asked.once('response', resolve).once('error', reject),
  );
  const chunks: Buffer[] = [];
  for await (const chunk of head) chunks.push(chunk as Buffer);
  return { head, body: Buffer.concat(chunks) };
}

async function post(path: string, body: string, type?: string): Promise<void> {
  const asked = call(path, 'POST', type ? { 'lambda-runtime-function-error-type': type } : {});
  asked.end(body);
  await answered(asked);
}

const wordsOf = (thrown: unknown) => {
  const error = thrown instanceof Error ? thrown : undefined;
  return JSON.stringify({
    errorType: error?.name ?? typeof thrown,
    errorMessage: error?.message ?? String(thrown),
    trace: error?.stack?.split('\n') ?? [],
  });
};
const named = (name: string, message: string) => Object.assign(new Error(message), { name });

async function handlerOf(text: string): Promise<Handler> {
  const [, file = '', name = ''] = /^(.*?)\.([^./]+)$/.exec(text) ?? [];
  const path = ['', '.js', '.mjs', '.cjs']
    .map((end) => join(root, `${file}${end}`))
    .find((path) => path !== root && existsSync(path));
  if (!path) throw named('Runtime.ImportModuleError', `Error: Cannot find module '${file}'`);
  const found = ((await import(path)) as Record<string, unknown>)[name];
  if (typeof found !== 'function')
    throw named('Runtime.HandlerNotFound', `${text} is undefined or not exported`);
  return found as Handler;
}

/** What streams leaves as it is written, in chunks; the first write, or `from`, decides of what type it is. */
class Answer extends Writable {
  readonly #path: string;
  #asked: ClientRequest | undefined;
  #type = 'application/octet-stream';
  #head = Buffer.alloc(0);
  constructor(path: string) {
    super();
    this.#path = path;
  }
  http(head: unknown): this {
    this.#type = HTTP_ANSWER;
    this.#head = Buffer.concat([Buffer.from(JSON.stringify(head)), DELIMITER]);
    return this;
  }
  #open(): ClientRequest {
    if (this.#asked) return this.#asked;
    this.#asked = call(this.#path, 'POST', {
      'lambda-runtime-function-response-mode': 'streaming',
      'content-type': this.#type,
      'transfer-encoding': 'chunked',
    });
    this.#asked.on('error', () => {});
    if (this.#head.length) this.#asked.write(this.#head);
    return this.#asked;
  }
  override _write(chunk: Buffer, _: string, done: (error?: Error | null) => void): void {
    this.#open().write(chunk, done);
  }
  override _final(done: () => void): void {
    this.#open().end();
    done();
  }
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    // Cut off: a short answer must not look whole.
    if (error) this.#asked?.destroy();
    done(null);
  }
}

Object.assign(globalThis, {
  awslambda: {
    streamifyResponse: (handler: Handler) => Object.assign(handler, { [streams]: true }),
    HttpResponseStream: { from: (out: Answer, head: unknown) => out.http(head) },
  },
});

let handler: Handler;
try {
  handler = await handlerOf(process.env['_HANDLER'] ?? '');
} catch (error) {
  const name =
    error instanceof Error && error.name.startsWith('Runtime.') ? error.name : 'Runtime.Unknown';
  await post('/init/error', wordsOf(error), name).catch(() => {});
  process.exit(1);
}

for (;;) {
  const next = call('/invocation/next', 'GET');
  next.end();
  const { head, body } = await answered(next);
  const id = String(head.headers['lambda-runtime-aws-request-id']);
  const deadline = Number(head.headers['lambda-runtime-deadline-ms']);
  const context = {
    awsRequestId: id,
    functionName: process.env['AWS_LAMBDA_FUNCTION_NAME'],
    functionVersion: '$LATEST',
    memoryLimitInMB: process.env['AWS_LAMBDA_FUNCTION_MEMORY_SIZE'],
    invokedFunctionArn: String(head.headers['lambda-runtime-invoked-function-arn']),
    logGroupName: process.env['AWS_LAMBDA_LOG_GROUP_NAME'],
    logStreamName: process.env['AWS_LAMBDA_LOG_STREAM_NAME'],
    callbackWaitsForEmptyEventLoop: true,
    getRemainingTimeInMillis: () => deadline - Date.now(),
  };
  const path = `/invocation/${id}`;
  try {
    const event: unknown = JSON.parse(body.toString());
    if (streams in handler) {
      const out = new Answer(`${path}/response`);
      try {
        await handler(event, out, context);
      } catch (error) {
        out.destroy(error as Error);
        throw error;
      }
    } else {
      const result: unknown = await handler(event, context);
      await post(`${path}/response`, JSON.stringify(result === undefined ? null : result));
    }
  } catch (error) {
    console.error(error);
    await post(`${path}/error`, wordsOf(error), (error as Error)?.name).catch(() => {});
  }
}
