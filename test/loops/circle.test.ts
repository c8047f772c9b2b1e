import { beforeEach, expect, test } from 'vitest';
import { buildApp } from '../../functions/app.ts';
import { readDocument } from '../../functions/pipelines/document.ts';
import type { RegistryService } from '../../functions/registry/index.ts';
import { call } from '../house.ts';
import { type Left, replay } from '../pipelines/rig.ts';
import { answer } from '../serving/endpoints.ts';
import { openServing, type ServingHouse } from '../serving/house.ts';

/**
 * All rooms at once, on the local table, blobs, bus and interpreter: a drop of data becomes a pipeline run, a version,
 * an alias, an endpoint. Jobs replay what a step would leave; models answer with their own location.
 */
const PIPELINE = `
pipelineInfo: { name: forecast }
schemaVersion: 2.1.0
sdkVersion: kfp-2.14.0
root:
  inputDefinitions: { parameters: { path: { parameterType: STRING } } }
  dag:
    tasks:
      train:
        taskInfo: { name: train }
        componentRef: { name: comp-train }
        inputs: { parameters: { path: { componentInputParameter: path } } }
components:
  comp-train:
    executorLabel: exec-train
    inputDefinitions: { parameters: { path: { parameterType: STRING } } }
    outputDefinitions:
      parameters:
        made: { parameterType: NUMBER_INTEGER }
        wape: { parameterType: NUMBER_DOUBLE }
        champion_wape: { parameterType: NUMBER_DOUBLE }
deploymentSpec:
  executors:
    exec-train: { container: { image: 'python:3.11', command: [train], args: ['{{$.inputs.parameters["path"]}}'] } }
`;

let home: ServingHouse;
/** `run`: the step's MLflow run, as its environment names it. */
let train: (path: string, run: string) => Promise<Left>;
let ran: string[];
/** The registry of another process over the same table. */
let rival: RegistryService;

const ask = async (method: string, path: string, body?: unknown) => {
  const answered = await home.ask(method, path, body);
  if (answered.status >= 300) throw new Error(`${method} ${path}: ${answered.text}`);
  // biome-ignore lint/suspicious/noExplicitAny: answers are looked at field by field.
  return answered.body as any;
};
const mlflow = (path: string, body: unknown) => ask('POST', `/api/2.0/mlflow/${path}`, body);

beforeEach(async () => {
  ran = [];
  const { jobs, job } = replay(({ file, spec }) => {
    const path = String(file.executorInput.inputs.parameterValues?.['path']);
    ran.push(path);
    return train(path, spec.env['MLFLOW_RUN_ID'] ?? '');
  });
  home = openServing(
    (ground) => {
      const platform = { ...ground, jobs };
      const app = buildApp(platform, { runsImage: () => ({ ok: true }) });
      const { pipelines } = app.rooms;
      rival = buildApp(platform, { runsImage: () => ({ ok: true }) }).rooms.registry.service;
      upload = () =>
        pipelines.service.catalog.createPipeline(
          call,
          { name: 'forecast', displayName: 'forecast', description: '', tags: {} },
          readDocument(PIPELINE),
        );
      return app.rooms;
    },
    { job },
  );
  home.servers.set('*', () => answer({ predictions: [1] }));
  await upload();
  await mlflow('registered-models/create', { name: 'demand' });
});
let upload: () => Promise<unknown>;

/** As a step does through the mlflow client: a version of files below its run. */
async function register(run_id: string): Promise<number> {
  const { run } = await ask('GET', `/api/2.0/mlflow/runs/get?run_id=${run_id}`);
  const source = `${run.info.artifact_uri}/model`;
  const made = await mlflow('model-versions/create', { name: 'demand', source, run_id });
  return Number(made.model_version.version);
}
const champion = async () => {
  const query = '/api/2.0/mlflow/registered-models/alias?name=demand&alias=champion';
  return Number((await ask('GET', query)).model_version.version);
};
async function drop(path: string, text: string) {
  const answered = await home.ask('PUT', `/api/data/${path}`, text, {
    headers: { 'content-type': 'text/csv' },
  });
  expect(answered.status).toBeLessThan(300);
}
const rule = () =>
  ask('PUT', '/api/rules/on-drop', {
    on: { data: { prefix: 'drops/' } },
    start: {
      machine: 'retraining',
      pipeline: 'forecast',
      parameters: { path: '$.data.path' },
      gate: {
        model: 'demand',
        metric: 'wape',
        direction: 'lower',
        after: 'train.wape',
        before: 'train.champion_wape',
      },
    },
  });
const experimentOf = async (run_id: string) => {
  const { run } = await ask('GET', `/api/2.0/mlflow/runs/get?run_id=${run_id}`);
  const query = `experiment_id=${run.info.experiment_id}`;
  return (await ask('GET', `/api/2.0/mlflow/experiments/get?${query}`)).experiment;
};
const retrainings = async () => (await ask('GET', '/api/retrainings')).retrainings;

test('drops of data become versions, the alias moves, the endpoint follows, a bad drop is refused', async () => {
  const errors = [0.3, 0.2, 0.25];
  train = async (path, run) => {
    if (path.includes('bad')) return { fail: 'column date is missing' };
    const wape = errors[ran.length - 1] ?? 1;
    const before = errors.slice(0, ran.length - 1);
    const champion_wape = before.length ? Math.min(...before) : 0;
    return { parameters: { made: await register(run), wape, champion_wape } };
  };
  await rule();
  await drop('drops/1.csv', 'one');
  await home.quiet();
  expect(await retrainings()).toMatchObject([{ state: 'promoted', decision: { version: 1 } }]);
  expect(await champion()).toBe(1);

  await ask('PUT', '/api/endpoints/demand', { model: 'models:/demand@champion' });
  await home.quiet();
  expect(await ask('GET', '/api/endpoints/demand')).toMatchObject({
    state: 'in-service',
    version: 1,
  });

  await drop('drops/2.csv', 'two');
  await home.quiet();
  expect(await champion()).toBe(2);
  expect(await ask('GET', '/api/endpoints/demand')).toMatchObject({
    state: 'in-service',
    version: 2,
  });
  await drop('drops/3.csv', 'three');
  await home.quiet();
  await drop('drops/bad.csv', 'four');
  await home.quiet();
  await drop('drops/bad.csv', 'four');
  await home.quiet();
  expect(await champion()).toBe(2);
  expect(ran).toEqual(['drops/1.csv', 'drops/2.csv', 'drops/3.csv', 'drops/bad.csv']);
  expect(await retrainings()).toMatchObject([
    { state: 'refused', reason: expect.stringContaining('column date is missing') },
    { state: 'kept', decision: { before: 0.2, after: 0.25 } },
    { state: 'promoted', decision: { version: 2, before: 0.3, after: 0.2 } },
    { state: 'promoted', decision: { version: 1 } },
  ]);
});

test('a champion set between the gate and the commit of its move is not overwritten', async () => {
  train = async (_path, run) => ({
    parameters: { made: await register(run), wape: 0.1, champion_wape: 0.2 },
  });
  await rule();
  await drop('drops/1.csv', 'one');
  await home.quiet();
  await register(
    (await ask('GET', `/apis/v2beta1/runs/${(await retrainings())[0].runId}`)).mlflow_run_id,
  );
  // As late as can be: the promotion's own commit finds that the model has changed, and reads it again.
  home.beforeCommit(async (event) => {
    if (event?.type === 'registry.alias.set' && (event.data as { version: number }).version === 3)
      await rival.setAlias(call, { name: 'demand', alias: 'champion', version: 2 });
  });
  await drop('drops/2.csv', 'two');
  await home.quiet();
  expect(await champion()).toBe(2);
  expect(await retrainings()).toMatchObject([
    {
      state: 'kept',
      reason: 'champion was moved to version 2 meanwhile',
      decision: { version: 3 },
    },
    { state: 'promoted' },
  ]);
});

test('a rule without a gate starts a plain run, once', async () => {
  train = async () => ({ parameters: { made: 0, wape: 1, champion_wape: 1 } });
  await ask('PUT', '/api/rules/plain', {
    on: { event: { type: 'custom.drift.seen' } },
    start: { pipeline: 'forecast', parameters: { path: '$.data.path' } },
  });
  for (let i = 0; i < 3; i += 1)
    await ask('POST', '/api/events', {
      type: 'custom.drift.seen',
      id: 'one',
      data: { path: 'p' },
    });
  await home.quiet();
  const { firings } = await ask('GET', '/api/rules/plain/firings');
  expect(firings).toMatchObject([{ outcome: 'started', started: { kind: 'run' } }]);
  const run = await ask('GET', `/apis/v2beta1/runs/${firings[0].started.id}`);
  expect(run).toMatchObject({ state: 'SUCCEEDED' });
  expect(ran).toEqual(['p']);
});

test('a metric that comes to hold starts a pipeline once, and what that run logs does not start the next', async () => {
  const steps: string[] = [];
  train = async (_path, run) => {
    steps.push(run);
    await mlflow('runs/log-metric', { run_id: run, key: 'wape', value: 0.9, timestamp: 1 });
    return { parameters: { made: 0, wape: 0.9, champion_wape: 1 } };
  };
  const { experiment_id } = await mlflow('experiments/create', { name: 'watch' });
  await ask('PUT', `/api/experiments/${experiment_id}/metric-rules/drift`, {
    metric: 'wape',
    comparison: '>',
    threshold: 0.3,
  });
  await ask('PUT', '/api/rules/on-drift', {
    on: {
      event: {
        type: 'tracking.metric-rule.held',
        match: { '$.data.experimentId': experiment_id, '$.data.ruleId': 'drift' },
      },
    },
    start: {
      pipeline: 'forecast',
      parameters: { path: '$.data.runId' },
      experiment: '$.data.experimentId',
    },
  });
  const { run } = await mlflow('runs/create', { experiment_id });
  const { run_id } = run.info;
  for (const [step, value] of [0.2, 0.4, 0.5].entries()) {
    await mlflow('runs/log-metric', { run_id, key: 'wape', value, step, timestamp: step });
    await home.quiet();
  }
  expect(ran).toEqual([run_id]);
  const { firings } = await ask('GET', '/api/rules/on-drift/firings');
  expect(firings).toMatchObject([
    { outcome: 'own-run', cause: { subject: `runs/${steps[0]}` } },
    { outcome: 'started', cause: { subject: `runs/${run_id}` } },
  ]);
  expect((await experimentOf(steps[0] ?? '')).name).toBe('watch');
});

test("a retraining's runs lay in the experiment of those that name none", async () => {
  const steps: string[] = [];
  train = async (_path, run) => {
    steps.push(run);
    return { parameters: { made: 0, wape: 1, champion_wape: 1 } };
  };
  const { experiment_id } = await mlflow('experiments/create', { name: 'by-number' });
  const gate = { model: 'demand', metric: 'wape', direction: 'lower' };
  const asked = { pipeline: 'forecast', parameters: { path: 'p' }, gate };
  const { experiment_id: kfp } = await ask('POST', '/apis/v2beta1/experiments', {
    display_name: 'by-id',
  });
  const named: string[] = [];
  for (const experiment of [undefined, 'study', experiment_id, kfp, undefined]) {
    const body = { ...asked, ...(experiment === undefined ? {} : { experiment }) };
    const { id } = await ask('POST', '/api/retrainings', body);
    await home.quiet();
    const { runId } = await ask('GET', `/api/retrainings/${id}`);
    const run = await ask('GET', `/apis/v2beta1/runs/${runId}`);
    const { display_name } = await ask('GET', `/apis/v2beta1/experiments/${run.experiment_id}`);
    const places = await Promise.all([run.mlflow_run_id, steps.at(-1)].map(experimentOf));
    expect(places.map(({ name }) => name)).toEqual([display_name, display_name]);
    named.push(display_name);
  }
  expect(named).toEqual(['forecast', 'study', 'by-number', 'by-id', 'forecast']);
});

test('a rule for an experiment that is gone is refused, and a retraining says why it failed', async () => {
  const { experiment_id } = await mlflow('experiments/create', { name: 'gone' });
  await mlflow('experiments/delete', { experiment_id });
  for (const experiment of [experiment_id, '9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d']) {
    const refused = await home.ask('PUT', '/api/rules/r', {
      on: { data: { prefix: 'drops/' } },
      start: { pipeline: 'forecast', experiment },
    });
    expect([refused.status, refused.text]).toEqual([400, expect.stringContaining(experiment)]);
  }
  await ask('POST', '/api/retrainings', {
    pipeline: 'forecast',
    parameters: { path: 'p' },
    experiment: experiment_id,
    gate: { model: 'demand', metric: 'wape', direction: 'lower' },
  });
  await home.quiet();
  expect(await retrainings()).toMatchObject([
    { state: 'refused', reason: expect.stringContaining(`Experiment ${experiment_id} is deleted`) },
  ]);
});

test('a step that fails with many words is one readable line, the exception first', async () => {
  const error = 'ValueError: y may not be negative (exit code 1)\n  in row 3\n\n  of drops/1.csv';
  train = async () => ({ fail: error });
  await rule();
  await drop('drops/1.csv', 'one');
  await home.quiet();
  expect(await retrainings()).toMatchObject([
    {
      state: 'refused',
      reason: 'train: ValueError: y may not be negative (exit code 1) in row 3 of drops/1.csv',
    },
  ]);
});

test('a parameter that the pipeline does not have fails the firing with its name', async () => {
  await ask('PUT', '/api/rules/plain', {
    on: { event: { type: 'custom.drift.seen' } },
    start: { pipeline: 'forecast', parameters: { path: 'x', wrong: 1 } },
  });
  await ask('POST', '/api/events', { type: 'custom.drift.seen' });
  await home.quiet();
  const { firings } = await ask('GET', '/api/rules/plain/firings');
  expect(firings).toMatchObject([{ outcome: 'failed', why: expect.stringContaining('wrong') }]);
});
