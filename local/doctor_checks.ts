/**
 * What a doctor looks at, here or in an account. A check reads and changes nothing; each says what it looks at, what it
 * found and, where something is wrong, what to do about it.
 */
export type Result = 'ok' | 'warn' | 'fail' | 'skipped';

export interface Verdict {
  readonly result: Result;
  /** What was found; of `skipped` why nothing was. */
  readonly said: string;
  /** What to do; always there with `warn` and `fail`. */
  readonly fix?: string;
}

export interface Check {
  /** One word or two: `python`, `bucket encryption`. */
  readonly name: string;
  /** What is read: a path, a call of an API. */
  readonly looksAt: string;
  run(): Promise<Verdict> | Verdict;
}

export interface Finding extends Verdict {
  readonly check: string;
  readonly looksAt: string;
}

export const ok = (said: string): Verdict => ({ result: 'ok', said });
export const warn = (said: string, fix: string): Verdict => ({ result: 'warn', said, fix });
export const fail = (said: string, fix: string): Verdict => ({ result: 'fail', said, fix });
export const skipped = (said: string): Verdict => ({ result: 'skipped', said });

export interface Told {
  readonly write: (line: string) => void;
  /** One JSON object at the end in place of the lines. */
  readonly json: boolean;
}

/**
 * Runs checks in order, telling each as it ends. False if one fails. A check that throws is one that could not look:
 * skipped with the error's words, so that the others are still told.
 */
export async function examine(checks: Iterable<Check>, { write, json }: Told): Promise<boolean> {
  const findings: Finding[] = [];
  for (const { name, looksAt, run } of checks) {
    const verdict = await verdictOf(run);
    const finding = { check: name, looksAt, ...verdict };
    findings.push(finding);
    if (!json) for (const line of worded(finding)) write(line);
  }
  const of = (result: Result) => findings.filter((finding) => finding.result === result).length;
  const sum = { ok: of('ok'), warn: of('warn'), fail: of('fail'), skipped: of('skipped') };
  if (json) write(JSON.stringify({ ...sum, findings }));
  else write(`${sum.ok} ok, ${sum.warn} to look at, ${sum.fail} wrong, ${sum.skipped} skipped`);
  return sum.fail === 0;
}

async function verdictOf(run: Check['run']): Promise<Verdict> {
  try {
    return await run();
  } catch (error) {
    return skipped(`it could not be looked at: ${reasonOf(error)}`);
  }
}

/** The first line of an error, and of what caused it where it says nothing itself. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const inner =
    error instanceof AggregateError ? error.errors.find((one) => one instanceof Error) : undefined;
  const text = error.message || (inner as Error | undefined)?.message || error.name;
  return (text.split('\n')[0] ?? '').slice(0, 300);
}

const worded = ({ check, looksAt, result, said, fix }: Finding): string[] => [
  `${result.padEnd(8)}${check} (${looksAt}): ${said}`,
  ...(fix === undefined ? [] : [`        do: ${fix}`]),
];
