import { createHash } from 'node:crypto';
import type { Call, Role } from '../functions/kernel/call.ts';
import { DEFAULT_WORKSPACE, type RequestId, type WorkspaceId } from '../functions/kernel/ids.ts';
import type { World } from '../functions/kernel/world.ts';

/** A world that a test turns by hand: the clock stands until moved, randomness follows from the seed. */
export interface TestWorld extends World {
  /** Moves the clock by so many milliseconds, also back. */
  pass(ms: number): void;
}

export function testWorld(seed = 1, startAt = Date.UTC(2026, 10, 24)): TestWorld {
  let now = startAt;
  let drawn = 0;
  return {
    now: () => now,
    pass: (ms) => {
      now += ms;
    },
    randomBytes(count) {
      const bytes = new Uint8Array(count);
      for (let at = 0; at < count; at += 32) {
        const block = createHash('sha256').update(`${seed}:${drawn++}`).digest();
        bytes.set(block.subarray(0, Math.min(32, count - at)), at);
      }
      return bytes;
    },
  };
}

export function testCall(
  options: { workspace?: string; name?: string; role?: Role; action?: `${string}:${string}` } = {},
): Call {
  return {
    workspace: (options.workspace ?? DEFAULT_WORKSPACE) as WorkspaceId,
    caller: { name: options.name ?? 'ada', role: options.role ?? 'admin' },
    action: options.action ?? 'test:run',
    requestId: 'request' as RequestId,
    deadline: Number.MAX_SAFE_INTEGER,
  };
}
