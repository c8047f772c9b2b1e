import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LOOK_MS, scalingOf } from '../../local/endpoint_scaling.ts';

interface Asked {
  readonly minimum?: number;
  readonly maximum: number;
  readonly concurrency?: number;
  readonly idleSeconds?: number;
}

/** Plays a load, a number of requests at once for each second; answers each change as `from>to`, and where it ended. */
function play(asked: Asked, load: readonly number[]) {
  const scale = { minimum: 0, concurrency: 2, idleSeconds: 10, ...asked };
  const scaling = scalingOf({ scale }, 0);
  const changes: string[] = [];
  const whys: string[] = [];
  let copies = Math.max(1, scale.minimum);
  for (let now = 0; now < load.length * 1000; now += LOOK_MS) {
    const active = load[Math.floor(now / 1000)] ?? 0;
    if (copies === 0 && active > 0) copies = 1;
    if (copies === 0) continue;
    const change = scaling.look(copies, active, now);
    if (!change) continue;
    changes.push(`${copies}>${change.to}`);
    whys.push(change.why);
    copies = change.to;
    expect(copies).toBeGreaterThanOrEqual(scale.minimum);
    expect(copies).toBeLessThanOrEqual(scale.maximum);
  }
  return { changes, whys, copies };
}
const held = (load: number, seconds: number) => Array<number>(seconds).fill(load);

test('a ramp up and down takes few steps, each with its reason', () => {
  const load = [
    ...held(1, 5),
    2,
    3,
    4,
    5,
    6,
    7,
    ...held(8, 10),
    7,
    5,
    3,
    ...held(1, 25),
    ...held(0, 15),
  ];
  const { changes, whys } = play({ maximum: 4 }, load);
  expect(changes).toEqual(['1>2', '2>4', '4>2', '2>1', '1>0']);
  expect(whys[0]).toMatch(/^2\.\d requests at once, 2 a copy$/);
  expect(whys.slice(-2)).toEqual([
    'at most 1.0 requests at once, 2 a copy in 10 s',
    'nobody asked for 10 s',
  ]);
});

test('a burst shorter than a second starts nothing; a steep load doubles what is up until it is enough', () => {
  const scaling = scalingOf(
    { scale: { minimum: 1, maximum: 9, concurrency: 2, idleSeconds: 10 } },
    0,
  );
  expect(scaling.look(1, 6, 0)).toBeUndefined();
  for (let now = LOOK_MS; now < 2000; now += LOOK_MS)
    expect(scaling.look(1, 1, now)).toBeUndefined();
  expect(play({ maximum: 9 }, held(14, 3)).changes).toEqual(['1>2', '2>4', '4>8']);
});

test('the minimum stays, whoever does not ask; a load that comes and goes within the window changes nothing', () => {
  expect(play({ minimum: 2, maximum: 4 }, held(0, 60)).changes).toEqual([]);
  const breathing = Array.from({ length: 120 }, (_, i) => (i % 8 < 4 ? 8 : 1));
  expect(play({ maximum: 4 }, breathing).changes).toEqual(['1>2', '2>4']);
});

test('whatever the hill, the number of changes is bounded by its height', () => {
  const hill = fc.record({
    maximum: fc.integer({ min: 1, max: 64 }),
    up: fc.array(fc.integer({ min: 0, max: 200 }), { minLength: 1, maxLength: 40 }),
    down: fc.array(fc.integer({ min: 0, max: 200 }), { minLength: 1, maxLength: 40 }),
  });
  fc.assert(
    fc.property(hill, ({ maximum, up, down }) => {
      const load = [...up.sort((a, b) => a - b), ...down.sort((a, b) => b - a), ...held(0, 12)];
      const { changes, copies } = play({ maximum }, load);
      expect(copies).toBe(0);
      expect(changes.length).toBeLessThanOrEqual(2 * Math.ceil(Math.log2(maximum)) + 2);
    }),
    { numRuns: 200 },
  );
});
