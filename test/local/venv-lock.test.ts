import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { pythonVenvs } from '../../local/venvs.ts';

const VERSION = '3.13.0 CPython linux x86_64';
let folder: string;
let lock: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'stillflow-venvs-'));
  for (const name of ['bin', 'locks', 'venvs']) mkdirSync(join(folder, name));
  writeFileSync(join(folder, 'locks/requirements.lock'), 'kfp\n');
  writeFileSync(join(folder, 'locks/uv.lock'), 'uv\n');
  // Says which Python it is and can do nothing else.
  const python = `#!/bin/sh\n[ "$1" = -c ] && { echo 3 13 ${VERSION}; exit; }\necho no module; exit 1\n`;
  writeFileSync(join(folder, 'bin/python3'), python, { mode: 0o755 });
  const key = createHash('sha256').update(`${VERSION}\nkfp\n`).digest('hex').slice(0, 20);
  lock = join(folder, 'venvs', `${key}.lock`);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const build = () =>
  pythonVenvs({
    dir: join(folder, 'venvs'),
    locks: join(folder, 'locks'),
    env: { PATH: `${join(folder, 'bin')}:/usr/bin:/bin` },
    progress: () => {},
  }).interpreter();

test('a lock that a killed server left empty, or in its own name, keeps nobody waiting', async () => {
  for (const left of ['', '{"pid":1,"startTime":"long ago"}']) {
    writeFileSync(lock, left);
    await expect(build()).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('could not be made'),
    });
    expect(existsSync(lock)).toBe(false);
  }
});

test('what keeps the lock from being taken is told, and is no other server', async () => {
  mkdirSync(`${lock}.${process.pid}`);
  await expect(build()).rejects.toMatchObject({ code: 'EISDIR' });
});
