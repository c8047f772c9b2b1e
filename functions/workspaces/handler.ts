import { lambdas } from '../handlers/lambdas.ts';
import { awsPlatform } from '../platform/aws/platform.ts';
import { workspacesRoom } from './index.ts';

const platform = await awsPlatform({});
export const { http } = lambdas(workspacesRoom(platform), platform);
