import { Cron } from 'croner';
import { Problem } from '../kernel/problem.ts';

export interface Clockwork {
  /** Five fields, or six with the second first: one fixed second, since the cloud's clock ticks by the minute. */
  readonly schedule: string;
  /** An IANA name; UTC if absent. */
  readonly timeZone?: string | undefined;
}

const MAX_SCHEDULE = 200;
const FIELD = /^[\dA-Za-z*,/?#-]+$/;

function cronOf({ schedule, timeZone = 'UTC' }: Clockwork): Cron {
  return new Cron(schedule, {
    timezone: timeZone,
    mode: '5-or-6-parts',
    fixedTimeRule: 'no-wildcard',
    paused: true,
  });
}

const refuse = (field: string, why: string) =>
  new Problem('invalid', `${field}: ${why}`, { field });

/** Throws `invalid` for what is no schedule, fires more than once a minute, or never fires after `nowMs`. */
export function checkClockwork(clockwork: Clockwork, nowMs: number): void {
  const { schedule, timeZone } = clockwork;
  const fields = schedule.trim().split(/\s+/);
  const field = 'on.cron.schedule';
  if (schedule.length > MAX_SCHEDULE || (fields.length !== 5 && fields.length !== 6))
    throw refuse(
      field,
      'must have 5 fields (minute hour day month weekday), or 6 with the second first',
    );
  for (const text of fields)
    if (!FIELD.test(text)) throw refuse(field, `${JSON.stringify(text)} is not understood`);
  if (fields.length === 6 && !/^\d{1,2}$/.test(fields[0] ?? ''))
    throw refuse(field, 'may fire at most once a minute: the second must be one number');
  if (timeZone !== undefined && !isTimeZone(timeZone))
    throw refuse('on.cron.timeZone', 'must be an IANA time zone such as Europe/Berlin');
  let next: number | undefined;
  try {
    next = nextStrike(clockwork, nowMs);
  } catch (cause) {
    const said =
      cause instanceof Error ? cause.message.replace(/^Cron\w+: /, '') : 'not understood';
    throw refuse(field, said.slice(0, 200));
  }
  if (next === undefined) throw refuse(field, 'never fires');
}

function isTimeZone(name: string): boolean {
  if (name.length > 64) return false;
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

/**
 * The first strike after `afterMs`, or undefined. What falls into a skipped hour strikes right after it; an hour that
 * comes twice strikes once, unless the schedule is for every hour, when elapsed time counts (hardening.md C17).
 */
export function nextStrike(clockwork: Clockwork, afterMs: number): number | undefined {
  const cron = cronOf(clockwork);
  const fields = clockwork.schedule.trim().split(/\s+/);
  const everyHour = fields.at(-4)?.includes('*') ?? false;
  let from = afterMs;
  for (let tries = 0; tries < 500; tries += 1) {
    const next = cron.nextRun(new Date(from))?.getTime();
    if (next === undefined) return undefined;
    if (everyHour || !isSecondOccurrence(next, clockwork.timeZone ?? 'UTC')) return next;
    from = next;
  }
  return undefined;
}

/** The next strikes, for people to see. */
export function preview(clockwork: Clockwork, afterMs: number, count: number): number[] {
  const strikes: number[] = [];
  let from: number | undefined = afterMs;
  while (strikes.length < count) {
    from = nextStrike(clockwork, from);
    if (from === undefined) break;
    strikes.push(from);
  }
  return strikes;
}

const HOUR = 3_600_000;

/** Whether the wall clock showed this time once before, in the hours before it. */
function isSecondOccurrence(at: number, timeZone: string): boolean {
  const before = offsetMs(at - 3 * HOUR, timeZone);
  const back = before - offsetMs(at, timeZone);
  return back > 0 && offsetMs(at - back, timeZone) === before;
}

/** How far the zone's wall clock is ahead of UTC. */
function offsetMs(at: number, timeZone: string): number {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  });
  const part = Object.fromEntries(
    format.formatToParts(at).map(({ type, value }) => [type, Number(value)]),
  );
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = part;
  return Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(at / 1000) * 1000;
}
