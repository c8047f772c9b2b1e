import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { archiveOf } from '../../functions/platform/aws/archive.ts';
import { call } from '../jobs/local.ts';
import { memoryBlobs } from './memory-blobs.ts';

/** What `tar` of this machine makes of it. */
const run = promisify(execFile);
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillflow-tar-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const bytesOf = async (stream: ReadableStream<Uint8Array>) =>
  Buffer.from(await new Response(stream as BodyInit).arrayBuffer());

test('holds every blob below the prefix under its own name, and nothing else', async () => {
  const blobs = memoryBlobs('bucket');
  const long = `${'deep/'.repeat(30)}größe.bin`;
  const files: Record<string, Buffer> = {
    MLmodel: Buffer.from('flavors: {}\n'),
    'data/empty': Buffer.alloc(0),
    'data/block': Buffer.alloc(512, 7),
    'données.txt': Buffer.from('é'),
    [long]: Buffer.alloc(100_001, 'x'),
  };
  for (const [name, bytes] of Object.entries(files)) await blobs.put(call, `m/${name}`, bytes);
  await blobs.put(call, 'mm/other', Buffer.from('x'));
  const packed = await bytesOf(await archiveOf(call, blobs, 'm/'));
  expect(await bytesOf(await archiveOf(call, blobs, 'm/'))).toEqual(packed);
  await writeFile(join(folder, 'a.tar.gz'), packed);
  await run('tar', ['-xzf', 'a.tar.gz'], { cwd: folder });
  for (const [name, bytes] of Object.entries(files))
    expect(await readFile(join(folder, name)), name).toEqual(bytes);
  expect((await readdir(folder)).sort()).toEqual(
    ['MLmodel', 'a.tar.gz', 'data', 'deep', 'données.txt'].sort(),
  );
});

test('a blob that shrinks under way fails the stream; nothing to pack is missing', async () => {
  const blobs = memoryBlobs('bucket');
  await expect(archiveOf(call, blobs, 'm/')).rejects.toMatchObject({ code: 'missing' });
  await blobs.put(call, 'm/a', Buffer.from('abc'));
  const { list } = blobs;
  const lying = {
    get: blobs.get,
    list: async (...args: Parameters<typeof list>) => {
      const page = await list(...args);
      return { ...page, blobs: page.blobs.map((head) => ({ ...head, sizeBytes: 5 })) };
    },
  };
  await expect(bytesOf(await archiveOf(call, lying, 'm/'))).rejects.toMatchObject({
    code: 'conflict',
  });
});
