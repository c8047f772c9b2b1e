import { startTimeOf } from './process.ts';

/** A process that cannot be mistaken for a later one with the same number. The wrapper (wrapper.ts) writes it so. */
export interface ProcessId {
  readonly pid: number;
  readonly startTime: string;
}

export const isAlive = ({ pid, startTime }: ProcessId): boolean => startTimeOf(pid) === startTime;

/** Signals the whole process group that `pid` leads; false if none of it is left. */
export function signalGroup(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(-pid, signal);
    return true;
  } catch {
    return false;
  }
}

/** The server's own variables that a child may see: where to find programs, the index of pip, the way out. */
const PASSED_ON =
  /^(PIP_(?!TARGET|USER|PREFIX|REQUIRE_VIRTUALENV)\w+|UV_(?:DEFAULT_INDEX|INDEX\w*|FIND_LINKS|INSECURE_HOST)|https?_proxy|no_proxy|all_proxy|HTTPS?_PROXY|NO_PROXY|ALL_PROXY|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|TZ)$/;

export function passedOn(env: NodeJS.ProcessEnv): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(env))
    if (value !== undefined && PASSED_ON.test(name)) kept[name] = value;
  return kept;
}
