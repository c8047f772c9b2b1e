import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { JobSpec } from '../../functions/platform/ports.ts';
import { groupMemory } from '../../local/job_memory.ts';
import { type LocalJobs, localJobs } from '../../local/jobs.ts';
import { signalGroup } from '../../local/processes.ts';
import { call, dataFolder, jobOptions } from '../jobs/local.ts';
import { until } from '../jobs/until.ts';

const MB = 2 ** 20;

describe('a job on one machine', () => {
  let folder: Awaited<ReturnType<typeof dataFolder>>;
  let jobs: LocalJobs;
  beforeEach(async () => {
    folder = await dataFolder();
    jobs = localJobs(jobOptions(folder.data, { logBytes: MB }));
  });
  afterEach(async () => {
    await jobs.close();
    await folder.remove();
  });

  const run = async (script: string, resources: JobSpec['resources'] = {}) => {
    const spec: JobSpec = {
      name: 'limited',
      image: 'busybox',
      command: ['sh', '-c', script],
      env: { NODE: process.execPath },
      inputs: [],
      outputs: [],
      resources,
      nodes: 1,
      deadlineSeconds: 60,
    };
    return jobs.run(call, await jobs.prepare(call, spec), new AbortController().signal);
  };
  const wholeLog = async () => {
    const lines: string[] = [];
    for (let after: string | undefined; ; ) {
      const page = await jobs.logs(call, 'limited', after);
      if (page.next === after) return lines;
      lines.push(...page.lines);
      after = page.next;
    }
  };

  test('took all memory of the machine, whatever it had asked for', async () => {
    const greedy = 'const held = []; setInterval(() => held.push(Buffer.alloc(2e7, 1)), 5)';
    const job = await run(`"$NODE" -e '${greedy}' & wait`, { memoryBytes: 120 * MB });
    expect(job).toMatchObject({
      state: 'failed',
      failure: expect.stringMatching(
        /^The job used \d+ MB of memory, its limit is 126 MB, and was stopped\. Ask for more/,
      ),
    });
  });

  test('that keeps within what it asked for runs to its end', async () => {
    expect(await run('echo done', { memoryBytes: 120 * MB })).toMatchObject({
      state: 'succeeded',
    });
  });

  const noisy = `"$NODE" -e 'for (let i = 0; i < 200000; i++) console.log("line " + i)'`;

  test('filled the disk with its log', async () => {
    expect(await run(`${noisy}; echo last >&2`)).toMatchObject({ state: 'succeeded', exitCode: 0 });
    const lines = await wholeLog();
    expect(lines.join('\n').length).toBeLessThan(MB + 70_000);
    expect([lines.find((line) => line.startsWith('line')), lines.at(-1)]).toEqual([
      'line 0',
      'last',
    ]);
    expect(lines).toContain('stillflow: the log is full: of what follows only the end is kept');
    const numbers = lines.filter((line) => /^line \d+$/.test(line)).map((line) => line.slice(5));
    expect(numbers.at(-1)).toBe('199999');
  });

  test('with a full log still says what it printed last when it fails', async () => {
    const job = await run(`${noisy}; echo 'no such column: age' >&2; exit 3`);
    expect(job).toMatchObject({ state: 'failed', exitCode: 3 });
    expect(job.failure).toContain('no such column: age');
  });

  test('that leaves something running ends when its command does', async () => {
    const stays = `"$NODE" -e 'process.on("SIGTERM", () => {}); console.log("on"); setInterval(() => {}, 1e6)'`;
    const seen = 'while ! grep -q on ready; do sleep 0.05; done';
    const job = await run(`${stays} | tee ready & ${seen}; echo mine`);
    expect(job).toMatchObject({ state: 'succeeded' });
    expect(await wholeLog()).toContain('mine');
  });
});

const forks = `
import os, time
held = b'x' * (60 << 20)
for _ in range(3):
    if os.fork() == 0:
        break
time.sleep(1000)
`;
const python = spawnSync('python3', ['-V']).status === 0 && process.platform === 'linux';

test.runIf(python)(
  'what forked processes hold together is counted once when it matters',
  async () => {
    const child = spawn('python3', ['-c', forks], { detached: true, stdio: 'ignore' });
    await once(child, 'spawn');
    const group = child.pid ?? 0;
    try {
      const resident = await until('four processes', async () => {
        const all = await groupMemory(group, Number.POSITIVE_INFINITY);
        return all > 4 * 60 * MB ? all : undefined;
      });
      const shared = await groupMemory(group, 150 * MB);
      expect(shared).toBeGreaterThan(60 * MB);
      expect(shared).toBeLessThan(Math.min(150 * MB, resident));
    } finally {
      signalGroup(group, 'SIGKILL');
    }
  },
);
