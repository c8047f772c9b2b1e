import { fork } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
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
  expect(readdirSync(data)).toEqual(['lock']);
  takeLock(data).release();
});

test('a claim whose pid is another process by now is stale', () => {
  const data = folder();
  takeLock(data).publish('http://gone');
  writeFileSync(join(data, 'lock/1'), JSON.stringify({ pid: process.pid, startTime: '1' }));
  writeFileSync(
    join(data, 'server.json'),
    JSON.stringify({ pid: process.pid, startTime: '1', url: 'x' }),
  );
  expect(runningServer(data)).toBeUndefined();
  const lock = takeLock(data);
  expect(() => takeLock(data)).toThrow(Taken);
  lock.release();
});

test.each(['', '{"pid":', 'null'])('what is no claim of ours at all is stale: %j', (text) => {
  const data = folder();
  takeLock(data).release();
  writeFileSync(join(data, 'lock/1'), text);
  writeFileSync(join(data, 'server.json'), text);
  takeLock(data).release();
});

test('old claims go', () => {
  const data = folder();
  for (let round = 0; round < 10; round++) takeLock(data).release();
  expect(readdirSync(join(data, 'lock'))).toHaveLength(3);
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
