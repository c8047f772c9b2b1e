import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { listening } from './stack/lambda.ts';

/**
 * An address that shows a token for whoever shows none: scripts written for one machine, which lets loopback in, run
 * unchanged against an account. Everything else passes as it is, both ways, as it comes.
 */
export async function bearerProxy(to: string, token: string) {
  const server = createServer((request, response) => {
    const { method, url = '/', headers } = request;
    const onward = httpRequest(
      to + url,
      { method, headers: { authorization: `Bearer ${token}`, ...headers, host: new URL(to).host } },
      (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
        answer.pipe(response).once('error', () => answer.destroy());
        answer.once('error', () => response.destroy());
      },
    );
    onward.once('error', () =>
      response.headersSent ? response.destroy() : response.writeHead(502).end(),
    );
    request.pipe(onward);
  });
  await listening(server);
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close(): Promise<void> {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}
