import { join } from 'node:path';
import { CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs';
import { SageMakerClient } from '@aws-sdk/client-sagemaker';
import { SageMakerRuntimeClient } from '@aws-sdk/client-sagemaker-runtime';
import { Problem } from '../../functions/kernel/problem.ts';
import { awsEndpoints } from '../../functions/platform/aws/endpoints.ts';
import type { Endpoints } from '../../functions/platform/ports.ts';
import { localEndpoints } from '../../local/endpoints.ts';
import { endpointsContract } from '../contracts/endpoints.ts';
import { call, dataFolder, realWorld, stranger } from '../jobs/local.ts';
import { until } from '../jobs/until.ts';
import { endpointSkin } from '../oracles/sagemaker-endpoints.ts';
import { memoryBlobs } from './memory-blobs.ts';

const model = join(import.meta.dirname, '../jobs/model.ts');

endpointsContract(
  'SageMaker (shape only, not independent: a skin over local model servers)',
  async () => {
    const folder = await dataFolder();
    const files = new Map<string, Uint8Array>();
    const uri = (prefix: string) => `s3://bucket/${call.workspace}/${prefix}`;
    const servers = localEndpoints({
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
    const skin = await endpointSkin({
      endpoints: servers,
      call,
      files,
      folder: (of) => folder.uri(of.replace(/^s3:\/\/[^/]+\/[^/]+\//, '')),
    });
    const client = {
      region: 'eu-central-1',
      endpoint: skin.endpoint,
      credentials: { accessKeyId: 'x', secretAccessKey: 'x' },
      maxAttempts: 1,
    };
    const blobs = memoryBlobs('bucket', files);
    const endpoints: Endpoints = awsEndpoints(
      { region: 'eu-central-1', bucket: 'bucket', endpointRole: 'role', servingImage: 'image' },
      realWorld,
      {
        sagemaker: new SageMakerClient(client),
        runtime: new SageMakerRuntimeClient(client),
        logs: new CloudWatchLogsClient(client),
        blobs,
        // The local model servers scale by themselves; endpoints-scaling.test.ts is about this.
        scaling: { put: async () => undefined, remove: async () => undefined },
      },
    );
    return {
      ...folder,
      uri,
      folder: folder.uri,
      call,
      stranger,
      // A job's files are in both worlds: the bucket that SageMaker reads, and the folder that its server sees.
      async put(path, text) {
        await blobs.put(call, path, Buffer.from(text));
        await folder.put(path, text);
      },
      endpoints: {
        ...endpoints,
        // Whoever deploys comes again when told to, as the machine `deploy-endpoint` does.
        deploy: (of, spec) =>
          until(`${spec.name} to take ${spec.revision}`, () =>
            endpoints.deploy(of, spec).then(
              () => true,
              (error: unknown) => {
                if (error instanceof Problem && error.code === 'unavailable') return undefined;
                throw error;
              },
            ),
          ).then(() => undefined),
      },
      async close() {
        await skin.close();
        await servers.close();
        await folder.remove();
      },
    };
  },
  {
    scale: 'SageMaker starts and stops copies of a serverless endpoint by itself and does not tell',
  },
);
