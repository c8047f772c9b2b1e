import { expect, test } from 'vitest';
import { guard } from '../../local/guard.ts';

const check = guard(['ml.example']);
const ask = (method: string, headers: Record<string, string>) =>
  check({ method, headers: new Headers(headers) } as unknown as Request);

test.each([
  ['GET', { host: '127.0.0.1:5000' }],
  ['POST', { host: 'localhost:5000' }],
  ['POST', { host: '[::1]:5000' }],
  ['POST', { host: 'ml.example' }],
  ['POST', { host: 'localhost:5000', origin: 'http://localhost:5000' }],
  ['PUT', { host: 'ml.example', origin: 'https://ml.example' }],
  ['GET', { host: 'localhost:5000', 'sec-fetch-site': 'cross-site' }],
])('lets in %s %o', (method, headers) => {
  expect(ask(method, headers as unknown as Record<string, string>)).toBe(`http://${headers.host}`);
});

test.each([
  ['GET', { host: 'evil.example' }],
  ['GET', {}],
  ['GET', { host: '127.0.0.1.evil.example' }],
  ['GET', { host: 'localhost:5000@evil' }],
  ['POST', { host: 'localhost:5000', origin: 'null' }],
  ['POST', { host: 'localhost:5000', origin: 'http://evil.example' }],
  ['POST', { host: 'localhost:5000', origin: 'http://localhost:6000' }],
  ['DELETE', { host: 'ml.example', origin: 'https://evil.example' }],
  ['POST', { host: 'localhost:5000', 'sec-fetch-site': 'cross-site' }],
])('D04 D05 refuses %s %o', (method, headers) => {
  expect(() => ask(method, headers as Record<string, string>)).toThrow(/Host header|Cross-origin/);
});
