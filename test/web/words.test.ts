import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { chartOf, dayOf, ticks } from '../../web/chart.ts';
import { exampleBody, linesOf } from '../../web/connect.ts';
import { readDrop, wapeOf } from '../../web/drop.ts';
import { nextWait } from '../../web/poll.ts';
import { executions } from '../../web/runs.ts';
import { ago, exact, figure, gist, percent, shortened, span } from '../../web/words.ts';

test.each([
  [0, '0 ms'],
  [840, '840 ms'],
  [2140, '2.1 s'],
  [9949, '9.9 s'],
  [9951, '10 s'],
  [59_400, '59 s'],
  [59_600, '1 min 00 s'],
  [185_000, '3 min 05 s'],
  [7_500_000, '2 h 5 min'],
  [86_400_000 * 3.2, '3 d 4 h'],
  [-5, ''],
  [Number.NaN, ''],
])('a span of %d ms is %j', (ms, words) => expect(span(ms)).toBe(words));

test.each([
  [0, 'just now'],
  [-3000, 'just now'],
  [12_000, '12 s ago'],
  [300_000, '5 min ago'],
  [3 * 3_600_000, '3 h ago'],
  [30 * 3_600_000, 'yesterday'],
  [60 * 3_600_000, '2 days ago'],
  [86_400_000 * 40, '1969-11-22'],
])('%d ms before is %j', (ms, words) => expect(ago(0 - ms, 0)).toBe(words));

test('exact times, figures and shares', () => {
  expect(exact(Date.UTC(2026, 10, 24, 12, 3, 4))).toBe('2026-11-24 12:03:04 UTC');
  expect([12_340.4, 0.041_68, 3.2, 0, 1e-7, Number.NaN].map(figure)).toEqual([
    '12,340',
    '0.04168',
    '3.2',
    '0',
    '1.00e-7',
    'NaN',
  ]);
  expect([percent(0.0421), percent(Number.NaN)]).toEqual(['4.2 %', '']);
});

test('a long name is cut in the middle, between letters', () => {
  expect(shortened('short', 10)).toBe('short');
  expect(shortened('train-model-of-route-number-17', 16)).toBe('train-mode…er-17');
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.integer({ min: 4, max: 40 }), (text, most) => {
      expect([...shortened(text, most)].length).toBeLessThanOrEqual(most);
    }),
  );
});

test('last words come down to who said the last line', () => {
  const trace =
    'fit: The command ended. Its last output: x\n  File "a", line 1\nValueError: y may not be negative\n';
  expect(gist(trace)).toBe('fit: ValueError: y may not be negative');
  expect(gist(' one line ')).toBe('one line');
  expect(gist('')).toBe('');
});

describe('the chart', () => {
  test('ticks are round, cover the values and are few', () => {
    expect(ticks(612, 1018, 4)).toEqual([600, 800, 1000, 1200]);
    expect(ticks(5, 5, 4).length).toBeGreaterThan(1);
    const value = fc.double({ min: -1e9, max: 1e9, noNaN: true });
    fc.assert(
      fc.property(value, value, fc.integer({ min: 2, max: 10 }), (a, b, count) => {
        const [low, high] = [Math.min(a, b), Math.max(a, b)];
        // Closer together than this, doubles themselves cannot tell round steps apart.
        fc.pre(high - low > 1e-7 * Math.max(1, Math.abs(low), Math.abs(high)));
        const found = ticks(low, high, count);
        expect(found[0]).toBeLessThanOrEqual(low + (high - low) * 1e-6);
        expect(found.at(-1)).toBeGreaterThanOrEqual(high - (high - low) * 1e-6);
        expect(found.length).toBeLessThanOrEqual(count + 3);
      }),
    );
  });

  test('a day not known is a gap', () => {
    const days = ['2013-07-01', '2013-07-02', '2013-07-03', '2013-07-04'];
    const chart = chartOf(days, [[1, 2, null, 4]], 400, 200);
    expect(chart.lines[0]?.match(/M/g)).toHaveLength(2);
    expect(chart.lines[0]?.match(/L/g)).toHaveLength(1);
    expect(chart.across.map(({ label }) => label)).toContain('1 Jul');
  });

  test('every point lies in the plot, and its place leads back to its day', () => {
    const values = fc.array(fc.option(fc.double({ min: -1e6, max: 1e6, noNaN: true })), {
      minLength: 1,
      maxLength: 60,
    });
    fc.assert(
      fc.property(values, fc.integer({ min: 260, max: 1600 }), (series, width) => {
        const chart = chartOf(
          series.map((_, at) => `${at}`),
          [series],
          width,
          270,
        );
        for (const [at, value] of series.entries()) {
          expect(chart.at(chart.x(at))).toBe(at);
          if (value === null) continue;
          expect(chart.y(value)).toBeGreaterThanOrEqual(chart.plot.top - 0.1);
          expect(chart.y(value)).toBeLessThanOrEqual(chart.plot.bottom + 0.1);
        }
        expect(chart.lines.join('')).not.toMatch(/NaN|Infinity/);
      }),
    );
  });

  test('days are said as people say them', () => {
    expect([dayOf('2013-07-04'), dayOf('2013-13-04'), dayOf('week 3')]).toEqual([
      '4 Jul',
      '2013-13-04',
      'week 3',
    ]);
  });
});

describe('a file of a drop', () => {
  test('is read as the demo writes it', () => {
    const drop = readDrop(
      {
        drop: '2013-07',
        days: ['a', 'b'],
        series: [{ name: 'all', actual: [1, 2], forecast: [1, 3], naive: [2, 2] }],
        wape: { model: 0.04, naive: 0.05 },
        version: 2,
      },
      'file',
    );
    expect(drop).toMatchObject({
      drop: '2013-07',
      version: '2',
      wape: { model: 0.04, naive: 0.05 },
    });
    expect(drop?.series[0]).toEqual({
      name: 'all',
      actual: [1, 2],
      forecast: [1, 3],
      naive: [2, 2],
    });
  });

  test('that anybody wrote is never an error', () => {
    fc.assert(
      fc.property(fc.anything(), fc.jsonValue(), (days, series) => {
        for (const file of [days, { days, series }, { days: ['a'], series: [days, series] }]) {
          const drop = readDrop(file, 'file');
          for (const one of drop?.series ?? [])
            expect(one.actual).toHaveLength(drop?.days.length ?? -1);
        }
      }),
    );
    expect(
      readDrop({ days: ['a'], series: [{ actual: ['1', Number.NaN] }] }, 'file')?.series[0]?.actual,
    ).toEqual([null]);
  });

  test('WAPE is over the days known of both lines', () => {
    expect(wapeOf([10, 20, null, 5], [12, 19, 3, null])).toBeCloseTo(0.1);
    expect(wapeOf([0], [1])).toBeUndefined();
  });
});

test('asks quickly while something runs, slowly while not, and less and less of a server that is gone', () => {
  expect(nextWait({ running: true, failures: 0 })).toBe(2000);
  expect(nextWait({ running: false, failures: 0 })).toBe(15_000);
  const waits = [1, 2, 3, 4, 5, 50].map((failures) => nextWait({ running: true, failures }));
  expect(waits).toEqual([2000, 4000, 8000, 16_000, 30_000, 30_000]);
});

describe('the lines to copy', () => {
  test('hold this server, and a prediction once something answers', () => {
    const origin = 'http://127.0.0.1:5000';
    const texts = (lines: ReturnType<typeof linesOf>) => lines.map(({ text }) => text);
    expect(texts(linesOf(origin, undefined, true))).toEqual([
      'export MLFLOW_TRACKING_URI=http://127.0.0.1:5000',
      'client = kfp.Client(host="http://127.0.0.1:5000")',
    ]);
    const inputs = { inputs: [{ name: "it's", datatype: 'FP64', shape: [-1] }] };
    expect(texts(linesOf(origin, { name: 'a b', inputs }, false)).at(-1)).toBe(
      `curl ${origin}/endpoints/a%20b/invocations -H 'Content-Type: application/json' -d '{"dataframe_records":[{"it'\\''s":1.5}]}'`,
    );
  });

  test('a model of one tensor is asked with a row as wide as it is', () => {
    expect(exampleBody({ inputs: [{ name: '0', datatype: 'FP64', shape: [-1, 3] }] })).toBe(
      '{"inputs":[[1.5,1.5,1.5]]}',
    );
  });
});

test('a retraining stands before the run it started, newest first, and its run says so', () => {
  const run = (id: string, at: string) => ({
    run_id: id,
    display_name: id,
    state: 'SUCCEEDED',
    created_at: at,
  });
  const retraining = {
    id: 'r',
    rule: 'new-points',
    pipeline: 'line',
    parameters: {},
    state: 'kept' as const,
    runId: 'b',
    gate: { model: 'm', alias: 'a', metric: 'x' },
    startedAt: Date.parse('2026-01-01T00:00:01Z'),
  };
  const list = executions(
    [run('a', '2026-01-01T00:00:00Z'), run('b', '2026-01-01T00:00:01Z')],
    [retraining],
  );
  expect(list.map(({ key }) => key)).toEqual(['retrainings/r', 'runs/b', 'runs/a']);
  expect(list.map(({ title, said }) => `${title}: ${said}`)).toEqual([
    'new-points: champion kept',
    'line: succeeded',
    'a: succeeded',
  ]);
});
