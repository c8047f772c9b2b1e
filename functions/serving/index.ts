import { pages } from '../kernel/page.ts';
import type { Platform } from '../platform/ports.ts';
import type { Room } from '../room.ts';
import { servingRoutes } from './api.ts';
import { declaredEndpoints } from './declared.ts';
import { deployments, type Models } from './deployment.ts';
import { inferenceRoutes } from './inference.ts';
import { invocationRoutes } from './invocations.ts';
import { predictions } from './prediction.ts';
import { routing } from './routing.ts';
import { type ServingService, servingService } from './service.ts';
import { signatureAt } from './signature.ts';
import { servingStore } from './store.ts';
import { servingTasks } from './tasks.ts';

export type { ServingService } from './service.ts';

export type ServingPlatform = Pick<
  Platform,
  'table' | 'blobs' | 'machines' | 'endpoints' | 'world' | 'secret'
>;

/** `models`: the registry's and artifacts' services, as far as serving asks them. */
export function servingRoom(
  platform: ServingPlatform,
  models: Omit<Models, 'signature'>,
): Room & { service: ServingService } {
  const { table, blobs, machines, endpoints, world, secret } = platform;
  const store = servingStore(table);
  const routes = routing(store, world);
  const parts = {
    store,
    endpoints,
    machines,
    world,
    pages: pages(secret),
    models: {
      ...models,
      signature: (call, uri) => signatureAt(blobs, call, uri),
    } satisfies Models,
    changed: routes.forget,
  };
  const service = servingService(parts);
  const waiting = declaredEndpoints(service, table);
  const steps = deployments(parts);
  const predict = predictions({ routing: routes, endpoints, store });
  return {
    service,
    routes: [...servingRoutes(service), ...invocationRoutes(predict), ...inferenceRoutes(predict)],
    followers: [
      {
        name: 'serving-alias',
        // One follower for both: a rename is followed before what is said under the names after it.
        hears: ['registry.alias.set', 'registry.model.renamed'],
        async run(call, told) {
          if (told.type === 'registry.model.renamed') return service.rename(call, told);
          await service.follow(call, told);
          await waiting.follow(call, told);
        },
      },
      {
        name: 'serving-asked',
        hears: ['serving.endpoint.asked', 'serving.rollback.asked'],
        run: service.restart,
      },
      {
        name: 'serving-withdrawn',
        hears: ['registry.version.deleted', 'registry.model.deleted', 'registry.alias.removed'],
        run: service.withdraw,
      },
      { name: 'serving-ended', hears: ['machines.execution.ended'], run: steps.close },
      { name: 'serving-removed', hears: ['serving.endpoint.removed'], run: service.clear },
      {
        // Where routing lives beside the followers, a switch is seen at once and not after its age.
        name: 'serving-routing',
        here: true,
        hears: ['serving.endpoint.deployed', 'serving.endpoint.rolled-back'],
        run: async (call) => routes.forget(call),
      },
    ],
    tasks: servingTasks(steps),
    folders: [],
    declared: { endpoint: waiting.declared },
  };
}
