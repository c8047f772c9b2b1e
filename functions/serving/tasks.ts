import * as z from 'zod';
import type { Json } from '../kernel/json.ts';
import type { Task } from '../platform/ports.ts';
import type { Deployments } from './deployment.ts';
import { Deployment } from './model.ts';

const Failed = Deployment.extend({
  error: z.object({ Error: z.string().default('unknown'), Cause: z.string().default('') }),
});

const MAX_REASON = 1000;

/** A failed function's Cause is JSON with an errorMessage; anything else is shown as it is. */
function reasonOf({ Error: name, Cause }: z.infer<typeof Failed>['error']): string {
  let said = Cause;
  try {
    const { errorMessage } = JSON.parse(Cause) as { errorMessage?: unknown };
    if (typeof errorMessage === 'string') said = errorMessage;
  } catch {
    // Not a function's failure: the text itself says why.
  }
  const waited = name === 'Problem.unavailable' ? ' It was not in service in time.' : '';
  return `${said || name}${waited}`.slice(0, MAX_REASON);
}

/** The functions that `deploy-endpoint` invokes. */
export function servingTasks(deployments: Deployments): Readonly<Record<string, Task>> {
  const step =
    (run: (...given: Parameters<Deployments['start']>) => Promise<unknown>): Task =>
    async (call, input) =>
      ((await run(call, Deployment.parse(input))) ?? {}) as Json;
  return {
    'deploy-resolve': step(deployments.resolve),
    'deploy-start': step(deployments.start),
    'deploy-ready': step(deployments.ready),
    'deploy-switch': step(deployments.switchOver),
    'deploy-failed': async (call, input) => {
      const { error, ...deployment } = Failed.parse(input);
      const reason = reasonOf(error);
      return { reason, ...(await deployments.giveUp(call, deployment, reason)) };
    },
  };
}
