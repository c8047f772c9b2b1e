import { lambdas } from '../handlers/lambdas.ts';
import { stepsOf } from '../handlers/steps.ts';
import { awsPlatform, blobsOf, machinesOf } from '../platform/aws/platform.ts';
import { groundRooms, loopsOver, pipelinesOver, registryOver } from '../wire.ts';

const platform = await awsPlatform({ blobs: blobsOf, machines: machinesOf });
const ground = groundRooms(platform);
const registry = registryOver(platform, ground).service;
const pipelines = pipelinesOver(platform, ground, stepsOf(platform)).service;
export const { http, follow, task } = lambdas(
  loopsOver(platform, ground, registry, pipelines),
  platform,
);
