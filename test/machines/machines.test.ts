import { describe, expect, test } from 'vitest';
import type { Json } from '../../functions/kernel/json.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import type { Integration } from '../../local/asl/engine.ts';
import { LIMITS } from '../../statemachines/asl.ts';
import { START_EXECUTION } from '../../statemachines/resources.ts';
import { call, invokes, machine, rig } from './rig.ts';

const hanging =
  (aborted: string[]): Integration =>
  (_call, _args, { execution }, signal) =>
    new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => {
        aborted.push(execution);
        reject(new Error('stopped'));
      });
    });
const one = (state: { [field: string]: Json }): Json =>
  machine('A', { A: { ...state, End: true } });

describe('limits, as on AWS', () => {
  test('an execution that never ends dies of its history, whatever it would catch', async () => {
    const it = await rig();
    const end = await it.run(
      machine('A', {
        A: {
          Type: 'Parallel',
          Branches: [
            {
              StartAt: 'B',
              States: { B: { Type: 'Pass', Next: 'C' }, C: { Type: 'Pass', Next: 'B' } },
            },
          ],
          Catch: [{ ErrorEquals: ['States.ALL'], Next: 'A' }],
          End: true,
        },
      }),
    );
    expect(end).toMatchObject({ state: 'FAILED', error: 'States.Runtime' });
    expect(end.cause).toMatch(/25000/);
    const last = (await it.machines.history(call, 'm', 'e1', LIMITS.historyEvents - 10)).at(-1);
    expect(last).toMatchObject({ id: LIMITS.historyEvents, type: 'ExecutionFailed' });
    expect(await it.machines.history(call, 'm', 'e1')).toHaveLength(1000);
    const page = await it.machines.history(call, 'm', 'e1', 12_345);
    expect(page.map(({ id }) => id)).toEqual(Array.from({ length: 1000 }, (_, i) => 12_346 + i));
  });

  test('a state carries at most 256 KiB, and that is no error that States.ALL takes', async () => {
    const it = await rig({ tasks: { big: async () => 'x'.repeat(LIMITS.dataBytes) } });
    const caught = (ErrorEquals: string[]) =>
      machine('A', {
        A: { ...invokes('big'), Catch: [{ ErrorEquals, Next: 'Z', Output: 'caught' }], End: true },
        Z: { Type: 'Succeed' },
      });
    await it.machines.define(call, 'all', caught(['States.ALL']));
    await it.machines.define(call, 'named', caught(['States.DataLimitExceeded']));
    await it.machines.start(call, 'all', 'e', {});
    await it.machines.start(call, 'named', 'e', {});
    expect(await it.end('all', 'e')).toMatchObject({ error: 'States.DataLimitExceeded' });
    expect(await it.end('named', 'e')).toMatchObject({ output: 'caught' });
    expect(
      await it.run(one({ Type: 'Pass', Output: "{% $pad('', 262143, 'x') %}" })),
    ).toMatchObject({
      error: 'States.DataLimitExceeded',
    });
  });

  test('the largest data there may be goes through table and history', async () => {
    const it = await rig();
    const text = '"\\'.repeat(60_000);
    const end = await it.run(
      machine('A', {
        A: { Type: 'Pass', Assign: { kept: '{% $states.input %}' }, Next: 'W' },
        W: { Type: 'Wait', Seconds: 5, Next: 'B' },
        B: { Type: 'Pass', Output: '{% $kept = $states.input %}', End: true },
      }),
      text,
    );
    expect(end).toMatchObject({ state: 'SUCCEEDED', output: true });
    const history = await it.machines.history(call, 'm', 'e1');
    expect(history[0]?.details).toMatchObject({ inputDetails: { truncated: true } });
  });

  test('variables stay under 10 MiB in all', async () => {
    const it = await rig();
    const big = "{% $pad('', 200000, 'x') %}";
    const states: { [name: string]: Json } = {};
    for (let i = 0; i < 60; i++)
      states[`A${i}`] = { Type: 'Pass', Assign: { [`v${i}`]: big }, Next: `A${i + 1}` };
    states['A60'] = { Type: 'Succeed' };
    const end = await it.run(machine('A0', states));
    expect(end).toMatchObject({ state: 'FAILED', error: 'States.DataLimitExceeded' });
  });

  test('a Map of three hundred goes through commits of at most 97 writes', async () => {
    const it = await rig({ tasks: { work: async (_by, input) => (input as { n: number }).n } });
    const end = await it.run(
      one({
        Type: 'Map',
        Items: '{% $range(1, 300, 1) %}',
        ItemSelector: { n: '{% $states.context.Map.Item.Value %}' },
        ItemProcessor: {
          StartAt: 'T',
          States: {
            T: {
              ...invokes('work', { n: '{% $states.input.n %}' }),
              Output: '{% $states.result.Payload %}',
              End: true,
            },
          },
        },
      }),
    );
    expect(end.output).toEqual(Array.from({ length: 300 }, (_, i) => i + 1));
    expect([...it.table.items.keys()].filter((key) => /\0XO#|\0N#/.test(key))).toEqual([]);
  });
});

describe('one transition is one commit', () => {
  test('what is pure is passed on the way', async () => {
    const it = await rig({ tasks: { work: async () => 1 } });
    const chain: { [name: string]: Json } = {};
    for (let i = 0; i < 3; i++) {
      chain[`T${i}`] = { ...invokes('work'), Next: `C${i}` };
      chain[`C${i}`] = {
        Type: 'Choice',
        Choices: [{ Condition: '{% $states.input.Payload = 1 %}', Next: `P${i}` }],
        Default: 'Z',
      };
      chain[`P${i}`] = { Type: 'Pass', Next: i < 2 ? `T${i + 1}` : 'Z' };
    }
    chain['Z'] = { Type: 'Succeed' };
    await it.machines.define(call, 'm', machine('T0', chain));
    const before = it.table.commits;
    await it.machines.start(call, 'm', 'e1', {});
    expect(await it.end('m', 'e1')).toMatchObject({ state: 'SUCCEEDED' });
    // The start, one before each of the three tasks, and the end.
    expect(it.table.commits - before).toBe(5);
  });

  test('nothing is written and nothing turns while an execution waits', async () => {
    const it = await rig();
    await it.machines.define(call, 'm', one({ Type: 'Wait', Seconds: 1000 }));
    await it.machines.start(call, 'm', 'e1', {});
    await it.until(() => it.timers.pending === 1);
    const before = it.table.commits;
    for (let turn = 0; turn < 50; turn++) await new Promise((go) => setImmediate(go));
    expect([it.table.commits, it.timers.pending]).toEqual([before, 1]);
    await it.machines.stop(call, 'm', 'e1', 'enough');
    await it.until(() => it.machines.running() === 0);
    expect(it.timers.pending).toBe(0);
  });

  test('a commit that fails is tried again, and the execution goes on', async () => {
    const it = await rig({ tasks: { work: async () => 'done' } });
    await it.machines.define(
      call,
      'm',
      one({ ...invokes('work'), Output: '{% $states.result.Payload %}' }),
    );
    const { commit } = it.table;
    let failures = 0;
    it.table.commit = (by, writes, event) =>
      by.caller.name === 'machines' && failures++ < 3
        ? Promise.reject(new Problem('unavailable', 'the disk is full'))
        : commit(by, writes, event);
    await it.machines.start(call, 'm', 'e1', {});
    expect(await it.end('m', 'e1')).toMatchObject({ output: 'done' });
    expect(it.logged.filter(({ message }) => message === 'a commit failed')).toHaveLength(3);
  });
});

describe('stop', () => {
  test('aborts what runs, in branches too, and ends ABORTED with the reason', async () => {
    const aborted: string[] = [];
    const it = await rig({ functions: { 'stillflow-run-step': hanging(aborted) } });
    const step = (name: string): Json => ({
      StartAt: name,
      States: { [name]: { ...invokes('run-step'), End: true } },
    });
    await it.machines.define(
      call,
      'm',
      one({ Type: 'Parallel', Branches: [step('B'), step('C')] }),
    );
    await it.machines.start(call, 'm', 'e1', {});
    await it.until(async () => {
      const types = await it.types('m', 'e1');
      return types.filter((type) => type === 'TaskStarted').length === 2;
    });
    await it.machines.stop(call, 'm', 'e1', 'no more');
    await it.machines.stop(call, 'm', 'e1', 'twice');
    expect(await it.end('m', 'e1')).toMatchObject({ state: 'ABORTED', cause: 'no more' });
    expect(aborted).toEqual(['e1', 'e1']);
    expect(it.table.events).toHaveLength(1);
    expect([...it.table.items.keys()].filter((key) => /\0XO#|\0N#/.test(key))).toEqual([]);
  });

  test('of one whose machine is gone still works', async () => {
    const it = await rig();
    await it.machines.define(call, 'm', one({ Type: 'Wait', Seconds: 1000 }));
    await it.machines.start(call, 'm', 'e1', {});
    await it.machines.remove(call, 'm');
    await it.machines.stop(call, 'm', 'e1', 'x');
    expect(await it.end('m', 'e1')).toMatchObject({ state: 'ABORTED' });
  });
});

describe('a machine that is removed', () => {
  test('runs its open executions to their end, then its text goes', async () => {
    const it = await rig();
    await it.machines.define(
      call,
      'm',
      machine('W', {
        W: { Type: 'Wait', Seconds: 50, Next: 'P' },
        P: { Type: 'Pass', Output: 'old', End: true },
      }),
    );
    await it.machines.start(call, 'm', 'e1', {});
    await it.machines.remove(call, 'm');
    await it.machines.define(call, 'm', one({ Type: 'Pass', Output: 'new' }));
    await it.machines.start(call, 'm', 'e2', {});
    expect(await it.end('m', 'e1')).toMatchObject({ output: 'old' });
    expect(await it.end('m', 'e2')).toMatchObject({ output: 'new' });
    const texts = () => [...it.table.items.keys()].filter((key) => key.includes('\0D#'));
    await it.until(() => texts().length === 1);
    await it.machines.remove(call, 'm');
    expect(texts()).toEqual([]);
    expect(await it.machines.describe(call, 'm', 'e1')).toMatchObject({ output: 'old' });
  });
});

describe('a written machine', () => {
  const retraining = one({ Type: 'Pass', Output: '{% $states.context.StateMachine.Name %}' });

  test('is there in every workspace, under the name it is deployed with', async () => {
    const it = await rig({ written: { retraining } });
    expect(await it.machines.definition(call, 'retraining')).toEqual(retraining);
    await it.machines.start(call, 'retraining', 'e1', {});
    expect(await it.end('retraining', 'e1')).toMatchObject({ output: 'stillflow-retraining' });
    expect(it.machines.address(call, 'retraining', 'e2')).toEqual({
      StateMachineArn: 'arn:aws:states:local:000000000000:stateMachine:stillflow-retraining',
      Name: 'default0-e2',
    });
  });

  test('goes on with the text it was started with, also after an upgrade', async () => {
    const waits = (Output: Json) =>
      machine('W', {
        W: { Type: 'Wait', Seconds: 50, Next: 'P' },
        P: { Type: 'Pass', Output, End: true },
      });
    const first = await rig({ written: { retraining: waits('old') }, dieAfter: 2 });
    await first.machines.start(call, 'retraining', 'e1', {});
    await first.until(() => first.table.commits === 2);
    const second = await rig({ written: { retraining: waits('new') }, items: first.table.items });
    expect(await second.end('retraining', 'e1')).toMatchObject({ output: 'old' });
    await second.machines.start(call, 'retraining', 'e2', {});
    expect(await second.end('retraining', 'e2')).toMatchObject({ output: 'new' });
  });
});

describe('a machine that starts another', () => {
  const parent = (more: { [field: string]: Json } = {}): Json =>
    machine('S', {
      S: {
        Type: 'Task',
        Resource: START_EXECUTION,
        Arguments: {
          StateMachineArn: '{% $states.input.StateMachineArn %}',
          Name: '{% $states.input.Name %}',
          Input: { from: 'parent' },
        },
        Catch: [{ ErrorEquals: ['States.ALL'], Output: '{% $states.errorOutput %}', Next: 'Z' }],
        End: true,
        ...more,
      },
      Z: { Type: 'Succeed' },
    });
  const setUp = async (child: Json, options: Parameters<typeof rig>[0] = {}) => {
    const it = await rig(options);
    await it.machines.define(call, 'child', child);
    await it.machines.define(call, 'parent', parent());
    return it;
  };

  test('fails as the child does', async () => {
    const it = await setUp(
      one({
        Type: 'Parallel',
        Branches: [{ StartAt: 'F', States: { F: { Type: 'Fail', Error: 'Mine', Cause: 'x' } } }],
      }),
    );
    await it.machines.start(call, 'parent', 'p', { ...it.machines.address(call, 'child', 'c') });
    const { output } = await it.end('parent', 'p');
    const { Error: name, Cause } = output as { Error: string; Cause: string };
    expect(name).toBe('States.TaskFailed');
    expect(JSON.parse(Cause)).toMatchObject({
      Status: 'FAILED',
      Error: 'Mine',
      Name: 'default0-c',
    });
  });

  test('stops the child when it is stopped', async () => {
    const aborted: string[] = [];
    const it = await setUp(one(invokes('run-step')), {
      functions: { 'stillflow-run-step': hanging(aborted) },
    });
    await it.machines.start(call, 'parent', 'p', { ...it.machines.address(call, 'child', 'c') });
    await it.until(async () => (await it.machines.describe(call, 'child', 'c')) !== undefined);
    await it.machines.stop(call, 'parent', 'p', 'no more');
    expect(await it.end('child', 'c')).toMatchObject({ state: 'ABORTED' });
  });

  test('finds its own child again after a restart, and no other’s', async () => {
    const waits = one({ Type: 'Wait', Seconds: 100, Output: 'waited' });
    const it = await setUp(waits, { dieAfter: 8 });
    const address = { ...it.machines.address(call, 'child', 'c') };
    await it.machines.start(call, 'parent', 'p', address);
    await it.until(() => it.table.commits >= 6);
    const second = await rig({ items: it.table.items, world: it.world });
    await second.machines.start(call, 'parent', 'other', address);
    expect(await second.end('parent', 'other')).toMatchObject({
      output: { Error: 'StepFunctions.ExecutionAlreadyExistsException' },
    });
    const end = await second.end('parent', 'p');
    expect(end.output).toMatchObject({
      Status: 'SUCCEEDED',
      Output: 'waited',
      Input: { from: 'parent' },
    });
  });

  test('goes on after a restart also when its name comes before the child’s', async () => {
    const it = await rig({ dieAfter: 6 });
    await it.machines.define(
      call,
      'z-child',
      one({ Type: 'Wait', Seconds: 100, Output: 'waited' }),
    );
    await it.machines.define(call, 'a-parent', parent());
    await it.machines.start(call, 'a-parent', 'p', {
      ...it.machines.address(call, 'z-child', 'c'),
    });
    await it.until(() => it.table.commits >= 6);
    // The server's own look at the child is slow: the parent comes to it first.
    let held = false;
    const second = await rig({
      items: it.table.items,
      world: it.world,
      async beforeRead(keys) {
        if (held || !keys.some(({ pk }) => pk.includes('z-child'))) return;
        held = true;
        for (let turn = 0; turn < 30; turn++) await new Promise((go) => setImmediate(go));
      },
    });
    expect((await second.end('a-parent', 'p')).output).toMatchObject({
      Status: 'SUCCEEDED',
      Output: 'waited',
    });
  });

  test.each([
    [
      'another workspace’s machine',
      {
        StateMachineArn: 'arn:aws:states:local:000000000000:stateMachine:other000-child',
        Name: 'default0-c',
      },
      'StepFunctions.StateMachineDoesNotExistException',
    ],
    [
      'another workspace’s name',
      {
        StateMachineArn: 'arn:aws:states:local:000000000000:stateMachine:default0-child',
        Name: 'other000-c',
      },
      'StepFunctions.InvalidNameException',
    ],
    [
      'a machine that is not there',
      {
        StateMachineArn: 'arn:aws:states:local:000000000000:stateMachine:default0-nope',
        Name: 'default0-c',
      },
      'StepFunctions.StateMachineDoesNotExistException',
    ],
  ])('cannot name %s', async (_what, input, error) => {
    const it = await setUp(one({ Type: 'Pass' }));
    await it.machines.start(call, 'parent', 'p', input);
    expect(await it.end('parent', 'p')).toMatchObject({ output: { Error: error } });
  });
});
