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
  /** Filled as they come, so that a server that hangs costs only what is still missing. */
  readonly figures: Figures;
  readonly log: (line: string) => void;
}

const MEGABYTE = 1_000_000;
const QUICK_SECONDS = 90;
const FULL_SECONDS = 210;

/** All figures of one contender, on a folder of its own that is gone afterwards. Throws when it takes too long. */
export async function measure(contender: Contender, session: Session): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'stillflow-bench-'));
  try {
    const first = await start(contender, folder);
    await first.stop();
    const server = await start(contender, folder);
    session.figures.startMs = server.startMs;
    const most = session.quick ? QUICK_SECONDS : FULL_SECONDS;
    const late = setTimeout(() => void server.stop(), most * 1000);
    try {
      await measured(contender, folder, server, session);
    } finally {
      clearTimeout(late);
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
  { quick, log, figures }: Session,
): Promise<void> {
  const seconds = quick ? 1.5 : 5;
  const faults = { errors: 0, stalled: 0 };
  const note = (more: Figures) => Object.assign(figures, more, faults);
  async function load(what: string, clients: number, step: Parameters<typeof drive>[3]) {
    const outcome: Outcome = await drive(server, clients, seconds, step);
    faults.errors += outcome.errors;
    faults.stalled += outcome.stalled;
    if (outcome.stalled > 0) log(`  answers again after ${await recovered(server)} s`);
    const { perSecond, p50, p99 } = outcome;
    log(
      `  ${what} c${clients}: ${perSecond.toFixed(1)}/s, p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(1)} ms, CPU ${outcome.cpuMs.toFixed(3)} ms`,
    );
    return outcome;
  }

  note(await idleOf(server, quick ? 3 : 10));
  const line = await openLine(server.url);
  const experiment = await createExperiment(line, 'load');
  const searched = [1000, ...(quick ? [] : [10_000])];
  const filled: string[] = [];
  for (const count of searched) filled.push(await createExperiment(line, `search ${count}`));
  line.close();

  const made: string[] = [];
  await load('warm-up', 8, runSteps(experiment, []));
  const runs8 = await load('runs', 8, runSteps(experiment, made));
  note({ runs8: runs8.perSecond, runCpuMs: runs8.cpuMs });
  const runs1 = await load('runs', 1, runSteps(experiment, []));
  note({ runs1: runs1.perSecond, batch1Ms: runs1.p50 });
  const points = await load('points', 8, pointSteps(experiment));
  note({ points8: points.perSecond * 1000 });
  const metric8 = await load('log-metric', 8, metricSteps(experiment));
  note({ metric8: metric8.perSecond, metricCpuMs: metric8.cpuMs });
  if (made.length > 0)
    note({ get8: (await load('get-run', 8, getSteps(made.slice(0, 200)))).perSecond });

  for (const [at, count] of searched.entries()) {
    const into = filled[at] ?? '';
    if (contender.fill) await contender.fill(folder, into, count);
    else await fill(server.url, into, count);
    await pause(1000); // what is folded in the background gets a moment, as every server does
    const { p50 } = await load(`search ${count}`, 1, searchSteps(into));
    note(at === 0 ? { search1kMs: p50 } : { search10kMs: p50 });
  }

  note(await artifactsOf(server, quick));
  // Last, since MLflow stalls under them.
  note({ metric32: (await load('log-metric', 32, metricSteps(experiment))).perSecond });
  const runs32 = await load('runs', 32, runSteps(experiment, []));
  note({ runs32: runs32.perSecond, batch32Ms: runs32.p99 });
}

const RECOVERY_SECONDS = 60;

/** Waits until the server takes writes again; what it was asked before still keeps it. */
async function recovered(server: Running): Promise<number> {
  const from = performance.now();
  const seconds = () => Math.round((performance.now() - from) / 1000);
  while (seconds() < RECOVERY_SECONDS) {
    const line = await openLine(server.url);
    const asked = createExperiment(line, `still there ${performance.now()}`).then(
      () => true,
      () => false,
    );
    const answered = await Promise.race([asked, pause(3000, false)]);
    line.close();
    if (answered) return seconds();
    await pause(200);
  }
  return seconds();
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
