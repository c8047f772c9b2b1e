import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openBlobs } from '../../local/blobs.ts';
import { blobsContract } from './blobs.ts';
import { callIn, newWorkspace, testWorld } from './calls.ts';

const folders: string[] = [];

async function open() {
  const folder = await mkdtemp(join(tmpdir(), 'stillflow-blobs-'));
  folders.push(folder);
  const world = testWorld();
  const url = 'http://127.0.0.1:5000';
  const blobs = openBlobs({ folder, world, secret: Buffer.alloc(32, 7), url });
  const fetch = async (address: string, init?: RequestInit) => {
    const answer = await blobs.serve(new Request(address, init));
    if (!answer) throw new Error('not a blob URL');
    return answer;
  };
  return { blobs, fetch, folder, world };
}

afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

blobsContract({ on: 'a folder', open, runs: Number(process.env['STILLFLOW_RUNS'] ?? 40) });

const fresh = () => callIn(newWorkspace());
const bytes = Buffer.from('x');

test('a blob and a folder of one name: the second is a conflict and the first stays', async () => {
  const { blobs } = await open();
  const call = fresh();
  await blobs.put(call, 'a', bytes);
  await expect(blobs.put(call, 'a/b', bytes)).rejects.toMatchObject({ code: 'conflict' });
  await blobs.put(call, 'c/d', bytes);
  for (const condition of [undefined, 'absent'] as const)
    await expect(blobs.put(call, 'c', bytes, condition)).rejects.toMatchObject({
      code: 'conflict',
    });
  expect((await blobs.list(call, '')).blobs.map(({ path }) => path)).toEqual(['a', 'c/d']);
  expect(await blobs.get(call, 'c')).toBeUndefined();
  expect(await blobs.get(call, 'a/b')).toBeUndefined();
});

test('a completed upload takes no more parts, nor completes of others', async () => {
  const { blobs } = await open();
  const call = fresh();
  const upload = await blobs.startUpload(call, 'a');
  const etag = await blobs.putPart(call, 'a', upload, 1, bytes);
  const parts = [{ part: 1, etag }];
  const head = await blobs.completeUpload(call, 'a', upload, parts);
  const missing = { code: 'missing' };
  await expect(blobs.putPart(call, 'a', upload, 2, bytes)).rejects.toMatchObject(missing);
  await expect(blobs.signPart(call, 'a', upload, 2)).rejects.toMatchObject(missing);
  const others = [...parts, { part: 2, etag }];
  await expect(blobs.completeUpload(call, 'a', upload, others)).rejects.toMatchObject(missing);
  await expect(blobs.completeUpload(call, 'b', upload, parts)).rejects.toMatchObject(missing);
  await blobs.put(call, 'a', Buffer.from('newer'));
  expect(await blobs.completeUpload(call, 'a', upload, parts)).toEqual(head);
  expect((await blobs.head(call, 'a'))?.sizeBytes).toBe(5);
});

test('the folder taken away from under it: what was there is missing, what comes is kept', async () => {
  const { blobs, folder } = await open();
  const call = fresh();
  await blobs.put(call, 'a/b', bytes);
  const gone = () => rm(folder, { recursive: true });
  await gone();
  expect(await blobs.get(call, 'a/b')).toBeUndefined();
  expect(await blobs.head(call, 'a/b')).toBeUndefined();
  expect((await blobs.list(call, '')).blobs).toEqual([]);
  await blobs.remove(call, 'a/b');
  await blobs.put(call, 'a/b', bytes);
  expect((await blobs.head(call, 'a/b'))?.sizeBytes).toBe(1);
  await gone();
  const upload = await blobs.startUpload(call, 'c');
  const etag = await blobs.putPart(call, 'c', upload, 1, bytes);
  await blobs.completeUpload(call, 'c', upload, [{ part: 1, etag }]);
  expect((await blobs.head(call, 'c'))?.sizeBytes).toBe(1);
});

test('A22: a folder swapped for a symlink is never followed, to read, list, write or remove', async () => {
  const { blobs, folder } = await open();
  const call = fresh();
  const outside = await mkdtemp(join(tmpdir(), 'stillflow-outside-'));
  folders.push(outside);
  await writeFile(join(outside, 'secret'), 'secret');
  await blobs.put(call, 'dir/kept', bytes);
  const root = join(folder, 'data', call.workspace);
  await symlink(outside, join(root, 'link'));
  await symlink(join(outside, 'secret'), join(root, 'dir', 'file'));
  expect(await blobs.get(call, 'link/secret')).toBeUndefined();
  expect(await blobs.get(call, 'dir/file')).toBeUndefined();
  expect(await blobs.head(call, 'dir/file')).toBeUndefined();
  await expect(blobs.put(call, 'link/new', bytes)).rejects.toMatchObject({ code: 'conflict' });
  await blobs.remove(call, 'link/secret');
  expect((await blobs.list(call, '')).blobs.map(({ path }) => path)).toEqual(['dir/kept']);
  // Swapped while puts are under way: each lands inside or fails, none outside.
  const swap = async () => {
    for (let i = 0; i < 20; i++) {
      await rename(join(root, 'dir'), join(root, `moved${i}`));
      await symlink(outside, join(root, 'dir'));
      await rm(join(root, 'dir'));
      await mkdir(join(root, 'dir')).catch(() => undefined);
    }
  };
  const puts = Array.from({ length: 100 }, (_, i) =>
    blobs.put(call, `dir/p${i}`, bytes).catch((error) => expect(error.code).toBe('conflict')),
  );
  await Promise.allSettled([swap(), ...puts]);
  expect(await readdir(outside)).toEqual(['secret']);
  expect(await readFile(join(outside, 'secret'), 'utf8')).toBe('secret');
});

test('a put over a symlink replaces the link, not what it points at', async () => {
  const { blobs, folder } = await open();
  const call = fresh();
  await blobs.put(call, 'a', bytes);
  const outside = join(folder, 'outside');
  await writeFile(outside, 'kept');
  await symlink(outside, join(folder, 'data', call.workspace, 'link'));
  await blobs.put(call, 'link', Buffer.from('new'));
  expect(await readFile(outside, 'utf8')).toBe('kept');
});

test('a named pipe left by a job blocks nobody and is no blob', async () => {
  const { blobs, folder } = await open();
  const call = fresh();
  await blobs.put(call, 'a', bytes);
  execFileSync('mkfifo', [join(folder, 'data', call.workspace, 'pipe')]);
  expect(await blobs.get(call, 'pipe')).toBeUndefined();
  expect((await blobs.list(call, '')).blobs).toHaveLength(1);
});

test('files that a job wrote into a located folder are blobs', async () => {
  const { blobs } = await open();
  const call = fresh();
  const at = blobs.locate(call, 'runs/1/out');
  await mkdir(at, { recursive: true });
  await writeFile(join(at, 'model.txt'), 'made by a job');
  await mkdir(join(at, 'empty'));
  const page = await blobs.list(call, 'runs/1/out/', { folders: true });
  expect(page).toMatchObject({
    blobs: [{ path: 'runs/1/out/model.txt', sizeBytes: 13 }],
    folders: [],
  });
  const before = await blobs.head(call, 'runs/1/out/model.txt');
  await writeFile(join(at, 'model.txt'), 'made again by');
  expect((await blobs.head(call, 'runs/1/out/model.txt'))?.etag).not.toBe(before?.etag);
});

test('equal sizes put within one tick of the clock have different etags', async () => {
  const { blobs } = await open();
  const call = fresh();
  const etags = new Set<string>();
  for (let i = 0; i < 40; i++)
    etags.add((await blobs.put(call, 'same', Buffer.from(String(1000 + i)))).etag);
  expect(etags.size).toBe(40);
});

test('puts and removes of one folder at once lose no blob', async () => {
  const { blobs } = await open();
  const call = fresh();
  await Promise.all(
    Array.from({ length: 60 }, async (_, i) => {
      await blobs.put(call, `f/g/${i}`, bytes);
      if (i % 2) await blobs.remove(call, `f/g/${i}`);
    }),
  );
  expect((await blobs.list(call, '')).blobs).toHaveLength(30);
});

test('a signed URL ends with its time, its method and its signature', async () => {
  const { blobs, fetch, world } = await open();
  const call = fresh();
  await blobs.put(call, 'a', bytes);
  const url = await blobs.sign(call, 'a', 'GET', 10_000);
  const changed = new URL(url);
  changed.searchParams.set('expires', '99999999999');
  expect((await fetch(changed.href)).status).toBe(403);
  changed.search = '';
  expect((await fetch(changed.href)).status).toBe(403);
  const other = url.replace(call.workspace, newWorkspace());
  expect((await fetch(other)).status).toBe(403);
  const head = await fetch(url, { method: 'HEAD' });
  expect([head.status, head.headers.get('content-length')]).toEqual([200, '1']);
  world.advance(899_000);
  expect((await fetch(url, { method: 'HEAD' })).status).toBe(200);
  world.advance(2_000);
  expect((await fetch(url)).status).toBe(403);
});

test('64 MB go through in pieces: no chunk read is over 1 MB, and every byte arrives', async () => {
  const { blobs } = await open();
  const call = fresh();
  const piece = Buffer.alloc(64 * 1024, 'stillflow ');
  let left = 1024;
  const sent = createHash('sha256');
  const source = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (left-- === 0) return controller.close();
      sent.update(piece);
      controller.enqueue(piece);
    },
  });
  await blobs.put(call, 'large', source);
  const got = createHash('sha256');
  let largest = 0;
  for await (const chunk of (await blobs.get(call, 'large'))?.body ?? []) {
    largest = Math.max(largest, chunk.length);
    got.update(chunk);
  }
  expect(largest).toBeLessThanOrEqual(1024 * 1024);
  expect(got.digest('hex')).toBe(sent.digest('hex'));
});
