import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serve } from '@hono/node-server';
import { refusedDots } from '../functions/protocols/dots.ts';

export interface Listening {
  /** `http://127.0.0.1:5000`. */
  readonly url: string;
  readonly port: number;
  /** Stops taking requests, lets the running ones end, and cuts what is left after `graceMs`. */
  close(graceMs?: number): Promise<void>;
}

export class PortBusy extends Error {
  constructor(port: number) {
    super(`port ${port} is busy; choose another with --port, or 0 for a free one`);
  }
}

type Fetch = (request: Request) => Response | Promise<Response>;

/** Serves `fetch` on Node. Times out slow headers and slow bodies, so idle sockets cost nothing. */
export function listen(fetch: Fetch, host: string, port: number): Promise<Listening> {
  return new Promise((resolve, reject) => {
    const server = serve(
      {
        fetch: (request, { incoming }) => refusedDots(incoming.url ?? '') ?? fetch(request),
        hostname: host,
        port,
        // The adapter's own Request and Response carry text through without a stream for each body.
        overrideGlobalObjects: true,
      },
      (address: AddressInfo) => {
        const shown = host.includes(':') ? `[${host}]` : host;
        resolve({
          url: `http://${shown}:${address.port}`,
          port: address.port,
          close: closer(server as Server),
        });
      },
    ) as Server;
    server.headersTimeout = 20_000;
    server.requestTimeout = 600_000;
    server.keepAliveTimeout = 65_000;
    server.maxHeadersCount = 200;
    server.on('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'EADDRINUSE' ? new PortBusy(port) : error);
    });
  });
}

function closer(server: Server) {
  return (graceMs = 5000) =>
    new Promise<void>((resolve) => {
      const cut = setTimeout(() => server.closeAllConnections(), graceMs);
      server.close(() => {
        clearTimeout(cut);
        resolve();
      });
      server.closeIdleConnections();
    });
}
