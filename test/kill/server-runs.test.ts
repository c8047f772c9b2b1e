import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { type ChildServer, startServer } from '../child.ts';
import { shellPipeline } from '../sweeps/spec.ts';
import { chooser, KILLS, SEED } from './server-chance.ts';

/**
 * Pipelines of shell steps, each of which appends one line to a file before it does anything else, on a real server
 * that is killed while they run. Afterwards every run must have ended, and the file says how often each attempt of a
 * step took effect.
 */
const K = '/apis/v2beta1';
const AT_ONCE = 3;
let server: ChildServer;
const effects = mkdtempSync(join(tmpdir(), 'stillflow-effects-'));
afterAll(async () => {
  await server?.stop();
  rmSync(effects, { recursive: true, force: true });
});

// biome-ignore lint/suspicious/noExplicitAny: answers are looked at field by field.
type Answer = any;

/** `$0` is the step, `$1` the file of effects. One write of one line is whole. */
const step = (name: string, after: string[] = []) => ({ name, after, script: 'echo "$0" >> "$1"' });
const SHAPES = {
  chain: shellPipeline('kill-chain', ['file'], [step('a'), step('b', ['a']), step('c', ['b'])]),
  diamond: shellPipeline(
    'kill-diamond',
    ['file'],
    [step('a'), step('left', ['a']), step('right', ['a']), step('z', ['left', 'right'])],
  ),
  failing: shellPipeline(
    'kill-failing',
    ['file'],
    [
      step('a'),
      { ...step('bad', ['a']), script: 'echo "$0" >> "$1"; exit 3' },
      step('never', ['bad']),
    ],
  ),
} as const;
type Shape = keyof typeof SHAPES;
const STEPS: Readonly<Record<Shape, readonly string[]>> = {
  chain: ['a', 'b', 'c'],
  diamond: ['a', 'left', 'right', 'z'],
  failing: ['a', 'bad'],
};

async function ask(method: string, path: string, body?: unknown): Promise<Answer | undefined> {
  try {
    const answered = await fetch(`${server.url}${path}`, {
      method,
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
    const text = await answered.text();
    if (answered.status < 300) return JSON.parse(text);
    throw new Error(`${method} ${path}: ${answered.status} ${text}`);
  } catch (error) {
    if (error instanceof TypeError || /terminated|aborted/.test(String(error))) return undefined;
    throw error;
  }
}

interface Started {
  readonly file: string;
  readonly shape: Shape;
  readonly key: string;
  id: string | undefined;
}
const started: Started[] = [];

/** Asked again with the same key after a lost answer, until it is heard: it is one run all the same. */
async function create(run: Started): Promise<void> {
  try {
    const answered = await fetch(`${server.url}${K}/runs`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': run.key },
      body: JSON.stringify({
        display_name: run.key,
        pipeline_spec: SHAPES[run.shape],
        runtime_config: { parameters: { file: run.file } },
      }),
    });
    const text = await answered.text();
    if (answered.status !== 200) throw new Error(`create: ${answered.status} ${text}`);
    run.id = JSON.parse(text).run_id;
  } catch (error) {
    if (!(error instanceof TypeError) && !/terminated|aborted/.test(String(error))) throw error;
  }
}

const lines = (file: string): string[] => {
  try {
    return readFileSync(file, 'utf8').split('\n').filter(Boolean);
  } catch {
    return [];
  }
};
const OVER = ['SUCCEEDED', 'FAILED', 'CANCELED'];

/** What is shown of a run fits together at every moment. */
function consistent(run: Answer): void {
  const states = run.state_history.map(({ state }: Answer) => state);
  expect(states[0]).toBe('PENDING');
  expect(states.at(-1)).toBe(run.state);
  if (!OVER.includes(run.state))
    expect(states.some((state: string) => OVER.includes(state))).toBe(false);
  for (const task of run.run_details?.task_details ?? []) {
    if (run.state === 'SUCCEEDED') expect(task.state).toBe('SUCCEEDED');
    if (task.state === 'SUCCEEDED') expect(task.end_time).toBeDefined();
  }
}

test(`SIGKILL at ${KILLS} points of pipeline runs: every run ends, each step's effect once an attempt (SEED=${SEED})`, async () => {
  const chance = chooser(SEED);
  const shapes = Object.keys(SHAPES) as Shape[];
  server = await startServer();
  const begin = async () => {
    const n = started.length;
    const shape = shapes[chance(shapes.length)] ?? 'chain';
    const run: Started = {
      file: join(effects, `run-${n}`),
      shape,
      key: `kill-${n}`,
      id: undefined,
    };
    started.push(run);
    await create(run);
  };
  const effectsSeen = () => started.reduce((sum, { file }) => sum + lines(file).length, 0);
  for (let kill = 0; kill < KILLS; kill++) {
    const open = Array.from({ length: AT_ONCE }, begin);
    // From the middle of create_run to some steps further on.
    const goal = effectsSeen() + chance(5);
    if (chance(4) > 0) {
      await Promise.all(open);
      await until('effects', async () => effectsSeen() >= goal);
    }
    const moment = performance.now() + chance(40);
    await until('the moment', async () => performance.now() >= moment);
    await server.kill();
    await Promise.all(open);
    server = await server.restart();
    for (const run of started.filter(({ id }) => !id)) await create(run);
    for (const { id } of started.slice(-2 * AT_ONCE))
      consistent(await ask('GET', `${K}/runs/${id}`));
  }
  for (const { id, shape, file, key } of started) {
    const seen = await until(`${key} to end`, async () => {
      const run = await ask('GET', `${K}/runs/${id}`);
      return OVER.includes(run.state) && run;
    });
    consistent(seen);
    const what = `${key}, ${shape}: ${JSON.stringify(seen.error ?? '')}`;
    expect(seen.state, what).toBe(shape === 'failing' ? 'FAILED' : 'SUCCEEDED');
    expect(lines(file).sort(), what).toEqual([...STEPS[shape]].sort());
  }
  const { runs } = await ask('GET', `${K}/runs?page_size=200`);
  const names = runs.map(({ display_name }: Answer) => display_name);
  expect(new Set(names).size, 'each run once').toBe(names.length);
  console.log(`SEED=${SEED}: ${KILLS} kills, ${started.length} runs, ${effectsSeen()} effects`);
});

async function until<T>(what: string, look: () => Promise<T | false | undefined>): Promise<T> {
  const end = performance.now() + 120_000;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (performance.now() > end)
      throw new Error(`${what}: it never came to pass\n${server.log().slice(-3000)}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
