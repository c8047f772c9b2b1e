import { open } from 'node:fs/promises';
import { Script } from 'node:vm';
import type { Job, JobSpec } from '../functions/platform/ports.ts';

type Metric = Job['metrics'][number];
const MAX_METRICS = 10_000;
const PAGE_BYTES = 1 << 20;

/** Lines of a log from a byte offset on: whole ones only, unless `ended`. At most 1 MiB; very long lines are cut up. */
export async function readLines(
  path: string,
  offset: number,
  ended: boolean,
): Promise<{ lines: string[]; next: number }> {
  let bytes: Buffer;
  try {
    const file = await open(path, 'r');
    try {
      const { buffer, bytesRead } = await file.read(
        Buffer.alloc(PAGE_BYTES),
        0,
        PAGE_BYTES,
        offset,
      );
      bytes = buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT')
      return { lines: [], next: offset };
    throw error;
  }
  const full = bytes.length === PAGE_BYTES;
  const end = bytes.lastIndexOf(10) + 1;
  const taken = end === 0 && full ? bytes.length : ended && !full ? bytes.length : end;
  if (taken === 0) return { lines: [], next: offset };
  const text = bytes.toString('utf8', 0, taken);
  const lines = (text.endsWith('\n') ? text.slice(0, -1) : text).split('\n');
  return { lines: lines.map((line) => line.replace(/\r$/, '')), next: offset + taken };
}

// A user's expression on a user's line may backtrack for ever; V8 stops it when the script's time is over.
const exec = new Script('new RegExp(regex).exec(line)?.[1]');
const LIMIT_MS = 50;

/** Reads a job's metrics off its log, a piece at a time; each is stamped when it is read. */
export function metricReader(spec: JobSpec, log: string, now: () => number) {
  const found: Metric[] = [];
  let offset = 0;
  let rules = [...(spec.metrics ?? [])];
  const first = (regex: string, line: string): string | undefined => {
    try {
      const value: unknown = exec.runInNewContext({ regex, line }, { timeout: LIMIT_MS });
      return typeof value === 'string' ? value : undefined;
    } catch {
      rules = rules.filter((rule) => rule.regex !== regex);
      return undefined;
    }
  };
  return {
    found: found as readonly Metric[],
    /** Takes in what the log has gained. */
    async read(ended: boolean): Promise<void> {
      for (;;) {
        if (!rules.length || found.length >= MAX_METRICS) return;
        const { lines, next } = await readLines(log, offset, ended);
        if (next === offset) return;
        offset = next;
        for (const line of lines)
          for (const { name, regex } of rules) {
            const value = Number(first(regex, line.slice(0, 2048)) ?? Number.NaN);
            if (Number.isFinite(value) && found.length < MAX_METRICS)
              found.push({ name, value, at: now() });
          }
      }
    },
  };
}
