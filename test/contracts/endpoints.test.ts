import { join } from 'node:path';
import { localEndpoints } from '../../local/endpoints.ts';
import { call, dataFolder, realWorld, stranger } from '../jobs/local.ts';
import { endpointsContract } from './endpoints.ts';

const model = join(import.meta.dirname, '../jobs/model.ts');

endpointsContract('one machine', async () => {
  const folder = await dataFolder();
  const endpoints = localEndpoints({
    world: realWorld,
    dir: join(folder.data, 'endpoints'),
    blobs: { pathOf: folder.pathOf },
    commandFor: async (spec, ready) => ({
      command: [process.execPath, model, spec.modelUri, ready],
      env: {},
    }),
    log: () => {},
    graceMs: 2000,
  });
  return {
    ...folder,
    folder: folder.uri,
    endpoints,
    call,
    stranger,
    async close() {
      await endpoints.close();
      await folder.remove();
    },
  };
});
