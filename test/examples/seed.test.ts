import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ChildServer, startServer } from '../child.ts';
import { runClient } from '../clients/venv.ts';

const scratch = mkdtempSync(join(tmpdir(), 'seed-'));
let server: ChildServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(async () => {
  await server?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

const run = (script: string) =>
  runClient('thread', `../../../examples/${script}`, [server.url], { TMPDIR: scratch });

describe('the two scripts that everybody has seen, with one address changed', () => {
  test('train.py leaves a finished run with its parameters, its metric and its model', async () => {
    const printed = await run('tracking/train.py');
    const id = /MLflow Run ID: ([0-9a-f]{32})/.exec(printed)?.[1];
    expect(id, printed).toBeDefined();
    const answer = await fetch(`${server.url}/api/2.0/mlflow/runs/get?run_id=${id}`);
    const { run: kept } = (await answer.json()) as {
      run: {
        info: { status: string };
        data: {
          params: { key: string; value: string }[];
          metrics: { key: string; value: number }[];
        };
        outputs?: { model_outputs?: { model_id: string }[] };
      };
    };
    expect(kept.info.status).toBe('FINISHED');
    expect(kept.data.params).toContainEqual({ key: 'n_estimators', value: '100' });
    const accuracy = kept.data.metrics.find(({ key }) => key === 'accuracy')?.value;
    expect(accuracy).toBeGreaterThan(0.8);
    expect(kept.outputs?.model_outputs).toHaveLength(1);
  });

  test('pipeline.py is refused without its parameter, by name, and succeeds with it', async () => {
    const printed = await run('pipeline/pipeline.py');
    expect(printed).toMatch(/^Refused: .*data_path/m);
    const id = /KFP Run ID: (\S+) SUCCEEDED/.exec(printed)?.[1];
    expect(id, printed).toBeDefined();
    const answer = await fetch(`${server.url}/apis/v2beta1/runs/${id}`);
    const { state, run_details } = (await answer.json()) as {
      state: string;
      run_details: { task_details: { display_name: string; state: string }[] };
    };
    expect(state).toBe('SUCCEEDED');
    expect(run_details.task_details.map(({ display_name }) => display_name).sort()).toEqual([
      'preprocess',
      'train',
    ]);
  });
});
