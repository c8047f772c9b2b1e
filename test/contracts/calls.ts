import type { Call } from '../../functions/kernel/call.ts';
import type { RequestId, WorkspaceId } from '../../functions/kernel/ids.ts';
import type { World } from '../../functions/kernel/world.ts';

/** A clock that a test moves, and bytes that never repeat. */
export interface TestWorld extends World {
  advance(ms: number): void;
}

export function testWorld(startAt = 1_700_000_000_000): TestWorld {
  let at = startAt;
  let drawn = 0;
  return {
    now: () => at,
    randomBytes(count) {
      const bytes = new Uint8Array(count);
      drawn += 1;
      for (let i = 1; i <= Math.min(4, count); i++) bytes[count - i] = drawn >>> (8 * (i - 1));
      return bytes;
    },
    advance(ms) {
      at += ms;
    },
  };
}

let opened = 0;
/** A workspace no other test uses, so that one table on an oracle serves all of them. */
export const newWorkspace = (): string =>
  `w${(++opened).toString(36)}${process.pid.toString(36)}zzzzzzz`.slice(0, 8);

export function callIn(workspace: string, more: Partial<Call> = {}): Call {
  return {
    workspace: workspace as WorkspaceId,
    caller: { name: 'ada', role: 'admin' },
    action: 'test:write',
    requestId: 'request-1' as RequestId,
    deadline: Number.MAX_SAFE_INTEGER,
    ...more,
  };
}
