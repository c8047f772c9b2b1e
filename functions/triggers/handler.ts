import { declaring } from '../handlers/declare.ts';
import { lambdas, minute } from '../handlers/lambdas.ts';
import { stepsOf } from '../handlers/steps.ts';
import { awsPlatform, blobsOf, machinesOf } from '../platform/aws/platform.ts';
import { groundRooms, pipelinesOver, triggersOver } from '../wire.ts';

const platform = await awsPlatform({ blobs: blobsOf, machines: machinesOf });
const ground = groundRooms(platform);
const pipelines = pipelinesOver(platform, ground, stepsOf(platform));
const room = triggersOver(platform, ground, pipelines.service);
export const { http, follow } = lambdas(room, platform);
export const declare = declaring(room.declared, platform.world);
/** Every minute, by EventBridge Scheduler: what rules have due. */
export const tick = minute(room.tick, platform);
