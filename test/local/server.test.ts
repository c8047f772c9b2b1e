import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Listening, listen, PortBusy } from '../../local/server.ts';

let server: Listening;
beforeAll(async () => {
  server = await listen(() => new Response('reached'), '127.0.0.1', 0);
});
afterAll(() => server.close(0));

/** The bytes of a request as they are, which no client library would send. */
function raw(text: string): Promise<string> {
  return new Promise((done, failed) => {
    const socket = connect(server.port, '127.0.0.1', () => socket.write(text));
    let answer = '';
    socket.setEncoding('utf8').on('data', (part: string) => {
      answer += part;
    });
    socket.on('end', () => done(answer)).on('error', failed);
  });
}
const get = (target: string) =>
  raw(`GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);

describe('a request target with dot segments is refused before anything resolves it', () => {
  test.each([
    [
      '/api/2.0/mlflow-artifacts/artifacts/../../etc/passwd',
      '"error_code":"INVALID_PARAMETER_VALUE"',
    ],
    [
      '/api/2.0/mlflow-artifacts/artifacts/%2e%2e/%2E%2e/x',
      '"error_code":"INVALID_PARAMETER_VALUE"',
    ],
    ['/api/2.0/mlflow-artifacts/artifacts/..%2f..%2fx', '"error_code":"INVALID_PARAMETER_VALUE"'],
    ['/api/2.0/mlflow-artifacts/artifacts/..%5c..%5cx', '"error_code":"INVALID_PARAMETER_VALUE"'],
    ['/apis/v2beta1/runs/../x', '"code":3'],
    ['/a/./b', 'problem+json'],
  ])('%s', async (target, words) => {
    const answer = await get(target);
    expect(answer).toMatch(/^HTTP\/1.1 400 /);
    expect(answer).toContain(words);
  });
  test.each(['/a/..b', '/a/.hidden', '/a?x=../..', '/a/b..'])('%s is none', async (target) => {
    expect(await get(target)).toContain('reached');
  });
});

test('D01 two lengths, or a length and chunks, are one request that is refused', async () => {
  const smuggled = 'GET /second HTTP/1.1\r\nHost: localhost\r\n\r\n';
  const both = await raw(
    `POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
  );
  expect(both).toMatch(/^HTTP\/1.1 400 /);
  const two = await raw(
    `POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde${smuggled}`,
  );
  expect(two).toMatch(/^HTTP\/1.1 400 /);
  expect(both + two).not.toContain('reached');
});

test('D03 an endless header is cut off', async () => {
  const answer = await raw(
    `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(1 << 20)}\r\n\r\n`,
  ).catch(() => 'cut');
  expect(answer).toMatch(/^HTTP\/1.1 431 |cut/);
});

test('a busy port says which', async () => {
  await expect(listen(() => new Response(), '127.0.0.1', server.port)).rejects.toThrow(PortBusy);
});
