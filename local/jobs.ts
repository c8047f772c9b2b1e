import { mkdir, readdir, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { Call } from '../functions/kernel/call.ts';
import type { Json } from '../functions/kernel/json.ts';
import { Problem } from '../functions/kernel/problem.ts';
import type { World } from '../functions/kernel/world.ts';
import { checkJobSpec, checkName, runnerOf } from '../functions/platform/job_spec.ts';
import type { Blobs, Job, JobSpec, Jobs } from '../functions/platform/ports.ts';
import type { Interpreter } from './job_env.ts';
import {
  exists,
  type Halt,
  type JobFolder,
  type LocalSpec,
  nodeFolder,
  readDone,
  readHalt,
  readSpec,
  readSubmitted,
  writeRecord,
} from './job_folder.ts';
import { type Runnable, runsImage, runsSpec } from './job_images.ts';
import { readLines } from './job_metrics.ts';
import { type Running, readStarted, runJob, sweep } from './job_run.ts';

export interface LocalJobsOptions {
  readonly world: World;
  /** `DATA/jobs`: this runner's alone. */
  readonly dir: string;
  readonly blobs: Pick<Blobs, 'pathOf'>;
  /** The pinned Python, built when first asked for. */
  readonly interpreter: () => Promise<Interpreter>;
  /** The launcher's file; runtimes/launcher. */
  readonly launcher: string;
  readonly log: (line: Record<string, unknown>) => void;
  /** How many cores jobs may have at once; all of the machine's if absent. */
  readonly cores?: number;
  /** GPUs of this machine; 0 if absent. */
  readonly accelerators?: number;
  /** Between SIGTERM and SIGKILL; SageMaker's 120 s if absent. */
  readonly graceMs?: number;
  /** Of a node's log, whose middle is left out beyond; 64 MiB if absent. */
  readonly logBytes?: number;
  readonly hostEnv?: NodeJS.ProcessEnv;
}

/** What an earlier server left of a job. */
interface Left {
  readonly halt?: Halt | undefined;
  readonly startedAt?: number | undefined;
}

export interface LocalJobs extends Jobs {
  /** Whether this machine runs a command of an image; undefined is the pinned Python. */
  runs(image: string | undefined, command: readonly string[]): Runnable;
  /** Submits what `prepare` returned, or the like, and waits to its end. An abort stops the job. */
  run(call: Call, prepared: Json, signal: AbortSignal): Promise<Job>;
  /** Resolves when the jobs of an earlier server are taken over. */
  readonly ready: Promise<void>;
  /** Lets go of all jobs; they run on, and the next server adopts them. */
  close(): Promise<void>;
}

/** A job that an earlier server had not seen the end of. */
interface Unended {
  readonly folder: JobFolder;
  readonly spec: LocalSpec;
  readonly halt: Halt | undefined;
  /** Its place in the queue: 0 for one that runs. */
  readonly at: number;
  readonly startedAt: number | undefined;
}

/**
 * Jobs as child processes. A job is a folder (job_folder.ts) and outlives the server: each node runs under a wrapper
 * (wrapper.ts) that leaves its pid, log and exit code there. A name is submitted by one file, `submitted.json`, beside
 * which a mark in `active/` says that it has not ended; a new server reads the marks, adopts the live, reads the
 * finished and starts what never started.
 *
 * A queue in order of submission gives cores to jobs. While no job runs, nothing here runs; the memory of one that
 * asked for so much is looked at twice a second.
 */
export function localJobs(options: LocalJobsOptions): LocalJobs {
  const { world, dir } = options;
  const cores = Math.max(1, options.cores ?? availableParallelism());
  const active = new Map<string, Running>();
  const queue: Running[] = [];
  const starting = new Map<string, Promise<Job>>();
  const closing = new AbortController();
  let busy = 0;

  const folderOf = (call: Call, name: string): JobFolder => ({
    path: join(dir, call.workspace, name),
    workspace: call.workspace,
    name,
  });
  const mark = ({ workspace, name }: JobFolder) => join(dir, 'active', `${workspace}.${name}`);
  const coresOf = (spec: JobSpec) =>
    Math.min(cores, Math.max(1, Math.ceil(spec.resources.cpus ?? 1)) * spec.nodes);

  function check(call: Call, spec: JobSpec): void {
    checkJobSpec(spec);
    const runnable = runsSpec(spec, options.accelerators ?? 0);
    if ('refused' in runnable)
      throw new Problem('invalid', `Job '${spec.name}': ${runnable.refused}.`, { field: 'image' });
    const uris = [...spec.inputs, ...spec.outputs].map(({ uri }) => uri);
    if (spec.checkpoint !== undefined) uris.push(spec.checkpoint);
    for (const uri of uris)
      if (options.blobs.pathOf(call, uri) === undefined)
        throw new Problem('invalid', `Job '${spec.name}': ${uri} is not in this workspace.`, {
          field: 'uri',
        });
  }

  async function keep(call: Call, spec: LocalSpec): Promise<JobFolder> {
    checkName(spec.name);
    const folder = folderOf(call, spec.name);
    if (await exists(join(folder.path, 'spec.json'))) return folder;
    check(call, spec);
    await mkdir(folder.path, { recursive: true });
    await writeRecord(join(folder.path, 'spec.json'), spec, true);
    return folder;
  }

  /** Two submits of a name at once are one. */
  function enqueue(folder: JobFolder): Promise<Job> {
    const known = starting.get(folder.path);
    if (known) return known;
    const started = begin(folder).finally(() => starting.delete(folder.path));
    starting.set(folder.path, started);
    return started;
  }

  async function begin(folder: JobFolder): Promise<Job> {
    const found = active.get(folder.path)?.job() ?? (await readDone(folder));
    if (found) return found;
    const spec = await readSpec(folder);
    if (!spec) throw new Problem('missing', `Job '${folder.name}' was never prepared.`);
    await mkdir(join(dir, 'active'), { recursive: true });
    await writeRecord(mark(folder), {});
    await writeRecord(join(folder.path, 'submitted.json'), { at: world.now() }, true);
    return take(folder, spec).job();
  }

  function take(folder: JobFolder, spec: LocalSpec, left: Left = {}): Running {
    const running = runJob({
      folder,
      spec,
      halt: left.halt,
      adoptedFrom: left.startedAt,
      runnable: runsSpec(spec, options.accelerators ?? 0),
      world,
      interpreter: options.interpreter,
      launcher: options.launcher,
      log: options.log,
      graceMs: options.graceMs ?? 120_000,
      logBytes: options.logBytes ?? 64 << 20,
      hostEnv: options.hostEnv ?? process.env,
      closed: closing.signal,
    });
    active.set(folder.path, running);
    queue.push(running);
    advance();
    return running;
  }

  /** Starts the first in the queue for as long as it finds its cores free. */
  function advance(): void {
    for (let next = queue[0]; next !== undefined; next = queue[0]) {
      const wants = coresOf(next.spec);
      if (busy > 0 && busy + wants > cores) return;
      queue.shift();
      busy += wants;
      const running = next;
      running
        .start()
        .then(
          () => rm(mark(running.folder), { force: true }),
          (cause: unknown) => options.log({ level: 'error', message: 'job lost', cause }),
        )
        .finally(() => {
          busy -= wants;
          if (closing.signal.aborted) return;
          active.delete(running.folder.path);
          advance();
        })
        .catch(() => {});
    }
  }

  /** The job whose mark this is, unless it has ended. */
  async function leftAt(name: string): Promise<Unended | undefined> {
    const dot = name.indexOf('.');
    // Half a mark: nobody was told that the job is submitted.
    if (name.endsWith('.tmp')) await rm(join(dir, 'active', name), { force: true });
    if (name.endsWith('.tmp') || dot < 0) return undefined;
    const [workspace, job] = [name.slice(0, dot), name.slice(dot + 1)];
    const folder = { path: join(dir, workspace, job), workspace, name: job };
    const [spec, submitted, done] = await Promise.all([
      readSpec(folder),
      readSubmitted(folder),
      readDone(folder),
    ]);
    if (!spec || !submitted || done) {
      if (spec && done) await sweep(folder, spec);
      await rm(mark(folder), { force: true });
      return undefined;
    }
    const began = await exists(join(nodeFolder(folder, 0), 'pid'));
    const startedAt = began ? await readStarted(folder) : undefined;
    const at = startedAt === undefined ? submitted.at : 0;
    return { folder, spec, halt: await readHalt(folder), at, startedAt };
  }

  /** What an earlier server left: live jobs first, so that they have their cores before new ones start. */
  async function recover(): Promise<void> {
    const marks = await readdir(join(dir, 'active')).catch(() => []);
    const found: Unended[] = [];
    for (const name of marks)
      try {
        const left = await leftAt(name);
        if (left) found.push(left);
      } catch (cause) {
        // One folder that cannot be read keeps no server from starting.
        options.log({ level: 'error', message: 'job not recovered', job: name, cause });
      }
    found.sort((a, b) => a.at - b.at);
    for (const { folder, spec, halt, startedAt } of found)
      if (!active.has(folder.path)) take(folder, spec, { halt, startedAt });
  }

  const ready = recover();

  const jobs: LocalJobs = {
    ready,
    runs: runsImage,
    async submit(call, spec) {
      await ready;
      return enqueue(await keep(call, spec));
    },
    async prepare(call, spec) {
      await keep(call, spec);
      const { name } = spec;
      const runner = runnerOf(spec);
      if (runner === 'processing') return { ProcessingJobName: name };
      if (runner === 'batch') return { JobName: name, JobQueue: LOCAL, JobDefinition: LOCAL };
      return runner === 'sagemaker' ? { TrainingJobName: name } : { job: name };
    },
    async describe(call, name) {
      checkName(name);
      await ready;
      const folder = folderOf(call, name);
      const running = active.get(folder.path);
      if (!running) return readDone(folder);
      await running.refresh();
      return running.job();
    },
    async stop(call, name) {
      checkName(name);
      await ready;
      const running = active.get(folderOf(call, name).path);
      if (!running) return;
      const place = queue.indexOf(running);
      await running.halt('stopped');
      // One that waits for cores needs none to end.
      if (place >= 0 && queue[place] === running) {
        queue.splice(place, 1);
        await running.start();
        await rm(mark(running.folder), { force: true });
        active.delete(running.folder.path);
      }
    },
    async logs(call, name, after) {
      checkName(name);
      await ready;
      const folder = folderOf(call, name);
      const spec = await readSpec(folder);
      const ended =
        active.get(folder.path)?.job().endedAt !== undefined || !active.has(folder.path);
      const offsets = (after ?? '').split('-').map((text) => Number.parseInt(text, 10) || 0);
      const lines: string[] = [];
      const next: number[] = [];
      for (let node = 0; node < (spec?.nodes ?? 1); node++) {
        const path = join(nodeFolder(folder, node), 'log');
        const read = await readLines(path, offsets[node] ?? 0, ended);
        const named = (spec?.nodes ?? 1) > 1;
        lines.push(...read.lines.map((line) => (named ? `[algo-${node + 1}] ${line}` : line)));
        next.push(read.next);
      }
      return { lines, next: next.join('-') };
    },
    async run(call, prepared, signal) {
      await ready;
      const name = preparedName(prepared);
      const folder = folderOf(call, name);
      if (signal.aborted) {
        // Nobody waits any more: what an earlier call may have started is stopped, and nothing is begun.
        await jobs.stop(call, name);
        throw new Problem('unavailable', `Job '${name}' was stopped.`);
      }
      await enqueue(folder);
      const stop = () => void jobs.stop(call, name).catch(() => {});
      signal.addEventListener('abort', stop);
      try {
        const running = active.get(folder.path);
        const job = running ? await running.ended : await readDone(folder);
        if (!job) throw new Problem('internal', `Job '${name}' left no result.`);
        return job;
      } finally {
        signal.removeEventListener('abort', stop);
      }
    },
    async close() {
      closing.abort();
      await ready.catch(() => {});
    },
  };
  return jobs;
}

/** This machine is every cluster. */
const LOCAL = 'local';

/** The job that `prepare` kept: `{job}`, `{TrainingJobName}`, `{ProcessingJobName}` or `{JobName}`. Throws `invalid`. */
export function preparedName(prepared: Json): string {
  const value = prepared as Record<string, Json> | null;
  const name =
    value?.['job'] ??
    value?.['TrainingJobName'] ??
    value?.['ProcessingJobName'] ??
    value?.['JobName'];
  if (typeof name !== 'string')
    throw new Problem('invalid', "A prepared job has the field 'job' or 'TrainingJobName'.", {
      field: 'job',
    });
  checkName(name);
  return name;
}
