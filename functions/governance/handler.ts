import { lambdas, minute } from '../handlers/lambdas.ts';
import { awsPlatform } from '../platform/aws/platform.ts';
import { governanceRoom } from './index.ts';

const platform = await awsPlatform({});
const room = governanceRoom(platform);
export const { http, follow } = lambdas(room, platform);
/** Every hour, by EventBridge Scheduler: the anchors of the hours that are over. */
export const tick = minute(room.tick, platform, 'governance');
