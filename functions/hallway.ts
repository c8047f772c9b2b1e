import { allow } from './governance/policy.ts';
import type { Hallway } from './kernel/hallway.ts';
import type { Platform } from './platform/ports.ts';
import { checkTenant } from './workspaces/credential.ts';

/**
 * The hallway's steps that are the same in both worlds, and in their tests. `authenticate` says whom a credential
 * names; which host a request may name, and where lines of the log go, each world says itself.
 */
export function hallwaySteps(
  { table, world }: Pick<Platform, 'table' | 'world'>,
  authenticate: Hallway['authenticate'],
): Omit<Hallway, 'guard' | 'log'> {
  return {
    world,
    authenticate,
    checkTenant,
    allow,
    repeated: (call, retry) => table.repeated({ ...call, retry }),
    refused: (call, resource, problem) =>
      table.commit(call, [], {
        type: 'governance.request.denied',
        subject: `callers/${call.caller.name}`,
        data: { resource, why: problem.message },
      }),
  };
}
