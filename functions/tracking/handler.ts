import { lambdas } from '../handlers/lambdas.ts';
import { awsPlatform, blobsOf } from '../platform/aws/platform.ts';
import { trackingOver } from '../wire.ts';

const platform = await awsPlatform({ blobs: blobsOf });
export const { http, follow } = lambdas(trackingOver(platform), platform);
