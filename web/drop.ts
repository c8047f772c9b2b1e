import type { Values } from './chart.ts';

/** A drop of data as it was scored: `forecast/<drop>.json`. Anybody may write such a file, so it is read with care. */
export interface Drop {
  readonly drop: string;
  readonly version: string;
  readonly days: readonly string[];
  readonly series: readonly {
    readonly name: string;
    readonly actual: Values;
    readonly forecast: Values;
    readonly naive: Values;
  }[];
  readonly wape: { readonly model: number | undefined; readonly naive: number | undefined };
}

const MOST = { days: 2000, series: 400 };
type Fields = Readonly<Record<string, unknown>>;
const fields = (value: unknown): Fields =>
  typeof value === 'object' && value !== null ? (value as Fields) : {};
const list = (value: unknown, most: number): readonly unknown[] =>
  Array.isArray(value) ? value.slice(0, most) : [];
const number = (value: unknown) =>
  typeof value === 'number' && Math.abs(value) < 1e15 ? value : undefined;
const text = (value: unknown, other: string) =>
  typeof value === 'string' || typeof value === 'number' ? String(value).slice(0, 200) : other;

/** Undefined if it is no such file. A value that is not a number is a day not known. */
export function readDrop(value: unknown, name: string): Drop | undefined {
  const file = fields(value);
  const days = list(file['days'], MOST.days).map((day) => text(day, '?'));
  const values = (given: unknown) => {
    const found = list(given, days.length);
    return days.map((_, at) => number(found[at]) ?? null);
  };
  const series = list(file['series'], MOST.series).map((given, at) => {
    const one = fields(given);
    return {
      name: text(one['name'], `series ${at + 1}`),
      actual: values(one['actual']),
      forecast: values(one['forecast']),
      naive: values(one['naive']),
    };
  });
  if (!days.length || !series.length) return undefined;
  const wape = fields(file['wape']);
  return {
    drop: text(file['drop'], name),
    version: text(file['version'], ''),
    days,
    series,
    wape: { model: number(wape['model']), naive: number(wape['naive']) },
  };
}

/** The sum of all errors as a share of the sum of all values, over the days known of both; undefined if that is none. */
export function wapeOf(actual: Values, forecast: Values): number | undefined {
  let [error, total] = [0, 0];
  for (const [at, value] of actual.entries()) {
    const guess = forecast[at];
    if (value === null || guess === null || guess === undefined) continue;
    error += Math.abs(value - guess);
    total += Math.abs(value);
  }
  return total > 0 ? error / total : undefined;
}
