import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { localEndpoints, pythonServer } from '../../local/endpoints.ts';
import type { Interpreter } from '../../local/job_env.ts';
import { localJobs } from '../../local/jobs.ts';
import { pythonVenvs, venvsFolder } from '../../local/venvs.ts';
import { call, dataFolder, jobOptions, realWorld } from '../jobs/local.ts';
import { until } from '../jobs/until.ts';

const run = promisify(execFile);
const ROOT = resolve(import.meta.dirname, '../..');

let data: string;
let python: Interpreter;
const progress: string[] = [];
beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), 'stillflow-venvs-'));
  const venvs = pythonVenvs({
    dir: venvsFolder(data, process.env),
    locks: join(ROOT, 'runtimes/python'),
    env: process.env,
    progress: (line) => progress.push(line),
  });
  const [first, second] = await Promise.all([venvs.interpreter(), venvs.interpreter()]);
  expect(second).toEqual(first);
  python = first;
}, 600_000);
afterAll(() => rm(data, { recursive: true, force: true }));

describe('the runtimes on real Python', () => {
  test.each([
    'test_launcher.py',
    'test_commands.py',
    'test_start.py',
    'test_kfp.py',
    'test_server.py',
  ])('%s', async (file) => {
    const { stderr } = await run(join(python.bin, 'python3'), [join(ROOT, 'test/runtimes', file)]);
    expect(stderr).toMatch(/\nOK/);
  });

  test('the launcher needs nothing but Python', async () => {
    const { stderr } = await run('python3', ['-I', join(ROOT, 'test/runtimes/test_launcher.py')]);
    expect(stderr).toMatch(/\nOK/);
  });

  test('the environment stands whole under its name, and its programs know their place', async () => {
    const folder = resolve(python.bin, '..');
    const { stdout } = await run(join(python.bin, 'pip'), ['--version']);
    expect(stdout).toContain(folder);
    const beside = await readdir(resolve(folder, '..'));
    expect(beside.filter((name) => /part|lock$/.test(name))).toEqual([]);
  });
});

test('a step in Python runs in the pinned environment, and what it installs stays its own', async () => {
  const folder = await dataFolder();
  const jobs = localJobs(
    jobOptions(folder.data, {
      interpreter: async () => python,
      launcher: join(ROOT, 'runtimes/launcher/launcher.py'),
    }),
  );
  const task = {
    format: 1,
    command: [
      'python3',
      '-c',
      'import os, kfp; print(kfp.__version__); print(os.environ["PIP_TARGET"])',
    ],
    result: join(folder.data, 'result.json'),
  };
  const signal = new AbortController().signal;
  const prepared = await jobs.prepare(call, {
    name: 'step',
    interpreter: 'python',
    command: ['stillflow-launcher', JSON.stringify(task)],
    env: {},
    inputs: [],
    outputs: [],
    resources: {},
    nodes: 1,
    deadlineSeconds: 120,
  });
  expect(await jobs.run(call, prepared, signal)).toMatchObject({ state: 'succeeded' });
  const { lines } = await jobs.logs(call, 'step');
  expect(lines[0]).toBe('2.17.0');
  expect(lines[1]?.startsWith(folder.data)).toBe(true);
  await jobs.close();
  await folder.remove();
});

describe('the model server', () => {
  let folder: Awaited<ReturnType<typeof dataFolder>>;
  let endpoints: ReturnType<typeof localEndpoints>;
  beforeAll(async () => {
    folder = await dataFolder();
    endpoints = localEndpoints({
      world: realWorld,
      dir: join(folder.data, 'endpoints'),
      blobs: { pathOf: folder.pathOf },
      commandFor: pythonServer(async () => python, join(ROOT, 'runtimes/model_server/server.py')),
      log: () => {},
    });
    const make = [
      'import sys, mlflow, pandas as pd',
      'from sklearn.linear_model import LinearRegression',
      'X = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [0.0, 1.0, 0.0]})',
      'model = LinearRegression().fit(X, [1.0, 2.0, 3.0])',
      'mlflow.sklearn.save_model(model, sys.argv[1], input_example=X, serialization_format="skops")',
    ].join('\n');
    await run(join(python.bin, 'python3'), ['-c', make, folder.uri('models/m')]);
    await endpoints.deploy(call, {
      name: 'm',
      revision: '1',
      modelUri: folder.uri('models/m'),
      env: {},
      scale: { minimum: 1, maximum: 1, concurrency: 10, idleSeconds: 300 },
    });
  }, 120_000);
  afterAll(async () => {
    await endpoints.close();
    await folder.remove();
  });

  const ask = async (contentType: string, body: string) => {
    const request = { path: '/invocations', contentType, body: Buffer.from(body) };
    const answer = await endpoints.invoke(call, 'm', request);
    const said = JSON.parse(await new Response(answer.body as BodyInit).text()) as {
      predictions?: number[];
      error_code?: string;
      message?: string;
    };
    return { status: answer.status, ...said };
  };

  test.each([
    ['application/json', '{"dataframe_split":{"columns":["a","b"],"data":[[2,0]]}}'],
    ['application/json', '{"dataframe_records":[{"a":2,"b":0}]}'],
    ['application/json', '{"instances":[{"a":2,"b":0}]}'],
    ['application/json', '{"inputs":{"a":[2.0],"b":[0.0]}}'],
    ['application/json; charset=utf-8', '{"inputs":{"a":[2.0],"b":[0.0]}}'],
    ['text/csv', 'a,b\n2,0\n'],
  ])('%s %s', async (type, body) => {
    const { status, predictions } = await ask(type, body);
    expect(status).toBe(200);
    expect(predictions?.[0]).toBeCloseTo(2);
  });

  test.each([
    ['application/json', '{', 400],
    ['application/json', '{"rows":[]}', 400],
    ['application/json', '{"inputs":{"a":["x"],"b":[0]}}', 400],
    ['text/xml', '<a/>', 415],
    ['application/json; charset=latin-1', '{}', 415],
  ])('%s %s is refused with %d in MLflow’s words', async (type, body, status) => {
    const refused = await ask(type, body);
    expect(refused).toMatchObject({ status, error_code: 'BAD_REQUEST' });
    expect(refused.message).not.toContain('Traceback');
  });

  test('a column that is not there is refused by name', async () => {
    const refused = await ask('application/json', '{"inputs":{"b":[0]}}');
    expect(refused).toMatchObject({ status: 400, error_code: 'INVALID_PARAMETER_VALUE' });
    expect(refused.message).toContain("'a'");
  });

  test('many ask at once', async () => {
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => ask('text/csv', 'a,b\n2,0\n')),
    );
    expect(answers.every(({ status }) => status === 200)).toBe(true);
    expect(await until('its status', () => endpoints.describe(call, 'm'))).toMatchObject({
      state: 'in-service',
      copies: 1,
    });
  });
});
