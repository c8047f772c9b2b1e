/** A timer of the world's; the returned function takes it back. */
type Timer = (delayMs: number, run: () => void) => () => void;

/** Also without a word from anyone, so that what another process left is found. */
const LONGEST_MS = 60_000;
const SHORTEST_MS = 50;

/**
 * Calls `tick` when something is due, one at a time. On one machine it is all the scheduling there is; in an account
 * EventBridge Scheduler calls the same tick each minute, and nothing here runs.
 */
export function clock(now: () => number, timer: Timer, log: (error: unknown) => void) {
  let tick: (() => Promise<number | undefined>) | undefined;
  let cancel: (() => void) | undefined;
  let nextAt = Number.POSITIVE_INFINITY;
  let running: Promise<void> | undefined;

  function arm(dueAt: number): void {
    if (!tick || dueAt >= nextAt) return;
    cancel?.();
    nextAt = dueAt;
    cancel = timer(Math.min(Math.max(dueAt - now(), SHORTEST_MS), LONGEST_MS), strike);
  }

  function strike(): void {
    cancel = undefined;
    nextAt = Number.POSITIVE_INFINITY;
    running = (running ?? Promise.resolve()).then(async () => {
      if (!tick) return;
      let next: number | undefined;
      try {
        next = await tick();
      } catch (error) {
        log(error);
        next = now() + 5000;
      }
      arm(Math.min(next ?? Number.POSITIVE_INFINITY, now() + LONGEST_MS));
    });
  }

  return {
    /** Something will be due then. */
    wake: arm,
    /** Begins with what fell due while nobody ran. */
    start(run: () => Promise<number | undefined>): void {
      tick = run;
      arm(now());
    },
    /** Resolves when the tick under way has ended. */
    async stop(): Promise<void> {
      tick = undefined;
      cancel?.();
      await running;
    },
  };
}
