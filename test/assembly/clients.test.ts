import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runClient } from '../clients/venv.ts';
import { bearerProxy } from './bearer.ts';
import { firstToken } from './checks.ts';
import { type Opened, openStack, proxyAssembly } from './open.ts';
import { text } from './stack/values.ts';

/** The mlflow client's own suites, written for one machine, on an account that was deployed with artifacts=proxy. */
describe('clients of one machine, unchanged, against an account', () => {
  let opened: Opened;
  let proxy: Awaited<ReturnType<typeof bearerProxy>>;
  beforeAll(async () => {
    opened = await openStack(proxyAssembly());
    const url = text(opened.stack.outputs['stillflow-api.Url']);
    proxy = await bearerProxy(url, await firstToken(opened.stack));
  });
  afterAll(async () => {
    await proxy?.close();
    await opened?.close();
  });

  test.concurrent.each([
    ['logs runs and finds them again', 'tracking.py'],
    ['logs, loads, registers and copies models', 'models.py'],
    ["is served on MLflow's, KServe's and the open inference wire", '../serving.py'],
  ])('the mlflow client %s', async (_, script) => {
    const out = await runClient('mlflow', script, [proxy.url], {}, 280_000);
    expect(out.trim().split('\n').at(-1)).toMatch(/^\d+ checks passed$/);
  });

  test('nothing of it was denied', () => {
    expect(opened.stack.access.denials).toEqual([]);
  });
});
