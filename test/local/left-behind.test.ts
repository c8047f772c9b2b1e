import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { jobsOf } from './left-behind.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'stillflow-left-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** As somebody who is not root: root may remove what is read-only. */
function asNobody(script: string): string {
  chmodSync(folder, 0o777);
  const nobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
  const file = join(import.meta.dirname, 'left-behind.ts');
  const ran = spawnSync(process.execPath, [file, folder, script], { ...nobody, encoding: 'utf8' });
  return ran.stdout + ran.stderr;
}

test('a step that leaves a read-only folder in its HOME ends, and a later server starts', () => {
  const script = 'mkdir -p $HOME/go/pkg && touch $HOME/go/pkg/mod && chmod -R a-w $HOME/go';
  expect(asNobody(script)).toBe('succeeded\nsucceeded\n');
  expect(existsSync(join(folder, 'jobs/default0/j1/nodes/0/scratch'))).toBe(false);
});

test('a job whose last word cannot be written is told as failed, and the next one runs', async () => {
  const jobs = await jobsOf(folder);
  const first = await jobs.run('j1', 'mkdir -p ../../../../done.json/x');
  expect(first).toMatchObject({ state: 'failed' });
  expect(first.failure).toContain('could not be kept');
  expect(await jobs.run('j2', 'exit 0')).toMatchObject({ state: 'succeeded' });
  await jobs.close();
});

test('a job folder that cannot be read keeps no server from starting', async () => {
  mkdirSync(join(folder, 'jobs/active'), { recursive: true });
  mkdirSync(join(folder, 'jobs/default0/broken'), { recursive: true });
  writeFileSync(join(folder, 'jobs/active/default0.broken'), '');
  writeFileSync(join(folder, 'jobs/default0/broken/spec.json'), '{');
  const jobs = await jobsOf(folder);
  expect(await jobs.run('j1', 'exit 0')).toMatchObject({ state: 'succeeded' });
  await jobs.close();
});
