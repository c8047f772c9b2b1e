import { describe, expect, test } from 'vitest';
import type { Json } from '../../functions/kernel/json.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import { MachineError } from '../../local/asl/errors.ts';
import { call, invokes, machine, rig } from './rig.ts';

const pass = (Output: Json, more: { [field: string]: Json } = { End: true }): Json => ({
  Type: 'Pass',
  Output,
  ...more,
});

describe('a machine', () => {
  test('passes its input on, state by state, and tells its history as Step Functions does', async () => {
    const { run, machines, types } = await rig();
    const end = await run(
      machine('A', {
        A: pass({ doubled: '{% $states.input.n * 2 %}' }, { Next: 'B' }),
        B: { Type: 'Succeed', Output: '{% $states.input.doubled + 1 %}' },
      }),
      { n: 4 },
    );
    expect(end).toMatchObject({ state: 'SUCCEEDED', output: 9, input: { n: 4 } });
    expect(await types('m', 'e1')).toEqual([
      'ExecutionStarted',
      'PassStateEntered',
      'PassStateExited',
      'SucceedStateEntered',
      'SucceedStateExited',
      'ExecutionSucceeded',
    ]);
    const history = await machines.history(call, 'm', 'e1');
    expect(history.map(({ id }) => id)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(history[2]?.details).toEqual({ name: 'A', output: '{"doubled":8}' });
    expect(await machines.history(call, 'm', 'e1', 4)).toEqual(history.slice(4));
  });

  test('sees what it assigns only from the next state on', async () => {
    const { run } = await rig();
    const end = await run(
      machine('A', {
        A: { Type: 'Pass', Assign: { x: 1 }, Next: 'B' },
        B: { Type: 'Pass', Assign: { x: 2, y: '{% $x %}' }, Output: '{% $x %}', Next: 'C' },
        C: pass({ before: '{% $states.input %}', x: '{% $x %}', y: '{% $y %}' }),
      }),
    );
    expect(end.output).toEqual({ before: 1, x: 2, y: 1 });
  });

  test('chooses the first rule that holds, with the Assign and Output of that rule', async () => {
    const choice = machine('C', {
      C: {
        Type: 'Choice',
        Choices: [
          {
            Condition: '{% $states.input.n > 10 %}',
            Next: 'Out',
            Output: 'big',
            Assign: { by: 1 },
          },
          {
            Condition: '{% $states.input.n > 5 %}',
            Next: 'Out',
            Output: 'middle',
            Assign: { by: 2 },
          },
        ],
        Default: 'Out',
        Output: 'small',
        Assign: { by: 3 },
      },
      Out: pass(['{% $states.input %}', '{% $by %}']),
    });
    const { machines, end } = await rig();
    await machines.define(call, 'm', choice);
    for (const n of [11, 7, 1]) await machines.start(call, 'm', `n${n}`, { n });
    expect((await end('m', 'n11')).output).toEqual(['big', 1]);
    expect((await end('m', 'n7')).output).toEqual(['middle', 2]);
    expect((await end('m', 'n1')).output).toEqual(['small', 3]);
  });

  test.each([
    [{ Condition: '{% $states.input.n > 5 %}' }, 'States.NoChoiceMatched'],
    [{ Condition: '{% $states.input.n %}' }, 'States.QueryEvaluationError'],
    [{ Condition: '{% $states.input.absent %}' }, 'States.QueryEvaluationError'],
  ])('a Choice %j fails with %s', async (rule, error) => {
    const { run } = await rig();
    const end = await run(
      machine('C', {
        C: { Type: 'Choice', Choices: [{ ...rule, Next: 'D' }] },
        D: { Type: 'Succeed' },
      }),
      { n: 1 },
    );
    expect(end).toMatchObject({ state: 'FAILED', error });
  });

  test('fails with the words of its Fail state', async () => {
    const { run, table, types } = await rig();
    const end = await run(
      machine('F', {
        F: { Type: 'Fail', Error: 'Gate', Cause: "{% 'no ' & $states.input.what %}" },
      }),
      { what: 'luck' },
    );
    expect(end).toMatchObject({ state: 'FAILED', error: 'Gate', cause: 'no luck' });
    expect(await types('m', 'e1')).toEqual([
      'ExecutionStarted',
      'FailStateEntered',
      'ExecutionFailed',
    ]);
    expect(table.events).toEqual([
      {
        type: 'machines.execution.ended',
        subject: 'executions/e1',
        data: {
          machine: 'm',
          execution: 'e1',
          state: 'FAILED',
          error: 'Gate',
          cause: 'no luck',
          output: null,
        },
      },
    ]);
  });

  test('waits by the clock that was passed in', async () => {
    const { run, world } = await rig();
    const before = world.now();
    const end = await run(
      machine('W', {
        W: { Type: 'Wait', Seconds: '{% $states.input.s %}', Next: 'V' },
        V: { Type: 'Wait', Timestamp: '2027-01-01T00:00:00Z', Next: 'Z' },
        Z: { Type: 'Wait', Seconds: 86400, End: true },
      }),
      { s: 60 },
    );
    expect(end.state).toBe('SUCCEEDED');
    expect(end.startedAt).toBe(before);
    expect(end.endedAt).toBe(Date.UTC(2027, 0, 2));
  });

  test('tells an execution its own name, as functions read it', async () => {
    const heard: Json[] = [];
    const { run } = await rig({
      tasks: {
        'begin-task': async (by, input) => {
          heard.push([by.workspace, input]);
          return { fine: true };
        },
      },
    });
    const end = await run(
      machine('T', {
        T: {
          ...invokes('begin-task', { path: 'a/b' }),
          Output: { all: '{% $states.result %}', at: '{% $states.context.State.Name %}' },
          End: true,
        },
      }),
    );
    expect(heard).toEqual([['default0', { path: 'a/b', execution: 'default0-e1' }]]);
    expect(end.output).toEqual({
      all: { ExecutedVersion: '$LATEST', Payload: { fine: true }, StatusCode: 200 },
      at: 'T',
    });
  });
});

describe('a function', () => {
  test('hears only of the execution that invokes it', async () => {
    let heard = 0;
    const { run } = await rig({ tasks: { work: async () => ++heard } });
    const end = await run(
      machine('T', {
        T: {
          Type: 'Task',
          Resource: 'arn:aws:states:::lambda:invoke',
          Arguments: { FunctionName: 'stillflow-work', Payload: '{% $states.input %}' },
          Catch: [{ ErrorEquals: ['States.ALL'], Next: 'Z' }],
          End: true,
        },
        Z: { Type: 'Succeed' },
      }),
      { execution: 'someone-else' },
    );
    expect(end).toMatchObject({ state: 'FAILED', error: 'States.Runtime' });
    expect(heard).toBe(0);
  });

  test('that is not there, or throws what is no Problem, fails under the name Lambda gives', async () => {
    const { run } = await rig({
      tasks: {
        work: async () => {
          throw new RangeError('too far');
        },
      },
    });
    const end = await run(
      machine('P', {
        P: {
          Type: 'Map',
          Items: ['a'],
          ItemProcessor: {
            StartAt: 'T',
            States: {
              T: {
                ...invokes('absent'),
                Catch: [{ ErrorEquals: ['States.ALL'], Next: 'U' }],
                Next: 'U',
              },
              U: {
                ...invokes('work', { before: '{% $states.input.Error %}' }),
                Catch: [
                  {
                    ErrorEquals: ['States.ALL'],
                    Output: ['{% $states.input.Error %}', '{% $states.errorOutput %}'],
                    Next: 'V',
                  },
                ],
                End: true,
              },
              V: { Type: 'Pass', End: true },
            },
          },
          End: true,
        },
      }),
    );
    expect(end.output).toEqual([
      [
        'Lambda.ResourceNotFoundException',
        {
          Error: 'RangeError',
          Cause: '{"errorType":"RangeError","errorMessage":"too far","trace":[]}',
        },
      ],
    ]);
  });
});

describe('errors', () => {
  const flaky = (failures: number, error: () => unknown) => {
    let left = failures;
    const seen: { at: number; retryCount: Json }[] = [];
    return {
      seen,
      task: (now: () => number) => async (_by: unknown, input: Json) => {
        seen.push({ at: now(), retryCount: (input as { [n: string]: Json })['count'] ?? null });
        if (left-- > 0) throw error();
        return 'done';
      },
    };
  };

  test('are retried after growing waits, and counted in the context', async () => {
    const work = flaky(3, () => new Problem('unavailable', 'later'));
    let now = () => 0;
    const it = await rig({ tasks: { work: (by, input) => work.task(() => now())(by, input) } });
    now = it.world.now;
    const end = await it.run(
      machine('T', {
        T: {
          ...invokes('work', { count: '{% $states.context.State.RetryCount %}' }),
          Retry: [
            {
              ErrorEquals: ['Problem.unavailable'],
              IntervalSeconds: 2,
              BackoffRate: 3,
              MaxDelaySeconds: 10,
              MaxAttempts: 3,
            },
          ],
          Output: '{% $states.result.Payload %}',
          End: true,
        },
      }),
    );
    expect(end).toMatchObject({ state: 'SUCCEEDED', output: 'done' });
    const first = work.seen[0]?.at ?? 0;
    expect(work.seen.map(({ at }) => at - first)).toEqual([0, 2000, 8000, 18_000]);
    expect(work.seen.map(({ retryCount }) => retryCount)).toEqual([0, 1, 2, 3]);
    expect((await it.types('m', 'e1')).filter((type) => type === 'TaskFailed')).toHaveLength(3);
  });

  test('that no Retrier takes any more are caught, with Assign and Output of the Catcher', async () => {
    const it = await rig({
      tasks: {
        work: async () => {
          throw new Problem('missing', 'no such run');
        },
      },
    });
    const end = await it.run(
      machine('T', {
        T: {
          ...invokes('work'),
          Retry: [{ ErrorEquals: ['States.ALL'], MaxAttempts: 1 }],
          Catch: [
            { ErrorEquals: ['Problem.denied'], Next: 'Never' },
            {
              ErrorEquals: ['Problem.missing'],
              Assign: { why: '{% $states.errorOutput.Error %}' },
              Output: '{% $parse($states.errorOutput.Cause).errorMessage %}',
              Next: 'Caught',
            },
          ],
          Next: 'Never',
        },
        Caught: pass(['{% $why %}', '{% $states.input %}']),
        Never: { Type: 'Fail' },
      }),
    );
    expect(end.output).toEqual(['Problem.missing', 'no such run']);
    expect(await it.types('m', 'e1')).toEqual([
      'ExecutionStarted',
      'TaskStateEntered',
      'TaskScheduled',
      'TaskStarted',
      'TaskFailed',
      'TaskScheduled',
      'TaskStarted',
      'TaskFailed',
      'TaskStateExited',
      'PassStateEntered',
      'PassStateExited',
      'ExecutionSucceeded',
    ]);
  });

  test.each([
    ['States.TaskFailed', new MachineError('Mine', 'x'), true],
    ['States.TaskFailed', new MachineError('States.Timeout', 'x'), false],
    ['States.Timeout', new MachineError('States.Timeout', 'x'), true],
    ['States.ALL', new MachineError('States.Timeout', 'x'), true],
    ['States.ALL', new MachineError('States.Runtime', 'x'), false],
    ['States.Runtime', new MachineError('States.Runtime', 'x'), false],
    ['States.ALL', new MachineError('States.DataLimitExceeded', 'x'), false],
    ['States.DataLimitExceeded', new MachineError('States.DataLimitExceeded', 'x'), true],
    ['TypeError', new TypeError('x'), true],
  ])('%s catches %s: %s', async (name, error, catches) => {
    const it = await rig({
      tasks: {
        work: async () => {
          throw error;
        },
      },
    });
    const end = await it.run(
      machine('T', {
        T: { ...invokes('work'), Catch: [{ ErrorEquals: [name], Next: 'Z' }], End: true },
        Z: { Type: 'Succeed' },
      }),
    );
    expect(end.state).toBe(catches ? 'SUCCEEDED' : 'FAILED');
  });

  test('a task that takes too long is timed out, its signal aborted', async () => {
    let aborted = false;
    const it = await rig({
      functions: {
        'stillflow-run-step': (_by, _args, _context, signal) =>
          new Promise(() => signal.addEventListener('abort', () => (aborted = true))),
      },
    });
    void it
      .run(
        machine('T', {
          T: { ...invokes('run-step'), TimeoutSeconds: '{% 20 + 10 %}', End: true },
        }),
      )
      .catch(() => undefined);
    let found = await it.machines.describe(call, 'm', 'e1');
    await it.until(async () => {
      found = await it.machines.describe(call, 'm', 'e1').catch(() => undefined);
      return found?.state === 'FAILED';
    });
    expect(found).toMatchObject({ state: 'FAILED', error: 'States.Timeout' });
    expect((found?.endedAt ?? 0) - (found?.startedAt ?? 0)).toBe(30_000);
    expect(aborted).toBe(true);
    expect(await it.types('m', 'e1')).toContain('TaskTimedOut');
  });

  test('the whole machine may have its time too', async () => {
    const it = await rig();
    const end = await it.run({
      ...(machine('W', { W: { Type: 'Wait', Seconds: 1000, End: true } }) as { [k: string]: Json }),
      TimeoutSeconds: 60,
    });
    expect(end).toMatchObject({ state: 'TIMED_OUT' });
    expect((end.endedAt ?? 0) - end.startedAt).toBe(60_000);
    expect((await it.types('m', 'e1')).at(-1)).toBe('ExecutionTimedOut');
    expect(it.timers.pending).toBe(0);
  });
});

describe('branches and iterations', () => {
  test('read the variables around them and keep their own', async () => {
    const { run, types } = await rig();
    const end = await run(
      machine('A', {
        A: { Type: 'Pass', Assign: { x: 10 }, Next: 'P' },
        P: {
          Type: 'Parallel',
          Arguments: { n: '{% $x + 1 %}' },
          Branches: [
            {
              StartAt: 'P1',
              States: {
                P1: { Type: 'Pass', Assign: { mine: 1 }, Next: 'P2' },
                P2: pass('{% $x + $mine %}'),
              },
            },
            { StartAt: 'P3', States: { P3: pass('{% $states.input.n %}') } },
          ],
          Assign: { both: '{% $states.result %}' },
          Output: '{% $sum($states.result) %}',
          Next: 'Z',
        },
        Z: pass(['{% $both %}', '{% $states.input %}', '{% $exists($mine) %}']),
      }),
    );
    expect(end.output).toEqual([[11, 11], 22, false]);
    expect((await types('m', 'e1')).filter((type) => /Parallel/.test(type))).toEqual([
      'ParallelStateEntered',
      'ParallelStateStarted',
      'ParallelStateSucceeded',
      'ParallelStateExited',
    ]);
  });

  test('run at most as many at once as MaxConcurrency says, and keep their order', async () => {
    let now = 0;
    let most = 0;
    const { run } = await rig({
      tasks: {
        work: async (_by, input) => {
          now += 1;
          most = Math.max(most, now);
          for (let turn = 0; turn < 5; turn++) await new Promise((go) => setImmediate(go));
          now -= 1;
          return (input as { [k: string]: Json })['n'] ?? null;
        },
      },
    });
    const end = await run(
      machine('M', {
        M: {
          Type: 'Map',
          Items: '{% $range(1, 12, 1) %}',
          MaxConcurrency: 3,
          ItemSelector: {
            v: '{% $states.context.Map.Item.Value %}',
            i: '{% $states.context.Map.Item.Index %}',
          },
          ItemProcessor: {
            ProcessorConfig: { Mode: 'INLINE' },
            StartAt: 'T',
            States: {
              T: {
                ...invokes('work', {
                  n: '{% $states.input.v * 100 + $states.context.Map.Item.Index %}',
                }),
                Output: '{% $states.result.Payload %}',
                End: true,
              },
            },
          },
          End: true,
        },
      }),
    );
    expect(end.output).toEqual(Array.from({ length: 12 }, (_, i) => (i + 1) * 100 + i));
    expect(most).toBe(3);
  });

  test('the first uncaught error stops the others, and the state may catch it', async () => {
    let aborted = 0;
    const it = await rig({
      tasks: {
        bad: async () => {
          throw new Problem('invalid', 'no');
        },
      },
      functions: {
        'stillflow-run-step': (_by, _args, _context, signal) =>
          new Promise((_resolve, reject) =>
            signal.addEventListener('abort', () => {
              aborted += 1;
              reject(new Error('stopped'));
            }),
          ),
      },
    });
    const end = await it.run(
      machine('P', {
        P: {
          Type: 'Parallel',
          Branches: [
            { StartAt: 'S', States: { S: { ...invokes('run-step'), End: true } } },
            {
              StartAt: 'W',
              States: {
                W: { Type: 'Wait', Seconds: 5, Next: 'B' },
                B: { ...invokes('bad'), End: true },
              },
            },
            { StartAt: 'V', States: { V: { Type: 'Wait', Seconds: 1000, End: true } } },
          ],
          Catch: [{ ErrorEquals: ['Problem.invalid'], Output: 'caught', Next: 'Z' }],
          End: true,
        },
        Z: { Type: 'Succeed' },
      }),
    );
    expect(end).toMatchObject({ state: 'SUCCEEDED', output: 'caught' });
    expect((end.endedAt ?? 0) - end.startedAt).toBe(5000);
    expect(aborted).toBe(1);
    expect(it.timers.pending).toBe(0);
    expect(await it.types('m', 'e1')).toContain('ParallelStateFailed');
  });

  test('a Map of nothing gives nothing; a Map of what is no list fails', async () => {
    const it = await rig();
    const map = (Items: Json) =>
      machine('M', {
        M: {
          Type: 'Map',
          Items,
          ItemProcessor: { StartAt: 'P', States: { P: pass(1) } },
          End: true,
        },
      });
    await it.machines.define(call, 'none', map([]));
    await it.machines.define(call, 'wrong', map('{% 5 %}'));
    await it.machines.start(call, 'none', 'e', {});
    await it.machines.start(call, 'wrong', 'e', {});
    expect(await it.end('none', 'e')).toMatchObject({ state: 'SUCCEEDED', output: [] });
    expect(await it.end('wrong', 'e')).toMatchObject({
      state: 'FAILED',
      error: 'States.QueryEvaluationError',
    });
  });
});
