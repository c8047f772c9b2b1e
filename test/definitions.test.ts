import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CloudFormationCustomResourceEvent, Context } from 'aws-lambda';
import { afterAll, describe, expect, test } from 'vitest';
import { buildApp } from '../functions/app.ts';
import { declaring } from '../functions/handlers/declare.ts';
import { Problem } from '../functions/kernel/problem.ts';
import { specOfSteps } from '../functions/pipelines/authoring/spec.ts';
import { Step, TrainingStep, TuningStep } from '../functions/pipelines/authoring/step.ts';
import { MAX_TRIALS, trialsOf } from '../functions/pipelines/authoring/trials.ts';
import { compile } from '../functions/pipelines/compiler/compile.ts';
import { stepFunctions } from '../functions/platform/aws/machines.ts';
import type { Declared } from '../functions/room.ts';
import { declareApp } from '../local/app.ts';
import { call, openHouse } from './house.ts';

const IR = JSON.stringify(
  specOfSteps('p', { steps: { one: new Step({ command: ['true'] }) } }, () => ''),
);
const OTHER = JSON.stringify(
  specOfSteps('p', { steps: { two: new Step({ command: ['true'] }) } }, () => ''),
);
const version = (at: number) =>
  `arn:aws:states:eu-west-1:123456789012:stateMachine:stillflow-p:${at}`;

function house() {
  const home = openHouse(
    (ground) =>
      buildApp({ ...ground, jobs: {}, endpoints: {} } as never, {
        runsImage: () => ({ ok: true }),
      }).rooms,
  );
  const { pipelines, triggers, serving } = home.rooms;
  const declared = {
    pipeline: pipelines.declared?.['pipeline'] as Declared,
    rule: triggers.declared?.['rule'] as Declared,
    endpoint: serving.declared?.['endpoint'] as Declared,
  };
  return { ...home, declared, catalog: pipelines.service.catalog };
}

test('a run of a stack’s pipeline starts the version that was published for it, and nobody changes it', async () => {
  const machines = stepFunctions({
    ...{ client: {} as never, arn: 'arn:aws:states:eu-west-1:123456789012', roleArn: 'r' },
  });
  expect(machines.address(call, 'stillflow_demand-forecast_3', 'run-0')).toEqual({
    StateMachineArn:
      'arn:aws:states:eu-west-1:123456789012:stateMachine:stillflow-demand-forecast:3',
    Name: `${call.workspace}-run-0`,
  });
  await expect(machines.remove(call, 'stillflow_demand-forecast_3')).rejects.toThrow('stays');
  // What somebody uploads under such a name is another machine.
  expect(machines.address(call, 'stillflow-demand-3', 'run-0')).toMatchObject({
    StateMachineArn: expect.stringMatching(/:stateMachine:sf-/),
  });
});

describe('a declared pipeline', () => {
  test('is listed under its name, and its newest version is what was declared last', async () => {
    const { declared, catalog } = house();
    const { pipeline } = declared;
    const first = await pipeline.put(call, 'p', { document: IR, machineVersion: version(1) }, true);
    const again = await pipeline.put(call, 'p', { document: IR, machineVersion: version(1) }, true);
    expect(again).toEqual(first);
    await pipeline.put(call, 'p', { document: OTHER, machineVersion: version(2) }, false);
    const { id } = await catalog.findPipeline(call, 'p');
    expect((await catalog.newestVersion(call, id)).machine).toBe('stillflow_p_2');
    // A deployment that is rolled back declares the first once more.
    await pipeline.put(call, 'p', { document: IR, machineVersion: version(1) }, false);
    expect((await catalog.newestVersion(call, id)).machine).toBe('stillflow_p_1');
    expect(await catalog.listVersions(call, id)).toHaveLength(2);
    await pipeline.remove(call, 'p');
    await pipeline.remove(call, 'p');
    await expect(catalog.findPipeline(call, 'p')).rejects.toThrow('not found');
  });

  test('takes over none that somebody uploaded, and removes none', async () => {
    const { declared, catalog } = house();
    const uploaded = { name: 'p', displayName: 'p', description: '', tags: {} };
    await catalog.createPipeline(call, uploaded);
    const put = declared.pipeline.put(call, 'p', { document: IR }, true);
    await expect(put).rejects.toThrow('was uploaded already');
    await declared.pipeline.remove(call, 'p');
    expect((await catalog.findPipeline(call, 'p')).name).toBe('p');
  });
});

test('a declared endpoint waits for the alias that it follows, and a version that is missing is refused', async () => {
  const { declared } = house();
  const waits = await declared.endpoint.put(call, 'e', { model: 'models:/m@champion' }, true);
  expect(waits).toEqual({ waitsFor: 'm@champion' });
  const missing = declared.endpoint.put(call, 'f', { model: 'models:/m/1' }, true);
  await expect(missing).rejects.toMatchObject({ code: 'missing' });
  await declared.endpoint.remove(call, 'e');
});

test('a declared rule replaces itself, and none that somebody made', async () => {
  const { declared, rooms } = house();
  await declared.pipeline.put(call, 'p', { document: IR }, true);
  const rule = { on: { data: { prefix: 'drops/' } }, start: { pipeline: 'p' } };
  await declared.rule.put(call, 'r', rule, true);
  await declared.rule.put(call, 'r', rule, true);
  const other = { ...rule, on: { data: { prefix: 'other/' } } };
  await expect(declared.rule.put(call, 'r', other, true)).rejects.toThrow('says something else');
  await declared.rule.put(call, 'r', other, false);
  const { rule: kept } = await rooms.triggers.service.get(call, 'r');
  expect(kept.on.data?.prefix).toBe('other/');
  await declared.rule.remove(call, 'r');
  await declared.rule.remove(call, 'r');
});

test('an app’s folder declares all of it, and says what it cannot read', async () => {
  const { rooms, catalog, world } = house();
  expect(await declareApp('examples/cdk-app', rooms, world)).toEqual([
    'pipeline demand-forecast',
    'endpoint demand',
    'rule demand-drops',
  ]);
  expect((await catalog.findPipeline(call, 'demand-forecast')).tags).toEqual({ declared: 'true' });
  await expect(declareApp('examples/demand', rooms, world)).rejects.toThrow('there is none of');
});

// ---------------------------------------------------------------- CloudFormation

describe('the function that CloudFormation calls', () => {
  const told: Record<string, unknown>[] = [];
  const server = createServer((request, response) => {
    request.on('data', (part) => told.push(JSON.parse(String(part))));
    request.on('end', () => response.end());
  }).listen(0);
  afterAll(() => server.close());
  const asked: unknown[] = [];
  const thing: Declared = {
    async put(_call, name, declaration, first) {
      asked.push(['put', name, declaration, first]);
      if (name === 'bad') throw new Problem('invalid', 'it is bad');
      return { made: name };
    },
    async remove(_call, name) {
      asked.push(['remove', name]);
    },
  };
  const ask = async (RequestType: string, Name: string, PhysicalResourceId?: string) => {
    const { port } = server.address() as AddressInfo;
    const ResponseURL = `http://127.0.0.1:${port}/`;
    const ResourceProperties = { Kind: 'thing', Name, Declaration: '{"a":1}', MachineVersion: 'v' };
    const run = declaring({ thing }, { now: () => 0, randomBytes: (n) => new Uint8Array(n) });
    await run(
      {
        ...{ RequestType, ResponseURL, ResourceProperties, PhysicalResourceId },
        ...{ StackId: 's', RequestId: 'r', LogicalResourceId: 'l' },
      } as unknown as CloudFormationCustomResourceEvent,
      { awsRequestId: 'x', getRemainingTimeInMillis: () => 1000 } as Context,
    );
    return told.at(-1);
  };

  test('makes, replaces and removes by name, and says so', async () => {
    expect(await ask('Create', 'a')).toMatchObject({
      ...{ Status: 'SUCCESS', PhysicalResourceId: 'thing/a', Data: { made: 'a' } },
      ...{ StackId: 's', RequestId: 'r', LogicalResourceId: 'l' },
    });
    expect(asked.at(-1)).toEqual(['put', 'a', { a: 1, machineVersion: 'v' }, true]);
    await ask('Update', 'a', 'thing/a');
    expect(asked.at(-1)).toEqual(['put', 'a', { a: 1, machineVersion: 'v' }, false]);
    // Another name is another object: it must be free.
    expect(await ask('Update', 'b', 'thing/a')).toMatchObject({ PhysicalResourceId: 'thing/b' });
    expect(asked.at(-1)).toEqual(['put', 'b', { a: 1, machineVersion: 'v' }, true]);
    await ask('Delete', 'a', 'thing/a');
    expect(asked.at(-1)).toEqual(['remove', 'a']);
  });

  test('removes nothing for what it never made', async () => {
    const failed = await ask('Create', 'bad');
    expect(failed).toMatchObject({ Status: 'FAILED', Reason: 'invalid: it is bad' });
    const before = asked.length;
    const id = String(failed?.['PhysicalResourceId']);
    expect(await ask('Delete', 'bad', id)).toMatchObject({ Status: 'SUCCESS' });
    expect(asked).toHaveLength(before);
  });
});

// ---------------------------------------------------------------- steps

const tuning = (over: Partial<ConstructorParameters<typeof TuningStep>[0]> = {}) =>
  new TuningStep({
    python: { file: 'try.py', function: 'attempt' },
    outputs: { loss: 'NUMBER_DOUBLE', model: 'system.Model' },
    search: { grid: { rate: [0.1, 0.3], depth: [2, 3, 4] } },
    objective: { output: 'loss', goal: 'minimize' },
    ...over,
  });

test('a tuning step is one task a trial and one that chooses', () => {
  const { plan } = compile(
    specOfSteps('p', { steps: { tune: tuning() } }, () => 'def attempt(): ...'),
  );
  expect(plan.tasks.map(({ id }) => id)).toEqual([
    ...[1, 2, 3, 4, 5, 6].map((at) => `tune-trial-${at}`),
    'tune',
  ]);
  expect(plan.tasks.at(-1)?.needs).toHaveLength(6);
});

test('random trials are the same for the same seed, within their ranges', () => {
  const random = { rate: { minimum: 1e-4, maximum: 1, log: true }, depth: [1, 2, 3] };
  const trials = trialsOf('t', { random, trials: 20, seed: 7 });
  expect(trialsOf('t', { random, trials: 20, seed: 7 })).toEqual(trials);
  expect(trialsOf('t', { random, trials: 20, seed: 8 })).not.toEqual(trials);
  for (const { rate, depth } of trials) {
    expect(Number(rate)).toBeGreaterThanOrEqual(1e-4);
    expect(Number(rate)).toBeLessThanOrEqual(1);
    expect([1, 2, 3]).toContain(depth);
  }
  const many = Array.from({ length: 60 }, (_, at) => at);
  expect(() => trialsOf('t', { grid: { a: many, b: many } })).toThrow(`1 to ${MAX_TRIALS}`);
  expect(() => trialsOf('t', { random, trials: 51 })).toThrow(`1 to ${MAX_TRIALS}`);
});

test('a step that is wrong is named, with what is wrong', () => {
  const of = (steps: Record<string, Step>) => () => specOfSteps('p', { steps }, () => '');
  const reads = (step: string, output: string) => ({ inputs: { x: { step, output } } });
  expect(of({ a: new Step({}) })).toThrow("step 'a' needs either");
  expect(of({ a: new Step({ command: ['x'], ...reads('b', 'y') }) })).toThrow("no step 'b'");
  const one = new Step({ command: ['x'], outputs: { z: 'STRING' } });
  expect(of({ b: one, a: new Step({ command: ['x'], ...reads('b', 'y') }) })).toThrow(
    "gives no 'y'",
  );
  expect(of({ t: tuning({ objective: { output: 'model', goal: 'minimize' } }) })).toThrow(
    'objective',
  );
  const { plan } = compile(
    specOfSteps('p', { steps: { t: new TrainingStep({ command: ['x'] }) } }, () => ''),
  );
  expect(plan.tasks[0]?.resources.runner).toBe('sagemaker');
});

test('a folder whose definitions are none is refused', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'stillflow-app-'));
  writeFileSync(join(folder, 'definitions.mjs'), 'export const other = 1;\n');
  const world = { now: () => 0, randomBytes: (n: number) => new Uint8Array(n) };
  await expect(declareApp(folder, {}, world)).rejects.toThrow('exports no definitions');
  rmSync(folder, { recursive: true });
});
