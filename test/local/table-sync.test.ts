import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { start } from '../../local/start.ts';

/** What lmdb is opened with; only a loss of power shows the difference. */
const opened = vi.hoisted(
  (): { path?: string; noSync?: boolean; overlappingSync?: boolean }[] => [],
);
vi.mock('lmdb', async (original) => {
  const lmdb = await original<typeof import('lmdb')>();
  const open = (options: { path: string }) => {
    opened.push(options);
    return lmdb.open(options);
  };
  return { ...lmdb, open };
});

test('the server opens its table so that a commit is on the disk before it is acknowledged', async () => {
  const data = mkdtempSync(join(tmpdir(), 'sync-'));
  const server = await start({
    ...{ data, host: '127.0.0.1', port: 0, auth: false, hosts: [] },
    log: () => {},
  });
  await server.stop();
  rmSync(data, { recursive: true });
  expect(opened).toMatchObject([
    { path: join(data, 'table'), noSync: false, overlappingSync: false },
  ]);
});
