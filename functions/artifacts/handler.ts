import { lambdas } from '../handlers/lambdas.ts';
import { awsPlatform, blobsOf } from '../platform/aws/platform.ts';
import { groundRooms } from '../wire.ts';

const platform = await awsPlatform({ blobs: blobsOf });
export const { http } = lambdas(groundRooms(platform).artifacts, platform);
