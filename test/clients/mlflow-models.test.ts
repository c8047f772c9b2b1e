import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ChildServer, startServer } from '../child.ts';
import { runClient } from './venv.ts';

let server: ChildServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

test('the MLflow client logs, loads, registers and serves models by name, alias and stage', async () => {
  const out = await runClient('mlflow', 'models.py', [server.url]);
  expect(out.trim().split('\n').at(-1)).toMatch(/^\d+ checks passed$/);
});
