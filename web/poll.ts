/** When to ask again. */
export interface Pace {
  readonly running: boolean;
  /** Failed rounds in a row. */
  readonly failures: number;
}

/** Milliseconds: 2 s while something runs, else 15; after failures 2, 4, 8 ... 30 s. */
export function nextWait({ running, failures }: Pace): number {
  if (failures > 0) return Math.min(30_000, 1000 * 2 ** Math.min(failures, 5));
  return running ? 2000 : 15_000;
}

export interface Round {
  /** One round of questions, one after another. Answers whether anything runs. */
  ask(signal: AbortSignal): Promise<boolean>;
  /** A round went well (undefined), or nobody answered and it is tried again at that time. */
  told(failed: { error: unknown; againAt: number } | undefined): void;
}

/** Asks in rounds, never two at once, and not at all while the page is hidden. The answer asks at once. */
export function poll(round: Round): () => void {
  let failures = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let going: AbortController | undefined;

  async function turn(): Promise<void> {
    clearTimeout(timer);
    if (document.hidden) return;
    going?.abort();
    const mine = new AbortController();
    going = mine;
    let running = false;
    let failed: unknown;
    try {
      running = await round.ask(mine.signal);
      failures = 0;
    } catch (error) {
      if (mine.signal.aborted) return;
      failures++;
      failed = error;
    }
    if (mine.signal.aborted) return;
    const wait = nextWait({ running, failures });
    round.told(failures ? { error: failed, againAt: Date.now() + wait } : undefined);
    timer = setTimeout(() => void turn(), wait);
  }

  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) return void turn();
    going?.abort();
    clearTimeout(timer);
  });
  return () => void turn();
}
