import type { Platform } from '../platform/ports.ts';
import type { Steps } from '../wire.ts';
import { workspacesRoom } from '../workspaces/index.ts';
import { accountRuns } from './runner.ts';

/** A step may log for a day: longer than any step of the zip runner, and than a job's own deadline by default. */
const STEP_SECONDS = 86_400;

/** A step's own token, to call us with; it names the run's workspace and dies by itself. */
export function stepsOf(platform: Pick<Platform, 'table' | 'world'>): Steps {
  const { service } = workspacesRoom(platform);
  return {
    runsImage: accountRuns,
    async stepToken(call) {
      const asked = { name: 'step', role: 'write', expiresSeconds: STEP_SECONDS } as const;
      return (await service.createToken(call, asked)).token;
    },
  };
}
