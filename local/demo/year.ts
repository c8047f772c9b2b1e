import type { Retraining } from './api.ts';

/** The first training's data, and the months that come later, as examples/demand/drops.py makes them. */
export const FIRST = { name: '2013-01--2013-06', lastDay: '2013-06-30' } as const;
export const MONTHS = ['2013-07', '2013-08', '2013-09', '2013-10', '2013-11', '2013-12'] as const;
const MONTHS_AN_ACT = 2;

/** All names of one walk through the year. The next walk has names of its own: its models have not seen the year. */
export interface Names {
  /** Pipeline, registered model, endpoint and experiment. */
  readonly model: string;
  readonly rule: string;
  readonly first: string;
  readonly drops: string;
  readonly accepted: string;
}

export interface Act extends Names {
  readonly months: readonly string[];
  /** The month after them, that is forecast at the end and stays undropped; undefined after December. */
  readonly next: string | undefined;
  /** Paths below /api/data that have been dropped before. */
  readonly used: ReadonlySet<string>;
}

function namesOf(walk: number): Names {
  const suffix = walk === 1 ? '' : `-${walk}`;
  return {
    model: `demand${suffix}`,
    rule: `new-drops${suffix}`,
    first: `first${suffix}`,
    drops: `drops${suffix}`,
    accepted: `accepted${suffix}`,
  };
}

/** Where the year stands, read off the retrainings: two more months, or a new walk once December is through. */
export function nextAct(retrainings: readonly Retraining[]): Act {
  const paths = retrainings.flatMap(({ cause }) => cause?.subject.replace(/^data\//, '') ?? []);
  for (let walk = 1; ; walk += 1) {
    const names = namesOf(walk);
    const through = retrainings.filter(({ state }) => state === 'promoted' || state === 'kept');
    const played = through.flatMap(
      ({ cause }) =>
        new RegExp(`^data/${names.drops}/(\\d{4}-\\d{2})\\.`).exec(cause?.subject ?? '')?.[1] ?? [],
    );
    const left = MONTHS.filter((month) => !played.includes(month));
    if (left.length === 0) continue;
    const months = left.slice(0, MONTHS_AN_ACT);
    return { ...names, months, next: left[MONTHS_AN_ACT], used: new Set(paths) };
  }
}

/** The path for a drop: of a name that was never dropped, since the same bytes again are no news. */
export function freshPath(act: Act, name: string): string {
  for (let again = 1; ; again += 1) {
    const path = `${act.drops}/${name}${again === 1 ? '' : `.again-${again}`}.csv`;
    if (!act.used.has(path)) return path;
  }
}
