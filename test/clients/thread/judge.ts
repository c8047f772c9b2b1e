import { expect, test } from 'vitest';

/** What thread.py prints of what it saw. */
export interface Seen {
  readonly first: string;
  readonly run_id: string;
  readonly mlflow_rows: number[];
  readonly mlflow_pipeline: string[];
  readonly loaded: number;
  readonly predicted: number[];
  readonly v1: number[];
  /** Newest first. */
  readonly retrainings: { readonly state: string; readonly reason: string }[];
  readonly champion: string;
  readonly versions: number;
  readonly followed: number[];
}

export const readSeen = (printed: string): Seen =>
  JSON.parse(printed.trim().split('\n').at(-1) ?? '');

/** The same judgement wherever the thread ran: on one machine, and on what the stacks make. */
export function judgeThread(seenOf: () => Seen): void {
  test('the pipeline of two steps succeeds and is an MLflow run', () => {
    const seen = seenOf();
    expect(seen.first).toBe('SUCCEEDED');
    expect(seen.mlflow_rows).toEqual([20]);
    expect(seen.mlflow_pipeline).toEqual([seen.run_id]);
  });
  test('the registered model answers the same by the client, by MLflow and by KServe', () => {
    const seen = seenOf();
    expect(seen.loaded).toBeCloseTo(20.25, 1);
    expect(seen.predicted[0]).toBeCloseTo(seen.loaded, 6);
    expect(seen.v1[0]).toBeCloseTo(seen.loaded, 6);
  });
  test('each drop retrains exactly once: the better is promoted, the bad refused, the worse kept out', () => {
    const seen = seenOf();
    expect(seen.retrainings.map(({ state }) => state)).toEqual(['kept', 'refused', 'promoted']);
    expect(seen.retrainings[1]?.reason).toContain('y may not be negative');
    expect(seen.versions).toBe(3);
    expect(seen.champion).toBe('2');
  });
  test('the endpoint followed the alias', () => {
    expect(seenOf().followed[0]).toBeCloseTo(30, 0);
  });
}
