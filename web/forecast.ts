import { type Chart, chartOf, dayOf } from './chart.ts';
import { el, keepingFocus, part, roving, svg, table, walkButtons, whenNew } from './dom.ts';
import { type Drop, wapeOf } from './drop.ts';
import { figure, percent } from './words.ts';

const LINES = ['naive', 'actual', 'forecast'] as const;
let drops: readonly Drop[] = [];
let chosen: string | undefined;
let chart: Chart | undefined;
let day: number | undefined;

/** Newest first. The newest is shown until another one is chosen. */
export function drawForecasts(found: readonly Drop[]): void {
  drops = found;
  part('forecasts').hidden = drops.length === 0;
  part('no-forecasts').hidden = drops.length > 0;
  draw();
}

const dropNow = () => drops.find(({ drop }) => drop === chosen) ?? drops[0];
function seriesNow(drop: Drop) {
  const name = part<HTMLSelectElement>('series').value;
  return drop.series.find((one) => one.name === name) ?? drop.series[0];
}

function draw(): void {
  const drop = dropNow();
  if (!drop) return;
  whenNew(
    'series',
    drop.series.map(({ name }) => name),
    () => {
      const select = part<HTMLSelectElement>('series');
      const was = select.value;
      select.replaceChildren(...drop.series.map(({ name }) => el('option', {}, name)));
      if (drop.series.some(({ name }) => name === was)) select.value = was;
    },
  );
  const series = seriesNow(drop);
  const width = Math.max(260, Math.floor(part('chart').clientWidth));
  if (series)
    whenNew('chart', [drop.drop, drop.days, series, width], () => {
      day = undefined;
      drawChart(drop, series, width);
      read(drop, series);
    });
  whenNew('drops', [drops.map(({ drop, wape, version }) => [drop, wape, version]), drop.drop], () =>
    drawDrops(drop),
  );
}

function drawChart(drop: Drop, series: Drop['series'][number], width: number): void {
  const height = 270;
  chart = chartOf(
    drop.days,
    LINES.map((line) => series[line]),
    width,
    height,
  );
  const { plot } = chart;
  const root = svg('svg', {
    width,
    height,
    viewBox: `0 0 ${width} ${height}`,
    tabindex: 0,
    role: 'img',
    'aria-label': `${series.name}, ${drop.drop}: actual, forecast and the same day last week for ${drop.days.length} days. Arrow keys read day by day.`,
    'aria-describedby': 'reading',
  });
  for (const { y, label } of chart.up)
    root.append(
      svg('path', { class: 'grid', d: `M${plot.left} ${y}H${plot.right}` }),
      svg('text', { class: 'tick end', x: plot.left - 8, y: y + 4 }, label),
    );
  for (const { x, label } of chart.across)
    root.append(svg('text', { class: 'tick middle', x, y: height - 6 }, label));
  for (const [at, line] of LINES.entries())
    root.append(svg('path', { class: `line ${line}`, d: chart.lines[at] }));
  root.append(svg('g', { id: 'cursor' }));
  part('chart').replaceChildren(root);
  root.addEventListener('pointermove', (event) =>
    show(chart?.at(event.clientX - root.getBoundingClientRect().left)),
  );
  root.addEventListener('pointerleave', () => show(undefined));
  root.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const last = drop.days.length - 1;
    show(Math.max(0, Math.min(last, day === undefined ? (step > 0 ? 0 : last) : day + step)));
  });
}

function show(at: number | undefined): void {
  const drop = dropNow();
  const series = drop && seriesNow(drop);
  if (at === day || !series) return;
  day = at;
  read(drop, series);
}

/** The values under the cursor, or how well the whole series went. */
function read(drop: Drop, series: Drop['series'][number]): void {
  if (!chart) return;
  const at = day;
  if (at === undefined) {
    const [model, naive] = [
      wapeOf(series.actual, series.forecast),
      wapeOf(series.actual, series.naive),
    ];
    part('cursor').replaceChildren();
    part('reading').replaceChildren(
      el('b', {}, series.name),
      model === undefined ? ' no day is known of both lines yet' : ` WAPE ${percent(model)}`,
      naive === undefined ? '' : `, same day last week ${percent(naive)}`,
    );
    return;
  }
  const { plot, x, y } = chart;
  const dots = LINES.flatMap((line) => {
    const value = series[line][at];
    return value === null || value === undefined
      ? []
      : svg('circle', { class: `dot ${line}`, cx: x(at), cy: y(value), r: 3.5 });
  });
  part('cursor').replaceChildren(
    svg('path', { class: 'cursor', d: `M${x(at)} ${plot.top}V${plot.bottom}` }),
    ...dots,
  );
  const words = (['actual', 'forecast', 'naive'] as const).map((line) => {
    const value = series[line][at];
    return `${line === 'naive' ? 'last week' : line} ${typeof value === 'number' ? figure(value) : 'not known'}`;
  });
  part('reading').replaceChildren(el('b', {}, dayOf(drop.days[at] ?? '')), ` ${words.join(', ')}`);
}

function drawDrops(now: Drop): void {
  const root = part('drops');
  keepingFocus(root, () => {
    const buttons = drops.map((one) => {
      const button = el(
        'button',
        {
          type: 'button',
          class: 'link',
          'data-key': one.drop,
          'aria-current': one === now ? 'true' : undefined,
        },
        one.drop,
      );
      button.addEventListener('click', () => {
        chosen = one.drop;
        draw();
      });
      return button;
    });
    roving(buttons, buttons[drops.indexOf(now)]);
    const rows = drops.map((one, at) => {
      const { model, naive } = one.wape;
      const gain = model === undefined || !naive ? undefined : 1 - model / naive;
      return {
        classes: one === now ? 'chosen' : '',
        cells: [
          buttons[at] ?? one.drop,
          one.version ? `${one.version}` : '–',
          model === undefined ? '–' : percent(model),
          naive === undefined ? '–' : percent(naive),
          gain === undefined
            ? '–'
            : el(
                'span',
                { class: gain < 0 ? 'worse' : 'better' },
                `${Math.abs(gain * 100).toFixed(0)} % ${gain < 0 ? 'more' : 'less'}`,
              ),
        ],
      };
    });
    root.replaceChildren(
      ...table(
        'Drops of data and their errors',
        ['Drop', 'Version', 'WAPE', 'Last week', 'Error'],
        rows,
      ).children,
    );
  });
}

export function walkForecasts(): void {
  part('series').addEventListener('change', draw);
  new ResizeObserver(draw).observe(part('chart'));
  walkButtons('drops');
}
