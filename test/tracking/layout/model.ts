import fc from 'fast-check';
import type { Platform, Table } from '../../../functions/platform/ports.ts';
import { byTime, isLater, type Metric, type RunId } from '../../../functions/tracking/model.ts';
import { type TestWorld, testCall } from '../../world.ts';
import type { OpenSubject, Seen } from './subject.ts';

/** One step of one of the actors that act at the same time. */
export type Step =
  | { act: 'log'; run: 0 | 1 | 2; key: 'a' | 'b'; step: number; size: number; param: boolean }
  | { act: 'get' | 'history' | 'fold'; run: 0 | 1 | 2 }
  | { act: 'search' }
  | { act: 'clock'; minutes: number };
export interface Program {
  readonly actors: readonly (readonly Step[])[];
  readonly seed: number;
}

const run = fc.constantFrom(0 as const, 1 as const, 2 as const);
const logStep = fc.record({
  act: fc.constant('log' as const),
  run,
  key: fc.constantFrom('a' as const, 'b' as const),
  step: fc.integer({ min: -2, max: 3 }),
  size: fc.integer({ min: 1, max: 4 }),
  param: fc.boolean(),
});
const readStep = fc.oneof(
  fc.record({ act: fc.constantFrom('get' as const, 'get' as const, 'history' as const), run }),
  fc.record({ act: fc.constant('search' as const) }),
);
const foldStep = fc.record({ act: fc.constant('fold' as const), run });
const clockStep = fc.record({
  act: fc.constant('clock' as const),
  minutes: fc.constantFrom(-61, -3, -1, 1, 3, 4, 61),
});
const script = (step: fc.Arbitrary<Step>) => fc.array(step, { minLength: 3, maxLength: 8 });

/** Two writers, two readers, two compactors beside each other, and somebody who turns the clock. */
export const programs: fc.Arbitrary<Program> = fc.record({
  seed: fc.integer({ min: 1, max: 1_000_000 }),
  actors: fc.tuple(
    script(fc.oneof(logStep, logStep, readStep)),
    script(logStep),
    script(readStep),
    script(readStep),
    script(foldStep),
    script(fc.oneof(foldStep, clockStep)),
  ),
});

/** The same numbers for the same seed. */
function dice(seed: number) {
  let state = seed;
  return (sides: number) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % sides;
  };
}

class Crash extends Error {}

/** The table as a faulty world gives it: turns taken at random, answers lost after a commit landed, commits that never land. */
function faulty(table: Table, roll: (sides: number) => number, faults: () => boolean): Table {
  const turn = async () => {
    // Now and then one request is overtaken by whole folds.
    const most = roll(5) === 0 ? 200 : 3;
    for (let ticks = roll(most); ticks > 0; ticks--) await new Promise(setImmediate);
  };
  const read = async <T>(ask: () => Promise<T>) => {
    await turn();
    return ask();
  };
  return {
    get: (...args) => read(() => table.get(...args)),
    getMany: (...args) => read(() => table.getMany(...args)),
    query: (...args) => read(() => table.query(...args)),
    entries: (...args) => table.entries(...args),
    repeated: (...args) => table.repeated(...args),
    async commit(...args) {
      await turn();
      const fate = faults() ? roll(12) : 11;
      if (fate === 0) throw new Crash('died before the commit');
      await table.commit(...args);
      if (fate === 1) throw new Crash('the answer was lost');
      await turn();
    },
  };
}

/**
 * Runs a program and holds every answer to what was acknowledged before it was asked: nothing acknowledged may be
 * missing, nothing may be there that nobody wrote. Throws on the first answer that breaks it.
 */
export async function play(
  open: OpenSubject,
  ground: Pick<Platform, 'table' | 'blobs'> & { world: TestWorld },
  program: Program,
  workspace: string,
): Promise<void> {
  const roll = dice(program.seed);
  let quiet = true;
  const subject = open({ ...ground, table: faulty(ground.table, roll, () => !quiet) });
  const call = testCall({ workspace });
  const ids = [0, 1, 2].map((i) => String(i).repeat(32) as RunId);
  for (const id of ids) await subject.create(call, id);
  quiet = false;
  const tried: { run: RunId; point: Metric }[] = [];
  const acked: { run: RunId; point: Metric; param: string | undefined }[] = [];
  let serial = 0;

  const act = async (step: Step): Promise<void> => {
    if (step.act === 'clock') return ground.world.pass(step.minutes * 60_000);
    if (step.act === 'log') {
      const { key, size } = step;
      const id = ids[step.run] as RunId;
      const points = Array.from({ length: size }, (): Metric => {
        const value = ++serial;
        return { key, value, step: step.step, timestamp: 1000 + (value % 3) };
      });
      const param = step.param ? `p${serial}` : undefined;
      for (const point of points) tried.push({ run: id, point });
      await subject.log(call, id, points, param);
      for (const point of points) acked.push({ run: id, point, param });
      return;
    }
    const before = [...acked];
    const known = (id: RunId) => before.filter((entry) => entry.run === id);
    if (step.act === 'search') {
      const found = await subject.search(call);
      for (const id of ids) check(`search of ${id[0]}`, found.get(id), known(id), tried, id);
      return;
    }
    const id = ids[step.run] as RunId;
    if (step.act === 'fold') return subject.fold(call, id);
    if (step.act === 'get')
      check(`get of ${id[0]}`, await subject.get(call, id), known(id), tried, id);
    else {
      const points = await subject.history(call, id, 'a');
      for (const { point } of known(id))
        if (point.key === 'a' && !points.some((other) => byTime(other, point) === 0))
          throw new Error(`history of ${id[0]} lacks ${show(point)}`);
    }
  };

  const settled = await Promise.allSettled(
    program.actors.map(async (steps) => {
      for (const step of steps)
        try {
          await act(step);
        } catch (error) {
          if (!(error instanceof Crash)) throw error;
        }
    }),
  );
  for (const outcome of settled) if (outcome.status === 'rejected') throw outcome.reason;
  quiet = true;
  for (const id of ids) await subject.fold(call, id);
  for (const run of [0, 1, 2] as const) {
    await act({ act: 'get', run });
    await act({ act: 'history', run });
  }
  await act({ act: 'search' });
}

const show = (point: Metric) => JSON.stringify(point);

function check(
  what: string,
  seen: Seen | undefined,
  known: readonly { point: Metric; param: string | undefined }[],
  tried: readonly { run: RunId; point: Metric }[],
  id: RunId,
): void {
  if (!seen) throw new Error(`${what}: the run is not there`);
  for (const { point, param } of known) {
    const held = seen.latest.get(point.key);
    if (!held || isLater(point, held))
      throw new Error(`${what} lacks ${show(point)}, holds ${held && show(held)}`);
    if (param !== undefined && !seen.params.has(param)) throw new Error(`${what} lacks ${param}`);
  }
  for (const held of seen.latest.values())
    if (
      !tried.some(
        ({ run, point }) => run === id && point.key === held.key && byTime(point, held) === 0,
      )
    )
      throw new Error(`${what} holds ${show(held)}, which nobody wrote`);
}
