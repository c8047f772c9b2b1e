import { lambdas } from '../handlers/lambdas.ts';
import { awsPlatform } from '../platform/aws/platform.ts';
import { governanceRoom } from './index.ts';

const platform = await awsPlatform({});
export const { http } = lambdas(governanceRoom(platform), platform);
