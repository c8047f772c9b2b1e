import { rmSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { type ChildServer, startServer } from '../child.ts';
import { chooser, KILLS, SEED } from './server-chance.ts';

/**
 * Several clients write to a real server that is killed again and again; each notes what it was answered. After each
 * restart everything acknowledged must be there with its exact values, and of what was not, all or nothing.
 */
const M = '/api/2.0/mlflow';
const CLIENTS = 4;
let server: ChildServer;
afterAll(async () => {
  await server?.stop();
});

// biome-ignore lint/suspicious/noExplicitAny: answers are looked at field by field.
type Answer = any;

/** Undefined: no answer came, since the server is gone. */
async function ask(method: string, path: string, body?: unknown): Promise<Answer | undefined> {
  let answered: Response;
  try {
    answered = await fetch(`${server.url}${path}`, {
      method,
      ...(body === undefined
        ? {}
        : typeof body === 'string'
          ? { body }
          : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
    const text = await answered.text();
    if (answered.status < 300) return text.startsWith('{') ? JSON.parse(text) : text;
    throw new Error(`${method} ${path}: ${answered.status} ${text}`);
  } catch (error) {
    if (error instanceof TypeError || /terminated|aborted/.test(String(error))) return undefined;
    throw error;
  }
}

interface Batch {
  readonly name: string;
  readonly sent: { metrics: number; params: number; tags: number };
  acknowledged: boolean;
}
/** What one client did to one run, and what it heard. */
interface Written {
  readonly runId: string;
  readonly batches: Batch[];
  finished: 'no' | 'asked' | 'yes';
  readonly artifacts: Map<string, { text: string; acknowledged: boolean }>;
}
const written: Written[] = [];
const versions: { version: number; tag: string }[] = [];
/** By alias: the versions that it may point at, of which the last acknowledged is the least. */
const aliases = new Map<string, { acknowledged?: number; asked: Set<number> }>();
let experiment = '';

async function client(number: number, chance: ReturnType<typeof chooser>, stopped: () => boolean) {
  for (let round = 0; !stopped(); round++) {
    const made = await ask('POST', `${M}/runs/create`, {
      experiment_id: experiment,
      run_name: `c${number}-${round}`,
    });
    if (!made) return;
    const run: Written = {
      runId: made.run.info.run_id,
      batches: [],
      finished: 'no',
      artifacts: new Map(),
    };
    written.push(run);
    for (let i = 0; i < 3 && !stopped(); i++) {
      const name = `b${i}`;
      const sent = { metrics: 1 + chance(40), params: chance(3), tags: chance(3) };
      const batch: Batch = { name, sent, acknowledged: false };
      run.batches.push(batch);
      const list = (what: string, count: number) =>
        Array.from({ length: count }, (_, n) => ({
          key: `${name}.${what}${n}`,
          value: `${n * 7}`,
        }));
      const answer = await ask('POST', `${M}/runs/log-batch`, {
        run_id: run.runId,
        metrics: list('m', sent.metrics).map((each, n) => ({
          ...each,
          value: n / 3,
          timestamp: n,
          step: n,
        })),
        params: list('p', sent.params),
        tags: list('t', sent.tags),
      });
      if (!answer) return;
      batch.acknowledged = true;
    }
    const path = `c${number}/${round}.bin`;
    const text = `${run.runId} `.repeat(1 + chance(4000));
    run.artifacts.set(path, { text, acknowledged: false });
    const folder = String(made.run.info.artifact_uri).replace('mlflow-artifacts:/', '');
    const put = await ask('PUT', `/api/2.0/mlflow-artifacts/artifacts/${folder}/${path}`, text);
    if (!put) return;
    run.artifacts.set(path, { text, acknowledged: true });
    run.finished = 'asked';
    if (
      !(await ask('POST', `${M}/runs/update`, {
        run_id: run.runId,
        status: 'FINISHED',
        end_time: 5,
      }))
    )
      return;
    run.finished = 'yes';
    if (!(await register(number, run, chance))) return;
  }
}

async function register(
  number: number,
  run: Written,
  chance: ReturnType<typeof chooser>,
): Promise<boolean> {
  const tag = `${run.runId}`;
  const made = await ask('POST', `${M}/model-versions/create`, {
    name: 'killed',
    source: `mlflow-artifacts:/${experiment}/${run.runId}/artifacts/model`,
    run_id: run.runId,
    tags: [{ key: 'of', value: tag }],
  });
  if (!made) return false;
  const version = Number(made.model_version.version);
  versions.push({ version, tag });
  const alias = `a${number}-${chance(2)}`;
  const known = aliases.get(alias) ?? { asked: new Set<number>() };
  aliases.set(alias, known);
  known.asked.add(version);
  const body = { name: 'killed', alias, version: String(version) };
  if (!(await ask('POST', `${M}/registered-models/alias`, body))) return false;
  known.acknowledged = version;
  known.asked.clear();
  return true;
}

/** All of `run`, or how it differs from what its client was told. */
async function check(run: Written): Promise<void> {
  const { run: seen } = await ask('GET', `${M}/runs/get?run_id=${run.runId}`);
  const metrics = new Map<string, number>(
    (seen.data.metrics ?? []).map((m: Answer) => [m.key, m.value]),
  );
  const params = new Map<string, string>(
    (seen.data.params ?? []).map((p: Answer) => [p.key, p.value]),
  );
  const tags = new Map<string, string>((seen.data.tags ?? []).map((t: Answer) => [t.key, t.value]));
  for (const { name, sent, acknowledged } of run.batches) {
    const there = {
      metrics: [...metrics.keys()].filter((key) => key.startsWith(`${name}.`)).length,
      params: [...params.keys()].filter((key) => key.startsWith(`${name}.`)).length,
      tags: [...tags.keys()].filter((key) => key.startsWith(`${name}.`)).length,
    };
    const none = { metrics: 0, params: 0, tags: 0 };
    const what = `batch ${name} of ${run.runId}`;
    if (acknowledged) expect(there, what).toEqual(sent);
    else expect([sent, none], what).toContainEqual(there);
    if (there.metrics === 0) continue;
    for (let n = 0; n < sent.metrics; n++) expect(metrics.get(`${name}.m${n}`)).toBe(n / 3);
    for (let n = 0; n < sent.params; n++) expect(params.get(`${name}.p${n}`)).toBe(`${n * 7}`);
    for (let n = 0; n < sent.tags; n++) expect(tags.get(`${name}.t${n}`)).toBe(`${n * 7}`);
  }
  if (run.finished === 'yes') expect(seen.info).toMatchObject({ status: 'FINISHED', end_time: 5 });
  if (run.finished === 'no') expect(seen.info.status).toBe('RUNNING');
  for (const [path, { text, acknowledged }] of run.artifacts) {
    const answered = await fetch(
      `${server.url}/get-artifact?run_id=${run.runId}&path=${encodeURIComponent(path)}`,
    );
    const bytes = await answered.text();
    if (answered.status === 200) expect(bytes, path).toBe(text);
    else expect([answered.status, acknowledged], path).toEqual([404, false]);
  }
}

async function checkRegistry(): Promise<void> {
  const all: Answer[] = [];
  let token = '';
  do {
    const filter = encodeURIComponent("name='killed'");
    const page = await ask(
      'GET',
      `${M}/model-versions/search?filter=${filter}&max_results=500${token && `&page_token=${token}`}`,
    );
    all.push(...(page.model_versions ?? []));
    token = page.next_page_token ?? '';
  } while (token);
  const numbers = all.map(({ version }) => Number(version));
  expect(new Set(numbers).size, 'each number once').toBe(numbers.length);
  for (const { version, tag } of versions) {
    const found = all.find((each) => Number(each.version) === version);
    expect(found?.tags, `version ${version}`).toEqual([{ key: 'of', value: tag }]);
  }
  const { registered_model: model } = await ask('GET', `${M}/registered-models/get?name=killed`);
  const pointed = new Map<string, number>(
    (model.aliases ?? []).map((a: Answer) => [a.alias, Number(a.version)]),
  );
  expect(pointed.size, 'each alias once').toBe((model.aliases ?? []).length);
  for (const [alias, { acknowledged, asked }] of aliases) {
    const allowed = [acknowledged, ...asked];
    expect(allowed, alias).toContain(pointed.get(alias));
    const listed = all
      .filter((each) => each.aliases?.includes(alias))
      .map((each) => Number(each.version));
    expect(listed, alias).toEqual(pointed.has(alias) ? [pointed.get(alias)] : []);
  }
}

test(`SIGKILL at ${KILLS} points of a write load: what was acknowledged is there, the rest whole or not at all (SEED=${SEED})`, async () => {
  const chance = chooser(SEED);
  server = await startServer();
  ({ experiment_id: experiment } = await ask('POST', `${M}/experiments/create`, {
    name: 'killed',
  }));
  await ask('POST', `${M}/registered-models/create`, { name: 'killed' });
  for (let kill = 0; kill < KILLS; kill++) {
    const from = written.length;
    let stopped = false;
    const clients = Array.from({ length: CLIENTS }, (_, number) =>
      client(number, chance, () => stopped),
    );
    // A moment measured in what was acknowledged, and then a little further into what is under way.
    const goal = acknowledgements() + 1 + chance(30);
    await until(() => acknowledgements() >= goal);
    const moment = performance.now() + chance(8);
    await until(() => performance.now() >= moment);
    await server.kill();
    stopped = true;
    await Promise.all(clients);
    server = await server.restart();
    for (const run of written.slice(from)) await check(run);
    await checkRegistry();
  }
  for (const run of written) await check(run);
  const all = written.flatMap(({ batches }) => batches);
  console.log(
    `SEED=${SEED}: ${KILLS} kills, ${written.length} runs, ${all.filter(({ acknowledged }) => acknowledged).length} of ${all.length} batches acknowledged, ${versions.length} versions`,
  );
  expect(all.length).toBeGreaterThan(KILLS);
  rmSync(server.data, { recursive: true, force: true, maxRetries: 3 });
});

const acknowledgements = () =>
  written.reduce(
    (sum, { batches }) => sum + batches.filter(({ acknowledged }) => acknowledged).length,
    0,
  ) + versions.length;

async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + 60_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error('it never came to pass');
    await new Promise((resolve) => setImmediate(resolve));
  }
}
