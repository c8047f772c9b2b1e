import type { Platform } from '../platform/ports.ts';
import type { Room } from '../room.ts';
import { apiRoutes } from './api.ts';
import { type WorkspacesService, workspacesService } from './service.ts';
import { type StepTokens, stepTokens } from './steps.ts';
import { tokenStore } from './store.ts';

export type { StepTokens } from './steps.ts';

export function workspacesRoom(
  platform: Pick<Platform, 'table' | 'world'>,
): Room & { service: WorkspacesService } {
  const service = workspacesServiceOf(platform);
  return { service, routes: apiRoutes(service), followers: [], tasks: {}, folders: [] };
}

/** Who holds a token, for whoever asks on behalf of another room. */
export const workspacesServiceOf = (platform: Pick<Platform, 'table' | 'world'>) =>
  workspacesService(tokenStore(platform.table), platform.world);

/** The tokens of steps, for who begins and ends them; `workspacesRoom` knows them when they are shown. */
export const stepTokensOf = (platform: Pick<Platform, 'table' | 'world' | 'secret'>): StepTokens =>
  stepTokens(tokenStore(platform.table), platform.world, platform.secret);
