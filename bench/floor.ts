import { randomBytes } from 'node:crypto';
import {
  closeSync,
  createReadStream,
  createWriteStream,
  fdatasync,
  mkdirSync,
  openSync,
  writev,
} from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

/**
 * The floor: the least that a Node server can do and still answer the calls of the bench. Nothing is checked, nobody
 * is asked who they are. With `wal` each write is in a file, synced in a group commit, before it is answered; with
 * `memory` it is only in memory.
 *
 *     node bench/floor.ts wal|memory DIR PORT
 */
const [, , mode = 'wal', folder = '.', port = '0'] = process.argv;
mkdirSync(folder, { recursive: true });

interface Point {
  key: string;
  value: number;
  timestamp: number;
  step: number;
}
interface Run {
  id: string;
  experiment: string;
  status: string;
  start: number;
  params: Map<string, string>;
  tags: Map<string, string>;
  latest: Map<string, Point>;
  history: Point[];
}
const runs = new Map<string, Run>();
const byExperiment = new Map<string, Run[]>();
const experiments: string[] = [];

// ---------------------------------------------------------------- the log

const file = openSync(join(folder, 'wal'), 'a');
let waiting: { line: Buffer; done: () => void }[] = [];
let writing = false;

/** Resolves once the line is on the disk; all who ask meanwhile share the next sync. */
function kept(line: Buffer): Promise<void> {
  if (mode === 'memory') return Promise.resolve();
  return new Promise((done) => {
    waiting.push({ line, done });
    if (!writing) flush();
  });
}

function flush(): void {
  writing = true;
  const group = waiting;
  waiting = [];
  writev(
    file,
    group.map(({ line }) => line),
    (failed) => {
      if (failed) throw failed;
      fdatasync(file, (error) => {
        if (error) throw error;
        for (const { done } of group) done();
        if (waiting.length) flush();
        else writing = false;
      });
    },
  );
}

// ---------------------------------------------------------------- the calls

function addPoints(run: Run, points: readonly Point[]): void {
  for (const point of points) {
    run.history.push(point);
    const before = run.latest.get(point.key);
    if (!before || point.step >= before.step) run.latest.set(point.key, point);
  }
}

const pairs = (map: Map<string, string>) => [...map].map(([key, value]) => ({ key, value }));
const infoOf = (run: Run) => ({
  run_id: run.id,
  experiment_id: run.experiment,
  status: run.status,
  start_time: run.start,
});
const shown = (run: Run) => ({
  info: infoOf(run),
  data: { metrics: [...run.latest.values()], params: pairs(run.params), tags: pairs(run.tags) },
});

/** Whatever the bench sends, as it sends it. */
interface Body {
  name: string;
  experiment_id: string;
  start_time: number;
  run_id: string;
  status: string;
  metrics?: Point[];
  params?: { key: string; value: string }[];
  tags?: { key: string; value: string }[];
  experiment_ids: string[];
  filter: string;
  max_results: number;
}
const writes: Record<string, (body: Body) => unknown> = {
  'experiments/create'({ name }) {
    experiments.push(name);
    const id = String(experiments.length);
    byExperiment.set(id, []);
    return { experiment_id: id };
  },
  'runs/create'({ experiment_id, start_time }) {
    const run: Run = {
      id: randomBytes(16).toString('hex'),
      experiment: experiment_id,
      status: 'RUNNING',
      start: start_time,
      params: new Map(),
      tags: new Map(),
      latest: new Map(),
      history: [],
    };
    runs.set(run.id, run);
    byExperiment.get(experiment_id)?.push(run);
    return { run: shown(run) };
  },
  'runs/log-batch'({ run_id, metrics = [], params = [], tags = [] }) {
    const run = runs.get(run_id);
    if (!run) return {};
    addPoints(run, metrics);
    for (const { key, value } of params) run.params.set(key, value);
    for (const { key, value } of tags) run.tags.set(key, value);
    return {};
  },
  'runs/log-metric'({ run_id, ...point }) {
    const run = runs.get(run_id);
    if (run) addPoints(run, [point as unknown as Point]);
    return {};
  },
  'runs/update'({ run_id, status }) {
    const run = runs.get(run_id);
    if (!run) return {};
    run.status = status;
    return { run_info: infoOf(run) };
  },
};

/** `metrics.<key> > <number>` with `metrics.<key> DESC`: what the bench asks. */
function search({ experiment_ids, filter, max_results }: Body) {
  const [, key = '', bound] = /^metrics\.(\w+) > ([\d.]+)$/.exec(filter) ?? [];
  const found: { run: Run; value: number }[] = [];
  for (const run of byExperiment.get(experiment_ids[0] ?? '') ?? []) {
    const value = run.latest.get(key)?.value;
    if (value !== undefined && value > Number(bound)) found.push({ run, value });
  }
  found.sort((a, b) => b.value - a.value);
  return { runs: found.slice(0, max_results).map(({ run }) => shown(run)) };
}

const API = '/api/2.0/mlflow/';
const ARTIFACTS = '/api/2.0/mlflow-artifacts/artifacts/';

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { url = '/', method } = request;
  if (url.startsWith(ARTIFACTS)) return artifact(request, response, url.slice(ARTIFACTS.length));
  if (url === '/health') return void response.end('OK');
  if (method === 'GET')
    return reply(response, { run: shown(runs.get(url.slice(url.indexOf('run_id=') + 7)) as Run) });
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  const whole = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
  const body = JSON.parse(whole.toString());
  const name = url.slice(API.length);
  if (name === 'runs/search') return reply(response, search(body));
  const said = writes[name]?.(body);
  await kept(whole);
  reply(response, said);
}

function reply(response: ServerResponse, said: unknown): void {
  const text = JSON.stringify(said);
  const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) };
  response.writeHead(200, headers).end(text);
}

async function artifact(request: IncomingMessage, response: ServerResponse, name: string) {
  const path = join(folder, name.replace(/\W/g, '_'));
  if (request.method === 'GET') return pipeline(createReadStream(path), response);
  await pipeline(request, createWriteStream(path));
  if (mode === 'wal') {
    const descriptor = openSync(path, 'r');
    await new Promise<void>((done, failed) =>
      fdatasync(descriptor, (error) => (error ? failed(error) : done())),
    );
    closeSync(descriptor);
  }
  reply(response, {});
}

const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    process.stderr.write(`${error}\n`);
    response.destroy();
  });
});
server.listen(Number(port), '127.0.0.1');
process.on('SIGTERM', () => process.exit(0));
