import type { Platform } from '../platform/ports.ts';
import type { Steps } from '../wire.ts';
import { stepTokensOf } from '../workspaces/index.ts';
import { accountRuns } from './runner.ts';

/** In an account every step shows a token of its own, and a function's log is what it prints. */
export const stepsOf = (platform: Pick<Platform, 'table' | 'world' | 'secret'>): Steps => ({
  runsImage: accountRuns,
  stepTokens: stepTokensOf(platform),
  log: (line) => console.log(JSON.stringify(line)),
});
