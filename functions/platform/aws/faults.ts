import { Problem } from '../../kernel/problem.ts';
import { quotaOf } from '../failure.ts';
import { outcomeOf } from './retry.ts';

/** How SageMaker words what went wrong. Source: aws.md section 4.7. */
const named = (error: unknown, ...names: string[]) =>
  error instanceof Error && names.includes(error.name);

/** SageMaker says ValidationException for a name that it does not know. */
export const isAbsentOf = (error: unknown): boolean =>
  named(error, 'ResourceNotFound', 'ResourceNotFoundException') ||
  (named(error, 'ValidationException') &&
    /not found|could not find|does not exist/i.test((error as Error).message));

/** The name is in use: by an earlier attempt of the same request. */
export const isTaken = (error: unknown): boolean =>
  named(error, 'ResourceInUse', 'ResourceInUseException') ||
  (named(error, 'ValidationException') &&
    /already exist|cannot create already existing/i.test((error as Error).message));

/** What remains, in our words; `what` opens the sentence. */
export function problemOf(cause: unknown, what: string): Problem {
  const message = cause instanceof Error ? cause.message : '';
  if (named(cause, 'ResourceLimitExceeded', 'ResourceLimitExceededException'))
    return new Problem('exhausted', `${what}: ${quotaOf(message) ?? message}`, {
      cause,
      retryAfterSeconds: 60,
    });
  if (named(cause, 'AccessDeniedException'))
    return new Problem('internal', `${what}: the installation's role may not do this.`, { cause });
  if (outcomeOf(cause) !== 'final')
    return new Problem('unavailable', `${what}: SageMaker does not answer now; try again.`, {
      cause,
      retryAfterSeconds: 5,
    });
  if (named(cause, 'ValidationException'))
    return new Problem('invalid', `${what}: SageMaker refuses it: ${message}`, { cause });
  return new Problem('internal', `${what}: SageMaker failed.`, { cause });
}
