import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ChildServer, startServer } from '../child.ts';
import { runClient } from './venv.ts';

let server: ChildServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

test('the MLflow client logs runs, params, metrics, tags and datasets, and finds them again', async () => {
  const out = await runClient('mlflow', 'tracking.py', [server.url]);
  expect(out.trim().split('\n').at(-1)).toMatch(/^\d+ checks passed$/);
});

test('what was logged is still there after a restart', async () => {
  const out = await runClient('mlflow', 'tracking.py', [server.url, 'leave']);
  const left = out.trim().split('\n').at(-1) ?? '';
  await server.kill();
  server = await server.restart();
  const again = await runClient('mlflow', 'tracking.py', [server.url, 'find', left]);
  expect(again.trim().split('\n').at(-1)).toBe('found');
});
