import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { type DropsService, dropsService } from '../../functions/artifacts/drops.ts';
import { BAD_PATHS } from '../bad-paths.ts';
import { call } from '../house.ts';
import { openMlflow } from '../mlflow.ts';

const arrivals = async (house: ReturnType<typeof openMlflow>, path: string) =>
  (await house.told(`data/${path}`))
    .map(({ type }) => type)
    .filter((type) => type !== 'artifacts.data.overtaken');
/** What was told of `d`, and which text each entry is about. */
async function story(house: ReturnType<typeof openMlflow>, texts: readonly string[]) {
  const named = new Map(
    texts.map((text) => [createHash('sha256').update(text).digest('hex'), text]),
  );
  return (await house.told('data/d')).map(({ type, data }) => {
    const { sha256 = '' } = data as { sha256?: string };
    return `${type.split('.').at(-1)} ${named.get(sha256) ?? ''}`.trim();
  });
}
/** Just before a commit of this kind, another process does something, once. */
function meanwhile(
  house: ReturnType<typeof openMlflow>,
  type: string,
  act: (other: DropsService) => Promise<unknown>,
) {
  const other = dropsService(house.blobs, house.table, house.world);
  let acted = false;
  house.beforeCommit(async (event) => {
    if (acted || event?.type !== type) return;
    acted = true;
    await act(other);
  });
}
const put = (other: DropsService, text: string) =>
  other.arrive(call, 'd', new Blob([text]).stream());

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

  test('of two that put at once, the last arrival told is of the bytes that lie there', async () => {
    const house = openMlflow();
    meanwhile(house, 'artifacts.data.arrived', (other) => put(other, 'second'));
    const first = await house.ask('PUT', '/api/data/d', Buffer.from('first'));
    expect(first.status).toBe(200);
    expect((await house.ask('GET', '/api/data/d')).text).toBe('second');
    expect(await story(house, ['first', 'second'])).toEqual(['arrived second', 'overtaken first']);
  });

  test('bytes that were told before and come back while others are being told are told last', async () => {
    const house = openMlflow();
    await house.ask('PUT', '/api/data/d', Buffer.from('old'));
    meanwhile(house, 'artifacts.data.arrived', (other) => put(other, 'old'));
    await house.ask('PUT', '/api/data/d', Buffer.from('new'));
    expect((await house.ask('GET', '/api/data/d')).text).toBe('old');
    expect(await story(house, ['old', 'new'])).toEqual(['arrived old', 'overtaken new']);
  });

  test('a removal that others arrive before is told of the bytes that it removed', async () => {
    const house = openMlflow();
    const old = await house.ask('PUT', '/api/data/d', Buffer.from('old'));
    meanwhile(house, 'artifacts.data.removed', (other) => put(other, 'new'));
    expect((await house.ask('DELETE', '/api/data/d')).status).toBe(204);
    expect((await house.ask('GET', '/api/data/d')).text).toBe('new');
    expect(await story(house, ['old', 'new'])).toEqual(['arrived old', 'arrived new', 'removed']);
    expect((await house.told('data/d')).at(-1)?.data).toEqual({ path: 'd', etag: old.body.etag });
    // The record is of what lies there: these bytes are no news.
    await house.ask('PUT', '/api/data/d', Buffer.from('new'));
    expect(await story(house, ['old', 'new'])).toHaveLength(3);
  });

  test('removing what came past us is told too', async () => {
    const house = openMlflow();
    await house.blobs.put(call, 'data/d', Buffer.from('x'));
    expect((await house.ask('DELETE', '/api/data/d')).status).toBe(204);
    expect(await arrivals(house, 'd')).toEqual(['artifacts.data.removed']);
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
