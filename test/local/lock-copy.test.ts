import { cpSync, mkdtempSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runningServer, Taken, takeLock } from '../../local/lock.ts';

const folder = () => mkdtempSync(join(tmpdir(), 'lock-'));

test('a copy of a data folder did not open while the original was served', () => {
  const data = folder();
  const lock = takeLock(data);
  lock.publish('http://127.0.0.1:5000');
  const copy = join(folder(), 'copy');
  cpSync(data, copy, { recursive: true });
  expect(runningServer(copy)).toBeUndefined();
  const second = takeLock(copy);
  second.publish('http://127.0.0.1:5001');
  expect(runningServer(copy)?.url).toBe('http://127.0.0.1:5001');
  expect(() => takeLock(copy)).toThrow('http://127.0.0.1:5001');
  expect(runningServer(data)?.url).toBe('http://127.0.0.1:5000');
  second.release();
  expect(() => takeLock(data)).toThrow(Taken);
  lock.release();
});

test.each(['symlink', 'new name'])('a folder that is served is taken, also by its %s', (how) => {
  const data = folder();
  const lock = takeLock(data);
  lock.publish('http://127.0.0.1:5000');
  const other = join(folder(), 'other');
  if (how === 'symlink') symlinkSync(data, other);
  else renameSync(data, other);
  expect(() => takeLock(other)).toThrow(Taken);
  expect(runningServer(other)?.pid).toBe(process.pid);
  if (how === 'new name') renameSync(other, data);
  lock.release();
});

test('a claim from before claims named their folder counts', () => {
  const data = folder();
  const lock = takeLock(data);
  const claim = join(data, 'lock/1');
  const { folder: _folder, ...old } = JSON.parse(readFileSync(claim, 'utf8'));
  writeFileSync(claim, JSON.stringify(old));
  expect(() => takeLock(data)).toThrow(Taken);
  lock.release();
  takeLock(data).release();
});

test('a folder that is not there has no server', () => {
  expect(runningServer(join(folder(), 'none'))).toBeUndefined();
});
