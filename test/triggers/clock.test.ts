import * as fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { nextStrike, preview } from '../../functions/triggers/cron.ts';
import { clock, type RunAsked, triggersRoom } from '../../functions/triggers/index.ts';
import { call, type House, openHouse } from '../house.ts';
import { handTimers } from '../machines/rig.ts';
import { testWorld } from '../world.ts';

const at = (iso: string) => Date.parse(iso);
const shown = (strikes: number[]) => strikes.map((ms) => new Date(ms).toISOString().slice(0, 16));

describe('strikes', () => {
  test.each([
    ['*/15 * * * *', undefined, ['2026-11-24T00:15', '2026-11-24T00:30']],
    ['30 0 6 * * *', undefined, ['2026-11-24T06:00', '2026-11-25T06:00']],
    ['0 9 * * 1', 'Europe/Berlin', ['2026-11-30T08:00', '2026-12-07T08:00']],
    ['0 0 29 2 *', undefined, ['2028-02-29T00:00', '2032-02-29T00:00']],
  ])('%s in %s', (schedule, timeZone, expected) => {
    expect(shown(preview({ schedule, timeZone }, at('2026-11-24T00:00:00Z'), 2))).toEqual(expected);
  });

  test('the hour that comes twice strikes once', () => {
    const night = at('2026-10-24T12:00:00Z'); // Berlin goes back at 01:00Z
    for (const schedule of ['30 2 * * *', '15,30 2 * * *', '*/30 2 * * *'])
      for (const strikes of [preview({ schedule, timeZone: 'Europe/Berlin' }, night, 6)]) {
        const day = strikes.filter((ms) => ms < at('2026-10-26T00:00:00Z'));
        const walls = day.map((ms) =>
          new Date(ms).toLocaleTimeString('en', { timeZone: 'Europe/Berlin' }),
        );
        expect(new Set(walls).size).toBe(walls.length);
        expect(walls.length).toBeGreaterThan(0);
      }
  });

  test('every hour goes on by elapsed time through both', () => {
    const night = at('2026-10-24T23:30:00Z');
    expect(shown(preview({ schedule: '0 * * * *', timeZone: 'Europe/Berlin' }, night, 3))).toEqual([
      '2026-10-25T00:00',
      '2026-10-25T01:00',
      '2026-10-25T02:00',
    ]);
  });

  test('what falls into the skipped hour strikes right after it', () => {
    const night = at('2026-03-28T12:00:00Z');
    const strikes = preview({ schedule: '30 2 * * *', timeZone: 'Europe/Berlin' }, night, 2);
    expect(shown(strikes)).toEqual(['2026-03-29T01:00', '2026-03-30T00:30']);
  });

  test('always later, and the same from wherever one asks before it', () => {
    const schedules = ['*/7 * * * *', '0 3 * * *', '30 2 * * 0', '0 0 1 * *', '5 4 * * 1-5'];
    void fc.assert(
      fc.property(
        fc.constantFrom(...schedules),
        fc.constantFrom('UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kolkata'),
        fc.integer({ min: at('2026-01-01T00:00:00Z'), max: at('2027-12-31T00:00:00Z') }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (schedule, timeZone, from, share) => {
          const next = nextStrike({ schedule, timeZone }, from) ?? 0;
          expect(next).toBeGreaterThan(from);
          const between = Math.floor(from + (next - 1 - from) * share);
          expect(nextStrike({ schedule, timeZone }, between)).toBe(next);
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('a rule with a clock', () => {
  let home: House;
  let room: ReturnType<typeof triggersRoom>;
  let runs: RunAsked[];
  beforeEach(() => {
    runs = [];
    home = openHouse((ground) => {
      room = triggersRoom(ground, {
        check: async () => undefined,
        checkExperiment: async () => undefined,
        nameBehind: async () => undefined,
        async createRun(_call, run) {
          if (!runs.some(({ idempotency }) => idempotency === run.idempotency)) runs.push(run);
          return { runId: run.idempotency };
        },
      });
      return { room };
    });
  });
  const put = (schedule: string, more = {}) =>
    home.ask('PUT', '/api/rules/nightly', {
      on: { cron: { schedule } },
      start: { pipeline: 'train', parameters: { at: '$.data.scheduled' } },
      ...more,
    });
  const struck = () => runs.map(({ parameters }) => parameters['at']);

  test('strikes at its times, each once, however often it is ticked', async () => {
    const made = await put('0 * * * *');
    expect(made.status).toBe(200);
    const { body } = await home.ask('GET', '/api/rules/nightly');
    expect((body as { next: number[] }).next).toHaveLength(3);
    for (let hour = 0; hour < 3; hour += 1) {
      const next = await room.tick(call);
      home.world.pass((next ?? 0) - home.world.now());
      await Promise.all([room.tick(call), room.tick(call), room.tick(call)]);
      await room.tick(call);
    }
    expect(struck()).toEqual([
      '2026-11-24T01:00:00.000Z',
      '2026-11-24T02:00:00.000Z',
      '2026-11-24T03:00:00.000Z',
    ]);
  });

  test('after a long sleep it makes the last missed strike and says how many it missed', async () => {
    await put('0 * * * *');
    home.world.pass(5.5 * 3_600_000);
    await room.tick(call);
    await room.tick(call);
    expect(struck()).toEqual(['2026-11-24T05:00:00.000Z']);
    const { body } = await home.ask('GET', '/api/rules/nightly/firings');
    expect(body).toMatchObject({
      firings: [
        {
          outcome: 'started',
          why: 'the clock struck 2026-11-24T05:00:00.000Z, after 4 missed while nothing ran',
        },
      ],
    });
  });

  test('after a year asleep it still finds the last strike', async () => {
    await put('*/10 * * * *');
    home.world.pass(365 * 86_400_000 + 5 * 60_000);
    await room.tick(call);
    expect(struck()).toEqual(['2027-11-24T00:00:00.000Z']);
  });

  test('putting it again keeps its next strike; another schedule takes another', async () => {
    await put('0 1 * * *');
    const before = await room.tick(call);
    home.world.pass(1000);
    await put('0 1 * * *');
    expect(await room.tick(call)).toBe(before);
    await put('0 2 * * *');
    expect(await room.tick(call)).toBe(at('2026-11-24T02:00:00Z'));
  });

  test('disabled it does not strike, and what passed meanwhile is not made up', async () => {
    await put('0 * * * *');
    await home.ask('POST', '/api/rules/nightly/disable');
    expect(await room.tick(call)).toBeUndefined();
    home.world.pass(5 * 3_600_000);
    await room.tick(call);
    await home.ask('POST', '/api/rules/nightly/enable');
    expect(await room.tick(call)).toBe(at('2026-11-24T06:00:00Z'));
    expect(runs).toEqual([]);
  });

  test('removed it leaves nothing to tick', async () => {
    await put('0 * * * *');
    await home.ask('DELETE', '/api/rules/nightly');
    expect(await room.tick(call)).toBeUndefined();
  });
});

describe('the clock of one machine', () => {
  const settle = () => new Promise((resolve) => setImmediate(resolve));

  test('rings when something is due, earlier when woken, and never twice at once', async () => {
    const world = testWorld();
    const timers = handTimers(world);
    const due: (number | undefined)[] = [];
    let running = 0;
    let most = 0;
    const started = world.now();
    const hand = clock(
      world.now,
      (ms, run) => timers.at(world.now() + ms, run),
      () => undefined,
    );
    let next: number | undefined = started + 30_000;
    hand.start(async () => {
      running += 1;
      most = Math.max(most, running);
      due.push(world.now() - started);
      await settle();
      running -= 1;
      return next;
    });
    timers.ring();
    await settle();
    await settle();
    hand.wake(started + 10_000);
    next = undefined;
    timers.ring();
    await settle();
    await settle();
    expect(due).toEqual([50, 10_000]);
    timers.ring(); // nothing is due: it looks again after a minute
    await settle();
    expect(due[2]).toBe(70_000);
    await hand.stop();
    expect(most).toBe(1);
    expect(timers.ring()).toBe(false);
  });

  test('a tick that fails is logged and made again', async () => {
    const world = testWorld();
    const timers = handTimers(world);
    const logged: unknown[] = [];
    let ticks = 0;
    const hand = clock(
      world.now,
      (ms, run) => timers.at(world.now() + ms, run),
      (error) => logged.push(error),
    );
    hand.start(async () => {
      ticks += 1;
      if (ticks === 1) throw new Error('disk');
      return undefined;
    });
    timers.ring();
    await settle();
    timers.ring();
    await settle();
    expect([ticks, logged.length]).toEqual([2, 1]);
    await hand.stop();
  });
});
