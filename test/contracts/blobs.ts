import * as fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Call } from '../../functions/kernel/call.ts';
import type { Blobs } from '../../functions/platform/ports.ts';
import { BAD_PATHS } from '../bad-paths.ts';
import { callIn, newWorkspace } from './calls.ts';

export interface BlobsUnderTest {
  readonly blobs: Blobs;
  /** Reaches the server behind signed URLs. */
  fetch(url: string, init?: RequestInit): Promise<Response>;
}

export interface BlobsSuite {
  readonly on: string;
  open(): Promise<BlobsUnderTest>;
  readonly runs: number;
  /** Names of cases this adapter cannot pass, each with its reason. */
  readonly skip?: Readonly<Record<string, string>>;
}

const MB = 1024 * 1024;
const text = (words: string) => new TextEncoder().encode(words);

/** What every Blobs keeps, whatever lies beneath. */
export function blobsContract({ on, open, runs, skip = {} }: BlobsSuite) {
  const one = (name: string, body: () => Promise<void>) =>
    skip[name] ? test.skip(`${name} (${skip[name]})`, body) : test(name, body);

  describe(`Blobs on ${on}`, () => {
    let blobs: Blobs;
    let under: BlobsUnderTest;
    const fresh = () => callIn(newWorkspace());
    const read = async (call: Call, path: string, range?: { first: number; last?: number }) => {
      const blob = await blobs.get(call, path, range);
      return blob && Buffer.from(await new Response(blob.body).arrayBuffer());
    };

    beforeAll(async () => {
      under = await open();
      blobs = under.blobs;
    });

    one('gives back the bytes that were put, whole and in ranges', async () => {
      const call = fresh();
      const path = 'runs/1/é漢 name+&=@.bin';
      const bytes = Buffer.from(Array.from({ length: 1000 }, (_, i) => i % 256));
      const head = await blobs.put(call, path, bytes);
      expect(head).toMatchObject({ path, sizeBytes: 1000 });
      expect(await blobs.head(call, path)).toEqual(head);
      expect(await read(call, path)).toEqual(bytes);
      for (const [first, last] of [
        [0, 0],
        [10, 19],
        [990, 5000],
        [999, undefined],
      ] as const) {
        const range = last === undefined ? { first } : { first, last };
        expect(await read(call, path, range)).toEqual(bytes.subarray(first, (last ?? 999) + 1));
      }
      const two = await blobs.get(call, path, { first: 5, last: 6 });
      expect(two?.sizeBytes).toBe(1000);
      await two?.body.cancel();
      await expect(blobs.get(call, path, { first: 1000 })).rejects.toMatchObject({
        code: 'invalid',
        status: 416,
      });
      await blobs.put(call, 'empty', new Uint8Array());
      expect(await read(call, 'empty')).toEqual(Buffer.alloc(0));
      expect(await blobs.head(call, 'none')).toBeUndefined();
      expect(await blobs.get(call, 'none/of/it')).toBeUndefined();
    });

    one('takes a stream of unknown length, and leaves nothing when it breaks', async () => {
      const call = fresh();
      const chunk = Buffer.alloc(700_000, 'abc');
      let left = 20;
      const pieces = (breakAt?: number) =>
        new ReadableStream<Uint8Array>({
          pull(controller) {
            left -= 1;
            if (left === breakAt) controller.error(new Error('cut off'));
            else if (left < 0) controller.close();
            else controller.enqueue(chunk);
          },
        });
      const head = await blobs.put(call, 'streamed', pieces());
      expect(head.sizeBytes).toBe(14_000_000);
      expect((await read(call, 'streamed'))?.equals(Buffer.concat(Array(20).fill(chunk)))).toBe(
        true,
      );
      left = 20;
      await expect(blobs.put(call, 'broken', pieces(3))).rejects.toThrow();
      left = 20;
      await expect(blobs.put(call, 'streamed', pieces(3))).rejects.toThrow();
      expect(await blobs.head(call, 'broken')).toBeUndefined();
      expect(await blobs.head(call, 'streamed')).toEqual(head);
    });

    one('puts only if absent, or only if unchanged', async () => {
      const call = fresh();
      const first = await blobs.put(call, 'a/b', text('1'), 'absent');
      await expect(blobs.put(call, 'a/b', text('2'), 'absent')).rejects.toMatchObject({
        code: 'conflict',
      });
      const second = await blobs.put(call, 'a/b', text('2'), { unchanged: first.etag });
      expect(second.etag).not.toBe(first.etag);
      await expect(
        blobs.put(call, 'a/b', text('3'), { unchanged: first.etag }),
      ).rejects.toMatchObject({ code: 'conflict' });
      await expect(
        blobs.put(call, 'a/none', text('3'), { unchanged: first.etag }),
      ).rejects.toMatchObject({ code: 'conflict' });
      expect((await read(call, 'a/b'))?.toString()).toBe('2');
      expect(await blobs.head(call, 'a/none')).toBeUndefined();
    });

    const bodies = Array.from({ length: 8 }, (_, i) => Buffer.alloc(200_000, `${i}`));
    one('of many at once exactly one is first, and readers never see a mix', async () => {
      const call = fresh();
      const outcomes = await Promise.allSettled(
        bodies.map((body) => blobs.put(call, 'race', body, 'absent')),
      );
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      const all = await Promise.all([
        ...bodies.map((body) => blobs.put(call, 'race', body).then(() => undefined)),
        ...bodies.map(() => read(call, 'race')),
      ]);
      for (const seen of all) if (seen) expect(new Set(seen).size).toBe(1);
    });

    one('of many that change the same one exactly one does', async () => {
      const call = fresh();
      const { etag } = await blobs.put(call, 'race', text('before'));
      const swaps = await Promise.allSettled(
        bodies.map((body) => blobs.put(call, 'race', body, { unchanged: etag })),
      );
      expect(swaps.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    });

    one('lists in path order, in pages, with and without folders', async () => {
      const call = fresh();
      const paths = ['a-b', 'a/1', 'a/b/c', 'a/b/d', 'a0', 'b', 'é', '😀/x'];
      for (const path of [...paths].reverse()) await blobs.put(call, path, text(path));
      await blobs.put(fresh(), 'a/foreign', text('x'));
      const walk = async (prefix: string, limit: number, folders: boolean) => {
        const found: string[] = [];
        let after: string | undefined;
        do {
          const page = await blobs.list(call, prefix, {
            folders,
            limit,
            ...(after ? { after } : {}),
          });
          expect(page.blobs.length + page.folders.length).toBeLessThanOrEqual(limit);
          found.push(...page.blobs.map(({ path }) => path), ...page.folders);
          after = page.next;
        } while (after !== undefined);
        return found;
      };
      for (const limit of [1, 2, 3, 1000]) {
        expect(await walk('', limit, false)).toEqual(paths);
        expect(await walk('a/', limit, false)).toEqual(['a/1', 'a/b/c', 'a/b/d']);
        const top = await walk('', limit, true);
        expect([...top].sort()).toEqual(['a-b', 'a/', 'a0', 'b', 'é', '😀/'].sort());
        expect((await walk('a/', limit, true)).sort()).toEqual(['a/1', 'b/']);
      }
      expect(await blobs.list(call, 'none/')).toEqual({ blobs: [], folders: [] });
      const page = await blobs.list(call, '', { after: 'a/b/c' });
      expect(page.blobs.map(({ path }) => path)).toEqual(paths.slice(3));
      expect(page.blobs[0]).toEqual(await blobs.head(call, 'a/b/d'));
    });

    one('removes, again and again, and forgets a folder with its last blob', async () => {
      const call = fresh();
      await blobs.put(call, 'x/y/z', text('1'));
      await blobs.put(call, 'x/other', text('1'));
      await blobs.remove(call, 'x/y/z');
      await blobs.remove(call, 'x/y/z');
      await blobs.remove(call, 'x/y');
      expect(await blobs.list(call, 'x/', { folders: true })).toMatchObject({
        blobs: [{ path: 'x/other' }],
        folders: [],
      });
      await blobs.put(call, 'x/y', text('now a blob'));
      expect((await read(call, 'x/y'))?.toString()).toBe('now a blob');
    });

    one(
      'a path that could name another place is invalid everywhere and leaves no trace',
      async () => {
        const call = fresh();
        for (const path of BAD_PATHS.map((bad) => bad.path)) {
          const asked: [string, Promise<unknown>][] = [
            ['put', blobs.put(call, path, text('x'))],
            ['head', blobs.head(call, path)],
            ['get', blobs.get(call, path)],
            ['remove', blobs.remove(call, path)],
            ['sign', blobs.sign(call, path, 'PUT', 60)],
            ['upload', blobs.startUpload(call, path)],
            ['part', blobs.signPart(call, path, 'x', 1)],
          ];
          const answers = await Promise.allSettled(asked.map(([, answer]) => answer));
          answers.forEach((answer, i) => {
            const why = `${asked[i]?.[0]} ${JSON.stringify(path)}`;
            expect(answer.status, why).toBe('rejected');
            if (answer.status === 'rejected')
              expect(answer.reason?.code, why).toMatch(/invalid|missing/);
          });
        }
        expect((await blobs.list(call, '')).blobs).toEqual([]);
      },
    );

    one('another workspace sees nothing', async () => {
      const [mine, theirs] = [fresh(), fresh()];
      await blobs.put(mine, 'secret', text('x'));
      expect(await blobs.head(theirs, 'secret')).toBeUndefined();
      await blobs.remove(theirs, 'secret');
      expect(await blobs.head(mine, 'secret')).toBeDefined();
      const located = blobs.locate(mine, 'runs/1');
      expect(blobs.pathOf(mine, located)).toBe('runs/1');
      expect(blobs.pathOf(mine, `${located}/model`)).toBe('runs/1/model');
      expect(blobs.pathOf(theirs, located)).toBeUndefined();
      expect(blobs.pathOf(mine, `${located}/../../../x`)).toBeUndefined();
      expect(blobs.pathOf(mine, 'elsewhere')).toBeUndefined();
    });

    one('a signed URL reads one blob, whole or in a range', async () => {
      const call = fresh();
      await blobs.put(call, 'dir/a b.txt', text('hello'));
      const url = await blobs.sign(call, 'dir/a b.txt', 'GET', 60);
      const answer = await under.fetch(url);
      expect([answer.status, await answer.text()]).toEqual([200, 'hello']);
      const part = await under.fetch(url, { headers: { Range: 'bytes=1-2' } });
      expect([part.status, await part.text()]).toEqual([206, 'el']);
      expect((await under.fetch(url, { method: 'PUT', body: 'x' })).status).toBe(403);
      const other = url.replace('a%20b.txt', 'b.txt');
      expect((await under.fetch(other)).status).toBe(403);
    });

    one('a signed URL answers with the headers that it was signed for, and no others', async () => {
      const call = fresh();
      await blobs.put(call, 'dir/page.html', text('<script>'));
      const shown = {
        contentType: 'text/plain; charset=utf-8',
        contentDisposition: `attachment; filename="a b.html"; filename*=UTF-8''a%20b.html`,
      };
      const url = await blobs.sign(call, 'dir/page.html', 'GET', 60, shown);
      const answer = await under.fetch(url);
      expect([answer.status, await answer.text()]).toEqual([200, '<script>']);
      expect(answer.headers.get('content-type')).toBe(shown.contentType);
      expect(answer.headers.get('content-disposition')).toBe(shown.contentDisposition);
      const inline = url.replaceAll('attachment', 'inline');
      expect(inline).not.toBe(url);
      expect((await under.fetch(inline)).status).toBe(403);
    });

    one('a signed URL writes one new blob and no second', async () => {
      const call = fresh();
      const url = await blobs.sign(call, 'up/load', 'PUT', 60);
      const headers = { 'If-None-Match': '*' };
      expect((await under.fetch(url, { method: 'PUT', body: 'one', headers })).status).toBe(200);
      const again = await under.fetch(url, { method: 'PUT', body: 'two', headers });
      expect([409, 412]).toContain(again.status);
      expect((await read(call, 'up/load'))?.toString()).toBe('one');
    });

    one('an upload in parts becomes one blob, and none before all of it is there', async () => {
      const call = fresh();
      const path = 'big/model.bin';
      const upload = await blobs.startUpload(call, path);
      const bodies = [Buffer.alloc(5 * MB, 'a'), Buffer.alloc(5 * MB, 'b'), Buffer.from('tail')];
      const send = async (part: number, body: Uint8Array<ArrayBuffer>) => {
        const url = await blobs.signPart(call, path, upload, part);
        const answer = await under.fetch(url, { method: 'PUT', body });
        expect(answer.status).toBe(200);
        return { part, etag: (answer.headers.get('etag') ?? '').replaceAll('"', '') };
      };
      const wrong = await send(2, Buffer.from('to be sent again'));
      const parts = await Promise.all(bodies.map((body, i) => send(i + 1, body)));
      expect(await blobs.head(call, path)).toBeUndefined();
      expect((await blobs.list(call, '')).blobs).toEqual([]);
      const [first, second, third] = parts as [
        { part: number; etag: string },
        typeof wrong,
        typeof wrong,
      ];
      for (const bad of [
        [],
        [first, wrong, third],
        [first, second, third, { part: 4, etag: third.etag }],
        [second, first, third],
      ])
        await expect(blobs.completeUpload(call, path, upload, bad)).rejects.toMatchObject({
          code: 'invalid',
        });
      expect(await blobs.head(call, path)).toBeUndefined();
      const head = await blobs.completeUpload(call, path, upload, parts);
      expect(head).toMatchObject({ path, sizeBytes: 10 * MB + 4 });
      expect((await read(call, path))?.equals(Buffer.concat(bodies))).toBe(true);
      await blobs.abortUpload(call, path, upload);
      // Completed again, as after a lost answer.
      expect(await blobs.completeUpload(call, path, upload, parts)).toEqual(head);
      expect(await blobs.head(call, path)).toEqual(head);
      const given = await blobs.startUpload(call, 'given-up');
      await blobs.abortUpload(call, 'given-up', given);
      await blobs.abortUpload(call, 'given-up', given);
      expect(await blobs.head(call, 'given-up')).toBeUndefined();
    });

    one('a small part before the last is refused at the end', async () => {
      const call = fresh();
      const upload = await blobs.startUpload(call, 'small');
      const parts: { part: number; etag: string }[] = [];
      for (const part of [1, 2]) {
        const url = await blobs.signPart(call, 'small', upload, part);
        const answer = await under.fetch(url, { method: 'PUT', body: 'too small' });
        parts.push({ part, etag: (answer.headers.get('etag') ?? '').replaceAll('"', '') });
      }
      await expect(blobs.completeUpload(call, 'small', upload, parts)).rejects.toMatchObject({
        code: 'invalid',
      });
      expect(await blobs.head(call, 'small')).toBeUndefined();
    });

    one('agrees with a map of bytes over random puts, removes and lists', async () => {
      const path = fc.constantFrom('a', 'b/1', 'b/2', 'c/d/1', 'c/e');
      const step = fc.oneof(
        fc.record({ do: fc.constant('put' as const), path, body: fc.string({ maxLength: 5 }) }),
        fc.record({ do: fc.constant('create' as const), path, body: fc.string({ maxLength: 5 }) }),
        fc.record({ do: fc.constant('remove' as const), path }),
      );
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
          const call = fresh();
          const model = new Map<string, string>();
          for (const next of steps) {
            if (next.do === 'remove') {
              await blobs.remove(call, next.path);
              model.delete(next.path);
              continue;
            }
            const absent = next.do === 'create';
            const landed = await blobs
              .put(call, next.path, text(next.body), ...(absent ? (['absent'] as const) : []))
              .then(
                () => true,
                (error) => (error.code === 'conflict' ? false : Promise.reject(error)),
              );
            expect(landed).toBe(!(absent && model.has(next.path)));
            if (landed) model.set(next.path, next.body);
          }
          const { blobs: listed } = await blobs.list(call, '');
          expect(listed.map((blob) => blob.path)).toEqual([...model.keys()].sort());
          for (const [at, body] of model)
            expect(await read(call, at)).toEqual(Buffer.from(text(body)));
        }),
        { numRuns: runs },
      );
    });
  });
}
