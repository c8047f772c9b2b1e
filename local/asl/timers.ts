import type { World } from '../../functions/kernel/world.ts';

/** Wakes somebody up; passed in so that tests need not wait. */
export interface Timers {
  /** Calls back once, at this time (ms since the epoch) or soon after. What it returns cancels it. */
  at(time: number, callback: () => void): () => void;
}

/** setTimeout holds 31 bits of milliseconds, some 24 days. */
const LONGEST_MS = 2 ** 31 - 1;

export function realTimers(world: World): Timers {
  return {
    at(time, callback) {
      let timer: NodeJS.Timeout;
      const arm = () => {
        const left = Math.max(0, time - world.now());
        timer = setTimeout(left > LONGEST_MS ? arm : callback, Math.min(left, LONGEST_MS));
      };
      arm();
      return () => clearTimeout(timer);
    },
  };
}
