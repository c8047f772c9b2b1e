import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { artifactsRoom } from '../../functions/artifacts/index.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import type { LocalBlobs } from '../../local/blobs.ts';
import { BAD_PATHS } from '../bad-paths.ts';
import { call, openHouse } from '../house.ts';
import { openMlflow } from '../mlflow.ts';

const FILES = '/api/2.0/mlflow-artifacts/artifacts';

/** Blobs that remove no file named b. */
const failing = (blobs: LocalBlobs): LocalBlobs => ({
  ...blobs,
  remove: async (at, path) => {
    if (path.endsWith('/b')) throw new Problem('unavailable', 'The store is busy.');
    await blobs.remove(at, path);
  },
});

describe('the artifact proxy', () => {
  test.each([
    ['a plain file', 'a/b/f.txt', 'hello'],
    ['an empty file', 'a/empty', ''],
    ['a name with blanks', 'a/some name.txt', 'x'],
    ['a name beyond ASCII', 'a/naïve-模型.json', '{}'],
  ])('item 23: %s survives', async (_what, path, text) => {
    const house = openMlflow();
    const put = await house.ask('PUT', `${FILES}/${encodeURI(path)}`, Buffer.from(text));
    expect([put.status, put.body]).toEqual([200, {}]);
    const got = await house.ask('GET', `${FILES}/${encodeURI(path)}`);
    expect([got.status, got.text]).toEqual([200, text]);
    expect(got.headers.get('content-length')).toBe(String(Buffer.byteLength(text)));
    const ajax = await house.ask(
      'GET',
      `/ajax-api/2.0/mlflow-artifacts/artifacts/${encodeURI(path)}`,
    );
    expect(ajax.text).toBe(text);
  });

  test('an audit entry says who wrote which bytes over a file, and who removed how many', async () => {
    const house = openMlflow();
    for (const text of ['weights', 'poison'])
      await house.ask('PUT', `${FILES}/0/r/model/data`, Buffer.from(text));
    await house.ask('PUT', `${FILES}/0/r/model/MLmodel`, Buffer.from('x'));
    const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
    expect(await house.told('artifacts/0/r/model/data')).toMatchObject([
      { type: 'artifacts.file.written', caller: 'ada', data: { sha256: sha256('weights') } },
      { type: 'artifacts.file.written', data: { sizeBytes: 6, sha256: sha256('poison') } },
    ]);
    expect((await house.ask('DELETE', `${FILES}/0/r/model`)).status).toBe(200);
    const removed = {
      type: 'artifacts.file.removed',
      data: { path: 'artifacts/0/r/model', files: 2 },
    };
    expect(await house.told('artifacts/0/r/model')).toMatchObject([removed]);
    await house.ask('DELETE', `${FILES}/0/r/model`);
    expect(await house.told('artifacts/0/r/model')).toHaveLength(1); // there was nothing any more
  });

  test('a removal that fails half way tells what it has removed', async () => {
    const house = openMlflow({ ports: ({ blobs }) => ({ blobs: failing(blobs) }) });
    for (const name of ['a', 'b', 'c'])
      await house.ask('PUT', `${FILES}/d/${name}`, Buffer.from(name));
    expect((await house.ask('DELETE', `${FILES}/d`)).status).toBe(503);
    expect(await house.told('artifacts/d')).toMatchObject([{ data: { files: 1 } }]);
  });

  test('D09: a page is a download and never runs on our origin', async () => {
    const house = openMlflow();
    await house.ask('PUT', `${FILES}/x/page.html`, Buffer.from('<script>alert(1)</script>'));
    const { headers } = await house.ask('GET', `${FILES}/x/page.html`);
    expect(headers.get('content-disposition')).toBe(
      `attachment; filename="page.html"; filename*=UTF-8''page.html`,
    );
    expect(headers.get('content-type')).toBe('text/plain; charset=utf-8');
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('content-security-policy')).toContain("default-src 'none'");
  });

  test('a quote in a name ends no header', async () => {
    const house = openMlflow();
    const name = encodeURIComponent('a"b.txt');
    await house.ask('PUT', `${FILES}/x/${name}`, Buffer.from('x'));
    const { headers } = await house.ask('GET', `${FILES}/x/${name}`);
    expect(headers.get('content-disposition')).toBe(
      `attachment; filename="a_b.txt"; filename*=UTF-8''a%22b.txt`,
    );
  });

  test('lists name what lies directly below the asked folder, relative to it, in order', async () => {
    const house = openMlflow();
    for (const path of ['d/b.txt', 'd/a/x', 'd/a/y', 'd/c'])
      await house.ask('PUT', `${FILES}/${path}`, Buffer.from(path));
    const list = async (path: string) => (await house.ask('GET', `${FILES}?path=${path}`)).body;
    expect(await list('d')).toEqual({
      files: [
        { path: 'a', is_dir: true },
        { path: 'b.txt', is_dir: false, file_size: 7 },
        { path: 'c', is_dir: false, file_size: 3 },
      ],
    });
    expect(await list('d/c')).toEqual({}); // a file holds nothing
    expect(await list('none')).toEqual({});
    expect(await list('')).toEqual({ files: [{ path: 'd', is_dir: true }] });
  });

  test('a folder of more files than one page is listed whole', async () => {
    const house = openMlflow();
    await Promise.all(
      Array.from({ length: 1_030 }, (_, i) =>
        house.blobs.put(call, `artifacts/d/f${i}`, new Uint8Array()),
      ),
    );
    const { body } = await house.ask('GET', `${FILES}?path=d`);
    expect(body.files).toHaveLength(1_030);
  });

  test('a file, and then its folder, are deleted; what is gone is 404', async () => {
    const house = openMlflow();
    for (const path of ['d/a', 'd/b/c', 'e'])
      await house.ask('PUT', `${FILES}/${path}`, Buffer.from(path));
    expect((await house.ask('DELETE', `${FILES}/d`)).status).toBe(200);
    expect((await house.ask('DELETE', `${FILES}/d`)).status).toBe(200);
    expect(await house.ask('GET', `${FILES}/d/a`)).toMatchObject({
      status: 404,
      body: { error_code: 'RESOURCE_DOES_NOT_EXIST' },
    });
    expect((await house.ask('GET', `${FILES}/e`)).status).toBe(200);
  });

  test('ranges, entity tags and HEAD', async () => {
    const house = openMlflow();
    await house.ask('PUT', `${FILES}/f.bin`, Buffer.from('0123456789'));
    const get = (headers: Record<string, string>, method = 'GET') =>
      house.ask(method, `${FILES}/f.bin`, undefined, { headers });
    const cases = [
      ['bytes=0-3', 206, '0123', 'bytes 0-3/10'],
      ['bytes=4-', 206, '456789', 'bytes 4-9/10'],
      ['bytes=-3', 206, '789', 'bytes 7-9/10'],
      ['bytes=8-99', 206, '89', 'bytes 8-9/10'],
      ['bytes=10-', 416, '', 'bytes */10'],
      ['bytes=-0', 416, '', 'bytes */10'],
      ['bytes=0-1,3-4', 200, '0123456789', null],
      ['lines=1-2', 200, '0123456789', null],
    ] as const;
    for (const [range, status, text, shown] of cases) {
      const answer = await get({ range });
      expect([range, answer.status, answer.text]).toEqual([range, status, text]);
      expect(answer.headers.get('content-range')).toBe(shown);
    }
    const tag = (await get({})).headers.get('etag') ?? '';
    expect(tag).toMatch(/^"[^"]+"$/);
    expect((await get({ 'if-none-match': tag })).status).toBe(304);
    expect((await get({ 'if-none-match': '"other"' })).status).toBe(200);
    const head = await get({}, 'HEAD');
    expect([head.status, head.text, head.headers.get('content-length')]).toEqual([200, '', '10']);
    await house.ask('PUT', `${FILES}/f.bin`, Buffer.from('changed'));
    expect((await get({ 'if-none-match': tag })).status).toBe(200);
  });

  test('200 MB stream in and out in constant memory', async () => {
    const house = openMlflow();
    const chunk = new Uint8Array(1_048_576).fill(97);
    const hash = createHash('sha256');
    const idle = process.memoryUsage().rss;
    let highest = 0;
    let sent = 0;
    const body = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          highest = Math.max(highest, process.memoryUsage().rss);
          if (sent++ === 200) return controller.close();
          controller.enqueue(chunk);
        },
      },
      { highWaterMark: 0 },
    );
    expect((await house.ask('PUT', `${FILES}/big`, body)).status).toBe(200);
    const answer = await house.request(`${FILES}/big`);
    let received = 0;
    for await (const part of answer.body as unknown as AsyncIterable<Uint8Array>) {
      received += part.length;
      hash.update(part);
      highest = Math.max(highest, process.memoryUsage().rss);
    }
    expect(received).toBe(200 * 1_048_576);
    const whole = createHash('sha256');
    for (let i = 0; i < 200; i++) whole.update(chunk);
    expect(hash.digest('hex')).toBe(whole.digest('hex'));
    expect(highest - idle).toBeLessThan(150 * 1_048_576);
  }, 60_000);

  test('a body over the limit is refused and leaves nothing', async () => {
    const house = openHouse((ground) => ({
      artifacts: artifactsRoom(ground, async () => undefined, 1_000),
    }));
    const headers = { 'content-length': '1001' };
    const large = Buffer.from('x'.repeat(1_001));
    const declared = await house.ask('PUT', `${FILES}/f`, large, { headers });
    const stream = new Blob([large]).stream();
    const streamed = await house.ask('PUT', `${FILES}/f`, stream);
    for (const { status, body } of [declared, streamed])
      expect([status, body.error_code]).toEqual([400, 'INVALID_PARAMETER_VALUE']);
    expect((await house.ask('GET', `${FILES}/f`)).status).toBe(404);
  });

  test('an upload that breaks off leaves the old bytes', async () => {
    const house = openMlflow();
    await house.ask('PUT', `${FILES}/f`, Buffer.from('old'));
    const broken = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(new TextEncoder().encode('new and'));
        controller.error(new Error('the client went away'));
      },
    });
    const answer = await house.ask('PUT', `${FILES}/f`, broken);
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect((await house.ask('GET', `${FILES}/f`)).text).toBe('old');
    expect(house.logged.splice(0)).toHaveLength(1); // an error of the log, as it should be
  });

  test('A21: two uploads of one path never mix', async () => {
    const house = openMlflow();
    const bodies = Array.from({ length: 8 }, (_, i) => String(i).repeat(300_000));
    const puts = await Promise.all(
      bodies.map((body) => house.ask('PUT', `${FILES}/same`, Buffer.from(body))),
    );
    for (const { status } of puts) expect(status).toBe(200);
    expect(bodies).toContain((await house.ask('GET', `${FILES}/same`)).text);
  });

  test('another workspace has other files under the same path', async () => {
    const house = openMlflow();
    await house.ask('PUT', `${FILES}/0/f`, Buffer.from('mine'));
    expect((await house.ask('GET', `${FILES}/0/f`, undefined, { who: 'tenant01' })).status).toBe(
      404,
    );
    expect(
      (await house.ask('GET', `${FILES}?path=0`, undefined, { who: 'tenant01' })).body,
    ).toEqual({});
    await house.ask('DELETE', `${FILES}/0`, undefined, { who: 'tenant01' });
    await house.ask('PUT', `${FILES}/0/f`, Buffer.from('theirs'), { who: 'tenant01' });
    expect((await house.ask('GET', `${FILES}/0/f`)).text).toBe('mine');
  });
});

describe('A01 to A13', () => {
  /** As a client would have to send it for the router's one decoding to give it. */
  const sent = (path: string) => encodeURIComponent(path);
  test.each(BAD_PATHS)(
    '$id $path is refused in every place, and nothing is touched',
    async ({ path }) => {
      const house = openMlflow();
      const at = sent(path);
      const create = { path: 'f', num_parts: 1 };
      const upload = { path: 'f', upload_id: 'u', parts: [] };
      const proxy = '/api/2.0/mlflow-artifacts';
      const run = await house.run();
      const answers = [
        await house.ask('GET', `${FILES}/${at}`),
        await house.ask('PUT', `${FILES}/${at}`, Buffer.from('x')),
        await house.ask('DELETE', `${FILES}/${at}`),
        await house.ask('GET', `${FILES}?path=${at}`),
        await house.ask('GET', `${proxy}/presigned/${at}`),
        await house.ask('POST', `${proxy}/mpu/create/${at}`, create),
        await house.ask('POST', `${proxy}/mpu/complete/${at}`, upload),
        await house.ask('POST', `${proxy}/mpu/abort/${at}`, upload),
        await house.get('artifacts/list', { run_id: run.id, path }),
        await house.ask('GET', `/get-artifact?run_uuid=${run.id}&path=${at}`),
        await house.ask(
          'POST',
          `/ajax-api/2.0/mlflow/upload-artifact?run_uuid=${run.id}&path=${at}`,
          Buffer.from('x'),
        ),
        await house.get('artifacts/list', { run_id: path }),
      ];
      for (const [i, { status, body }] of answers.entries())
        expect([i, status, body?.error_code]).toEqual([i, 400, 'INVALID_PARAMETER_VALUE']);
      const held = await house.blobs.list(call, '');
      expect(held.blobs).toEqual([]);
    },
  );
});

describe('multipart', () => {
  const MPU = '/api/2.0/mlflow-artifacts/mpu';
  const PART = 5 * 1024 * 1024;

  async function started(parts: number, path = '/home/ada/model.bin') {
    const house = openMlflow();
    const { status, body } = await house.ask('POST', `${MPU}/create/0/r/artifacts`, {
      path,
      num_parts: parts,
    });
    expect(status).toBe(200);
    const put = async (part: number, bytes: Uint8Array) => {
      const { url, part_number } = body.credentials[part - 1];
      expect(part_number).toBe(part);
      const request = new Request(url, { method: 'PUT', body: bytes as BodyInit });
      const answer = await house.blobs.serve(request);
      expect(answer?.status).toBe(200);
      return { part_number: part, etag: answer?.headers.get('etag') ?? '', url };
    };
    const finish = (what: string, more: object) =>
      house.ask('POST', `${MPU}/${what}/0/r/artifacts`, {
        path,
        upload_id: body.upload_id,
        ...more,
      });
    return { house, put, finish };
  }

  test('parts put in any order become one file, named by the base name of the client’s path', async () => {
    const { house, put, finish } = await started(2);
    const [a, b] = [new Uint8Array(PART).fill(1), new Uint8Array([2, 3])];
    const second = await put(2, b);
    const first = await put(1, a);
    expect((await house.ask('GET', `${FILES}/0/r/artifacts/model.bin`)).status).toBe(404);
    const done = await finish('complete', { parts: [first, second] });
    expect([done.status, done.body]).toEqual([200, {}]);
    expect(await house.told('artifacts/0/r/artifacts/model.bin')).toMatchObject([
      { type: 'artifacts.file.written', data: { sizeBytes: PART + 2 } },
    ]);
    const answer = await house.request(`${FILES}/0/r/artifacts/model.bin`);
    const bytes = new Uint8Array(await answer.arrayBuffer());
    expect(bytes.length).toBe(PART + 2);
    expect([bytes[0], bytes[PART], bytes[PART + 1]]).toEqual([1, 2, 3]);
  });

  test('A20: a part missing, or swapped, or with another etag completes nothing', async () => {
    const { house, put, finish } = await started(2);
    const first = await put(1, new Uint8Array(PART).fill(1));
    const second = await put(2, new Uint8Array([2]));
    for (const parts of [
      [first, { ...second, etag: 'other' }],
      [
        { ...first, etag: second.etag },
        { ...second, etag: first.etag },
      ],
      [first, { ...second, part_number: 3 }],
      [],
    ]) {
      const { status, body } = await finish('complete', { parts });
      expect([status, body.error_code]).toEqual([400, 'INVALID_PARAMETER_VALUE']);
    }
    expect((await house.ask('GET', `${FILES}/0/r/artifacts/model.bin`)).status).toBe(404);
    expect((await finish('abort', {})).status).toBe(200);
    expect((await finish('complete', { parts: [first, second] })).status).toBeGreaterThanOrEqual(
      400,
    );
  });

  test.each([
    [{ num_parts: 1 }, "parameter 'path'"],
    [{ path: 'f' }, "parameter 'num_parts'"],
    [{ path: 'f', num_parts: 0 }, '1 to 10000'],
    [{ path: 'f', num_parts: 10_001 }, '1 to 10000'],
    [{ path: 'f', num_parts: 'x' }, 'num_parts'],
    [{ path: '..', num_parts: 1 }, 'Invalid path'],
    [{ path: '/tmp/..\\..', num_parts: 1 }, 'Invalid path'],
    [{ path: '', num_parts: 1 }, 'Invalid path'],
  ])('create with %j is refused', async (body, message) => {
    const house = openMlflow();
    const answer = await house.ask('POST', `${MPU}/create/0/r`, body);
    expect(answer.status).toBe(400);
    expect(answer.body.message).toContain(message);
  });

  test('a presigned URL reads the file, and there is none for what is not there', async () => {
    const house = openMlflow();
    await house.ask('PUT', `${FILES}/d/f`, Buffer.from('hello'));
    const { body } = await house.ask('GET', '/api/2.0/mlflow-artifacts/presigned/d/f');
    expect(body).toMatchObject({ headers: {}, file_size: 5 });
    const answer = await house.blobs.serve(new Request(body.url));
    expect(await answer?.text()).toBe('hello');
    expect((await house.ask('GET', '/api/2.0/mlflow-artifacts/presigned/d/g')).status).toBe(404);
  });
});

describe('behind a gateway whose answers are small', () => {
  const gateway = { largestAnswerBytes: 10 };

  test('every download of a file answers 307 to the store, which shows it as we would', async () => {
    const house = openMlflow(gateway);
    const run = await house.run();
    const page = Buffer.from('<script>alert(1)</script>');
    await house.ask('PUT', `${FILES}/0/${run.id}/artifacts/page.html`, page);
    await house.ask('PUT', '/api/data/page.html', page);
    for (const path of [
      `${FILES}/0/${run.id}/artifacts/page.html`,
      `/get-artifact?run_uuid=${run.id}&path=page.html`,
      '/api/data/page.html',
    ]) {
      const answer = await house.ask('GET', path, undefined, { headers: { range: 'bytes=1-6' } });
      expect([path, answer.status, answer.text]).toEqual([path, 307, '']);
      expect(answer.headers.get('cache-control')).toBe('no-store');
      const url = answer.headers.get('location') ?? '';
      // The client asks there again with the Range that it asked us with.
      const got = await house.blobs.serve(new Request(url, { headers: { range: 'bytes=1-6' } }));
      expect([got?.status, await got?.text()]).toEqual([206, 'script']);
      expect(got?.headers.get('content-type')).toBe('text/plain; charset=utf-8');
      expect(got?.headers.get('content-disposition')).toMatch(/^attachment; filename="page.html"/);
      const head = () => house.blobs.serve(new Request(url, { method: 'HEAD' }));
      house.world.pass(299_000);
      expect((await head())?.status).toBe(200);
      house.world.pass(2_000);
      expect((await head())?.status).toBe(403);
    }
  });

  test('what needs no body is answered here', async () => {
    const house = openMlflow(gateway);
    await house.ask('PUT', `${FILES}/d/f`, Buffer.from('x'.repeat(20)));
    const head = await house.ask('HEAD', `${FILES}/d/f`);
    expect([head.status, head.headers.get('content-length')]).toEqual([200, '20']);
    const known = { 'if-none-match': head.headers.get('etag') ?? '' };
    expect((await house.ask('GET', `${FILES}/d/f`, undefined, { headers: known })).status).toBe(
      304,
    );
    expect((await house.ask('GET', `${FILES}/d/g`)).status).toBe(404);
    const foreign = await house.ask('GET', `${FILES}/d/f`, undefined, { who: 'tenant01' });
    expect([foreign.status, foreign.headers.get('location')]).toEqual([404, null]);
  });

  test('who signs for AWS would take x-amz- headers along, and gets the bytes from us', async () => {
    const house = openMlflow(gateway);
    await house.ask('PUT', `${FILES}/d/f`, Buffer.from('0123456789'));
    await house.ask('PUT', `${FILES}/d/large`, Buffer.from('0123456789a'));
    const get = (path: string, headers = {}) =>
      house.ask('GET', `${FILES}/${path}`, undefined, {
        headers: { 'x-amz-date': '20261124T0Z', ...headers },
      });
    const small = await get('d/f');
    expect([small.status, small.text]).toEqual([200, '0123456789']);
    const large = await get('d/large');
    expect([large.status, large.body.error_code]).toEqual([400, 'INVALID_PARAMETER_VALUE']);
    expect(large.body.message).toContain('presigned');
    const part = await get('d/large', { range: 'bytes=9-' });
    expect([part.status, part.text]).toEqual([206, '9a']);
  });

  test('no upload has more parts than URLs fit an answer', async () => {
    const house = openMlflow(gateway);
    const create = (num_parts: number) =>
      house.ask('POST', '/api/2.0/mlflow-artifacts/mpu/create/0/r', { path: 'f', num_parts });
    expect((await create(2_000)).body.credentials).toHaveLength(2_000);
    const refused = await create(2_001);
    expect([refused.status, refused.body.message]).toEqual([
      400,
      expect.stringContaining('MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE'),
    ]);
  });
});
