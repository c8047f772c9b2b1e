import type { Call } from '../../kernel/call.ts';
import { Problem } from '../../kernel/problem.ts';
import type { World } from '../../kernel/world.ts';

/** How an adapter waits; tests pass a `sleep` that moves their clock. */
export interface Patience {
  readonly world: World;
  readonly sleep?: (ms: number) => Promise<void>;
}

const FIRST_WAIT_MS = 25;
const LONGEST_WAIT_MS = 5_000;

const THROTTLED = new Set([
  'ProvisionedThroughputExceededException',
  'ThrottlingException',
  'Throttling',
  'RequestLimitExceeded',
  'TooManyRequestsException',
  'TransactionConflictException',
  'SlowDown',
  'ConcurrentUpdateException',
]);
const UNKNOWN = new Set([
  'TimeoutError',
  'RequestTimeout',
  'InternalServerError',
  'InternalFailure',
  'InternalException',
  'InternalError',
  'ServiceUnavailable',
  'TransactionInProgressException',
  'ECONNRESET',
  'ECONNREFUSED',
  'EPIPE',
  'ETIMEDOUT',
  'NetworkingError',
]);

/**
 * What a failed request leaves: `refused` did surely nothing and may be sent again, `unknown` may have done it,
 * `final` will not go better.
 */
export function outcomeOf(error: unknown): 'refused' | 'unknown' | 'final' {
  if (!(error instanceof Error)) return 'final';
  const code = 'code' in error ? String(error.code) : '';
  if (THROTTLED.has(error.name)) return 'refused';
  if (UNKNOWN.has(error.name) || UNKNOWN.has(code)) return 'unknown';
  const status = (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode;
  return status !== undefined && status >= 500 ? 'unknown' : 'final';
}

/** The wait before the next attempt, with full jitter. Throws `unavailable` where it would end after the deadline. */
export async function backOff(
  call: Call,
  attempt: number,
  cause: unknown,
  { world, sleep = sleepMs }: Patience,
): Promise<void> {
  const [high = 0, low = 0] = world.randomBytes(2);
  const most = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(attempt, 20));
  const wait = most * ((high * 256 + low) / 65_536);
  if (world.now() + wait >= call.deadline)
    throw new Problem('unavailable', 'The store did not answer in time.', {
      cause,
      retryAfterSeconds: 1,
    });
  await sleep(wait);
}

/** Sends again what failed for a passing reason, until the deadline. Only for what may be done twice. */
export async function persist<T>(
  call: Call,
  patience: Patience,
  send: () => Promise<T>,
): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await send();
    } catch (error) {
      if (outcomeOf(error) === 'final') throw error;
      await backOff(call, attempt, error, patience);
    }
  }
}

const sleepMs = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
