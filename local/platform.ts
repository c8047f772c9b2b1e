import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { BuiltApp } from '../functions/app.ts';
import { type Call, systemCall } from '../functions/kernel/call.ts';
import { DEFAULT_WORKSPACE } from '../functions/kernel/ids.ts';
import type { Json } from '../functions/kernel/json.ts';
import { newUlid, type World } from '../functions/kernel/world.ts';
import type { Platform } from '../functions/platform/ports.ts';
import { clock } from '../functions/triggers/index.ts';
import type { Steps } from '../functions/wire.ts';
import { BATCH_JOB, PROCESSING_JOB, RUN_STEP, TRAINING_JOB } from '../statemachines/resources.ts';
import type { Integration } from './asl/engine.ts';
import { MachineError } from './asl/errors.ts';
import { type LocalBlobs, openBlobs } from './blobs.ts';
import { type LocalBus, openBus } from './bus.ts';
import { backgroundReader } from './documents.ts';
import { type LocalEndpoints, localEndpoints, pythonServer } from './endpoints.ts';
import { type LocalJobs, localJobs } from './jobs.ts';
import { lettersOf } from './letters.ts';
import { type LocalMachines, localMachines } from './machines.ts';
import { installationSecret } from './secret.ts';
import { type LocalTable, openTable } from './table.ts';
import { pythonVenvs, venvsFolder } from './venvs.ts';

export interface LocalPlatformOptions {
  /** The data folder; made if absent. */
  readonly data: string;
  readonly world: World;
  readonly url: string;
  readonly log: (line: Record<string, unknown>) => void;
  readonly env?: NodeJS.ProcessEnv;
  /** Tests only: acknowledge before the disk has it. */
  readonly noSync?: boolean;
}

export interface LocalPlatform extends Platform {
  readonly table: LocalTable;
  readonly blobs: LocalBlobs;
  readonly machines: LocalMachines;
  readonly jobs: LocalJobs;
  readonly endpoints: LocalEndpoints;
  readonly steps: Pick<Steps, 'runsImage' | 'readDocument'>;
  /** Begins to deliver events, carries on open executions and starts the clock. Once. */
  run(app: BuiltApp): Promise<LocalBus>;
  /** Lets go of everything; jobs run on and are adopted by the next server. */
  close(): Promise<void>;
}

/** Files that lie beside the code, in the repository as in the published package. */
const beside = (path: string) => resolve(import.meta.dirname, '..', path);
const MODEL_SERVER = beside('runtimes/model_server/server.py');

/** Sort keys whose puts the compactor folds; `App.folders` of every room must be among them. */
export const FEEDS = ['LOG#'] as const;

/** All ports on one machine, over one data folder. */
export function openPlatform(options: LocalPlatformOptions): LocalPlatform {
  const { data, world, url, log, env = process.env } = options;
  const folder = (name: string) => {
    const path = join(data, name);
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return path;
  };
  const secret = installationSecret(data);
  const table = openTable({
    folder: folder('table'),
    world,
    feeds: FEEDS,
    noSync: options.noSync ?? false,
  });
  const blobs = openBlobs({ folder: folder('blobs'), world, secret, url });
  const venvs = pythonVenvs({
    dir: venvsFolder(data, env),
    locks: beside('runtimes/python'),
    env,
    warm: [MODEL_SERVER, '--warm'],
    progress: (line) => log({ level: 'info', message: line }),
  });
  const interpreter = () => venvs.interpreter();
  const jobs = localJobs({
    world,
    dir: folder('jobs'),
    blobs,
    interpreter,
    launcher: beside('runtimes/launcher/launcher.py'),
    log,
    hostEnv: env,
  });
  const endpoints = localEndpoints({
    world,
    dir: folder('endpoints'),
    blobs,
    commandFor: pythonServer(interpreter, MODEL_SERVER),
    log,
    hostEnv: env,
  });
  const machines = localMachines({ table, world, written: writtenMachines(), log });
  let bus: LocalBus | undefined;
  let stopClock = async () => {};

  return {
    world,
    table,
    blobs,
    machines,
    jobs,
    endpoints,
    secret,
    url,
    letters: lettersOf(() => bus),
    artifacts: 'proxy',
    steps: {
      runsImage: (image, command) => jobs.runs(image, command),
      readDocument: backgroundReader(),
    },

    async run(app) {
      const missing = app.folders.filter(({ prefix }) => !FEEDS.some((feed) => feed === prefix));
      if (missing.length)
        throw new Error(`the table feeds no folder of ${missing.map(({ name }) => name)}`);
      bus = openBus({ table, world, followers: app.followers, folders: app.folders, log });
      bus.start();
      const job = jobIntegration(jobs);
      await machines.serve({
        tasks: app.tasks,
        functions: { [RUN_STEP]: job },
        integrations: { [TRAINING_JOB]: job, [PROCESSING_JOB]: job, [BATCH_JOB]: job },
        workspaces: [DEFAULT_WORKSPACE],
      });
      stopClock = startClocks(app, world, log);
      return bus;
    },

    async close() {
      await stopClock();
      await bus?.stop();
      await machines.close();
      await jobs.close();
      await endpoints.close();
      await table.close();
    },
  };
}

/** The job state of a machine: submits what was prepared and waits for its end. */
function jobIntegration(jobs: LocalJobs): Integration {
  return async (call, args, _context, signal) => {
    const job = await jobs.run(call, args, signal);
    if (job.state === 'succeeded') return { job: job.name, state: job.state };
    throw new MachineError('States.TaskFailed', job.failure ?? `Job ${job.name} ${job.state}`);
  };
}

function writtenMachines(): Record<string, Json> {
  const folder = beside('statemachines');
  const files = readdirSync(folder).filter((file) => file.endsWith('.asl.json'));
  return Object.fromEntries(
    files.map((file) => [
      file.replace('.asl.json', ''),
      JSON.parse(readFileSync(join(folder, file), 'utf8')),
    ]),
  );
}

/** What rooms do by the clock: rules each when it is due, anchors each hour. */
function startClocks(app: BuiltApp, world: World, log: LocalPlatformOptions['log']) {
  const { triggers, governance } = app.rooms;
  const handOf = (name: string, tick: (call: Call) => Promise<number | undefined>) => {
    const hand = clock(
      world.now,
      (delayMs, run) => {
        const timer = setTimeout(run, delayMs);
        return () => clearTimeout(timer);
      },
      (error) =>
        log({ level: 'error', message: `${name}: the clock failed`, error: String(error) }),
    );
    hand.start(() =>
      tick(systemCall(DEFAULT_WORKSPACE, name, newUlid(world), world.now() + 60_000)),
    );
    return hand;
  };
  const hands = [handOf('triggers', triggers.tick), handOf('governance', governance.tick)];
  const [rules] = hands;
  if (rules) triggers.onDue(rules.wake);
  return async () => {
    await Promise.all(hands.map((hand) => hand.stop()));
  };
}
