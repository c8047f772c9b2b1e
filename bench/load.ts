import { request } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import type { Running } from './contenders.ts';
import { cpuMs } from './tree.ts';
import { type Answer, type Line, openLine } from './wire.ts';

/** What a server did under a load of one kind. */
export interface Outcome {
  /** Steps that ended within the time. */
  readonly done: number;
  readonly perSecond: number;
  /** Of what the step timed, in ms. */
  readonly p50: number;
  readonly p99: number;
  /** CPU of the server and its children a step, in ms. */
  readonly cpuMs: number;
  readonly errors: number;
  /** Steps that were still without an answer a second after the end. */
  readonly stalled: number;
}

/** One client's next step on its own connection; answers how long the part that counts took, in ms. */
type Step = (line: Line, client: number) => Promise<number>;

export async function drive(
  server: Running,
  clients: number,
  seconds: number,
  step: Step,
): Promise<Outcome> {
  const lines = await Promise.all(Array.from({ length: clients }, () => openLine(server.url)));
  const took: number[] = [];
  let errors = 0;
  let working = clients;
  const cpuFrom = cpuMs(server.pid);
  const until = performance.now() + seconds * 1000;
  const work = lines.map(async (line, client) => {
    while (performance.now() < until) {
      try {
        const ms = await step(line, client);
        if (performance.now() <= until) took.push(ms);
      } catch (error) {
        if (error instanceof WrongAnswer) errors += 1;
        else break;
      }
    }
    working -= 1;
  });
  await pause(seconds * 1000);
  const cpu = cpuMs(server.pid) - cpuFrom;
  await Promise.race([Promise.all(work), pause(1000)]);
  const stalled = working;
  for (const line of lines) line.close();
  await Promise.all(work);
  took.sort((a, b) => a - b);
  const at = (share: number) => took[Math.floor(took.length * share)] ?? Number.NaN;
  return {
    done: took.length,
    perSecond: took.length / seconds,
    p50: at(0.5),
    p99: at(0.99),
    cpuMs: took.length ? cpu / took.length : Number.NaN,
    errors,
    stalled,
  };
}

class WrongAnswer extends Error {}

function checked(answer: Answer, what: string): Answer {
  if (answer.status === 200) return answer;
  throw new WrongAnswer(`${what}: ${answer.status} ${answer.body.toString().slice(0, 300)}`);
}

const API = '/api/2.0/mlflow';

export async function post(line: Line, path: string, body: unknown | Buffer): Promise<Answer> {
  const bytes = Buffer.isBuffer(body) ? body : JSON.stringify(body);
  return checked(await line.ask('POST', `${API}/${path}`, bytes), path);
}

// ---------------------------------------------------------------- the calls

const START = 1_700_000_000_000;
/** Much alike on every server and every time: a small generator of our own. */
export function numbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

export async function createExperiment(line: Line, name: string): Promise<string> {
  return JSON.parse((await post(line, 'experiments/create', { name })).body.toString())
    .experiment_id;
}

export async function createRun(line: Line, experiment: string, at = START): Promise<string> {
  const body = { experiment_id: experiment, run_name: 'bench', start_time: at, tags: [] };
  return JSON.parse((await post(line, 'runs/create', body)).body.toString()).run.info.run_id;
}

const PARAMS = ['lr', 'depth', 'seed'].map((key, i) => ({ key, value: String(i) }));
const TAGS = ['team', 'stage'].map((key) => ({ key, value: 'bench' }));

/** create + log-batch (10 metrics, 3 params, 2 tags) + update; the log-batch is what is timed. */
export function runSteps(experiment: string, made: string[]): Step {
  const next = numbers(1);
  return async (line) => {
    const run = await createRun(line, experiment);
    const metrics = Array.from({ length: 10 }, (_, i) => point(`m${i}`, next(), 1));
    const batch = { run_id: run, metrics, params: PARAMS, tags: TAGS };
    const from = performance.now();
    await post(line, 'runs/log-batch', batch);
    const took = performance.now() - from;
    const ended = { run_id: run, status: 'FINISHED', end_time: START + 1000 };
    await post(line, 'runs/update', ended);
    made.push(run);
    return took;
  };
}

const point = (key: string, value: number, step: number) => ({
  key,
  value,
  timestamp: START + step,
  step,
});

const BATCHES_A_RUN = 50;

/** 1,000 points a request: 10 keys, 100 steps each, all new; another run after fifty. Bodies are made beforehand. */
export function pointSteps(experiment: string): Step {
  const next = numbers(2);
  const bodies = Array.from({ length: BATCHES_A_RUN }, (_, batch) => {
    const metrics = Array.from({ length: 1000 }, (_, i) =>
      point(`m${i % 10}`, next(), batch * 100 + Math.floor(i / 10)),
    );
    return `,"metrics":${JSON.stringify(metrics)}}`;
  });
  const state = new Map<number, { run: string; sent: number }>();
  return async (line, client) => {
    let held = state.get(client);
    if (!held || held.sent === BATCHES_A_RUN) {
      held = { run: await createRun(line, experiment), sent: 0 };
      state.set(client, held);
    }
    const body = Buffer.from(`{"run_id":"${held.run}"${bodies[held.sent++]}`);
    return timed(() => post(line, 'runs/log-batch', body));
  };
}

export function metricSteps(experiment: string): Step {
  const next = numbers(3);
  const state = new Map<number, { run: string; step: number }>();
  return async (line, client) => {
    const held = state.get(client) ?? { run: await createRun(line, experiment), step: 0 };
    state.set(client, held);
    const body = { run_id: held.run, ...point('loss', next(), held.step++) };
    return timed(() => post(line, 'runs/log-metric', body));
  };
}

export function getSteps(runs: readonly string[]): Step {
  const next = numbers(4);
  return async (line) => {
    const run = runs[Math.floor(next() * runs.length)];
    let answer: Answer | undefined;
    const took = await timed(async () => {
      answer = await line.ask('GET', `${API}/runs/get?run_id=${run}`);
    });
    const { data } = JSON.parse(checked(answer as Answer, 'runs/get').body.toString()).run;
    if (data.metrics?.length !== 10 || data.params?.length !== 3)
      throw new WrongAnswer('runs/get left something out');
    return took;
  };
}

/** The hundred best of those above a bound, in order. */
export function searchSteps(experiment: string): Step {
  const body = JSON.stringify({
    experiment_ids: [experiment],
    filter: 'metrics.m0 > 0.5',
    order_by: ['metrics.m0 DESC'],
    max_results: 100,
  });
  return async (line) => {
    let answer: Answer | undefined;
    const took = await timed(async () => {
      answer = await post(line, 'runs/search', Buffer.from(body));
    });
    const { runs = [] } = JSON.parse((answer as Answer).body.toString());
    const values: number[] = runs.map(
      ({ data }: { data: { metrics: { key: string; value: number }[] } }) =>
        data.metrics.find(({ key }) => key === 'm0')?.value,
    );
    if (values.length !== 100 || values.some((value, i) => i > 0 && value > (values[i - 1] ?? 0)))
      throw new WrongAnswer('runs/search is not what was asked');
    return took;
  };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const from = performance.now();
  await work();
  return performance.now() - from;
}

/** Runs as `fill.py` makes them, over REST. */
export async function fill(url: string, experiment: string, count: number): Promise<void> {
  const next = numbers(7);
  let left = count;
  const work = async () => {
    const line = await openLine(url);
    while (left > 0) {
      const number = count - left--;
      const run = await createRun(line, experiment, START + number);
      await post(line, 'runs/log-batch', {
        run_id: run,
        metrics: [point('m0', next(), 1), point('m1', next(), 1)],
        params: [{ key: 'lr', value: String(number % 10) }],
        tags: [{ key: 'team', value: `t${number % 5}` }],
      });
      await post(line, 'runs/update', {
        run_id: run,
        status: 'FINISHED',
        end_time: START + number,
      });
    }
    line.close();
  };
  await Promise.all(Array.from({ length: 8 }, work));
}

// ---------------------------------------------------------------- artifacts

const CHUNK = Buffer.alloc(1 << 20, 'stillflow bench ');

/** Up and down again, streamed; in MB/s. */
export async function artifact(
  url: string,
  megabytes: number,
): Promise<{ up: number; down: number }> {
  const path = `/api/2.0/mlflow-artifacts/artifacts/bench/${megabytes}.bin`;
  const rate = (ms: number) => megabytes / (ms / 1000);
  const up = await timed(
    () =>
      new Promise<void>((done, failed) => {
        const headers = { 'Content-Length': megabytes * CHUNK.length };
        const sent = request(url + path, { method: 'PUT', headers }, (answer) => {
          answer.resume();
          answer.on('end', () =>
            answer.statusCode === 200 ? done() : failed(new Error(`PUT: ${answer.statusCode}`)),
          );
        });
        sent.on('error', failed);
        let left = megabytes;
        const more = () => {
          while (left > 0) {
            left -= 1;
            if (!sent.write(CHUNK)) return void sent.once('drain', more);
          }
          sent.end();
        };
        more();
      }),
  );
  const down = await timed(
    () =>
      new Promise<void>((done, failed) => {
        request(url + path, (answer) => {
          let size = 0;
          answer.on('data', (chunk: Buffer) => {
            size += chunk.length;
          });
          answer.on('end', () =>
            size === megabytes * CHUNK.length ? done() : failed(new Error(`GET: ${size} bytes`)),
          );
        })
          .on('error', failed)
          .end();
      }),
  );
  return { up: rate(up), down: rate(down) };
}
