import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { checkLeft } from './table-checks.ts';

const KILLS = Number(process.env['STILLFLOW_KILLS'] ?? 12);
const writer = join(import.meta.dirname, 'table-writer.ts');

/** Runs the writer and kills it after a random number of acknowledgements; says what was acknowledged. */
async function writeUntilKilled(folder: string, from: number, after: number): Promise<number[]> {
  const child = spawn(process.execPath, [writer, folder, String(from)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const acknowledged: number[] = [];
  const gone = new Promise((resolve) => child.once('exit', resolve));
  for await (const line of createInterface({ input: child.stdout })) {
    // A last line cut short by the kill is still a prefix of a number: only whole lines end with one.
    acknowledged.push(Number(line));
    if (acknowledged.length === after) child.kill('SIGKILL');
  }
  await gone;
  return acknowledged;
}

test(`SIGKILL at ${KILLS} random points: all that was acknowledged is there, nothing is torn`, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'stillflow-kill-'));
  const acknowledged = new Set<number>();
  let from = 0;
  let left = 0;
  try {
    for (let round = 0; round < KILLS; round++) {
      const after = 1 + Math.floor(Math.random() * 400);
      const said = await writeUntilKilled(folder, from, after);
      // The last line may have been cut by the kill.
      for (const n of said.slice(0, after)) acknowledged.add(n);
      left = await checkLeft(folder, acknowledged);
      from = Math.max(from, ...said) + 1000;
    }
    expect(left).toBeGreaterThanOrEqual(acknowledged.size);
    expect(acknowledged.size).toBeGreaterThanOrEqual(KILLS);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
