import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runningServer } from '../../local/lock.ts';
import { type ChildServer, startServer } from '../child.ts';
import { runClient } from '../clients/venv.ts';

const root = resolve(import.meta.dirname, '../..');
/** An act is a minute or two of two quiet cores. */
const ACT_MS = 900_000;
const data = mkdtempSync(join(tmpdir(), 'demo-'));
const playing = new Set<ChildProcess>();

interface Row {
  drop: string;
  outcome: string;
  retraining?: string;
  version?: number;
  before?: number;
  after?: number;
  naive?: number;
  reason?: string;
}
interface Seen {
  drops: Row[];
  served: { month: string; version: number; predictions: number; model: number; naive: number }[];
  claims: { claim: string; held: boolean }[];
  seconds: { firstPrediction: number; firstRetrain: number; whole: number };
  held: boolean;
}

/** Plays one act as a user does; what it printed, and its last line read. */
async function demo(...args: string[]): Promise<{ code: number | null; text: string; seen: Seen }> {
  const command = join(root, 'bin/stillflow.ts');
  const child = spawn(process.execPath, [command, 'demo', '--exit', '--json', ...args], {
    cwd: root,
    env: { ...process.env, STILLFLOW_VENVS: join(root, '.venvs/steps') },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  playing.add(child);
  let [text, errors] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  child.stderr.setEncoding('utf8').on('data', (part: string) => {
    errors += part;
  });
  const code = await new Promise<number | null>((done) => child.once('close', done));
  playing.delete(child);
  const last = text.trim().split('\n').at(-1) ?? '';
  if (!last.startsWith('{')) throw new Error(`the demo ended with ${code}:\n${text}${errors}`);
  return { code, text, seen: JSON.parse(last) };
}

const ask = async (url: string, path: string, body?: unknown) => {
  const init = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
  const answer = await fetch(url + path, {
    ...init,
    headers: { 'content-type': 'application/json' },
  });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
};
const search = async (url: string, filter: string) => {
  const { experiments } = (await ask(url, '/api/2.0/mlflow/experiments/search', {
    max_results: 100,
  })) as { experiments: { experiment_id: string }[] };
  const experiment_ids = experiments.map(({ experiment_id }) => experiment_id);
  const found = await ask(url, '/api/2.0/mlflow/runs/search', {
    experiment_ids,
    filter,
    max_results: 100,
  });
  return ((found as { runs?: unknown[] }).runs ?? []) as {
    info: { status: string };
    data: { tags: { key: string; value: string }[] };
  }[];
};

let first: Awaited<ReturnType<typeof demo>>;
let server: ChildServer;

beforeAll(async () => {
  first = await demo('--data', data);
  server = await startServer({ data });
}, ACT_MS);
afterAll(async () => {
  for (const child of playing) child.kill('SIGTERM');
  await server?.stop();
  rmSync(data, { recursive: true, force: true });
});

describe('the demo, played for the first time', () => {
  test('holds all that it claims, and ends with 0', () => {
    expect(first.seen.claims.filter(({ held }) => !held)).toEqual([]);
    expect(first.seen.claims.length).toBeGreaterThanOrEqual(9);
    expect(first.code).toBe(0);
  });

  test('every drop has one row: trained, promoted or kept, refused, and nothing new', () => {
    const rows = first.seen.drops.map(({ drop, outcome }) => [drop, outcome]);
    expect(rows).toEqual([
      ['2013-01--2013-06', 'trained'],
      ['2013-07', expect.stringMatching(/^(promoted|kept)$/)],
      ['2013-07, sent again', 'nothing new'],
      ['2013-08.bad', 'refused'],
      ['2013-08.leak', 'refused'],
      ['2013-08', expect.stringMatching(/^(promoted|kept)$/)],
    ]);
    for (const { drop } of first.seen.drops)
      expect(first.text).toMatch(new RegExp(`^${drop} `, 'm'));
  });

  test('a better version was promoted, a worse one was not', () => {
    const retrained = first.seen.drops.filter(({ before }) => before !== undefined);
    expect(retrained).toHaveLength(2);
    for (const { outcome, before = 0, after = 0 } of retrained) {
      expect(before).toBeGreaterThan(0);
      expect(outcome).toBe(after <= before * 0.99 ? 'promoted' : 'kept');
    }
  });

  test('the refusals name what is wrong', () => {
    const [bad, leak] = first.seen.drops.filter(({ outcome }) => outcome === 'refused');
    expect(bad?.reason).toMatch(/\d+ rows have negative departures, the first on 2013-08-\d\d/);
    expect(bad?.reason).toMatch(/7 days are missing, the first is 2013-08-08/);
    expect(leak?.reason).toMatch(/column crews leaks: .* the same day/);
  });

  test('its server was killed, came back, and is gone at the end', () => {
    expect(first.text).toMatch(/Killing the server \(SIGKILL\) while train-/);
    expect(first.text).toContain('The server has stopped');
  });
});

describe('what the demo leaves on the server', () => {
  const versionOf = (row: Row | undefined) => String(row?.version);

  test('the champion is the newest promoted version, and the endpoint serves it', async () => {
    const promoted = first.seen.drops.filter(({ outcome }) => /trained|promoted/.test(outcome));
    const alias = '/api/2.0/mlflow/registered-models/alias?name=demand&alias=champion';
    const { model_version: champion } = (await ask(server.url, alias)) as {
      model_version: { version: string };
    };
    expect(champion.version).toBe(versionOf(promoted.at(-1)));
    const endpoint = await ask(server.url, '/api/endpoints/demand');
    expect(endpoint).toMatchObject({ state: 'in-service', version: Number(champion.version) });
  });

  test('four drops made four retrainings, each with a cause of its own', async () => {
    const { retrainings } = (await ask(server.url, '/api/retrainings')) as {
      retrainings: { id: string; state: string; cause: { id: string } }[];
    };
    const told = first.seen.drops.flatMap(({ retraining }) => retraining ?? []);
    expect(retrainings.map(({ id }) => id).sort()).toEqual(told.sort());
    expect(new Set(retrainings.map(({ cause }) => cause.id)).size).toBe(4);
    expect(retrainings.filter(({ state }) => state === 'refused')).toHaveLength(2);
  });

  test('every trained candidate is a nested MLflow run with what autologging found', async () => {
    const trees = await search(server.url, "params.n_estimators = '60'");
    expect(trees).toHaveLength(3);
    for (const run of trees) {
      expect(run.info.status).toBe('FINISHED');
      expect(run.data.tags.map(({ key }) => key)).toContain('mlflow.parentRunId');
    }
    expect(await search(server.url, 'params.fit_intercept = "True"')).toHaveLength(3);
    expect(await search(server.url, 'params.max_iter = "80"')).toHaveLength(3);
  });

  test('forecast and actual of each month lie ready to be drawn', async () => {
    for (const { month, model, naive, version } of first.seen.served) {
      const drawn = (await ask(server.url, `/api/data/forecast/${month}.json`)) as {
        days: string[];
        series: { name: string; actual: number[]; forecast: number[]; naive: number[] }[];
      };
      expect(drawn).toMatchObject({ drop: month, version, wape: { model, naive } });
      expect(drawn.days.at(0)).toBe(`${month}-01`);
      expect(drawn.series.map(({ name }) => name)).toContain('all routes');
      for (const { actual, forecast, naive: week } of drawn.series)
        for (const line of [actual, forecast, week]) expect(line).toHaveLength(drawn.days.length);
    }
  });
});

describe('the demo, played again', () => {
  test(
    'goes on with the year on a server that runs, and leaves that server alive',
    async () => {
      const { code, seen, text } = await demo('--data', data);
      expect(seen.claims.filter(({ held }) => !held)).toEqual([]);
      expect(code).toBe(0);
      expect(seen.drops.map(({ drop }) => drop)).toEqual([
        '2013-09',
        '2013-09, sent again',
        '2013-10.bad',
        '2013-10.leak',
        '2013-10',
      ]);
      expect(text).toContain(`Found a server at ${server.url}`);
      expect(text).not.toContain('SIGKILL');
      expect(runningServer(data)?.pid).toBe(server.process.pid);
      expect((await fetch(`${server.url}/health`)).status).toBe(200);
    },
    ACT_MS,
  );
});

describe('validation of a drop', () => {
  test('accepts what is known in advance and refuses what is wrong, each with its reason', async () => {
    const printed = await runClient('thread', '../../examples/demand_cases.py', [server.url]);
    const said = JSON.parse(printed.trim().split('\n').at(-1) ?? '') as Record<string, string>;
    const accepted = /^accepted 9\d rows until 2020-01-31$/;
    const expected: Record<string, RegExp> = {
      clean: accepted,
      'known in advance': accepted,
      "yesterday's": accepted,
      'no such column': /has no column dest\.$/,
      negative: /1 rows have negative departures, the first on 2020-01-02 \(JFK-LAX: -3\)/,
      fraction: /departures must be whole numbers/,
      text: /departures must hold a number in every row/,
      nothing: /departures must hold a number in every row/,
      impossible: /20000 departures of one route in one day cannot be/,
      'no date': /every row needs a date/,
      repeated: /2 rows repeat a day and route, the first on 2020-01-01/,
      'missing day': /1 days are missing, the first is 2020-01-17/,
      beyond: /3 rows lie beyond 2020-01-01 to 2020-01-31, the first on 2020-02-01/,
      empty: /it holds no rows/,
      'no bytes': /it is no CSV/,
      'no text': /it is no CSV/,
      'leak, the same day': /column seats leaks: it gives away the departures of the same day/,
      'leak, the next day': /column bookings leaks: it gives away the departures of the next day/,
      name: /its name must be <month>\.csv/,
      'skips a month': /begins on 2020-03-01, but the accepted data ends on 2020-01-31/,
      again: accepted,
      'the next month': /^accepted 87 rows until 2020-02-29$/,
      'a month of the past': /begins on 2020-01-01, but the accepted data ends on 2020-02-29/,
      'features of a day': /^know nothing of it$/,
    };
    expect(Object.keys(said).sort()).toEqual(Object.keys(expected).sort());
    for (const [name, pattern] of Object.entries(expected))
      expect(said[name], name).toMatch(pattern);
  });
});
