import type { Call } from '../kernel/call.ts';

/** Verbs that change nothing of the caller's workspace. */
const READS = new Set(['read', 'invoke']);

/**
 * What a role may do: `read` looks and asks models, `write` changes all but credentials, `admin` everything. Who has
 * which credential is for admins alone. Policies of people's own come with the policy engine; the hallway asks only
 * this function.
 */
export function allow(call: Call, resource: string): boolean {
  const [room, verb = ''] = call.action.split(':');
  if (call.caller.role === 'admin') return true;
  if (/^tokens(\/|$)/.test(resource)) return false;
  if (READS.has(verb)) return true;
  return call.caller.role === 'write' && room !== 'workspaces' && room !== 'governance';
}
