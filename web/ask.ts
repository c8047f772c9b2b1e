import type { StateSeen } from '../functions/platform/states.ts';
import type { AslScope, TaskSeen } from './asl.ts';

/** What the page reads of the routes that everyone has. */
export interface Run {
  readonly run_id: string;
  readonly display_name: string;
  readonly state: string;
  readonly created_at: string;
  readonly finished_at?: string;
  readonly error?: { readonly message?: string };
  readonly runtime_config?: { readonly parameters?: Readonly<Record<string, unknown>> };
}
export interface Machine {
  readonly name: string;
  readonly state: string;
  readonly definition: AslScope;
  readonly history: readonly StateSeen[];
  readonly tasks: readonly TaskSeen[];
}
export interface Retraining {
  readonly id: string;
  readonly rule?: string;
  readonly pipeline: string;
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly gate: { readonly model: string; readonly alias: string; readonly metric: string };
  readonly state: 'running' | 'promoted' | 'kept' | 'refused' | 'failed';
  readonly runId?: string;
  readonly decision?: {
    readonly version?: number;
    readonly champion?: number;
    readonly before?: number;
    readonly after?: number;
  };
  readonly reason?: string;
  readonly startedAt: number;
  readonly endedAt?: number;
}
export interface Version {
  readonly version: number;
  readonly aliases: readonly string[];
  readonly createdAt: number;
}
export interface Model {
  readonly name: string;
  readonly updatedAt: number;
  readonly latestVersion?: number;
  readonly aliases: Readonly<Record<string, number>>;
}
export interface ModelWithVersions extends Model {
  readonly versions: readonly Version[];
}
export interface Endpoint {
  readonly name: string;
  readonly model: string;
  readonly state: 'deploying' | 'in-service' | 'failed';
  readonly failure?: string;
  readonly version?: number;
  readonly target?: { readonly version: number };
  readonly updatedAt: number;
}
export interface DataFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly etag: string;
}

const TIMEOUT_MS = 15_000;

/** An answer that says no. */
export class Refusal extends Error {
  readonly status: number;
  constructor(status: number, words: string) {
    super(words);
    this.status = status;
  }
}

/** Throws `Refusal`, or what `fetch` throws when nobody answers. */
export async function ask<T>(path: string, signal: AbortSignal): Promise<T> {
  // Not relative: the page's own address may hold a token, and such an address is not fetched.
  const answer = await fetch(location.origin + path, {
    signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
  });
  if (!answer.ok)
    throw new Refusal(answer.status, `${path}: ${answer.status} ${answer.statusText}`);
  return (await answer.json()) as T;
}

/** Undefined where there is no such thing (any more). */
export async function askMaybe<T>(path: string, signal: AbortSignal): Promise<T | undefined> {
  try {
    return await ask<T>(path, signal);
  } catch (error) {
    if (error instanceof Refusal && error.status === 404) return undefined;
    throw error;
  }
}
