import { lambdas, minute } from '../handlers/lambdas.ts';
import { stepsOf } from '../handlers/steps.ts';
import { awsPlatform, blobsOf, machinesOf } from '../platform/aws/platform.ts';
import { groundRooms, pipelinesOver, triggersOver } from '../wire.ts';

const platform = await awsPlatform({ blobs: blobsOf, machines: machinesOf });
const pipelines = pipelinesOver(platform, groundRooms(platform), stepsOf(platform));
const room = triggersOver(platform, pipelines.service);
export const { http, follow } = lambdas(room, platform);
/** Every minute, by EventBridge Scheduler: what rules have due. */
export const tick = minute(room.tick, platform);
