import { beforeEach, describe, expect, test } from 'vitest';
import type { Json } from '../../functions/kernel/json.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import { loopsRoom } from '../../functions/loops/index.ts';
import { servingRoom } from '../../functions/serving/index.ts';
import { type RunAsked, triggersRoom } from '../../functions/triggers/index.ts';
import { call } from '../house.ts';
import { answer } from '../serving/endpoints.ts';
import { openServing, type ServingHouse } from '../serving/house.ts';

/** What the pipeline's only step does, by the number of the run. */
interface Step {
  fail?: string;
  outputs?: Record<string, Json>;
  /** The version that the step's MLflow run registered. */
  made?: number;
}
let home: ServingHouse;
let steps: Step[];
let prepared: RunAsked[];
let metrics: Map<string, number>;
let atGate: () => Promise<void>;

/** Pipelines with one machine of one step: what prepares, runs and remembers a run. */
const MACHINE = {
  QueryLanguage: 'JSONata',
  StartAt: 'Train',
  States: {
    Train: {
      Type: 'Task',
      Resource: 'arn:aws:states:::lambda:invoke',
      Arguments: {
        FunctionName: 'stillflow-test-step',
        Payload: { n: '{% $states.input.n %}', execution: '{% $states.context.Execution.Name %}' },
      },
      End: true,
    },
  },
};

beforeEach(async () => {
  steps = [];
  prepared = [];
  metrics = new Map();
  atGate = async () => undefined;
  const began: string[] = [];
  home = openServing(
    (ground, shelf) => {
      const runs = {
        async check() {},
        async checkExperiment() {},
        nameBehind: async () => undefined,
        async createRun() {
          throw new Problem('unsupported', 'not here');
        },
        async prepareRun(at: typeof call, run: RunAsked) {
          if (run.pipeline !== 'train') throw new Problem('missing', 'Pipeline not found.');
          if (!prepared.some(({ idempotency }) => idempotency === run.idempotency))
            prepared.push(run);
          const n = prepared.findIndex(({ idempotency }) => idempotency === run.idempotency);
          await ground.machines.define(at, 'one-step', MACHINE);
          const address = ground.machines.address(at, 'one-step', `run-${n}`);
          return { runId: `run-${n}`, start: { ...address, Input: { n } } };
        },
        async getRun(_at: typeof call, runId: string) {
          await atGate();
          const step = steps[Number(runId.slice(4))] ?? {};
          const state = step.fail === undefined ? 'SUCCEEDED' : 'FAILED';
          const outputs = step.outputs ?? {};
          return {
            tasks: [{ name: 'train', state, error: step.fail, outputs }],
            tracked: [`of-${step.made ?? ''}`],
          };
        },
      };
      const loops = loopsRoom(ground, {
        runs,
        models: {
          version: shelf.models.version,
          newest: async (_at, name) => shelf.newest(name),
          aliased: (at, name, alias) =>
            shelf.models.aliased(at, name, alias).catch(() => undefined),
          setAlias: shelf.setAlias,
        },
        metric: async (_at, runId) => metrics.get(runId),
      });
      const serving = servingRoom(ground, shelf.models);
      return { serving, triggers: triggersRoom(ground, runs), loops };
    },
    {
      tasks: {
        async 'test-step'(_call, input) {
          const { n } = input as { n: number };
          began.push(`run-${n}`);
          const { fail } = steps[n] ?? {};
          if (fail !== undefined) throw new Problem('invalid', fail);
          return {};
        },
      },
    },
  );
  for (const version of [1, 2, 3]) {
    home.shelf.add('demand', version, `of-${version}`);
    home.servers.set(`mem://models/demand/${version}`, () => answer({ predictions: [version] }));
  }
  metrics.set('of-1', 0.3);
  metrics.set('of-2', 0.2);
  metrics.set('of-3', 0.4);
  await home.shelf.setAlias(call, { name: 'demand', alias: 'champion', version: 1 });
});

const GATE = { model: 'demand', metric: 'wape', direction: 'lower' };
const rule = (gate = {}, more = {}) =>
  home.ask('PUT', '/api/rules/drops', {
    on: { data: { prefix: 'drops/' } },
    start: {
      machine: 'retraining',
      pipeline: 'train',
      parameters: { path: '$.data.path' },
      gate: { ...GATE, ...gate },
    },
    ...more,
  });
const drop = async (name: string, etag = name) => {
  home.world.pass(10);
  await home.table.commit(call, [], {
    type: 'artifacts.data.arrived',
    subject: `data/drops/${name}`,
    data: { path: `drops/${name}`, sizeBytes: 1, etag },
  });
};
interface Shown {
  id: string;
  state: string;
  reason: string;
  runId?: string;
  decision?: { version?: number; before?: number; after?: number };
}
const retrainings = async () =>
  ((await home.ask('GET', '/api/retrainings')).body as { retrainings: Shown[] }).retrainings;
const execution = async (id: string) => home.machines.describe(call, 'retraining', id);
const champion = () => home.shelf.aliasOf('demand', 'champion');
const version = (n: number) => ({ outputs: { version: String(n) } });

describe('a drop of data', () => {
  test('that makes a better model: alias, endpoint and event follow', async () => {
    await home.ask('PUT', '/api/endpoints/shop', { model: 'models:/demand@champion' });
    await rule();
    steps = [version(2)];
    await drop('1.csv');
    await home.quiet();
    expect(champion()).toBe(2);
    const predicted = await home.ask('POST', '/endpoints/shop/invocations', { inputs: [1] });
    expect(predicted.body).toEqual({ predictions: [2] });
    const [done] = await retrainings();
    expect(done).toMatchObject({
      state: 'promoted',
      runId: 'run-0',
      reason: 'wape 0.2 against 0.3 of version 1',
      decision: { version: 2, before: 0.3, after: 0.2 },
    });
    expect(prepared).toMatchObject([{ parameters: { path: 'drops/1.csv' } }]);
    expect(await execution(done?.id ?? '')).toMatchObject({
      state: 'SUCCEEDED',
      output: { outcome: 'promoted', version: 2 },
    });
    const { entries } = await home.table.entries(call, `retrainings/${done?.id}`);
    expect(entries.map(({ type }) => type)).toEqual([
      'loops.retraining.started',
      'loops.run.prepared',
      'loops.gate.passed',
      'loops.retraining.ended',
    ]);
    expect(entries.at(-1)?.data).toMatchObject({
      promoted: true,
      version: 2,
      before: 0.3,
      after: 0.2,
      rule: 'drops',
    });
  });

  test('that makes a worse model: the champion is kept, and both say why', async () => {
    await rule();
    steps = [version(3)];
    await drop('1.csv');
    await home.quiet();
    expect(champion()).toBe(1);
    const [done] = await retrainings();
    expect(done).toMatchObject({ state: 'kept', reason: expect.stringContaining('not better') });
    expect(await execution(done?.id ?? '')).toMatchObject({
      state: 'SUCCEEDED',
      output: { outcome: 'kept' },
    });
  });

  test('that fails validation: refused with what the step said', async () => {
    await rule();
    steps = [{ fail: 'column date is missing' }];
    await drop('bad.csv');
    await home.quiet();
    expect(champion()).toBe(1);
    const [done] = await retrainings();
    const reason = 'train: column date is missing';
    expect(done).toMatchObject({ state: 'refused', reason });
    expect(await execution(done?.id ?? '')).toMatchObject({
      state: 'FAILED',
      error: 'Refused',
      cause: reason,
    });
  });

  test('whose metric is missing is refused', async () => {
    await rule();
    metrics.delete('of-2');
    steps = [version(2)];
    await drop('1.csv');
    await home.quiet();
    expect(await retrainings()).toMatchObject([
      { state: 'refused', reason: 'wape of version 2 is missing or not a number' },
    ]);
    expect(champion()).toBe(1);
  });

  test('whose version is not registered is refused', async () => {
    await rule();
    steps = [version(9)];
    await drop('1.csv');
    await home.quiet();
    expect(await retrainings()).toMatchObject([
      { state: 'refused', reason: 'demand has no version 9' },
    ]);
  });

  test('whose pipeline registers nothing keeps the champion', async () => {
    await rule();
    steps = [{ outputs: { version: '' } }];
    await drop('1.csv');
    await home.quiet();
    expect(await retrainings()).toMatchObject([{ state: 'kept' }]);
  });

  test('measured on the same data by the pipeline itself', async () => {
    await rule({ version: 'train.new', after: 'train.new_wape', before: 'train.old_wape' });
    steps = [{ outputs: { new: 3, new_wape: 0.1, old_wape: 0.15 } }];
    await drop('1.csv');
    await home.quiet();
    expect(champion()).toBe(3);
    expect(await retrainings()).toMatchObject([{ decision: { before: 0.15, after: 0.1 } }]);
  });

  test('registered by a step alone is found by its MLflow run', async () => {
    await rule();
    steps = [{ made: 2 }];
    await drop('1.csv');
    await home.quiet();
    expect(champion()).toBe(2);
  });

  test('with no champion yet makes the first one', async () => {
    await rule({ alias: 'first' });
    steps = [version(3)];
    await drop('1.csv');
    await home.quiet();
    expect(home.shelf.aliasOf('demand', 'first')).toBe(3);
  });

  test('with a pipeline that is gone fails with its reason', async () => {
    await rule();
    await home.ask('PUT', '/api/rules/drops', {
      on: { data: { prefix: 'drops/' } },
      start: { machine: 'retraining', pipeline: 'gone', gate: GATE },
    });
    await drop('1.csv');
    await home.quiet();
    expect(await retrainings()).toMatchObject([
      { state: 'refused', reason: 'Pipeline not found.' },
    ]);
  });
});

describe('exactly once', () => {
  test('a hundred duplicates and reorders of three drops are three retrainings', async () => {
    await rule();
    steps = [version(3), version(3), version(3)];
    for (const name of ['1', '2', '3']) await drop(name);
    await home.quiet();
    const told = [];
    for (const name of ['1', '2', '3'])
      told.push(...(await home.table.entries(call, `data/drops/${name}`)).entries);
    for (let i = 0; i < 11; i += 1) await home.bus.publish(i % 2 ? told : [...told].reverse());
    await home.quiet();
    expect(await retrainings()).toHaveLength(3);
    expect(prepared).toHaveLength(3);
  });

  test('the same bytes again are no change', async () => {
    await rule();
    steps = [version(3)];
    for (let i = 0; i < 10; i += 1) await drop('1.csv', 'same');
    await home.quiet();
    expect(await retrainings()).toHaveLength(1);
  });

  test('every task of the machine may run twice', async () => {
    await rule();
    steps = [version(2)];
    await drop('1.csv');
    await home.quiet();
    const [{ id } = { id: '' }] = await retrainings();
    const found = await execution(id);
    const input = { ...(found?.input as object), execution: `default0-${id}` } as Json;
    const before = (await home.table.entries(call, `retrainings/${id}`)).entries.length;
    for (let i = 0; i < 3; i += 1)
      for (const task of ['retrain-begin', 'gate', 'promote'])
        await home.tasks[task]?.(call, input);
    await home.quiet();
    expect((await home.table.entries(call, `retrainings/${id}`)).entries).toHaveLength(before);
    expect((await home.table.entries(call, 'models/demand')).entries).toHaveLength(2);
    expect(prepared).toHaveLength(1);
  });
});

test('a champion that changed since the gate is not overwritten', async () => {
  await rule();
  steps = [version(2)];
  const passed = home.tasks['promote'];
  expect(passed).toBeDefined();
  // Somebody promotes version 3 right after the gate has looked.
  let moved = false;
  home.afterCommit(async (event) => {
    if (event?.type !== 'loops.gate.passed' || moved) return;
    moved = true;
    await home.shelf.setAlias(call, { name: 'demand', alias: 'champion', version: 3 });
  });
  await drop('1.csv');
  await home.quiet();
  expect(champion()).toBe(3);
  const [done] = await retrainings();
  expect(done).toMatchObject({
    state: 'kept',
    reason: 'champion was moved to version 3 meanwhile',
  });
  expect(await execution(done?.id ?? '')).toMatchObject({ output: { outcome: 'kept' } });
});

test('an execution that is stopped says so in its record', async () => {
  await rule();
  steps = [version(2)];
  let stopped = false;
  atGate = async () => {
    if (stopped) return;
    stopped = true;
    const [{ id } = { id: '' }] = await retrainings();
    await home.machines.stop(call, 'retraining', id, 'by hand');
    throw new Problem('unavailable', 'stopped');
  };
  await drop('1.csv');
  await home.quiet();
  expect(await retrainings()).toMatchObject([{ state: 'failed', reason: 'by hand' }]);
  expect(champion()).toBe(1);
});

describe('by hand', () => {
  const post = (body: object, headers = {}) =>
    home.ask('POST', '/api/retrainings', { pipeline: 'train', gate: GATE, ...body }, { headers });

  test('starts one, and with the same key no second one', async () => {
    steps = [version(2)];
    const key = { 'idempotency-key': 'k' };
    const first = await post({}, key);
    expect(first).toMatchObject({ status: 200, body: { state: 'running' } });
    expect((await post({}, key)).body).toEqual(first.body);
    await home.quiet();
    expect(await retrainings()).toMatchObject([{ state: 'promoted' }]);
    const { id } = first.body as Shown;
    expect((await home.ask('GET', `/api/retrainings/${id}`)).body).toMatchObject({ id });
    expect(champion()).toBe(2);
  });

  test.each([
    [{ pipeline: '' }, 'pipeline'],
    [{ pipeline: 3 }, 'pipeline'],
    [{ gate: undefined }, 'gate'],
    [{ gate: { ...GATE, direction: 'down' } }, 'gate.direction'],
    [{ gate: { ...GATE, metric: '' } }, 'gate.metric'],
    [{ gate: { ...GATE, minimumImprovement: -1 } }, 'gate.minimumImprovement'],
    [{ gate: { ...GATE, after: 'nodot' } }, 'gate.after'],
    [{ gate: { ...GATE, alias: 'a b' } }, 'gate.alias'],
    [{ parameters: [] }, 'parameters'],
    [{ extra: 1 }, ''],
  ])('%j is refused', async (body, field) => {
    const answered = await post(body);
    expect(answered.status).toBe(400);
    if (field) expect(answered.body).toMatchObject({ field });
    expect(await retrainings()).toEqual([]);
  });

  test('what is not there is 404, and what is no id is 400', async () => {
    const id = 'manual-01HZZZZZZZZZZZZZZZZZZZZZZZ';
    expect((await home.ask('GET', `/api/retrainings/${id}`)).status).toBe(404);
    expect((await home.ask('GET', '/api/retrainings/x')).status).toBe(400);
    expect((await home.ask('GET', '/api/retrainings?limit=101')).status).toBe(400);
  });
});
