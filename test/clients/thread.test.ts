import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ChildServer, startServer } from '../child.ts';
import { runClient } from './venv.ts';

interface Seen {
  first: string;
  run_id: string;
  mlflow_rows: number[];
  mlflow_pipeline: string[];
  loaded: number;
  predicted: number[];
  v1: number[];
  retrainings: { state: string; reason: string }[];
  champion: string;
  versions: number;
  followed: number[];
}

describe('data, pipeline, run, version, endpoint, prediction, retraining: by unmodified clients', () => {
  let server: ChildServer;
  let seen: Seen;
  beforeAll(async () => {
    server = await startServer();
    const printed = await runClient('thread', 'thread.py', [server.url]);
    seen = JSON.parse(printed.trim().split('\n').at(-1) ?? '');
  });
  afterAll(() => server?.stop());

  test('the pipeline of two steps succeeds and is an MLflow run', () => {
    expect(seen.first).toBe('SUCCEEDED');
    expect(seen.mlflow_rows).toEqual([20]);
    expect(seen.mlflow_pipeline).toEqual([seen.run_id]);
  });
  test('the registered model answers the same by the client, by MLflow and by KServe', () => {
    expect(seen.loaded).toBeCloseTo(20.25, 1);
    expect(seen.predicted[0]).toBeCloseTo(seen.loaded, 6);
    expect(seen.v1[0]).toBeCloseTo(seen.loaded, 6);
  });
  test('each drop retrains exactly once: the better is promoted, the bad refused, the worse kept out', () => {
    // newest first
    expect(seen.retrainings.map(({ state }) => state)).toEqual(['kept', 'refused', 'promoted']);
    expect(seen.retrainings[1]?.reason).toContain('y may not be negative');
    expect(seen.versions).toBe(3);
    expect(seen.champion).toBe('2');
  });
  test('the endpoint followed the alias', () => {
    expect(seen.followed[0]).toBeCloseTo(30, 0);
  });
});
