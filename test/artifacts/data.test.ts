import { describe, expect, test } from 'vitest';
import { BAD_PATHS } from '../bad-paths.ts';
import { call } from '../house.ts';
import { openMlflow } from '../mlflow.ts';

const arrivals = async (house: ReturnType<typeof openMlflow>, path: string) =>
  (await house.told(`data/${path}`)).map(({ type }) => type);

describe('data drops', () => {
  test('a drop is stored, told, listed and read back', async () => {
    const house = openMlflow();
    const put = await house.ask('PUT', '/api/data/flights/2013-01.csv', Buffer.from('a,b\n1,2\n'));
    expect(put.status).toBe(200);
    expect(put.body).toMatchObject({ path: 'flights/2013-01.csv', sizeBytes: 8 });
    const [told] = await house.told('data/flights/2013-01.csv');
    expect(told).toMatchObject({
      type: 'artifacts.data.arrived',
      data: { path: 'flights/2013-01.csv', sizeBytes: 8, etag: put.body.etag },
    });
    expect((await house.ask('GET', '/api/data/flights/2013-01.csv')).text).toBe('a,b\n1,2\n');
    expect((await house.ask('GET', '/api/data?folder=flights')).body.data).toEqual([put.body]);
  });

  test('the same bytes again tell no second arrival; other bytes, and the first ones after them, do', async () => {
    const house = openMlflow();
    for (const raw of ['one', 'one', 'two', 'one'])
      expect((await house.ask('PUT', '/api/data/d', Buffer.from(raw))).status).toBe(200);
    expect(await arrivals(house, 'd')).toEqual(Array(3).fill('artifacts.data.arrived'));
  });

  test('ten clients that send the same bytes at once tell one arrival', async () => {
    const house = openMlflow();
    await Promise.all(
      Array.from({ length: 10 }, () => house.ask('PUT', '/api/data/d', Buffer.from('x'))),
    );
    expect(await arrivals(house, 'd')).toEqual(['artifacts.data.arrived']);
  });

  test('a removal is told; what is gone is 404; sent again it arrives again', async () => {
    const house = openMlflow();
    await house.ask('PUT', '/api/data/d', Buffer.from('x'));
    expect((await house.ask('DELETE', '/api/data/d')).status).toBe(204);
    const again = await house.ask('DELETE', '/api/data/d');
    expect([again.status, again.body.title]).toEqual([404, 'missing']);
    expect((await house.ask('GET', '/api/data/d')).status).toBe(404);
    await house.ask('PUT', '/api/data/d', Buffer.from('x'));
    expect(await arrivals(house, 'd')).toEqual([
      'artifacts.data.arrived',
      'artifacts.data.removed',
      'artifacts.data.arrived',
    ]);
  });

  test('lists come in pages, each drop once', async () => {
    const house = openMlflow();
    for (let i = 0; i < 5; i++) await house.ask('PUT', `/api/data/a/${i}`, Buffer.from(String(i)));
    await house.ask('PUT', '/api/data/b/0', Buffer.from('x'));
    const paths: string[] = [];
    let next: string | undefined;
    do {
      const page = next ? `&page=${next}` : '';
      const { body } = await house.ask('GET', `/api/data?folder=a&limit=2${page}`);
      paths.push(...body.data.map((drop: { path: string }) => drop.path));
      next = body.next;
    } while (next);
    expect(paths).toEqual(['a/0', 'a/1', 'a/2', 'a/3', 'a/4']);
    expect((await house.ask('GET', '/api/data?limit=0')).status).toBe(400);
    expect((await house.ask('GET', '/api/data?page=junk')).status).toBe(400);
  });

  test('another workspace sees none of it', async () => {
    const house = openMlflow();
    await house.ask('PUT', '/api/data/d', Buffer.from('x'));
    const who = 'tenant01';
    expect((await house.ask('GET', '/api/data/d', undefined, { who })).status).toBe(404);
    expect((await house.ask('DELETE', '/api/data/d', undefined, { who })).status).toBe(404);
    expect((await house.ask('GET', '/api/data', undefined, { who })).body.data).toEqual([]);
    expect(await house.told('data/d', who)).toEqual([]);
  });

  test.each(BAD_PATHS)('$id $path is no place for data', async ({ path }) => {
    const house = openMlflow();
    const at = encodeURIComponent(path);
    for (const answer of [
      await house.ask('PUT', `/api/data/${at}`, Buffer.from('x')),
      await house.ask('GET', `/api/data/${at}`),
      await house.ask('DELETE', `/api/data/${at}`),
      await house.ask('GET', `/api/data?folder=${at}`),
    ])
      expect([answer.status, answer.body.title]).toEqual([400, 'invalid']);
    expect((await house.blobs.list(call, '')).blobs).toEqual([]);
  });
});
