import type { Container, Task } from './ir.ts';
import { refuse } from './refusal.ts';

/** How often a failed job is tried again, and how long apart. */
export interface RetryPolicy {
  readonly count: number;
  readonly intervalSeconds: number;
  readonly factor: number;
  readonly maxSeconds?: number;
}

/** More jobs are prepared ahead for each start of a task. */
const MAX_RETRIES = 20;

/** Source: kfp.md section 2.7, retryPolicy. */
export function retryOf(task: Task, where: string): RetryPolicy | undefined {
  const policy = task.retryPolicy;
  if (!policy || policy.maxRetryCount <= 0) return undefined;
  if (policy.maxRetryCount > MAX_RETRIES)
    throw refuse(
      where,
      `retries ${policy.maxRetryCount} times; at most ${MAX_RETRIES} are supported.`,
    );
  const seconds = (text: string | undefined) => (text ? Math.ceil(Number.parseFloat(text)) : 0);
  const longest = seconds(policy.backoffMaxDuration);
  const intervalSeconds = Math.max(1, seconds(policy.backoffDuration));
  return {
    count: Math.trunc(policy.maxRetryCount),
    intervalSeconds,
    factor: Math.max(1, policy.backoffFactor ?? 1),
    ...(longest > intervalSeconds ? { maxSeconds: longest } : {}),
  };
}

/** With `$(NAME)` of a variable above it replaced, as Kubernetes does; `$$(NAME)` stays `$(NAME)`. */
export function environment(container: Container, where: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const { name, value } of container.env) {
    if (!/^[A-Za-z_][A-Za-z0-9_.-]*$/.test(name))
      throw refuse(where, `'${name.slice(0, 100)}' is no name of an environment variable.`);
    if (value.includes('{{$'))
      throw refuse(
        where,
        `environment variable ${name}: a placeholder there is not supported yet.`,
      );
    found[name] = value.replace(
      /\$(\$?)\(([A-Za-z_][A-Za-z0-9_.-]*)\)/g,
      (whole, escaped, other) => (escaped ? `$(${other})` : (found[other] ?? whole)),
    );
  }
  return found;
}
