import type { EndpointSpec } from '../functions/platform/ports.ts';

/** A change of the number of copies, and why, in words for the log. */
export interface ScaleChange {
  readonly to: number;
  readonly why: string;
}

export interface Scaling {
  /** To be asked every `LOOK_MS` while anything runs: with so many copies up and so many requests in them or held. */
  look(copies: number, active: number, now: number): ScaleChange | undefined;
}

export const LOOK_MS = 200;
/** One burst shorter than this starts nothing. */
const RISE_MS = 1000;

/**
 * Target tracking of the requests at once a copy, as SageMaker and Knative do it. Up: when the mean of the last second
 * needs more copies, to what it needs and at least twice as many, so that a steep ramp takes few steps. Down: when
 * the most that any second of the last `idleSeconds` needed is half of what is up or less, to that; to the minimum
 * when nobody asked at all. So the number changes at most some log2(maximum) times each way.
 */
export function scalingOf({ scale }: Pick<EndpointSpec, 'scale'>, since: number): Scaling {
  const { minimum, maximum, concurrency, idleSeconds } = scale;
  const windowMs = idleSeconds * 1000;
  let looks: { at: number; active: number }[] = [];
  /** The most that was needed within each second, the oldest first; a need of 0 is not kept. */
  let peaks: { at: number; mean: number }[] = [];
  let askedAt = since;

  const needOf = (mean: number) => Math.ceil(mean / concurrency - 1e-9);

  function meanOfLastSecond(now: number, active: number): number {
    looks = looks.filter(({ at }) => at > now - RISE_MS);
    looks.push({ at: now, active });
    const expected = RISE_MS / LOOK_MS;
    // What was not looked at was quiet.
    return looks.reduce((sum, look) => sum + look.active, 0) / Math.max(expected, looks.length);
  }

  return {
    look(copies, active, now) {
      const mean = meanOfLastSecond(now, active);
      if (active > 0) askedAt = now;
      peaks = peaks.filter(({ at }) => at > now - windowMs);
      const last = peaks.at(-1);
      if (last && now - last.at < RISE_MS) last.mean = Math.max(last.mean, mean);
      else if (mean > 0) peaks.push({ at: now, mean });
      const said = (most: number) => `${most.toFixed(1)} requests at once, ${concurrency} a copy`;

      const need = needOf(mean);
      if (need > copies && copies < maximum)
        return { to: Math.min(maximum, Math.max(need, 2 * copies)), why: said(mean) };
      if (copies <= minimum) return undefined;
      if (active === 0 && now - askedAt >= windowMs)
        return { to: minimum, why: `nobody asked for ${idleSeconds} s` };
      // Younger than the window, or asked within it: one copy stays.
      if (now - since < windowMs) return undefined;
      const most = Math.max(0, ...peaks.map((peak) => peak.mean));
      const enough = Math.max(minimum, 1, needOf(most));
      if (enough > copies / 2) return undefined;
      return { to: enough, why: `at most ${said(most)} in ${idleSeconds} s` };
    },
  };
}
