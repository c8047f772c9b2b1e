import { fork } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runningServer, Taken, takeLock } from '../../local/lock.ts';
import { startTimeOf } from '../../local/process.ts';

const folder = () => mkdtempSync(join(tmpdir(), 'lock-'));

test('a second server on the same data names the first', () => {
  const data = folder();
  const lock = takeLock(data);
  lock.publish('http://127.0.0.1:5000');
  expect(() => takeLock(data)).toThrow(Taken);
  expect(() => takeLock(data)).toThrow('http://127.0.0.1:5000');
  expect(runningServer(data)?.pid).toBe(process.pid);
  lock.release();
  expect(readdirSync(data)).toEqual([]);
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

test('what is no lock file of ours at all is stale', () => {
  const data = folder();
  writeFileSync(join(data, 'server.json'), '{"pid":');
  takeLock(data).release();
});

test("nobody releases another's lock", () => {
  const data = folder();
  const lock = takeLock(data);
  const other = JSON.stringify({ pid: 1, startTime: 'other', url: 'x' });
  writeFileSync(join(data, 'server.json'), other);
  lock.release();
  expect(readFileSync(join(data, 'server.json'), 'utf8')).toBe(other);
});

test('who lost the place before it was published ends', () => {
  const data = folder();
  const lock = takeLock(data);
  rmSync(join(data, 'server.json'));
  const other = takeLock(data);
  writeFileSync(
    join(data, 'server.json'),
    JSON.stringify({
      pid: process.ppid,
      startTime: startTimeOf(process.ppid),
      url: 'http://other',
    }),
  );
  expect(() => lock.publish('http://mine')).toThrow('http://other');
  other.release();
});

test('of eight that race for a stale lock, one wins', { timeout: 60_000 }, async () => {
  for (let round = 0; round < 5; round++) {
    const data = folder();
    writeFileSync(
      join(data, 'server.json'),
      JSON.stringify({ pid: 1, startTime: 'gone', url: '' }),
    );
    const racers = Array.from({ length: 8 }, () =>
      fork(join(import.meta.dirname, 'lock-racer.ts'), [data]),
    );
    const heard = (which: (typeof racers)[number]) =>
      new Promise<string>((done) => which.once('message', (word) => done(String(word))));
    await Promise.all(racers.map(heard));
    const outcomes = racers.map(heard);
    for (const racer of racers) racer.send('go');
    const words = await Promise.all(outcomes);
    const won = runningServer(data);
    for (const racer of racers) racer.kill('SIGKILL');
    expect(words.filter((word) => word === 'won')).toHaveLength(1);
    expect(won?.url).toMatch(/127\.0\.0\.1/);
    rmSync(data, { recursive: true });
  }
});
