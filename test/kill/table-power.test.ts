import { spawn } from 'node:child_process';
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkLeft } from './table-checks.ts';

const CUTS = Number(process.env['STILLFLOW_CUTS'] ?? 60);
const writer = join(import.meta.dirname, 'table-writer.ts');

/** What the disk was asked: bytes at an offset, a sync, or a number that was acknowledged to the client. */
type Asked =
  | { write: Buffer; at: number; synced: boolean }
  | { size: number }
  | { sync: true }
  | { acknowledged: number };

/**
 * Runs the writer under strace and reads the calls on data.mdb, in the order they ended. strace prints every byte as
 * `\x..`, pwritev's pieces one by one; a descriptor opened with O_DSYNC syncs each of its writes.
 */
async function recorded(folder: string): Promise<Asked[]> {
  const log = join(folder, 'strace.log');
  const calls = 'openat,open,pwrite64,pwritev,writev,lseek,write,fdatasync,fsync,msync,ftruncate';
  const child = spawn(
    'strace',
    ['-f', '-xx', '-s', '10000000', '-e', `trace=${calls}`, '-o', log].concat([
      process.execPath,
      writer,
      join(folder, 'live'),
      '0',
      '4',
      '120',
    ]),
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  expect(await new Promise((resolve) => child.once('exit', resolve))).toBe(0);
  return parsed(await readFile(log, 'latin1'));
}

const bytesOf = (text: string) => Buffer.from(text.replaceAll('\\x', ''), 'hex');

function parsed(log: string): Asked[] {
  const asked: Asked[] = [];
  const data = new Map<string, { synced: boolean; at: number }>();
  const begun = new Map<string, string>();
  for (const raw of log.split('\n')) {
    const [, pid = '', rest = ''] = /^(\d+)\s+(.*)$/.exec(raw) ?? [];
    if (rest.endsWith('<unfinished ...>')) {
      begun.set(pid, rest.slice(0, -'<unfinished ...>'.length).trimEnd());
      continue;
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    const line = resumed ? (begun.get(pid) ?? '') + resumed[1] : rest;
    const [, call = '', fd = ''] = /^(\w+)\(([^,)]*)/.exec(line) ?? [];
    const result = / = (\d+)[^=]*$/.exec(line)?.[1];
    if (result === undefined) continue;
    if (call === 'openat' || call === 'open') {
      const path = bytesOf(/"([^"]*)"/.exec(line)?.[1] ?? '').toString();
      if (path.endsWith('/data.mdb')) data.set(result, { synced: /O_D?SYNC/.test(line), at: 0 });
      else data.delete(result);
      continue;
    }
    if (call === 'write' && fd === '1') {
      for (const n of bytesOf(/"([^"]*)"/.exec(line)?.[1] ?? '')
        .toString()
        .split('\n'))
        if (n !== '') asked.push({ acknowledged: Number(n) });
      continue;
    }
    const file = data.get(fd);
    if (!file) continue;
    if (call === 'lseek') file.at = Number(result);
    else if (call === 'pwrite64' || call === 'pwritev' || call === 'writev') {
      const strings = [...line.matchAll(/"([^"]*)"/g)].map(([, text = '']) => bytesOf(text));
      // writev goes on where lseek left it; the others end with their offset.
      const at = call === 'writev' ? file.at : Number(/, (\d+)\) += \d+[^=]*$/.exec(line)?.[1]);
      const write = Buffer.concat(strings);
      expect(write.length).toBe(Number(result));
      asked.push({ write, at, synced: file.synced });
      if (call === 'writev') file.at += write.length;
    } else if (call === 'ftruncate') asked.push({ size: Number(/, (\d+)\)/.exec(line)?.[1]) });
    else asked.push({ sync: true });
  }
  return asked;
}

/** A file as a power cut at `end` could leave it: what was synced, and any of the writes since, torn or whole. */
async function cut(asked: readonly Asked[], end: number, into: string): Promise<Set<number>> {
  const acknowledged = new Set<number>();
  const disk: { write: Buffer; at: number }[] = [];
  let loose: { write: Buffer; at: number }[] = [];
  for (const one of asked.slice(0, end)) {
    if ('acknowledged' in one) acknowledged.add(one.acknowledged);
    else if ('sync' in one) {
      disk.push(...loose);
      loose = [];
    } else if ('write' in one) (one.synced ? disk : loose).push(one);
  }
  // Each loose page may or may not have reached the disk, in any order.
  const order = loose.map((one) => ({ one, key: Math.random() })).sort((a, b) => a.key - b.key);
  for (const { one } of order) {
    const luck = Math.random();
    if (luck < 0.4) continue;
    const pages = Math.ceil(one.write.length / 4096);
    for (let page = 0; page < pages; page++)
      if (luck > 0.8 || Math.random() < 0.5) {
        const write = one.write.subarray(page * 4096, (page + 1) * 4096);
        disk.push({ write, at: one.at + page * 4096 });
      }
  }
  const file = await open(into, 'w');
  for (const { write, at } of disk) await file.write(write, 0, write.length, at);
  await file.close();
  return acknowledged;
}

/** Cuts the log at random points and checks what is left of each; says how many were found wanting. */
async function cuts(
  asked: readonly Asked[],
  count: number,
  folder: string,
  look: (at: string, acknowledged: ReadonlySet<number>) => Promise<unknown>,
): Promise<unknown[]> {
  // Before the first acknowledgement there is nothing to lose.
  const born = asked.findIndex((one) => 'acknowledged' in one);
  const wanting: unknown[] = [];
  for (let i = 0; i < count; i++) {
    const end = i === 0 ? asked.length : born + Math.floor(Math.random() * (asked.length - born));
    const at = await mkdtemp(join(folder, 'cut-'));
    const acknowledged = await cut(asked, end, join(at, 'data.mdb'));
    await look(at, acknowledged).catch((error) => wanting.push(error));
    await rm(at, { recursive: true });
  }
  return wanting;
}

async function probed(at: string, acknowledged: ReadonlySet<number>): Promise<void> {
  const script = join(import.meta.dirname, 'table-probe.ts');
  const child = spawn(process.execPath, [script, at, [...acknowledged].join(',')], {
    stdio: 'ignore',
  });
  const code = await new Promise((resolve) => child.once('exit', resolve));
  if (code !== 0) throw new Error(`the probe ended with ${code}`);
}

describe('a power cut', () => {
  let folder = '';
  let asked: Asked[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stillflow-power-'));
    asked = await recorded(folder);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test(`at ${CUTS} points of the write log: what was acknowledged is there, nothing is torn`, async () => {
    expect(asked.filter((one) => 'acknowledged' in one)).toHaveLength(120);
    expect(asked.filter((one) => 'write' in one).length).toBeGreaterThan(100);
    expect(await cuts(asked, CUTS, folder, checkLeft)).toEqual([]);
  });

  test('the model can fail: without the syncs something acknowledged is lost', async () => {
    const unsynced = asked
      .filter((one) => !('sync' in one))
      .map((one): Asked => ('write' in one ? { ...one, synced: false } : one));
    expect(await cuts(unsynced, 10, folder, probed)).not.toEqual([]);
  });
});
