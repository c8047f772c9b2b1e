import { lambdas, minute } from '../handlers/lambdas.ts';
import { stepsOf } from '../handlers/steps.ts';
import { awsPlatform, blobsOf, machinesOf } from '../platform/aws/platform.ts';
import { groundRooms, pipelinesOver, triggersOver } from '../wire.ts';

const platform = await awsPlatform({ blobs: blobsOf, machines: machinesOf });
const ground = groundRooms(platform);
const pipelines = pipelinesOver(platform, ground, stepsOf(platform));
const room = triggersOver(platform, ground, pipelines.service);
export const { http, follow, declare } = lambdas(room, platform);
/** Every minute, by EventBridge Scheduler: what rules have due. */
export const tick = minute(room.tick, platform);
