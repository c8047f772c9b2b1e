/** What is measured, in the order of the table. */
export interface Figure {
  readonly key: string;
  readonly title: string;
  readonly better: 'more' | 'less';
}

export const FIGURES = [
  { key: 'startMs', title: 'second start to first 200, ms', better: 'less' },
  { key: 'idleMb', title: 'idle memory (PSS), MB', better: 'less' },
  { key: 'idleCpu', title: 'idle CPU, % of a core', better: 'less' },
  { key: 'runs1', title: 'runs/s, 1 client', better: 'more' },
  { key: 'runs8', title: 'runs/s, 8 clients', better: 'more' },
  { key: 'runs32', title: 'runs/s, 32 clients', better: 'more' },
  { key: 'batch1Ms', title: 'log-batch p50, 1 client, ms', better: 'less' },
  { key: 'batch32Ms', title: 'log-batch p99, 32 clients, ms', better: 'less' },
  { key: 'runCpuMs', title: 'server CPU a run (3 writes), 8 clients, ms', better: 'less' },
  { key: 'points8', title: 'points/s, 1,000 a batch, 8 clients', better: 'more' },
  { key: 'metric8', title: 'log-metric/s, 8 clients', better: 'more' },
  { key: 'metric32', title: 'log-metric/s, 32 clients', better: 'more' },
  { key: 'metricCpuMs', title: 'server CPU a log-metric, 8 clients, ms', better: 'less' },
  { key: 'get8', title: 'get-run/s, 8 clients', better: 'more' },
  { key: 'search1kMs', title: 'metric filter, top 100 of 1,000 runs, p50 ms', better: 'less' },
  { key: 'search10kMs', title: 'metric filter, top 100 of 10,000 runs, p50 ms', better: 'less' },
  { key: 'up10', title: 'artifact of 10 MB up, MB/s', better: 'more' },
  { key: 'down10', title: 'artifact of 10 MB down, MB/s', better: 'more' },
  { key: 'up200', title: 'artifact of 200 MB up, MB/s', better: 'more' },
  { key: 'down200', title: 'artifact of 200 MB down, MB/s', better: 'more' },
  { key: 'growthMb', title: 'memory growth during 200 MB, MB', better: 'less' },
  { key: 'errors', title: 'wrong answers', better: 'less' },
  { key: 'stalled', title: 'clients without an answer a second after the end', better: 'less' },
] as const satisfies readonly Figure[];

export type FigureKey = (typeof FIGURES)[number]['key'];
export type Figures = Partial<Record<FigureKey, number>>;
export type Results = Readonly<Record<string, Figures>>;

const OURS = 'stillflow';
/** Below this, two figures are the same: the machine is not quiet enough to tell. Source: performance.md section 1. */
const SAME = 1.5;

/** How many times better ours is; `same` where that is no difference, nothing where there is nothing to compare. */
export function ratio(figure: Figure, ours?: number, theirs?: number): string {
  if (ours === undefined || theirs === undefined || figure.key === 'errors') return '';
  const times = figure.better === 'more' ? ours / theirs : theirs / ours;
  if (!Number.isFinite(times) || times === 0) return '';
  if (times < SAME && times > 1 / SAME) return 'same';
  return times >= 1 ? `${short(times)}x` : `1/${short(1 / times)}`;
}

/** MLflow's best configuration, figure by figure. */
export function bestOfMlflow(figure: Figure, key: FigureKey, results: Results): number | undefined {
  const found = Object.entries(results)
    .filter(([name]) => name.startsWith('mlflow'))
    .flatMap(([, figures]) => figures[key] ?? []);
  if (found.length === 0) return undefined;
  return figure.better === 'more' ? Math.max(...found) : Math.min(...found);
}

const short = (value: number) =>
  value >= 100 ? Math.round(value).toString() : value.toPrecision(value >= 10 ? 3 : 2);

const shown = (value: number | undefined) =>
  value === undefined || Number.isNaN(value)
    ? '-'
    : value >= 1000
      ? Math.round(value).toLocaleString('en-US')
      : short(value);

export function table(results: Results): string {
  const names = Object.keys(results);
  const rows = [['', ...names, 'vs mlflow', 'vs floor wal', 'vs floor memory']];
  for (const figure of FIGURES) {
    const of = (name: string) => results[name]?.[figure.key];
    if (names.every((name) => of(name) === undefined)) continue;
    rows.push([
      figure.title,
      ...names.map((name) => shown(of(name))),
      ratio(figure, of(OURS), bestOfMlflow(figure, figure.key, results)),
      ratio(figure, of(OURS), of('floor wal')),
      ratio(figure, of(OURS), of('floor memory')),
    ]);
  }
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
        .join('  '),
    )
    .join('\n');
}
