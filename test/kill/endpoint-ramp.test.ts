import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { localEndpoints } from '../../local/endpoints.ts';
import { call, dataFolder, realWorld } from '../jobs/local.ts';

const MODEL = join(import.meta.dirname, '../jobs/model.ts');
const WORK_MS = 150;
/** What the scale below promises: the work, and as long again in the queue of a copy, while copies come up. */
const BOUND_MS = 4 * WORK_MS;

test('copies follow a ramp from none to four and back: no error, a bounded wait, few changes, each with its reason', async () => {
  const folder = await dataFolder();
  const logged: { from: number; to: number; why: string }[] = [];
  const endpoints = localEndpoints({
    world: realWorld,
    dir: join(folder.data, 'endpoints'),
    blobs: { pathOf: folder.pathOf },
    commandFor: async (spec, ready) => ({
      command: [process.execPath, MODEL, spec.modelUri, ready],
      env: {},
    }),
    log: (line) => {
      if (line['message'] === 'scaled') logged.push(line as never);
    },
    graceMs: 2000,
  });
  try {
    await folder.put('models/v1/model.json', JSON.stringify({ name: 'v1', slots: 2 }));
    const scale = { minimum: 0, maximum: 4, concurrency: 2, idleSeconds: 3 };
    await endpoints.deploy(call, {
      name: 'ramp',
      revision: 'v1',
      modelUri: folder.uri('models/v1'),
      env: {},
      scale,
    });
    const copies = async () => (await endpoints.describe(call, 'ramp'))?.copies;
    await reach(async () => (await copies()) === 0);

    let clients = 0;
    let asking = true;
    const took: number[] = [];
    const errors: unknown[] = [];
    const request = {
      path: '/invocations',
      contentType: 'text/csv',
      body: Buffer.from(`work:${WORK_MS}`),
    };
    const client = async (number: number) => {
      while (asking) {
        if (number >= clients) await pause(20);
        else {
          const from = performance.now();
          try {
            const answer = await endpoints.invoke(call, 'ramp', request);
            if (answer.status !== 200) throw new Error(String(answer.status));
            await new Response(answer.body as BodyInit).text();
            took.push(performance.now() - from);
          } catch (error) {
            errors.push(error);
          }
        }
      }
    };
    const all = Array.from({ length: 8 }, (_, number) => client(number));
    const seen = new Set<number>();
    for (const [now, seconds] of [
      [1, 2],
      [2, 1],
      [4, 2],
      [6, 2],
      [8, 5],
      [4, 1],
      [1, 6],
    ] as const) {
      clients = now;
      for (const until = performance.now() + seconds * 1000; performance.now() < until; ) {
        seen.add((await copies()) ?? 0);
        await pause(50);
      }
    }
    asking = false;
    await Promise.all(all);
    seen.add((await copies()) ?? 0);
    await reach(async () => (await copies()) === 0);

    expect(errors).toEqual([]);
    expect(Math.max(...seen)).toBe(4);
    expect(logged.map(({ from, to }) => `${from}>${to}`).at(-1)).toBe('1>0');
    expect(logged.length).toBeLessThanOrEqual(6);
    expect(logged.every(({ why }) => why.length > 10)).toBe(true);
    took.shift(); // held while the first copy started
    took.sort((a, b) => a - b);
    const p95 = took[Math.floor(took.length * 0.95)] ?? Number.POSITIVE_INFINITY;
    console.log(
      `${took.length} answers, p95 ${p95.toFixed(0)} ms of ${BOUND_MS}; ${logged.map(({ from, to, why }) => `${from}>${to} (${why})`).join(', ')}`,
    );
    expect(p95).toBeLessThanOrEqual(BOUND_MS);
  } finally {
    await endpoints.close();
    await folder.remove();
  }
}, 120_000);

async function reach(holds: () => Promise<boolean>): Promise<void> {
  for (const until = performance.now() + 30_000; performance.now() < until; await pause(50))
    if (await holds()) return;
  throw new Error('it never came to pass');
}
