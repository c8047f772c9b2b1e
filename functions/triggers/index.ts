import { pages } from '../kernel/page.ts';
import type { Platform } from '../platform/ports.ts';
import type { Room } from '../room.ts';
import { triggerRoutes } from './api.ts';
import { declaredRules } from './declared.ts';
import { type Firings, firings } from './firing.ts';
import type { Runs } from './runs.ts';
import { type TriggerService, triggerService } from './service.ts';
import { triggerStore } from './store.ts';

export { clock } from './clock.ts';
export { pipelineRuns, type RunAsked, type Runs, type TrackedRuns } from './runs.ts';
export type { TriggerService } from './service.ts';

export type TriggersPlatform = Pick<Platform, 'table' | 'machines' | 'world' | 'secret'>;

/**
 * `runs`: the pipelines' service, as far as rules ask it. `tick` does what is due and says when to come again: the
 * local clock calls it in time (`onDue` wakes it), EventBridge Scheduler each minute.
 */
export function triggersRoom(
  platform: TriggersPlatform,
  runs: Pick<Runs, 'check' | 'checkExperiment' | 'createRun' | 'nameBehind'>,
): Room & {
  service: TriggerService;
  tick: Firings['tick'];
  onDue(listener: (dueAt: number) => void): void;
} {
  const { table, machines, world, secret } = platform;
  const listeners: ((dueAt: number) => void)[] = [];
  const wake = (dueAt: number) => {
    for (const listener of listeners) listener(dueAt);
  };
  const store = triggerStore(table);
  const service = triggerService({ store, runs, world, pages: pages(secret), wake });
  const fire = firings({ store, machines, runs, world, wake });
  return {
    service,
    tick: fire.tick,
    onDue: (listener) => listeners.push(listener),
    routes: triggerRoutes(service),
    followers: [{ name: 'triggers-rules', hears: ['*'], run: fire.hear }],
    tasks: {},
    folders: [],
    declared: { rule: declaredRules(service) },
  };
}
