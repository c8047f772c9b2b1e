/** Every way a request can fail. Each protocol words all of them, so a new code compiles only once every wire can say it. */
export type ProblemCode =
  | 'invalid'
  | 'unauthenticated'
  | 'denied'
  | 'missing'
  | 'exists'
  | 'precondition'
  | 'conflict'
  | 'gone'
  | 'too_large'
  | 'media'
  | 'exhausted'
  | 'unsupported'
  | 'unavailable'
  | 'internal';

export interface ProblemOptions {
  /** For our log only; never shown to the caller. */
  cause?: unknown;
  /** The input field at fault, as the wire spells it. */
  field?: string;
  /** Sent as `Retry-After`. */
  retryAfterSeconds?: number;
  /** An HTTP status that a client of this wire expects instead of the table's; the face names its source. */
  status?: number;
  /** A wire-level error word that a client of this wire expects instead of the table's (MLflow's INVALID_STATE). */
  word?: string;
}

/** The one class thrown on purpose. `message` is for the caller, `cause` for our log. */
export class Problem extends Error {
  readonly code: ProblemCode;
  readonly field: string | undefined;
  readonly retryAfterSeconds: number | undefined;
  readonly status: number | undefined;
  readonly word: string | undefined;

  constructor(code: ProblemCode, message: string, options: ProblemOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'Problem';
    this.code = code;
    this.field = options.field;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.status = options.status;
    this.word = options.word;
  }
}

export const isMissing = (error: unknown): boolean =>
  error instanceof Problem && error.code === 'missing';

/** For `.catch`: undefined in the place of what is `missing`; throws anything else again. */
export function unlessMissing(error: unknown): undefined {
  if (!isMissing(error)) throw error;
}

/** Any thrown value as a Problem; what we did not throw on purpose is `internal` and says nothing of itself. */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  return new Problem('internal', 'The server failed to answer this request.', { cause: error });
}
