import { declaring } from '../handlers/declare.ts';
import { lambdas } from '../handlers/lambdas.ts';
import { stepsOf } from '../handlers/steps.ts';
import { awsPlatform, blobsOf, jobsOf, machinesOf } from '../platform/aws/platform.ts';
import { groundRooms, pipelinesOver } from '../wire.ts';

const platform = await awsPlatform({ blobs: blobsOf, jobs: jobsOf, machines: machinesOf });
const room = pipelinesOver(platform, groundRooms(platform), stepsOf(platform));
export const { http, follow, task } = lambdas(room, platform);
export const declare = declaring(room.declared, platform.world);
