import { setTimeout as pause } from 'node:timers/promises';
import type { Call } from '../kernel/call.ts';
import { Problem } from '../kernel/problem.ts';
import type { World } from '../kernel/world.ts';
import { Refused } from './ports.ts';

const MAX_TRIES = 200;
const MAX_PAUSE_MS = 100;

/**
 * Runs `attempt` (read, decide, commit if unchanged) again for as long as another commit came between. Within this
 * process those who change the same `what` go one after the other, so that only other processes are ever raced.
 * `attempt` words the refusals that mean something else itself. Throws `conflict` when it never settles.
 */
export type Settle = <T>(call: Call, what: string, attempt: () => Promise<T>) => Promise<T>;

export function settler(world: World): Settle {
  const tails = new Map<string, Promise<unknown>>();
  return async (call, what, attempt) => {
    const key = `${call.workspace}#${what}`;
    const before = tails.get(key);
    const mine = (async () => {
      await before?.catch(() => undefined); // its own caller hears of it
      return untilSettled(call, world, attempt);
    })();
    tails.set(key, mine);
    try {
      return await mine;
    } finally {
      if (tails.get(key) === mine) tails.delete(key);
    }
  };
}

async function untilSettled<T>(call: Call, world: World, attempt: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (tries >= MAX_TRIES || world.now() >= call.deadline)
        throw new Problem('conflict', 'Too many requests change this at once; try again.', {
          cause: error,
          retryAfterSeconds: 1,
        });
      const share = (world.randomBytes(1)[0] ?? 0) / 256;
      await pause(share * Math.min(MAX_PAUSE_MS, 2 ** tries));
    }
  }
}
