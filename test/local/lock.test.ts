import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runningServer, Taken, takeLock } from '../../local/lock.ts';

const folder = () => mkdtempSync(join(tmpdir(), 'lock-'));

test('a second server on the same data names the first', () => {
  const data = folder();
  const lock = takeLock(data);
  lock.publish('http://127.0.0.1:5000');
  expect(() => takeLock(data)).toThrow(Taken);
  expect(() => takeLock(data)).toThrow('http://127.0.0.1:5000');
  expect(runningServer(data)?.pid).toBe(process.pid);
  lock.release();
  expect(runningServer(data)).toBeUndefined();
  takeLock(data).release();
});

test('a lock whose pid is another process by now is stale', () => {
  const data = folder();
  writeFileSync(
    join(data, 'server.json'),
    JSON.stringify({ pid: process.pid, startTime: '1', url: 'x' }),
  );
  expect(runningServer(data)).toBeUndefined();
  const lock = takeLock(data);
  expect(JSON.parse(readFileSync(join(data, 'server.json'), 'utf8')).startTime).not.toBe('1');
  lock.release();
});

test('a torn lock file is stale', () => {
  const data = folder();
  writeFileSync(join(data, 'server.json'), '{"pid":');
  takeLock(data).release();
});
