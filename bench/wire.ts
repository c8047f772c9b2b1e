import { connect, type Socket } from 'node:net';

/** One keep-alive connection: as little work as a client can do, so that the server is what is measured. */
export interface Line {
  ask(method: string, path: string, body?: string | Buffer): Promise<Answer>;
  close(): void;
}

export interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

export function openLine(url: string): Promise<Line> {
  const { hostname, port } = new URL(url);
  const host = `${hostname}:${port}`;
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(lineOver(socket, host));
    });
  });
}

function lineOver(socket: Socket, host: string): Line {
  let waiting: { resolve(answer: Answer): void; reject(error: Error): void } | undefined;
  let held = Buffer.alloc(0);
  const fail = (error: Error) => {
    waiting?.reject(error);
    waiting = undefined;
  };
  socket.on('data', (chunk) => {
    held = held.length ? Buffer.concat([held, chunk]) : chunk;
    const answer = readAnswer(held);
    if (!answer) return;
    held = Buffer.alloc(0);
    const asked = waiting;
    waiting = undefined;
    asked?.resolve(answer);
  });
  socket.on('error', fail);
  socket.on('close', () => fail(new Error('the server closed the connection')));
  return {
    ask(method, path, body) {
      const length = body === undefined ? 0 : Buffer.byteLength(body);
      const type = body === undefined ? '' : 'Content-Type: application/json\r\n';
      const head = `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\n${type}Content-Length: ${length}\r\n\r\n`;
      return new Promise((resolve, reject) => {
        if (socket.destroyed) return reject(new Error('the connection is closed'));
        waiting = { resolve, reject };
        if (typeof body !== 'object') socket.write(head + (body ?? ''));
        else {
          socket.cork();
          socket.write(head);
          socket.write(body);
          socket.uncork();
        }
      });
    },
    close: () => socket.destroy(),
  };
}

const END = Buffer.from('\r\n\r\n');

/** A whole answer, or undefined while some of it is still to come. Bodies of known length, or in chunks. */
function readAnswer(held: Buffer): Answer | undefined {
  const end = held.indexOf(END);
  if (end < 0) return undefined;
  const head = held.toString('latin1', 0, end);
  const status = Number(head.slice(9, 12));
  const from = end + END.length;
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  if (length !== undefined) {
    const to = from + Number(length);
    return held.length < to ? undefined : { status, body: held.subarray(from, to) };
  }
  const body = /\r\ntransfer-encoding: *chunked/i.test(head)
    ? readChunks(held, from)
    : Buffer.alloc(0);
  return body && { status, body };
}

function readChunks(held: Buffer, from: number): Buffer | undefined {
  const chunks: Buffer[] = [];
  for (let at = from; ; ) {
    const end = held.indexOf('\r\n', at);
    if (end < 0) return undefined;
    const size = Number.parseInt(held.toString('latin1', at, end), 16);
    if (held.length < end + size + 4) return undefined;
    if (size === 0) return Buffer.concat(chunks);
    chunks.push(held.subarray(end + 2, end + 2 + size));
    at = end + size + 4;
  }
}
