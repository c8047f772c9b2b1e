import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream as NodeStream } from 'node:stream/web';
import { type GatewayEvent, headOf } from './gateway.ts';

/** What the Lambda runtime puts in the global scope of a function. Source: AWS Lambda developer guide, "Response streaming". */
interface Runtime {
  streamifyResponse<Handler>(handler: Handler): Handler;
  readonly HttpResponseStream: { from(stream: Writable, head: unknown): Writable };
}

/** A handler whose answer leaves as it comes. It cuts the stream when the source fails: a short answer must not look whole. */
export function streamed(answer: (event: GatewayEvent) => Promise<Response>) {
  const { awslambda } = globalThis as { awslambda?: Partial<Runtime> };
  // The SDK makes an empty one where there is none, so its presence says nothing.
  const runtime = awslambda?.streamifyResponse ? (awslambda as Runtime) : undefined;
  const handler = async (event: GatewayEvent, out: Writable): Promise<void> => {
    const response = await answer(event);
    const head = headOf(response);
    const body = runtime ? runtime.HttpResponseStream.from(out, head) : out;
    // The runtime sends the head with the first byte, so an empty answer needs a write too.
    if (!response.body) body.end('');
    else await pipeline(Readable.fromWeb(response.body as NodeStream), body);
  };
  return runtime ? runtime.streamifyResponse(handler) : handler;
}
