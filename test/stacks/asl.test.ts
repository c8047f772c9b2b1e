import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DEFAULT_WORKSPACE } from '../../functions/kernel/ids.ts';
import type { Json } from '../../functions/kernel/json.ts';
import type { Task } from '../../functions/platform/ports.ts';
import { type LocalMachines, localMachines } from '../../local/machines.ts';
import { type LocalTable, openTable } from '../../local/table.ts';
import { DEPLOYED, RESOURCES, WRITTEN } from '../../statemachines/resources.ts';
import { testCall } from '../world.ts';
import { property, resources, synthesize } from './templates.ts';

const validate = createRequire(import.meta.url)('asl-validator') as (definition: unknown) => {
  isValid: boolean;
  errorsText: (separator: string) => string;
};
const { templates } = synthesize();
/** The texts as CloudFormation gets them, not as they lie in statemachines/. */
const deployed = Object.fromEntries(
  resources(templates, 'AWS::StepFunctions::StateMachine').map((machine) => [
    String(property(machine, 'StateMachineName')).slice(DEPLOYED.length),
    JSON.parse(String(property(machine, 'DefinitionString'))) as Json,
  ]),
);
const functions = new Set(
  resources(templates, 'AWS::Lambda::Function').map((one) => property(one, 'FunctionName')),
);

/** Every value of a field, however deep. */
const every = (value: unknown, field: string): string[] =>
  typeof value !== 'object' || value === null
    ? []
    : Object.entries(value).flatMap(([name, inner]) => [
        ...(name === field && typeof inner === 'string' ? [inner] : []),
        ...every(inner, field),
      ]);

const call = testCall();
const folder = mkdtempSync(join(tmpdir(), 'stillflow-asl-'));
const asked: string[] = [];
/** What each task answers, by name; a test changes it. */
let answers: Record<string, Json> = {};
let table: LocalTable;
let machines: LocalMachines;

beforeAll(async () => {
  const world = { now: () => Date.now(), randomBytes: (count: number) => randomBytes(count) };
  table = openTable({ folder, world });
  machines = localMachines({ table, world, written: deployed });
  const names = [...functions]
    .filter((name) => typeof name === 'string')
    .map((name) => name.slice(DEPLOYED.length));
  const tasks = Object.fromEntries(
    names.map((name): [string, Task] => [
      name,
      async () => {
        asked.push(name);
        if (!Object.hasOwn(answers, name)) throw new Error(`${name} was not expected`);
        return answers[name] ?? null;
      },
    ]),
  );
  await machines.serve({ tasks, functions: {}, integrations: {}, workspaces: [DEFAULT_WORKSPACE] });
});
afterAll(async () => {
  await machines.close();
  await table.close();
  rmSync(folder, { recursive: true, force: true });
});

async function run(machine: string, execution: string, input: Json) {
  asked.length = 0;
  await machines.start(call, machine, execution, input);
  const found = await expect
    .poll(() => machines.describe(call, machine, execution), { timeout: 30_000 })
    .toMatchObject({ state: expect.not.stringMatching('RUNNING') })
    .then(() => machines.describe(call, machine, execution));
  return { state: found?.state, output: found?.output, cause: found?.cause, asked: [...asked] };
}

test('both written machines are deployed, and no other', () => {
  expect(Object.keys(deployed).sort()).toEqual([...WRITTEN].sort());
  expect(Object.keys(deployed).length).toBeGreaterThan(0);
});

test.each([...WRITTEN])(
  '%s passes asl-validator and calls only what is listed and deployed',
  (name) => {
    const { isValid, errorsText } = validate(deployed[name]);
    expect(isValid, errorsText('\n')).toBe(true);
    const listed = RESOURCES.map(({ arn }) => arn);
    for (const resource of every(deployed[name], 'Resource')) expect(listed).toContain(resource);
    for (const invoked of every(deployed[name], 'FunctionName'))
      expect(functions).toContain(invoked);
  },
);

test('the deployed text of deploy-endpoint brings a model up and switches', async () => {
  answers = {
    'deploy-resolve': { action: 'deploy', version: 3 },
    'deploy-start': {},
    'deploy-ready': {},
    'deploy-switch': { switched: true },
  };
  expect(
    await run('deploy-endpoint', 'up', { endpoint: 'e', deployment: 'd', why: 'asked' }),
  ).toMatchObject({
    state: 'SUCCEEDED',
    output: { version: 3, switched: true },
    asked: ['deploy-resolve', 'deploy-start', 'deploy-ready', 'deploy-switch'],
  });
});

test('the deployed text of deploy-endpoint does nothing where there is nothing to deploy', async () => {
  answers = { 'deploy-resolve': { action: 'stop', reason: 'none' } };
  const input = { endpoint: 'e', deployment: 'd', why: 'asked' };
  expect(await run('deploy-endpoint', 'none', input)).toMatchObject({
    state: 'SUCCEEDED',
    asked: ['deploy-resolve'],
  });
});

test('the deployed text of deploy-endpoint keeps the old revision when the switch fails', async () => {
  answers = {
    'deploy-resolve': { action: 'deploy' },
    'deploy-start': {},
    'deploy-ready': {},
    'deploy-failed': { reason: 'it broke' },
  };
  const input = { endpoint: 'e', deployment: 'd', why: 'asked' };
  expect(await run('deploy-endpoint', 'broken', input)).toMatchObject({
    state: 'FAILED',
    cause: 'it broke',
  });
});

test.each([
  ['promote', { outcome: 'promoted' }, 'SUCCEEDED', ['retrain-begin', 'gate', 'promote']],
  ['kept', {}, 'SUCCEEDED', ['retrain-begin', 'gate']],
  ['refused', {}, 'FAILED', ['retrain-begin', 'gate']],
] as const)(
  'the deployed text of retraining ends as its gate says: %s',
  async (outcome, promoted, state, order) => {
    await machines.define(call, 'p-1', {
      QueryLanguage: 'JSONata',
      StartAt: 'Done',
      States: { Done: { Type: 'Succeed' } },
    });
    const start = { ...machines.address(call, 'p-1', `child-${outcome}`), Input: {} };
    answers = {
      'retrain-begin': { start } as unknown as Json,
      gate: { outcome, reason: 'worse' },
      promote: promoted,
    };
    const ended = await run('retraining', `night-${outcome}`, {
      retraining: `night-${outcome}`,
      pipeline: 'p',
    });
    expect([ended.state, ended.asked]).toEqual([state, order]);
    expect(await machines.describe(call, 'p-1', `child-${outcome}`)).toMatchObject({
      state: 'SUCCEEDED',
    });
  },
);
