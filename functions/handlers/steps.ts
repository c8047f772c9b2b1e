import type { Platform } from '../platform/ports.ts';
import type { Steps } from '../wire.ts';
import { stepTokensOf } from '../workspaces/index.ts';
import { accountRuns } from './runner.ts';

/** In an account every step shows a token of its own. */
export const stepsOf = (platform: Pick<Platform, 'table' | 'world' | 'secret'>): Steps => ({
  runsImage: accountRuns,
  stepTokens: stepTokensOf(platform),
});
