import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type Contender, type Running, start } from './contenders.ts';
import type { Figures } from './figures.ts';
import {
  artifact,
  createExperiment,
  drive,
  fill,
  getSteps,
  metricSteps,
  type Outcome,
  pointSteps,
  runSteps,
  searchSteps,
} from './load.ts';
import { cpuMs, memoryBytes } from './tree.ts';
import { openLine } from './wire.ts';

export interface Session {
  readonly quick: boolean;
  readonly log: (line: string) => void;
}

const MEGABYTE = 1_000_000;

/** All figures of one contender, on a folder of its own that is gone afterwards. */
export async function measure(contender: Contender, session: Session): Promise<Figures> {
  const folder = await mkdtemp(join(tmpdir(), 'stillflow-bench-'));
  try {
    const first = await start(contender, folder);
    await first.stop();
    const server = await start(contender, folder);
    try {
      return await measured(contender, folder, server, session);
    } finally {
      await server.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function measured(
  contender: Contender,
  folder: string,
  server: Running,
  { quick, log }: Session,
): Promise<Figures> {
  const seconds = quick ? 1.5 : 5;
  const faults = { errors: 0, stalled: 0 };
  async function load(what: string, clients: number, step: Parameters<typeof drive>[3]) {
    const outcome: Outcome = await drive(server, clients, seconds, step);
    faults.errors += outcome.errors;
    faults.stalled += outcome.stalled;
    const { perSecond, p50, p99 } = outcome;
    log(
      `  ${what} c${clients}: ${perSecond.toFixed(1)}/s, p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(1)} ms, CPU ${outcome.cpuMs.toFixed(3)} ms`,
    );
    return outcome;
  }

  const idle = await idleOf(server, quick ? 3 : 10);
  const line = await openLine(server.url);
  const experiment = await createExperiment(line, 'load');
  const searched = [1000, ...(quick ? [] : [10_000])];
  const filled: string[] = [];
  for (const count of searched) filled.push(await createExperiment(line, `search ${count}`));
  line.close();

  const made: string[] = [];
  await load('warm-up', 8, runSteps(experiment, []));
  const runs8 = await load('runs', 8, runSteps(experiment, made));
  const runs1 = await load('runs', 1, runSteps(experiment, []));
  const points = await load('points', 8, pointSteps(experiment));
  const metric8 = await load('log-metric', 8, metricSteps(experiment));
  const metric32 = await load('log-metric', 32, metricSteps(experiment));
  const get8 = await load('get-run', 8, getSteps(made.slice(0, 200)));

  const searches: Outcome[] = [];
  for (const [at, count] of searched.entries()) {
    const into = filled[at] ?? '';
    if (contender.fill) await contender.fill(folder, into, count);
    else await fill(server.url, into, count);
    await pause(1000); // what is folded in the background gets a moment, as every server does
    searches.push(await load(`search ${count}`, 1, searchSteps(into)));
  }

  const artifacts = await artifactsOf(server, quick);
  // Last, since MLflow does not always come back from it.
  const runs32 = await load('runs', 32, runSteps(experiment, []));
  return {
    startMs: server.startMs,
    ...idle,
    runs1: runs1.perSecond,
    runs8: runs8.perSecond,
    runs32: runs32.perSecond,
    batch1Ms: runs1.p50,
    batch32Ms: runs32.p99,
    runCpuMs: runs8.cpuMs,
    points8: points.perSecond * 1000,
    metric8: metric8.perSecond,
    metric32: metric32.perSecond,
    metricCpuMs: metric8.cpuMs,
    get8: get8.perSecond,
    search1kMs: searches[0]?.p50 ?? Number.NaN,
    ...(searches[1] ? { search10kMs: searches[1].p50 } : {}),
    ...artifacts,
    ...faults,
  };
}

async function idleOf(server: Running, seconds: number): Promise<Figures> {
  await pause(2000);
  const from = cpuMs(server.pid);
  await pause(seconds * 1000);
  const idleCpu = ((cpuMs(server.pid) - from) / (seconds * 1000)) * 100;
  return { idleMb: memoryBytes(server.pid) / MEGABYTE, idleCpu };
}

async function artifactsOf(server: Running, quick: boolean): Promise<Figures> {
  const ten: { up: number; down: number }[] = [];
  for (let i = 0; i < 5; i++) ten.push(await artifact(server.url, 10));
  const small = {
    up10: median(ten.map(({ up }) => up)),
    down10: median(ten.map(({ down }) => down)),
  };
  if (quick) return small;
  const before = memoryBytes(server.pid);
  let most = before;
  const watch = setInterval(() => {
    most = Math.max(most, memoryBytes(server.pid));
  }, 100);
  const { up, down } = await artifact(server.url, 200);
  clearInterval(watch);
  return { ...small, up200: up, down200: down, growthMb: (most - before) / MEGABYTE };
}

const median = (values: number[]) =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
