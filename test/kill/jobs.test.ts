import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Job, JobSpec } from '../../functions/platform/ports.ts';
import { isAlive } from '../../local/processes.ts';
import { dataFolder } from '../jobs/local.ts';
import { until } from '../jobs/until.ts';

const SERVER = join(import.meta.dirname, '../jobs/server.ts');

/** A server in its own process, so that it can be killed. */
async function startServer(data: string) {
  const child: ChildProcess = spawn(process.execPath, [SERVER, data], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout ?? process.stdin })[Symbol.asyncIterator]();
  const next = async () => JSON.parse(String((await lines.next()).value)) as Job | null;
  await next();
  return {
    async ask(asked: object): Promise<Job | null> {
      child.stdin?.write(`${JSON.stringify(asked)}\n`);
      return next();
    },
    /** Sends a request whose answer nobody will hear. */
    tell: (asked: object) => void child.stdin?.write(`${JSON.stringify(asked)}\n`),
    async kill() {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    },
  };
}

describe('a server that is killed while jobs run', () => {
  let folder: Awaited<ReturnType<typeof dataFolder>>;
  beforeEach(async () => {
    folder = await dataFolder();
  });
  afterEach(() => folder.remove());

  const spec = (name: string, script: string): JobSpec => ({
    name,
    image: 'busybox',
    command: ['sh', '-c', script],
    env: {},
    inputs: [],
    outputs: [{ name: 'result', uri: folder.uri(`out/${name}`) }],
    resources: {},
    nodes: 1,
    checkpoint: folder.uri('effects'),
    deadlineSeconds: 120,
  });
  const effects = async (name: string) =>
    ((await folder.read(`effects/${name}`)) ?? '').split('\n').filter(Boolean).length;
  type Server = Awaited<ReturnType<typeof startServer>>;
  const end = (server: Server, name: string) =>
    until(`${name} to end`, async () => {
      const job = await server.ask({ describe: name });
      return job && job.state !== 'pending' && job.state !== 'running' ? job : undefined;
    });

  test('a live job is adopted: it ran once, its log is whole, its outputs are in place', async () => {
    let server = await startServer(folder.data);
    const script =
      'echo x >> $SM_CHECKPOINT_DIR/long; echo before; until [ -f $SM_CHECKPOINT_DIR/go ]; do sleep 0.05; done; echo after; echo done > $SM_OUTPUT_DIR/result/file';
    await server.ask({ submit: spec('long', script) });
    await until('the effect', async () => ((await effects('long')) === 1 ? true : undefined));
    await server.kill();
    server = await startServer(folder.data);
    expect(await server.ask({ describe: 'long' })).toMatchObject({ state: 'running' });
    await folder.put('effects/go', '');
    expect(await end(server, 'long')).toMatchObject({ state: 'succeeded', exitCode: 0 });
    expect(await effects('long')).toBe(1);
    expect(await folder.read('out/long/file')).toBe('done\n');
    await server.kill();
  });

  test('a job that ended while no server ran is read, not run again', async () => {
    let server = await startServer(folder.data);
    const script =
      'echo x >> $SM_CHECKPOINT_DIR/short; until [ -f $SM_CHECKPOINT_DIR/go ]; do sleep 0.05; done; touch $SM_CHECKPOINT_DIR/over; exit 6';
    await server.ask({ submit: spec('short', script) });
    await until('the effect', async () => ((await effects('short')) === 1 ? true : undefined));
    await server.kill();
    await folder.put('effects/go', '');
    await until('its end', () => folder.read('effects/over'));
    server = await startServer(folder.data);
    expect(await end(server, 'short')).toMatchObject({ state: 'failed', exitCode: 6 });
    expect(await effects('short')).toBe(1);
    await server.kill();
  });

  test('a job killed together with its server has failed, and leaves no process behind', async () => {
    let server = await startServer(folder.data);
    await server.ask({
      submit: spec('gone', 'echo x >> $SM_CHECKPOINT_DIR/gone; while :; do sleep 0.05; done'),
    });
    await until('the effect', async () => ((await effects('gone')) === 1 ? true : undefined));
    await server.kill();
    const pid = JSON.parse(
      readFileSync(join(folder.data, 'jobs/default0/gone/nodes/0/pid'), 'utf8'),
    ) as { pid: number; startTime: string };
    // Only the wrapper: what it ran is left without one, as after an out-of-memory kill.
    process.kill(pid.pid, 'SIGKILL');
    await until('the wrapper to be gone', () => !isAlive(pid) || undefined);
    server = await startServer(folder.data);
    expect(await end(server, 'gone')).toMatchObject({ state: 'failed' });
    expect(await effects('gone')).toBe(1);
    await until('its group to be gone', () => {
      try {
        process.kill(-pid.pid, 0);
        return undefined;
      } catch {
        return true;
      }
    });
    await server.kill();
  });

  test('killed at 20 moments around the start: every job that was acknowledged ends, each with one effect', async () => {
    const acknowledged: string[] = [];
    for (let round = 0; round < 20; round++) {
      const server = await startServer(folder.data);
      const name = `r${round}`;
      await server.ask({ submit: spec(name, `echo x >> $SM_CHECKPOINT_DIR/${name}`) });
      acknowledged.push(name);
      server.tell({
        submit: spec(`unheard${round}`, `echo x >> $SM_CHECKPOINT_DIR/unheard${round}`),
      });
      // A few milliseconds further into the start with each round.
      const moment = performance.now() + round * 3;
      await until('the moment', () => performance.now() >= moment || undefined);
      await server.kill();
    }
    const server = await startServer(folder.data);
    for (const name of acknowledged) {
      expect(await end(server, name)).toMatchObject({ state: 'succeeded' });
      expect(await effects(name), name).toBe(1);
    }
    for (let round = 0; round < 20; round++) {
      const job = await server.ask({ describe: `unheard${round}` });
      if (job) await end(server, `unheard${round}`);
      expect(await effects(`unheard${round}`)).toBe(job ? 1 : 0);
    }
    expect(readdirSync(join(folder.data, 'jobs/active'))).toEqual([]);
    await server.kill();
  });
});
