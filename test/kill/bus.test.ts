import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { openBus } from '../../local/bus.ts';
import { openTable } from '../../local/table.ts';
import { testWorld } from '../contracts/calls.ts';

const KILLS = Number(process.env['STILLFLOW_KILLS'] ?? 8);
const writer = join(import.meta.dirname, 'bus-writer.ts');

test(`SIGKILL at ${KILLS} random points: each acknowledged event is heard at least once`, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'stillflow-bus-kill-'));
  const said = new Set<number>();
  const heard = new Set<number>();
  try {
    for (let round = 0; round < KILLS; round++) {
      const child = spawn(process.execPath, [writer, folder, String(round * 100_000)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const gone = new Promise((resolve) => child.once('exit', resolve));
      const after = 1 + Math.floor(Math.random() * 200);
      let lines = 0;
      for await (const line of createInterface({ input: child.stdout })) {
        // A line cut by the kill has no dot at its end.
        const [, word, n] = /^(said|heard) (\d+) \.$/.exec(line) ?? [];
        if (word) (word === 'said' ? said : heard).add(Number(n));
        if (++lines === after) child.kill('SIGKILL');
      }
      await gone;
    }
    const world = testWorld();
    const table = openTable({ folder, world });
    const bus = openBus({
      table,
      world,
      folders: [],
      log: () => undefined,
      followers: [
        {
          name: 'listener',
          hears: ['*'],
          run: async (_call, { data }) => void heard.add((data as { n: number }).n),
        },
      ],
    });
    bus.start();
    await bus.settled();
    expect([...said].filter((n) => !heard.has(n))).toEqual([]);
    expect(said.size).toBeGreaterThanOrEqual(KILLS);
    expect([...table.outbox.getKeys()]).toEqual([]);
    await bus.stop();
    await table.close();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
