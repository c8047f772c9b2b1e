import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ChildServer, startServer } from '../child.ts';
import { runClient } from './venv.ts';

let server: ChildServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

test("models of the mlflow client are served on MLflow's, KServe's and the open inference wire", async () => {
  const out = await runClient('mlflow', '../serving.py', [server.url]);
  expect(out.trim().split('\n').at(-1)).toMatch(/^\d+ checks passed$/);
});
