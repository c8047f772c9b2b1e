import * as z from 'zod';
import type { Json } from '../kernel/json.ts';
import { reasonOf } from '../platform/failure.ts';
import type { Task } from '../platform/ports.ts';
import type { Deployments } from './deployment.ts';
import { Deployment } from './model.ts';

const Failed = Deployment.extend({
  error: z.object({ Error: z.string().default('unknown'), Cause: z.string().default('') }),
});

const MAX_REASON = 1000;

function said({ Error: error, Cause: cause }: z.infer<typeof Failed>['error']): string {
  const waited = error === 'Problem.unavailable' ? ' It was not in service in time.' : '';
  return `${reasonOf({ error, cause }) ?? error}${waited}`.slice(0, MAX_REASON);
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
      const reason = said(error);
      return { reason, ...(await deployments.giveUp(call, deployment, reason)) };
    },
  };
}
