import type { Call } from '../kernel/call.ts';
import { pages } from '../kernel/page.ts';
import type { Platform } from '../platform/ports.ts';
import type { Room } from '../room.ts';
import { anchors } from './anchors.ts';
import { auditRoutes, letterRoutes } from './api.ts';
import { lettersService } from './letters.ts';
import { type GovernanceService, governanceService } from './service.ts';
import { governanceStore } from './store.ts';

/** `tick` folds the hours that are over into anchors and says when to come again: each hour, in both worlds. */
export function governanceRoom(
  platform: Pick<Platform, 'table' | 'secret' | 'world' | 'letters'>,
): Room & { service: GovernanceService; tick(call: Call): Promise<number> } {
  const { table, world, secret, letters } = platform;
  const store = governanceStore(table, world);
  const service = governanceService(table, store);
  const { hear, tick } = anchors(store, world);
  const tokens = pages(secret);
  return {
    service,
    tick,
    routes: [
      ...auditRoutes(service, tokens),
      ...letterRoutes(lettersService(table, letters), tokens),
    ],
    followers: [
      {
        name: 'governance-anchor',
        hears: ['*'],
        run: (call, told) => hear(call, [told]),
        runMany: hear,
      },
    ],
    tasks: {},
    folders: [],
  };
}
