import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ChildServer, startServer } from '../child.ts';
import { runClient } from './venv.ts';

// biome-ignore lint/suspicious/noExplicitAny: what the client saw is looked at field by field.
type Scene = any;

/** The unmodified kfp client against the real server, with real jobs; two_step.py says what it does. */
let server: ChildServer;
const scenes = new Map<string, Scene>();
const scene = (name: string): Scene => {
  const found = scenes.get(name);
  if (!found) throw new Error(`the script never came to '${name}'`);
  return found;
};
const states = (seen: Scene) =>
  Object.fromEntries(
    Object.entries(seen.tasks).map(([name, task]) => [name, (task as Scene).state]),
  );

beforeAll(async () => {
  server = await startServer();
  const out = await runClient('kfp', 'two_step.py', [server.url]);
  for (const line of out.split('\n').filter((each) => each.startsWith('{'))) {
    const seen = JSON.parse(line);
    scenes.set(seen.scene, seen);
  }
});
afterAll(() => server?.stop());

const api = async (path: string): Promise<Scene> => (await fetch(`${server.url}${path}`)).json();

describe('kfp.Client', () => {
  test('runs a pipeline of Python and container components to its end', () => {
    const seen = scene('first');
    expect(seen).toMatchObject({ state: 'SUCCEEDED', error: null });
    expect(states(seen)).toEqual({ prepare: 'SUCCEEDED', train: 'SUCCEEDED', report: 'SUCCEEDED' });
    expect(seen.tasks.train).toMatchObject({ inputs: ['data'], outputs: ['metrics', 'model'] });
    expect(seen.tasks.train.notes).toEqual(['cache miss: this task has not succeeded before']);
  });

  test('finds values, metrics and the log of each step', async () => {
    const id = scene('first').run_id;
    const seen = await api(`/apis/v2beta1/runs/${id}`);
    const [prepare, train, report] = seen.run_details.task_details;
    expect(prepare.output_artifacts.data.metadata).toEqual({ rows: 10 });
    expect(train.output_parameters).toEqual({ Output: 4.5 });
    expect(train.output_artifacts.metrics.metadata).toEqual({ mean: 4.5 });
    expect(report.output_parameters.text.trim()).toBe('10 rows: 4.5, model 2.25');
    const log = await fetch(`${server.url}/apis/v1alpha1/runs/${id}/nodes/prepare/log?follow=true`);
    expect(await log.text()).toContain('prepared 10 rows');
    const machine = await api(`/api/runs/${id}/machine`);
    expect(machine.history.every(({ status }: Scene) => status === 'succeeded')).toBe(true);
  });

  test('finds each run and step as an MLflow run', async () => {
    const id: string = scene('first').run_id;
    const { run: parent } = await api(`/api/2.0/mlflow/runs/get?run_id=${id.replaceAll('-', '')}`);
    expect(parent.info.status).toBe('FINISHED');
    const seen = await api(`/apis/v2beta1/runs/${id}`);
    const nested = seen.run_details.task_details[1].mlflow_run_id;
    const { run: step } = await api(`/api/2.0/mlflow/runs/get?run_id=${nested}`);
    expect(step.data.metrics).toMatchObject([{ key: 'mean', value: 4.5 }]);
    expect(step.data.tags).toContainEqual({ key: 'mlflow.parentRunId', value: parent.info.run_id });
  });

  test('takes a repeated run from the cache and reads from which run', () => {
    const seen = scene('cached');
    expect(seen.state).toBe('SUCCEEDED');
    expect(states(seen)).toEqual({ prepare: 'SKIPPED', train: 'SKIPPED', report: 'SKIPPED' });
    for (const name of ['prepare', 'train', 'report'])
      expect(seen.tasks[name].notes).toEqual([
        `cache hit: task '${name}' of run ${scene('first').run_id} did the same`,
      ]);
    expect(scene('other rows').tasks.prepare.notes[0]).toContain("input 'rows' differs from run");
    expect(states(scene('caching off'))).toEqual(states(scene('first')));
  });

  test('is told at once what is wrong, by name', () => {
    expect(scene('missing parameter').refusal).toMatchObject({ status: 400, body: { code: 3 } });
    expect(scene('missing parameter').refusal.body.error).toContain("parameter 'rows' is required");
    expect(scene('wrong type').refusal.body.error).toContain("parameter 'rows' must be an integer");
    expect(scene('refused feature').refusal.status).toBe(400);
    expect(scene('refused feature').refusal.body.error).toContain("task 'condition-1'");
  });

  test('retries a failed run without doing again what succeeded', () => {
    const seen = scene('retry');
    expect(seen.failed.state).toBe('FAILED');
    expect(seen.failed.error).toContain('need: The command ended with exit code 1');
    expect(states(seen.failed)).toEqual({ touch: 'SUCCEEDED', need: 'FAILED' });
    expect(seen.state).toBe('SUCCEEDED');
    expect(seen.count).toBe(1);
    expect(seen.history).toEqual(['PENDING', 'RUNNING', 'FAILED', 'RUNNING', 'SUCCEEDED']);
  });

  test('sees a retry policy at work', () => {
    expect(scene('retry policy')).toMatchObject({ state: 'SUCCEEDED', tries: 3 });
  });

  test('terminates a run, which ends CANCELED with its step', () => {
    const seen = scene('terminate');
    expect(seen.state).toBe('CANCELED');
    expect(seen.history).toEqual(['PENDING', 'RUNNING', 'CANCELING', 'CANCELED']);
    expect(states(seen)).toEqual({ wait: 'CANCELED' });
    expect(seen.again).toMatchObject({ status: 400, body: { code: 9 } });
  });

  test('uploads, versions, lists, archives and deletes', () => {
    expect(scene('catalog')).toMatchObject({
      found: true,
      duplicate: { status: 409 },
      versions: 2,
      name: 'second',
      state: 'SUCCEEDED',
      newest: true,
      page: 2,
      total: 5,
      rest: 3,
      archived: 'ARCHIVED',
      kept: { status: 400 },
      default: 'Default',
      gone: { status: 404 },
    });
  });
});
