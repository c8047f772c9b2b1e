/** The geometry of a line chart. Pure: sizes in, paths out. */

export type Values = readonly (number | null)[];
export interface Chart {
  readonly lines: readonly string[];
  readonly across: readonly { readonly x: number; readonly label: string }[];
  readonly up: readonly { readonly y: number; readonly label: string }[];
  readonly x: (at: number) => number;
  readonly y: (value: number) => number;
  /** The index nearest to a place on the x axis. */
  readonly at: (x: number) => number;
  readonly plot: {
    readonly left: number;
    readonly right: number;
    readonly top: number;
    readonly bottom: number;
  };
}

/** Round steps of 1, 2 or 5 times a power of ten that take in `low` to `high` in about `count` ticks. */
export function ticks(low: number, high: number, count: number): number[] {
  const room = high - low > 1e-9 * Math.max(1, Math.abs(high)) ? high - low : Math.abs(high) + 1;
  const raw = room / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5].find((times) => times * power >= raw) ?? 10);
  const first = Math.floor(low / step);
  const last = Math.max(first + 1, Math.ceil(high / step));
  const places = Math.max(0, -Math.floor(Math.log10(step)));
  return Array.from({ length: last - first + 1 }, (_, at) =>
    Number(((first + at) * step).toFixed(places)),
  );
}

export function chartOf(
  days: readonly string[],
  series: readonly Values[],
  width: number,
  height: number,
): Chart {
  const known = series.flat().filter((value) => value !== null);
  const [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
  // A line chart that starts near its lowest value shows what differs; within a third of zero it may as well show zero.
  const marks = ticks(
    low >= 0 && low < high / 3 ? 0 : low,
    high,
    Math.max(2, Math.floor(height / 60)),
  );
  const [bottomValue = 0, topValue = 1] = [marks[0], marks.at(-1)];
  const words = marks.map((value) => value.toLocaleString('en', { maximumFractionDigits: 6 }));
  const plot = {
    left: 12 + 7 * Math.max(...words.map((word) => word.length)),
    right: width - 12,
    top: 10,
    bottom: height - 26,
  };
  const last = Math.max(1, days.length - 1);
  const x = (at: number) => round(plot.left + ((plot.right - plot.left) * at) / last);
  const y = (value: number) =>
    round(
      plot.bottom - ((value - bottomValue) / (topValue - bottomValue)) * (plot.bottom - plot.top),
    );
  const every = Math.max(
    1,
    Math.ceil(days.length / Math.max(1, Math.floor((plot.right - plot.left) / 76))),
  );
  return {
    lines: series.map((values) => pathOf(values, x, y)),
    across: days.flatMap((label, at) => (at % every ? [] : [{ x: x(at), label: dayOf(label) }])),
    up: marks.map((value, at) => ({ y: y(value), label: words[at] ?? '' })),
    x,
    y,
    at: (place) =>
      Math.max(
        0,
        Math.min(
          days.length - 1,
          Math.round(((place - plot.left) / (plot.right - plot.left)) * last),
        ),
      ),
    plot,
  };
}

const round = (value: number) => Number(value.toFixed(1));

/** A day that is not known is a gap, not a zero. */
function pathOf(values: Values, x: (at: number) => number, y: (value: number) => number): string {
  let path = '';
  let pen = false;
  for (const [at, value] of values.entries()) {
    if (value === null) pen = false;
    else {
      path += `${pen ? 'L' : 'M'}${x(at)} ${y(value)}`;
      pen = true;
    }
  }
  return path;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
/** `2013-07-04` as `4 Jul`; anything else as it is. */
export function dayOf(text: string): string {
  const [, month, day] = /^\d{4}-(\d\d)-(\d\d)/.exec(text) ?? [];
  const name = MONTHS[Number(month) - 1];
  return name ? `${Number(day)} ${name}` : text;
}
