import { describe, expect, test } from 'vitest';
import { Problem } from '../../functions/kernel/problem.ts';
import { Refused } from '../../functions/platform/ports.ts';
import { settler } from '../../functions/platform/settle.ts';
import { testCall, testWorld } from '../world.ts';

describe('contended changes', () => {
  test('those of one process take turns, in the order they came, and other things do not wait', async () => {
    const settle = settler(testWorld());
    const order: string[] = [];
    let running = 0;
    const work = (name: string, steps: number) => async () => {
      running += 1;
      expect(running).toBeLessThanOrEqual(2); // one of each thing
      for (let i = 0; i < steps; i++) await Promise.resolve();
      running -= 1;
      order.push(name);
      return name;
    };
    const call = testCall();
    const answers = await Promise.all([
      settle(call, 'x', work('x1', 9)),
      settle(call, 'x', work('x2', 1)),
      settle(call, 'y', work('y1', 1)),
    ]);
    expect(answers).toEqual(['x1', 'x2', 'y1']);
    expect(order).toEqual(['y1', 'x1', 'x2']);
  });

  test('a refusal is tried again; what another throws goes to its own caller', async () => {
    const settle = settler(testWorld());
    const call = testCall();
    let tries = 0;
    const failing = settle(call, 'x', async () => {
      throw new Problem('missing', 'gone');
    });
    const settled = settle(call, 'x', async () => {
      if (++tries < 3) throw new Refused(0);
      return tries;
    });
    await expect(failing).rejects.toMatchObject({ code: 'missing' });
    expect(await settled).toBe(3);
  });

  test('past the deadline it is a conflict, not one more try', async () => {
    const world = testWorld();
    const call = { ...testCall(), deadline: world.now() };
    let tries = 0;
    const never = settler(world)(call, 'x', async () => {
      tries += 1;
      throw new Refused(0);
    });
    await expect(never).rejects.toMatchObject({ code: 'conflict', retryAfterSeconds: 1 });
    expect(tries).toBe(1);
  });
});
