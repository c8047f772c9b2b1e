import { awsPlatform, blobsOf, endpointsOf, jobsOf } from '../platform/aws/platform.ts';
import { groundRooms, pipelinesOver, registryOver, servingOver } from '../wire.ts';
import { lambdas } from './lambdas.ts';
import { stepsOf } from './steps.ts';

/** The streaming front: the routes of all rooms that stream, in one function behind one URL. It starts nothing. */
const platform = await awsPlatform({ blobs: blobsOf, jobs: jobsOf, endpoints: endpointsOf });
const ground = groundRooms(platform);
const registry = registryOver(platform, ground);
const rooms = [
  ...Object.values(ground),
  registry,
  pipelinesOver(platform, ground, stepsOf(platform)),
  servingOver(platform, ground, registry.service),
];
const routes = rooms.flatMap((room) => room.routes).filter(({ streams }) => streams);
export const { stream } = lambdas({ routes, followers: [], tasks: {}, folders: [] }, platform);
