import type { Range, TuningProps } from './step.ts';

export const MAX_TRIALS = 50;
export type Trial = Readonly<Record<string, string | number | boolean>>;

/** What each trial is tried with, in order. Pure: the same search gives the same trials. Throws in one line. */
export function trialsOf(name: string, search: TuningProps['search']): readonly Trial[] {
  const trials = 'grid' in search ? product(search.grid) : drawn(search);
  if (trials.length < 1 || trials.length > MAX_TRIALS)
    throw new Error(
      `step '${name}': its search makes ${trials.length} trials; 1 to ${MAX_TRIALS} are meant`,
    );
  return trials;
}

function product(grid: Readonly<Record<string, readonly (string | number | boolean)[]>>): Trial[] {
  // Counted before it is made: a grid grows without measure.
  const count = Object.values(grid).reduce((all, { length }) => all * length, 1);
  if (count > MAX_TRIALS || Object.keys(grid).length === 0)
    return Array(count + MAX_TRIALS).fill({});
  return Object.entries(grid).reduce<Trial[]>(
    (trials, [key, values]) =>
      trials.flatMap((trial) => values.map((value) => ({ ...trial, [key]: value }))),
    [{}],
  );
}

function drawn({
  random,
  trials,
  seed = 1,
}: Extract<TuningProps['search'], { random: unknown }>): Trial[] {
  if (!Number.isInteger(trials) || trials > MAX_TRIALS) return Array(MAX_TRIALS + 1).fill({});
  const next = generator(seed);
  return Array.from({ length: trials }, () =>
    Object.fromEntries(
      Object.entries(random).map(([key, from]) => [
        key,
        isRange(from) ? within(from, next()) : (from[Math.floor(next() * from.length)] ?? 0),
      ]),
    ),
  );
}

const isRange = (from: Range | readonly unknown[]): from is Range => !Array.isArray(from);

function within({ minimum, maximum, integer = false, log = false }: Range, share: number): number {
  if (!(minimum <= maximum) || (log && minimum <= 0))
    throw new Error(
      `a range of ${minimum} to ${maximum}${log ? ' by logarithm' : ''} holds nothing`,
    );
  if (integer && !log) return Math.floor(minimum + share * (maximum - minimum + 1));
  const value = log
    ? Math.exp(Math.log(minimum) + share * (Math.log(maximum) - Math.log(minimum)))
    : minimum + share * (maximum - minimum);
  return integer ? Math.round(value) : Number(value.toPrecision(6));
}

/** Numbers of [0, 1) that look random and are the same for the same seed: SplitMix32. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state ^ (state >>> 16);
    mixed = Math.imul(mixed, 0x21f0aaad);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
  };
}
