import type { RequestId, WorkspaceId } from './ids.ts';

/** What a credential may do; the policy decides from it. */
export type Role = 'admin' | 'write' | 'read';

/** Who asks: a person's token, this machine's own user on loopback, or a part of the product. */
export interface Caller {
  readonly name: string;
  readonly role: Role;
}

/** `room:verb`. `read` changes nothing; every other verb needs a retry key on its route. */
export type Action = `${string}:${string}`;

/**
 * The first argument of every service, store and port method. The hallway makes it from the credential, a follower
 * from the event it heard, a task from its run's record. Adapters start every key, blob and name with `workspace`.
 */
export interface Call {
  readonly workspace: WorkspaceId;
  readonly caller: Caller;
  readonly action: Action;
  readonly requestId: RequestId;
  /** Milliseconds since the epoch, after which nobody waits for the answer. */
  readonly deadline: number;
  /** Set by the hallway when the request carries an `Idempotency-Key`; the first commit with an event records it. */
  readonly retry?: RetryKey;
}

export interface RetryKey {
  readonly key: string;
  /** SHA-256 of method, path and body: the same key with another request is `invalid`. */
  readonly digest: string;
}

/** A call that a part of the product makes on its own behalf, such as a follower or a task of a machine. */
export function systemCall(
  workspace: WorkspaceId,
  name: string,
  requestId: string,
  deadline: number,
): Call {
  return {
    workspace,
    caller: { name, role: 'admin' },
    action: `${name}:run`,
    requestId: requestId as RequestId,
    deadline,
  };
}
