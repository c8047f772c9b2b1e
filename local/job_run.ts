import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Problem } from '../functions/kernel/problem.ts';
import type { World } from '../functions/kernel/world.ts';
import { LAUNCHER } from '../functions/platform/job_spec.ts';
import type { Job } from '../functions/platform/ports.ts';
import { type Interpreter, nodeEnv, type Placement, stageNode } from './job_env.ts';
import {
  type Halt,
  type JobFolder,
  type LocalSpec,
  nodeFolder,
  putInPlace,
  readExit,
  readFailure,
  readPid,
  readRecord,
  tail,
  writeRecord,
} from './job_folder.ts';
import type { Runnable } from './job_images.ts';
import { groupMemory } from './job_memory.ts';
import { metricReader } from './job_metrics.ts';
import { startTimeOf } from './process.ts';
import { isAlive, signalGroup } from './processes.ts';
import { removeTree } from './remove_tree.ts';
import { WRAPPER } from './wrapper.ts';

export interface RunOptions {
  readonly folder: JobFolder;
  readonly spec: LocalSpec;
  /** Set if an earlier server had signalled it. */
  readonly halt: Halt | undefined;
  /** When an earlier server started it, if it did. */
  readonly adoptedFrom: number | undefined;
  readonly runnable: Runnable;
  readonly world: World;
  readonly interpreter: () => Promise<Interpreter>;
  readonly launcher: string;
  readonly log: (line: Record<string, unknown>) => void;
  readonly graceMs: number;
  /** Of each node; more than that is left out of the middle. */
  readonly logBytes: number;
  readonly hostEnv: NodeJS.ProcessEnv;
  /** Aborted when the server lets go of its jobs. */
  readonly closed: AbortSignal;
}

/** A job that has been submitted and has not ended. */
export interface Running {
  readonly folder: JobFolder;
  readonly spec: LocalSpec;
  /** As far as is known now, from memory. */
  job(): Job;
  /** Reads what the log has gained. */
  refresh(): Promise<void>;
  /** Runs it, or adopts what runs, to its end. */
  start(): Promise<void>;
  /** SIGTERM, SIGKILL after the grace; one that has not started never will. The first reason stays. */
  halt(reason: 'stopped'): Promise<void>;
  readonly ended: Promise<Job>;
}

interface Started {
  readonly at: number;
  readonly masterPort: number;
}
/** How often an adopted process, which is not our child, is looked at. */
const ADOPTED_POLL_MS = 200;
/** How often the memory of a job that may have so much only is looked at. */
const MEMORY_POLL_MS = 500;
const LOG_BLOCK = 512;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export function runJob(options: RunOptions): Running {
  const { folder, spec, world, closed } = options;
  const { promise: ended, resolve, reject } = Promise.withResolvers<Job>();
  ended.catch(() => {});
  const stopping = () => reject(new Problem('unavailable', 'The server is stopping.'));
  closed.addEventListener('abort', stopping);
  ended.finally(() => closed.removeEventListener('abort', stopping)).catch(() => {});
  const nodes = Array.from({ length: spec.nodes }, (_, node) => nodeFolder(folder, node));
  const children = new Map<number, ChildProcess>();
  const reader = metricReader(spec, join(nodeFolder(folder, 0), 'log'), () => world.now());
  let job: Job = { name: spec.name, state: 'pending', metrics: [] };
  if (options.adoptedFrom !== undefined)
    job = { ...job, state: 'running', startedAt: options.adoptedFrom };
  let halted = options.halt;
  let finishing = false;
  let firstFailed: number | undefined;

  /** The group that a node's wrapper leads, while it is surely ours. */
  async function groupOf(node: number): Promise<number | undefined> {
    const pid = await readPid(nodeFolder(folder, node));
    if (pid) return isAlive(pid) ? pid.pid : undefined;
    const child = children.get(node);
    return child?.exitCode === null && child.signalCode === null ? child.pid : undefined;
  }
  async function signalAll(signal: NodeJS.Signals): Promise<void> {
    for (const node of nodes.keys()) {
      const group = await groupOf(node);
      if (group !== undefined) signalGroup(group, signal);
    }
  }
  async function follow(halt: Halt): Promise<void> {
    // What has too much memory gets no time to take more.
    await signalAll(halt.reason === 'memory' ? 'SIGKILL' : 'SIGTERM');
    const left = Math.max(0, halt.at + options.graceMs - world.now());
    await delay(left, undefined, { signal: closed, ref: false });
    if (!finishing) await signalAll('SIGKILL');
  }
  const lost = (cause: unknown) => {
    if (!closed.aborted) options.log({ level: 'error', message: 'job signal lost', cause });
  };

  async function halt(reason: Halt['reason'], more: Partial<Halt> = {}): Promise<void> {
    if (halted || finishing) return;
    halted = { ...more, reason, at: world.now() };
    await writeRecord(join(folder.path, 'halt.json'), halted);
    follow(halted).catch(lost);
  }

  /** The started record: written before the first process, so that a deadline counts from one moment. */
  async function startedRecord(): Promise<Started> {
    const path = join(folder.path, 'started.json');
    const found = await readRecord<Started>(path);
    if (found) return found;
    const started = { at: world.now(), masterPort: spec.nodes > 1 ? await freePort() : 29_500 };
    await writeRecord(path, started);
    return started;
  }

  async function spawnNode(place: Placement): Promise<void> {
    const root = nodeFolder(folder, place.node);
    await mkdir(root, { recursive: true });
    await stageNode(place);
    if ('warning' in options.runnable && options.runnable.warning)
      await appendFile(join(root, 'log'), `stillflow: ${options.runnable.warning}\n`);
    const [program = '', ...rest] = spec.command;
    const command =
      program === LAUNCHER
        ? [join(place.interpreter?.bin ?? '', 'python3'), options.launcher, ...rest]
        : spec.command;
    const blocks = String(Math.ceil(options.logBytes / LOG_BLOCK));
    const child = spawn('/bin/sh', ['-c', WRAPPER, 'wrapper', root, blocks, ...command], {
      cwd: join(root, 'scratch/work'),
      env: nodeEnv(place),
      detached: true,
      stdio: 'ignore',
    });
    children.set(place.node, child);
    await new Promise<void>((done, failed) => {
      child.once('spawn', done);
      child.once('error', failed);
    });
  }

  /** The exit code of a node, or undefined if its wrapper died without writing one. */
  async function nodeEnd(node: number): Promise<number | undefined> {
    const root = nodeFolder(folder, node);
    const child = children.get(node);
    if (child && child.exitCode === null && child.signalCode === null)
      await once(child, 'exit', { signal: closed });
    for (;;) {
      const pid = await readPid(root);
      const alive = pid !== undefined && isAlive(pid);
      const exit = await readExit(root);
      if (exit === undefined && alive) {
        await delay(ADOPTED_POLL_MS, undefined, { signal: closed });
        continue;
      }
      // What the command left running in its group ends with it. A number still led by a live process is another's.
      if (pid && (child?.pid === pid.pid || startTimeOf(pid.pid) === undefined))
        signalGroup(pid.pid, 'SIGKILL');
      return exit;
    }
  }

  async function runNodes(): Promise<(number | undefined)[]> {
    const began = await Promise.all(nodes.map((root) => readPid(root)));
    const fresh = [...nodes.keys()].filter((node) => !began[node]);
    const interpreter =
      fresh.length && 'venv' in options.runnable && options.runnable.venv && !halted
        ? await options.interpreter()
        : undefined;
    const started = await startedRecord();
    if (halted && fresh.length === nodes.length) return [];
    for (const node of fresh)
      await spawnNode({
        folder,
        spec,
        node,
        masterPort: started.masterPort,
        interpreter,
        hostEnv: options.hostEnv,
      });
    job = { ...job, state: 'running', startedAt: started.at };
    if (halted) follow(halted).catch(lost);
    else {
      armDeadline(started.at + spec.deadlineSeconds * 1000);
      watchMemory().catch(lost);
    }
    return Promise.all(
      [...nodes.keys()].map(async (node) => {
        const exit = await nodeEnd(node);
        if (exit !== 0) firstFailed ??= node;
        if (exit !== 0 && spec.nodes > 1) await halt('node');
        return exit;
      }),
    );
  }

  /** Stops the job once a node of it has more memory than it asked for. */
  async function watchMemory(): Promise<void> {
    const limit = spec.resources.memoryBytes;
    while (limit !== undefined && !halted && !finishing) {
      for (const node of nodes.keys()) {
        const group = await groupOf(node);
        const memoryBytes = group === undefined ? 0 : await groupMemory(group, limit);
        if (memoryBytes > limit) return halt('memory', { memoryBytes });
      }
      await delay(MEMORY_POLL_MS, undefined, { signal: closed, ref: false });
    }
  }

  function armDeadline(at: number): void {
    const left = Math.min(LONGEST_TIMER_MS, Math.max(0, at - world.now()));
    delay(left, undefined, { signal: closed, ref: false }).then(
      () => {
        if (finishing) return;
        if (world.now() < at) armDeadline(at);
        else halt('deadline').catch(lost);
      },
      () => {},
    );
  }

  /** Whatever happens at the end of a job, it has ended, and who waits for it hears so. */
  async function close(exits: (number | undefined)[], refusal?: string): Promise<void> {
    try {
      await finish(exits, refusal);
    } catch (cause) {
      if (closed.aborted) return reject(cause);
      options.log({ level: 'error', message: 'job end', job: spec.name, cause });
      const why = cause instanceof Error ? cause.message : String(cause);
      const failure = `What the job left could not be kept: ${why}`.slice(0, 1024);
      job = { ...job, state: 'failed', failure, endedAt: world.now() };
      await writeRecord(join(folder.path, 'done.json'), job).catch(lost);
    }
    resolve(job);
    await sweep(folder, spec);
  }

  /** Puts the outputs in place and writes the last word. May run again after a crash. */
  async function finish(exits: (number | undefined)[], refusal?: string): Promise<void> {
    finishing = true;
    await reader.read(true);
    // Rank 0 comes last: where two nodes wrote one name, its file stays.
    for (const root of nodes.toReversed())
      for (const { name, uri } of spec.outputs) {
        if (name === 'model') await putInPlace(join(root, 'ml/model'), uri);
        await putInPlace(join(root, 'ml/output', name), uri);
      }
    const last = { ...job, ...(await verdict(exits, refusal)), endedAt: world.now() };
    last.metrics = reader.found;
    await writeRecord(join(folder.path, 'done.json'), last);
    job = last;
  }

  async function verdict(
    exits: (number | undefined)[],
    refusal: string | undefined,
  ): Promise<Pick<Job, 'state' | 'exitCode' | 'failure'>> {
    const culprit = firstFailed ?? 0;
    const exitCode = exits[culprit];
    const code = exitCode === undefined ? {} : { exitCode };
    if (refusal !== undefined) return { state: 'failed', failure: refusal.slice(0, 1024) };
    if (halted?.reason === 'deadline') {
      const failure = `The job ran past its deadline of ${spec.deadlineSeconds} seconds and was stopped.`;
      return { state: 'failed', failure, ...code };
    }
    if (halted?.reason === 'memory') {
      const [used, limit] = [halted.memoryBytes ?? 0, spec.resources.memoryBytes ?? 0].map(
        megabytes,
      );
      const failure = `The job used ${used} of memory, its limit is ${limit}, and was stopped. Ask for more memory, or use less.`;
      return { state: 'failed', failure, ...code };
    }
    if (halted?.reason === 'stopped') return { state: 'stopped', ...code };
    if (exits.every((exit) => exit === 0)) return { state: 'succeeded', exitCode: 0 };
    const root = nodeFolder(folder, culprit);
    const failure = (await readFailure(root)) ?? (await unexplained(root, exits[culprit]));
    return { state: 'failed', failure, ...code };
  }

  return {
    folder,
    spec,
    ended,
    job: () => ({ ...job, metrics: reader.found }),
    refresh: () => (finishing ? Promise.resolve() : reader.read(false)),
    halt,
    async start() {
      let exits: (number | undefined)[];
      try {
        exits = await runNodes();
      } catch (cause) {
        if (closed.aborted) return reject(cause);
        options.log({ level: 'warn', message: 'job could not start', job: spec.name, cause });
        await signalAll('SIGKILL');
        return close([], cause instanceof Error ? cause.message : 'The job could not start.');
      }
      await close(exits);
    },
  };
}

const megabytes = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;

/** Removes what only a running job needs; its log stays. */
export async function sweep(folder: JobFolder, spec: LocalSpec): Promise<void> {
  for (let node = 0; node < spec.nodes; node++)
    for (const part of ['scratch', 'ml', 'log.end'])
      await removeTree(join(nodeFolder(folder, node), part));
}

export const readStarted = async (folder: JobFolder): Promise<number | undefined> =>
  (await readRecord<Started>(join(folder.path, 'started.json')))?.at;

async function unexplained(root: string, exit: number | undefined): Promise<string> {
  const what =
    exit === undefined
      ? 'The job ended without an exit code: it was killed, or the machine restarted.'
      : `The command ended with exit code ${exit}.`;
  const last = (await tail(join(root, 'log'), 900)).trimEnd();
  return last ? `${what} Its last output: ${last}`.slice(0, 1024) : what;
}

/** A port that was free a moment ago, for rank 0 of a job of many nodes to listen on. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}
