import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Json } from '../../functions/kernel/json.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import { compile } from '../../functions/pipelines/compiler/compile.ts';
import { readDocument } from '../../functions/pipelines/document.ts';
import { pipelinesRoom } from '../../functions/pipelines/index.ts';
import type { RunId } from '../../functions/pipelines/model.ts';
import type { RunId as TrackingRunId } from '../../functions/tracking/model.ts';
import { workspacesRoom } from '../../functions/workspaces/index.ts';
import { call } from '../house.ts';
import { type Answer, type PipelineRig, pipelineRig, type Steps } from './rig.ts';

const golden = (name: string) =>
  readDocument(readFileSync(join(import.meta.dirname, `../golden/${name}.yaml`), 'utf8')).pipeline;
const twoStep = golden('two_step');

const works: Steps = ({ name }) =>
  ({
    prepare: {
      parameters: { Output: '10 rows' },
      artifacts: { data: { text: '0\n1', metadata: { rows: 10 } } },
    },
    train: {
      parameters: { Output: 4.5 },
      artifacts: { model: { text: '2.25' }, metrics: { metadata: { mean: 4.5, note: 'x' } } },
    },
    report: { parameters: { text: 'done' } },
  })[name] ?? {};
const failing =
  (task: string, times = Number.POSITIVE_INFINITY): Steps =>
  (step) =>
    step.name === task && step.tries < times ? { fail: `${task} broke` } : works(step);

let rig: PipelineRig;
const task = (run: Answer, id: string): Answer =>
  run.run_details.task_details.find((each: Answer) => each.task_id === id);
const states = (run: Answer) =>
  Object.fromEntries(
    run.run_details.task_details.map((each: Answer) => [each.task_id, each.state]),
  );
const once = (problem: Problem) => {
  const left = [problem];
  return () => left.pop();
};
const runs = '/apis/v2beta1/runs';

describe('a run', () => {
  test('hands values and artifacts from step to step, and shows them', async () => {
    rig = pipelineRig(works);
    const run = await rig.run(twoStep, { rows: 10 });
    expect(run).toMatchObject({
      state: 'SUCCEEDED',
      runtime_config: { parameters: { rows: 10, rate: 0.5 } },
    });
    expect(run.state_history.map(({ state }: Answer) => state)).toEqual([
      'PENDING',
      'RUNNING',
      'SUCCEEDED',
    ]);
    const trained = rig.ran.find(({ name }) => name === 'train');
    const data = trained?.file.executorInput.inputs.artifacts?.['data']?.artifacts[0];
    expect(data).toMatchObject({
      name: 'data',
      metadata: { rows: 10 },
      type: { schemaTitle: 'system.Dataset' },
    });
    expect(data?.uri).toBe(task(run, 'prepare').output_artifacts.data.uri);
    expect(data?.uri).toContain(`/pipelines/two-step/${run.run_id}/prepare/`);
    expect(trained?.spec).toMatchObject({
      image: 'python:3.11',
      resources: { runner: 'lambda' },
      deadlineSeconds: 900,
      env: { MLFLOW_TRACKING_URI: 'http://localhost' },
    });
    expect(task(run, 'report')).toMatchObject({
      parameters: { summary: '10 rows', mean: 4.5 },
      inputs: { model: { artifact_ids: [`${run.run_id}/train/0/model`] } },
    });
  });

  test('is an MLflow run of the same name, and each executed step a nested one with its metrics', async () => {
    rig = pipelineRig(works);
    const run = await rig.run(twoStep, {}, 'tuesday');
    const parent = await rig.runs.getRun(call, run.mlflow_run_id as TrackingRunId);
    expect(parent).toMatchObject({ name: 'tuesday', status: 'FINISHED', userId: 'ada' });
    const nested = task(run, 'train').mlflow_run_id;
    const step = await rig.runs.getRun(call, nested as TrackingRunId);
    expect(step).toMatchObject({ name: 'train', status: 'FINISHED' });
    expect(step.metrics.map(({ key, value }) => [key, value])).toEqual([['mean', 4.5]]);
    expect(Object.fromEntries(step.tags)).toMatchObject({
      'mlflow.parentRunId': run.mlflow_run_id,
      'stillflow.pipeline.run_id': run.run_id,
      'stillflow.pipeline.task': 'train',
    });
    expect(rig.ran.find(({ name }) => name === 'train')?.spec.env).toMatchObject({
      MLFLOW_RUN_ID: nested,
    });
  });

  test('large values travel by reference and arrive whole', async () => {
    const long = 'é'.repeat(150_000);
    rig = pipelineRig((step) =>
      step.name === 'prepare' ? { ...works(step), parameters: { Output: long } } : works(step),
    );
    const run = await rig.run(twoStep);
    expect(run.state).toBe('SUCCEEDED');
    const report = rig.ran.find(({ name }) => name === 'report');
    expect(report?.file.executorInput.inputs.parameterValues?.['summary']).toBe(long);
    const history = await rig.machines.history(
      call,
      (await rig.service.getRun(call, run.run_id)).machine,
      `${run.run_id}-0`,
    );
    for (const { details } of history) expect(JSON.stringify(details).length).toBeLessThan(4096);
  });

  test('what a constant mentions is filled in once, and inserted text is not read again', async () => {
    rig = pipelineRig(({ name }) =>
      name === 'collect' ? { parameters: { Output: ['{{$}}'] } } : {},
    );
    const run = await rig.run(golden('settings'));
    const show = rig.ran.find(({ name }) => name === 'show');
    expect(show?.file.executorInput.inputs.parameterValues).toEqual({
      names: ['{{$}}'],
      prefix: `run-${run.run_id}`,
    });
  });
});

describe('the cache', () => {
  test('a second run executes nothing and says from which run each step came', async () => {
    rig = pipelineRig(works);
    const first = await rig.run(twoStep);
    const second = await rig.run(twoStep);
    expect(rig.ran).toHaveLength(3);
    expect(second.state).toBe('SUCCEEDED');
    expect(states(second)).toEqual({ prepare: 'SKIPPED', train: 'SKIPPED', report: 'SKIPPED' });
    expect(task(second, 'train').cache).toMatchObject({
      hit: true,
      run_id: first.run_id,
      task_id: 'train',
    });
    expect(task(second, 'train').state_history[0].error.message).toContain(`cache hit`);
    expect(task(second, 'train').outputs).toEqual(task(first, 'train').outputs);
  });

  test.each([['another parameter', { rows: 11 }, "input 'rows' differs from run"]])(
    '%s is a miss that says so',
    async (_what, parameters, reason) => {
      rig = pipelineRig(works);
      await rig.run(twoStep);
      const second = await rig.run(twoStep, parameters);
      expect(task(second, 'prepare').cache.reason).toContain(reason);
      // The producer ran again, so what it made is another artifact, and the consumer follows.
      expect(task(second, 'train').cache.reason).toContain("input artifact 'data' differs");
      expect(rig.ran).toHaveLength(6);
    },
  );

  test('a parameter that one step does not see leaves that step cached', async () => {
    rig = pipelineRig(works);
    await rig.run(twoStep);
    const second = await rig.run(twoStep, { rate: 0.9 });
    expect(states(second)).toMatchObject({ prepare: 'SKIPPED', train: 'SUCCEEDED' });
  });

  test('outputs that are gone are made again', async () => {
    rig = pipelineRig(works);
    const first = await rig.run(twoStep);
    await rm(task(first, 'prepare').output_artifacts.data.uri);
    const second = await rig.run(twoStep);
    expect(task(second, 'prepare').cache.reason).toBe(
      `cache miss: output 'data' of run ${first.run_id} is gone`,
    );
    expect(second.state).toBe('SUCCEEDED');
  });

  test('a failed step is never taken from it', async () => {
    rig = pipelineRig(failing('train', 1));
    expect((await rig.run(twoStep)).state).toBe('FAILED');
    const second = await rig.run(twoStep);
    expect(states(second)).toEqual({ prepare: 'SKIPPED', train: 'SUCCEEDED', report: 'SUCCEEDED' });
  });
});

describe('a failure', () => {
  test('ends the run FAILED with the step and its words, and what does not depend on it goes on', async () => {
    rig = pipelineRig((step) =>
      step.name === 'double' ? { fail: 'no doubling today' } : { parameters: { Output: 1 } },
    );
    const run = await rig.run(golden('diamond'), { n: 1 });
    expect(run.state).toBe('FAILED');
    expect(run.error).toEqual({ code: 13, message: 'double: no doubling today' });
    expect(states(run)).toEqual({
      start: 'SUCCEEDED',
      double: 'FAILED',
      'double-2': 'SKIPPED',
      'double-3': 'SUCCEEDED',
      add: 'SKIPPED',
      'start-2': 'SUCCEEDED',
    });
    expect(task(run, 'double').error.message).toBe('no doubling today');
    expect(task(run, 'add').state_history[0].error.message).toBe(
      "skipped: task 'double-2' was skipped",
    );
    const mlflow = await rig.runs.getRun(call, run.mlflow_run_id as TrackingRunId);
    expect(mlflow.status).toBe('FAILED');
  });

  test("of an output of another type is the step's failure, named", async () => {
    rig = pipelineRig((step) =>
      step.name === 'train' ? { ...works(step), parameters: { Output: 'much' } } : works(step),
    );
    const run = await rig.run(twoStep);
    expect(run.error.message).toBe(
      `train: Output parameter 'Output' must be a number, not "much".`,
    );
  });

  test('a retry runs what failed and what was skipped, and nothing else', async () => {
    rig = pipelineRig(failing('train', 1));
    const failed = await rig.run(twoStep);
    expect(states(failed)).toEqual({ prepare: 'SUCCEEDED', train: 'FAILED', report: 'SKIPPED' });
    const asked = await rig.ask('POST', `${runs}/${failed.run_id}:retry`, {});
    expect(asked).toMatchObject({ status: 200, text: '{}' });
    const run = await rig.until(async () => {
      const { body } = await rig.ask('GET', `${runs}/${failed.run_id}`);
      return body.state === 'SUCCEEDED' && body;
    });
    expect(rig.ran.map(({ name }) => name)).toEqual(['prepare', 'train', 'train', 'report']);
    expect(run.state_history.map(({ state }: Answer) => state)).toEqual([
      'PENDING',
      'RUNNING',
      'FAILED',
      'RUNNING',
      'SUCCEEDED',
    ]);
    expect(run.error).toBeUndefined();
    expect(task(run, 'train')).toMatchObject({
      attempt: 1,
      executor_detail: { failed_main_jobs: [expect.any(String)] },
    });
    expect((await rig.runs.getRun(call, run.mlflow_run_id as TrackingRunId)).status).toBe(
      'FINISHED',
    );
    const again = await rig.ask('POST', `${runs}/${failed.run_id}:retry`, {});
    expect(again).toMatchObject({ status: 400, body: { code: 9 } });
  });

  test('a retry policy tries another job each time, in another folder, and no more often than it says', async () => {
    rig = pipelineRig((step) =>
      step.name === 'collect' && step.tries < 2
        ? { fail: 'not yet' }
        : { parameters: { Output: [] } },
    );
    const run = await rig.run(golden('settings'));
    expect(run.state).toBe('SUCCEEDED');
    const tries = rig.ran.filter(({ name }) => name === 'collect');
    expect(tries).toHaveLength(3);
    expect(new Set(tries.map(({ spec }) => spec.name)).size).toBe(3);
    expect(new Set(tries.map(({ file }) => file.result)).size).toBe(3);
    expect(task(run, 'collect').executor_detail).toEqual({
      main_job: tries[2]?.spec.name,
      failed_main_jobs: [tries[0]?.spec.name, tries[1]?.spec.name],
    });
  });

  test('a retry policy that is used up fails the step with its last words', async () => {
    rig = pipelineRig((step) => (step.name === 'collect' ? { fail: `try ${step.tries}` } : {}));
    const run = await rig.run(golden('settings'));
    expect(rig.ran).toHaveLength(4);
    expect(run.error.message).toBe('collect: try 3');
  });
});

describe('terminate', () => {
  test('stops machine and job, and ends CANCELED', async () => {
    rig = pipelineRig((step) => (step.name === 'train' ? { hang: true } : works(step)));
    const made = await rig.ask('POST', runs, { display_name: 'long', pipeline_spec: twoStep });
    const id = made.body.run_id;
    await rig.until(async () => rig.ran.some(({ name }) => name === 'train'));
    expect((await rig.ask('POST', `${runs}/${id}:terminate`, {})).status).toBe(200);
    const run = await rig.ended(id);
    expect(run.state).toBe('CANCELED');
    expect(run.state_history.map(({ state }: Answer) => state)).toEqual([
      'PENDING',
      'RUNNING',
      'CANCELING',
      'CANCELED',
    ]);
    expect(states(run)).toEqual({ prepare: 'SUCCEEDED', train: 'CANCELED' });
    const mlflow = await rig.runs.getRun(call, run.mlflow_run_id as TrackingRunId);
    expect(mlflow.status).toBe('KILLED');
    const again = await rig.ask('POST', `${runs}/${id}:terminate`, {});
    expect(again).toMatchObject({ status: 400, body: { code: 9 } });
  });

  test('of a run whose machine never began still ends it', async () => {
    rig = pipelineRig(works);
    const run = await rig.service.createRun(call, {
      name: 'held',
      source: { pipeline: twoStep },
      parameters: {},
      startedElsewhere: true,
    });
    await rig.service.terminateRun(call, run.id);
    expect((await rig.ended(run.id)).state).toBe('CANCELED');
    expect(rig.ran).toEqual([]);
  });
});

test('the machine of a run is told in full, or from an event on', async () => {
  rig = pipelineRig(works);
  const { run_id } = await rig.run(twoStep);
  const whole = (await rig.ask('GET', `/api/runs/${run_id}/machine`)).body;
  expect(whole).toMatchObject({ state: 'SUCCEEDED', more: false });
  expect(whole.history.length).toBeGreaterThan(9);
  for (const state of whole.history)
    expect(Object.keys(state).sort()).toEqual(['enteredAt', 'exitedAt', 'name', 'status']);
  const rest = (await rig.ask('GET', `/api/runs/${run_id}/machine?after=${whole.next}`)).body;
  expect(rest).toMatchObject({ history: [], next: whole.next, more: false });
  const late = (await rig.ask('GET', `/api/runs/${run_id}/machine?after=${whole.next - 4}`)).body;
  expect(late.history.length).toBeGreaterThan(0);
  expect(late.history.length).toBeLessThan(4);
  expect((await rig.ask('GET', `/api/runs/${run_id}/machine?after=x`)).status).toBe(400);
});

describe('pipeline_root', () => {
  const at = (prefix: string) =>
    rig.ask('POST', runs, {
      display_name: 'x',
      pipeline_spec: twoStep,
      runtime_config: { parameters: {}, pipeline_root: rig.blobs.locate(call, prefix) },
    });

  test('below pipelines/ is where artifacts go', async () => {
    rig = pipelineRig(works);
    const made = await at('pipelines/mine');
    const run = await rig.ended(made.body.run_id);
    const root = rig.blobs.locate(call, 'pipelines/mine');
    expect(task(run, 'prepare').output_artifacts.data.uri.startsWith(`${root}/`)).toBe(true);
  });

  test.each(['kfp', 'kfp/steps/x', 'artifacts/0', 'pipelines', 'pipelinesx/a', 'jobs'])(
    'among what the workspace keeps for itself is refused: %s',
    async (prefix) => {
      rig = pipelineRig(works);
      expect(await at(prefix)).toMatchObject({
        status: 400,
        body: { code: 3, message: expect.stringContaining('pipeline_root must lie below ') },
      });
      expect((await rig.ask('GET', runs)).body.runs ?? []).toEqual([]);
    },
  );
});

describe("a step's token", () => {
  const tokenOf = (name: string) =>
    rig.ran.find((one) => one.name === name)?.spec.env['MLFLOW_TRACKING_TOKEN'] ?? '';
  const holds = (token: string) =>
    workspacesRoom(rig)
      .service.whoHolds(token)
      .then(({ caller }) => caller.role)
      .catch(({ code }) => code);

  test('is good while the step runs and refused once it has ended', async () => {
    const seen: Promise<string>[] = [];
    rig = pipelineRig(
      (step) => {
        seen.push(holds(step.spec.env['MLFLOW_TRACKING_TOKEN'] ?? ''));
        return works(step);
      },
      { tokens: true },
    );
    expect((await rig.run(twoStep)).state).toBe('SUCCEEDED');
    const tokens = ['prepare', 'train', 'report'].map(tokenOf);
    expect(new Set(tokens).size).toBe(3);
    expect(await Promise.all(seen)).toEqual(['write', 'write', 'write']);
    expect(await Promise.all(tokens.map(holds))).toEqual(Array(3).fill('unauthenticated'));
  });

  test('is the one that the job was prepared with, also when begin-task runs again', async () => {
    const hangs: Steps = (step) => (step.name === 'prepare' ? { hang: true } : works(step));
    rig = pipelineRig(hangs, { tokens: true });
    const made = await rig.ask('POST', runs, { display_name: 'x', pipeline_spec: twoStep });
    await rig.until(async () => rig.ran.length === 1);
    const execution = `${call.workspace}-${made.body.run_id}-0`;
    await rig.tasks['begin-task']?.(call, { task: 'prepare', execution });
    const [, id] = tokenOf('prepare').split('_');
    const { entries } = await rig.table.entries(call, `tokens/${id}`);
    expect(entries.map(({ type }) => type)).toEqual(['workspaces.token.created']);
    const all = await rig.table.query(call, { pk: 'U#steps' });
    expect(all.items).toHaveLength(1);
    expect(await holds(tokenOf('prepare'))).toBe('write');
    await rig.ask('POST', `${runs}/${made.body.run_id}:terminate`, {});
    await rig.ended(made.body.run_id);
    expect(await holds(tokenOf('prepare'))).toBe('unauthenticated');
  });

  test('goes with a run that is deleted while it runs', async () => {
    const hangs: Steps = (step) => (step.name === 'prepare' ? { hang: true } : works(step));
    rig = pipelineRig(hangs, { tokens: true });
    const made = await rig.ask('POST', runs, { display_name: 'x', pipeline_spec: twoStep });
    await rig.until(async () => rig.ran.length === 1);
    await rig.ask('DELETE', `${runs}/${made.body.run_id}`);
    expect(await holds(tokenOf('prepare'))).toBe('unauthenticated');
  });
});

describe('twice does no harm', () => {
  test('each task of the machine answers the same and commits once', async () => {
    rig = pipelineRig(works);
    const run = await rig.run(twoStep);
    const room = pipelinesRoom(rig, {
      tracking: rig.runs,
      runsImage: () => ({ ok: true }),
    });
    const execution = `${call.workspace}-${run.run_id}-0`;
    const before = await rig.table.entries(call, `pipelines/runs/${run.run_id}`);
    for (const name of ['prepare', 'train', 'report']) {
      const begun = await room.tasks['begin-task']?.(call, { task: name, execution });
      expect(begun).toMatchObject({ go: 'cached', shown: { state: 'SUCCEEDED' } });
      const done = await room.tasks['finish-task']?.(call, {
        task: name,
        execution,
        ended: { go: 'ran' },
      });
      expect(done).toMatchObject({ shown: { state: 'SUCCEEDED' } });
    }
    expect(await room.tasks['finish-dag']?.(call, { execution })).toMatchObject({
      state: 'SUCCEEDED',
    });
    await rig.service.endRun(call, run.run_id as RunId, 0, 'FAILED', { cause: 'late and wrong' });
    const after = await rig.table.entries(call, `pipelines/runs/${run.run_id}`);
    expect(after.entries).toHaveLength(before.entries.length);
    expect((await rig.ask('GET', `${runs}/${run.run_id}`)).body.state).toBe('SUCCEEDED');
  });

  test('begin-task in the middle finds its job again', async () => {
    rig = pipelineRig((step) => (step.name === 'prepare' ? { hang: true } : works(step)));
    const made = await rig.ask('POST', runs, { display_name: 'x', pipeline_spec: twoStep });
    await rig.until(async () => rig.ran.length > 0);
    const room = pipelinesRoom(rig, {
      tracking: rig.runs,
      runsImage: () => ({ ok: true }),
    });
    const input: Json = { task: 'prepare', execution: `${call.workspace}-${made.body.run_id}-0` };
    const begun = await room.tasks['begin-task']?.(call, input);
    expect(begun).toMatchObject({ go: 'run', job: { TrainingJobName: rig.ran[0]?.spec.name } });
  });

  test('a launch, as the follower of a create_run that died makes it, starts one machine', async () => {
    rig = pipelineRig(works);
    const made = await rig.ask('POST', runs, { display_name: 'x', pipeline_spec: twoStep });
    await Promise.all([1, 2, 3].map(() => rig.service.launch(call, made.body.run_id)));
    await rig.ended(made.body.run_id);
    expect(rig.ran).toHaveLength(3);
  });

  test('a create_run that died before the start is started by the follower of its event', async () => {
    rig = pipelineRig(works, {
      startRefused: once(new Problem('unavailable', 'not now')),
    });
    const run = await rig.run(twoStep);
    expect(run.state).toBe('SUCCEEDED');
    expect(rig.logged).toContainEqual({
      level: 'warn',
      message: 'pipelines: starting it failed',
      run: run.run_id,
      error: 'Problem: not now',
    });
  });

  test('a run whose start was refused for good stayed PENDING', async () => {
    const words = "Step Functions refuses this definition: no state 'x'";
    rig = pipelineRig(works, {
      startRefused: (execution) =>
        execution.endsWith('-0') ? new Problem('invalid', words) : undefined,
    });
    const error = `The run could not start: ${words}`;
    const run = await rig.run(twoStep);
    expect(run).toMatchObject({ state: 'FAILED', error: { message: error } });
    expect(run.state_history).toMatchObject([
      { state: 'PENDING' },
      { state: 'FAILED', error: { message: error } },
    ]);
    expect(rig.ran).toEqual([]);
    const { entries } = await rig.table.entries(call, `pipelines/runs/${run.run_id}`);
    expect(entries.at(-1)).toMatchObject({
      type: 'pipelines.run.failed',
      data: { state: 'FAILED', error },
    });
    const mlflow = await rig.runs.getRun(call, run.mlflow_run_id as TrackingRunId);
    expect(mlflow.status).toBe('FAILED');
    await rig.ask('POST', `${runs}/${run.run_id}:retry`, {});
    expect((await rig.ended(run.run_id)).state).toBe('SUCCEEDED');
  });

  test('a conflict that says when to come again is not for good', async () => {
    const busy = new Problem('conflict', 'Too many at once.', { retryAfterSeconds: 1 });
    rig = pipelineRig(works, { startRefused: once(busy) });
    expect((await rig.run(twoStep)).state).toBe('SUCCEEDED');
  });

  test('tasks of an attempt that is over say nothing about the next', async () => {
    rig = pipelineRig((step) =>
      step.name === 'train' && step.tries > 0 ? { hang: true } : failing('train', 1)(step),
    );
    const failed = await rig.run(twoStep);
    await rig.ask('POST', `${runs}/${failed.run_id}:retry`, {});
    await rig.until(async () => rig.ran.length === 3);
    const room = pipelinesRoom(rig, {
      tracking: rig.runs,
      runsImage: () => ({ ok: true }),
    });
    const execution = `${call.workspace}-${failed.run_id}-0`;
    const late = { task: 'train', execution, ended: { go: 'failed', error: 'late' } };
    await room.tasks['finish-task']?.(call, late);
    await room.tasks['begin-task']?.(call, { task: 'report', execution });
    await rig.service.endRun(call, failed.run_id as RunId, 0, 'FAILED', { cause: 'late' });
    const { body } = await rig.ask('GET', `${runs}/${failed.run_id}`);
    expect(body.state).toBe('RUNNING');
    expect(states(body)).toMatchObject({ train: 'RUNNING' });
  });

  test('a run deleted while it runs takes its machine along', async () => {
    rig = pipelineRig((step) => (step.name === 'train' ? { hang: true } : works(step)));
    const made = await rig.ask('POST', runs, { display_name: 'x', pipeline_spec: twoStep });
    const id = made.body.run_id as RunId;
    await rig.until(async () => rig.ran.length === 2);
    const { machine } = await rig.service.getRun(call, id);
    expect((await rig.ask('DELETE', `${runs}/${id}`)).status).toBe(200);
    await rig.until(async () => {
      const found = await rig.machines.describe(call, machine, `${id}-0`);
      return found?.state === 'ABORTED';
    });
    const mlflow = await rig.runs.getRun(call, made.body.mlflow_run_id as TrackingRunId);
    expect(mlflow.status).toBe('KILLED');
  });

  test('a refused create_run leaves no blob and no machine', async () => {
    rig = pipelineRig(works);
    const made = await rig.ask('POST', runs, {
      display_name: 'x',
      pipeline_spec: twoStep,
      runtime_config: { parameters: { rows: 'many' } },
    });
    expect(made.status).toBe(400);
    expect((await rig.blobs.list(call, '')).blobs).toEqual([]);
    const { machine } = compile(twoStep);
    expect(await rig.machines.definition(call, machine)).toBeUndefined();
  });

  test('a run that another machine starts waits for it, and its name starts it once', async () => {
    rig = pipelineRig(works);
    const wanted = {
      id: '11111111-1111-4111-8111-111111111111' as RunId,
      name: 'held',
      source: { pipeline: twoStep },
      parameters: {},
      startedElsewhere: true,
    };
    const run = await rig.service.createRun(call, wanted);
    expect(await rig.service.createRun(call, wanted)).toEqual(run);
    const start = rig.service.startOf(call, run);
    expect(start.Name).toBe(`${call.workspace}-${run.id}-0`);
    expect(await rig.machines.describe(call, run.machine, `${run.id}-0`)).toBeUndefined();
    await rig.machines.start(call, run.machine, `${run.id}-0`, start.Input);
    expect((await rig.ended(run.id)).state).toBe('SUCCEEDED');
  });

  test('create_run with an Idempotency-Key is one run', async () => {
    rig = pipelineRig(works);
    const ask = () =>
      rig.request(runs, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', 'Idempotency-Key': 'k1' },
        body: JSON.stringify({ display_name: 'x', pipeline_spec: twoStep }),
      });
    const [one, two] = [await (await ask()).json(), await (await ask()).json()];
    expect(two).toEqual(one);
    const list = await rig.ask('GET', runs);
    expect(list.body.total_size).toBe(1);
    await rig.ended((one as Answer).run_id);
  });
});

test('the machine of a run is shown with the states that have run', async () => {
  rig = pipelineRig(failing('train'));
  const run = await rig.run(twoStep);
  const { status, body } = await rig.ask('GET', `/api/runs/${run.run_id}/machine`);
  expect(status).toBe(200);
  expect(Object.keys(body.definition.States)).toContain('train.run');
  const seen = Object.fromEntries(body.history.map(({ name, status }: Answer) => [name, status]));
  expect(seen).toMatchObject({
    'prepare.done': 'succeeded',
    'train.run': 'failed',
    'Run failed': expect.any(String),
  });
  expect(seen).not.toHaveProperty('report.run');
  expect(body.tasks.find(({ id }: Answer) => id === 'report')).toMatchObject({
    state: 'SKIPPED',
    why: "skipped: task 'train' failed",
  });
  const log = await rig.request(`/apis/v1alpha1/runs/${run.run_id}/nodes/train/log`);
  expect(await log.text()).toMatch(/^log of train-[0-9a-f]{20}\n$/);
});
