import { declaring } from '../handlers/declare.ts';
import { lambdas } from '../handlers/lambdas.ts';
import { awsPlatform, blobsOf, endpointsOf, machinesOf } from '../platform/aws/platform.ts';
import { groundRooms, registryOver, servingOver } from '../wire.ts';

const uses = { blobs: blobsOf, endpoints: endpointsOf, machines: machinesOf };
const platform = await awsPlatform(uses);
const ground = groundRooms(platform);
const room = servingOver(platform, ground, registryOver(platform, ground).service);
export const { http, follow, task } = lambdas(room, platform);
export const declare = declaring(room.declared, platform.world);
