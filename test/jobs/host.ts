/** A server of one endpoint to kill: `node host.ts DATA MODEL_FOLDER`; prints a line when the endpoint answers. */
import { join } from 'node:path';
import { localEndpoints } from '../../local/endpoints.ts';
import { call, realWorld } from './local.ts';
import { until } from './until.ts';

const [data = '', modelUri = ''] = process.argv.slice(2);
const endpoints = localEndpoints({
  world: realWorld,
  dir: join(data, 'endpoints'),
  blobs: { pathOf: () => 'x' },
  commandFor: async (spec, ready) => ({
    command: [process.execPath, join(import.meta.dirname, 'model.ts'), spec.modelUri, ready],
    env: {},
  }),
  log: () => {},
});
await endpoints.ready;
const scale = { minimum: 1, maximum: 1, concurrency: 10, idleSeconds: 300 };
await endpoints.deploy(call, { name: 'churn', revision: 'v1', modelUri, env: {}, scale });
await until('it to be in service', async () => {
  const status = await endpoints.describe(call, 'churn');
  return status?.state === 'in-service' && status.copies === 1 ? true : undefined;
});
process.stdout.write('in service\n');
