import { readdirSync, readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Json } from '../../functions/kernel/json.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import { readMachine } from '../../local/asl/check.ts';
import { EXECUTION_NAME, invoke, TRAINING_JOB } from '../../statemachines/resources.ts';
import { invokes, machine } from './rig.ts';

const problemOf = (definition: Json): string => {
  try {
    readMachine(definition);
  } catch (error) {
    if (error instanceof Problem && error.code === 'invalid') return error.message;
    throw error;
  }
  return '';
};

type Fields = { [field: string]: Json };
const done: Fields = { Type: 'Succeed' };
const one = (state: Fields): Json => machine('A', { A: state, Z: done });
const task = (more: Fields = {}): Fields => ({ ...invokes('begin-task'), Next: 'Z', ...more });
const pass = (more: Fields): Fields => ({ Type: 'Pass', Next: 'Z', ...more });
const inner = { StartAt: 'I', States: { I: { Type: 'Pass', End: true } } };

describe('a machine that is well made', () => {
  test.each<[string, Json]>([
    ['a task', one(task({ TimeoutSeconds: 5, Retry: [{ ErrorEquals: ['States.ALL'] }] }))],
    [
      'a task with expressions',
      one(
        task({
          TimeoutSeconds: '{% $states.input.s %}',
          Assign: { x: '{% $states.result.Payload %}' },
        }),
      ),
    ],
    [
      'a catch',
      one(
        task({
          Catch: [
            { ErrorEquals: ['A', 'B'], Next: 'Z', Output: '{% $states.errorOutput.Error %}' },
          ],
        }),
      ),
    ],
    [
      'a job',
      one({ Type: 'Task', Resource: TRAINING_JOB, Arguments: { TrainingJobName: 'x' }, Next: 'Z' }),
    ],
    [
      'arguments as one expression',
      one({ Type: 'Task', Resource: TRAINING_JOB, Arguments: '{% $states.input %}', Next: 'Z' }),
    ],
    [
      'nested fields of a variable',
      one(
        pass({
          Output: '{% $map($states.input.list, function($v, $i) { {"v": $v.a.b, "i": $i} }) %}',
        }),
      ),
    ],
    [
      'a filter and a sort',
      one(pass({ Output: "{% $states.input.list[kind = 'a' and $.n > 1]^(>n).{'m': n} %}" })),
    ],
    ['a group', one(pass({ Output: '{% $states.input.list{kind: $sum(n)} %}' }))],
    ['a transform', one(pass({ Output: "{% $states.input ~> |list|{'n': n + 1}, ['kind']| %}" }))],
    ['text that only looks like an expression', one(pass({ Output: 'say {% this %}' }))],
    [
      'a map',
      one({
        Type: 'Map',
        Items: ['{% 1 %}', 2],
        ItemProcessor: inner,
        MaxConcurrency: '{% 3 %}',
        Next: 'Z',
      }),
    ],
  ])('passes: %s', (_name, definition) => {
    expect(problemOf(definition)).toBe('');
  });

  const folder = new URL('../../statemachines/', import.meta.url);
  const written = readdirSync(folder).filter((name) => name.endsWith('.asl.json'));
  test.each(written)('passes: the written %s', (name) => {
    expect(problemOf(JSON.parse(readFileSync(new URL(name, folder), 'utf8')))).toBe('');
  });

  test('whose functions are named by `invoke` passes', () => {
    const Arguments = invoke('finish-task', { path: 'a' });
    expect(Arguments.Payload['execution']).toBe(EXECUTION_NAME);
    expect(problemOf(one(task({ Arguments })))).toBe('');
  });
});

describe('a machine that is not is refused, naming the place and the fix', () => {
  test.each<[Json, RegExp]>([
    [7, /definition must be an object/],
    [{ StartAt: 'A', States: { A: done } }, /needs the field QueryLanguage/],
    [
      { QueryLanguage: 'JSONPath', StartAt: 'A', States: { A: done } },
      /QueryLanguage must be JSONata/,
    ],
    [machine('B', { A: done }), /StartAt names 'B', which is not a state here/],
    [machine('A', { A: done, B: done }), /States\.B can never be reached/],
    [machine('A', { A: pass({ Next: 'Nope' }) }), /States\.A\.Next names 'Nope'/],
    [machine('A', { A: { Type: 'Pass' } }), /States\.A needs either Next or End/],
    [one(pass({ End: true })), /needs either Next or End/],
    [one(pass({ Result: 1 })), /States\.A\.Result is JSONPath: use Output/],
    [one(pass({ InputPath: '$.a' })), /InputPath is JSONPath/],
    [one(pass({ Colour: 'red' })), /States\.A\.Colour is not a field here/],
    [one({ Type: 'Pause', Next: 'Z' }), /States\.A\.Type must be one of Task, Pass/],
    [
      one(task({ Resource: 'arn:aws:states:::sqs:sendMessage' })),
      /Resource is not among what our machines may call/,
    ],
    [one(task({ Resource: 'arn:aws:lambda:eu-west-1:1:function:x' })), /is not among/],
    [one(task({ HeartbeatSeconds: 5 })), /HeartbeatSeconds is not supported: use TimeoutSeconds/],
    [one(task({ TimeoutSeconds: 0 })), /TimeoutSeconds must be a whole number from 1/],
    [
      one(task({ Arguments: { FunctionName: 'other', Payload: {} } })),
      /FunctionName must start with stillflow-/,
    ],
    [
      one(task({ Arguments: { FunctionName: '{% $states.input.f %}', Payload: {} } })),
      /FunctionName must be written out/,
    ],
    [
      one(task({ Arguments: { FunctionName: 'stillflow-x', Payload: {} } })),
      /Payload needs "execution"/,
    ],
    [
      one(task({ Arguments: { FunctionName: 'stillflow-x' } })),
      /Arguments needs the field Payload/,
    ],
    [
      one(task({ Retry: [{ ErrorEquals: [] }] })),
      /Retry\[0\]\.ErrorEquals must be a list of error names/,
    ],
    [
      one(task({ Retry: [{ ErrorEquals: ['X'], BackoffRate: 0.5 }] })),
      /BackoffRate must be a number of at least 1/,
    ],
    [
      one(task({ Retry: [{ ErrorEquals: ['X'], MaxAttempts: -1 }] })),
      /MaxAttempts must be a whole number/,
    ],
    [
      one(task({ Retry: [{ ErrorEquals: ['X'], IntervalSeconds: 9, MaxDelaySeconds: 5 }] })),
      /greater than IntervalSeconds/,
    ],
    [
      one(task({ Retry: [{ ErrorEquals: ['States.ALL'] }, { ErrorEquals: ['X'] }] })),
      /takes States\.ALL and must be the last/,
    ],
    [
      one(task({ Catch: [{ ErrorEquals: ['States.ALL', 'X'], Next: 'Z' }] })),
      /must hold States\.ALL alone/,
    ],
    [one(task({ Catch: [{ ErrorEquals: ['X'] }] })), /Catch\[0\] needs the field Next/],
    [one(task({ Catch: [{ ErrorEquals: ['X'], Next: 'Y' }] })), /Catch\[0\]\.Next names 'Y'/],
    [one({ Type: 'Wait', Next: 'Z' }), /needs either Seconds or Timestamp/],
    [
      one({ Type: 'Wait', Seconds: 1, Timestamp: '2026-01-01T00:00:00Z', Next: 'Z' }),
      /needs either Seconds or Timestamp/,
    ],
    [one({ Type: 'Wait', Timestamp: 'tomorrow', Next: 'Z' }), /must be a time as in/],
    [one({ Type: 'Choice', Choices: [], Default: 'Z' }), /Choices must hold a rule/],
    [
      one({ Type: 'Choice', Choices: [{ Variable: '$.a', NumericEquals: 1, Next: 'Z' }] }),
      /Variable is JSONPath: use Condition/,
    ],
    [one({ Type: 'Parallel', Branches: [], Next: 'Z' }), /at least one branch/],
    [
      one({ Type: 'Map', Items: 'x', ItemProcessor: inner, Next: 'Z' }),
      /Items must be a list or an expression/,
    ],
    [
      one({
        Type: 'Map',
        ItemProcessor: { ...inner, ProcessorConfig: { Mode: 'DISTRIBUTED' } },
        Next: 'Z',
      }),
      /Mode must be INLINE/,
    ],
    [
      one({ Type: 'Map', ItemProcessor: inner, ToleratedFailureCount: 1, Next: 'Z' }),
      /catch errors inside the ItemProcessor/,
    ],
    [
      one({ Type: 'Parallel', Branches: [inner, inner], Next: 'Z' }),
      /has a name that another state has already/,
    ],
    [machine('A'.repeat(81), { ['A'.repeat(81)]: done }), /has no good name/],
    [one(pass({ Assign: { states: 1 } })), /Assign\.states is reserved/],
    [one(pass({ Assign: { '1x': 1 } })), /is no name of a variable/],
    [
      machine('A', {
        A: pass({ Next: 'B', Assign: { x: 1 } }),
        B: {
          Type: 'Parallel',
          Branches: [
            { StartAt: 'I', States: { I: { Type: 'Pass', Assign: { x: 2 }, End: true } } },
          ],
          End: true,
        },
      }),
      /assign \$x, which belongs to the scope around/,
    ],
  ])('%j', (definition, problem) => {
    expect(problemOf(definition)).toMatch(problem);
  });

  test.each([
    ['{% 1 + %}', /is no valid JSONata: S0207/],
    ['{% 1', /must end with '%}'/],
    ['{% $eval("1") %}', /calls \$eval/],
    ['{% amount %}', /names the field 'amount' of nothing/],
    ['{% $ %}', /names \$ outside any path/],
    ['{% $$.a %}', /names \$\$, and there is no root/],
    ['{% $states.result %}', /exists only once a task is done/],
    ['{% $states.errorOutput.Error %}', /exists only in a Catch/],
    ['{% $states.inputs %}', /names \$states\.inputs/],
    [`{% ${'('.repeat(20_000)} %}`, /is no valid JSONata/],
    ['{% /(((/ %}', /is no valid JSONata/],
  ])('%s', (expression, problem) => {
    expect(problemOf(one(pass({ Output: { deep: [expression] } })))).toMatch(problem);
  });

  test('a definition that nests too deep, or is too large', () => {
    let deep: Json = 1;
    for (let i = 0; i < 5000; i++) deep = [deep];
    expect(problemOf(one(pass({ Output: deep })))).toMatch(/nests deeper than/);
    expect(problemOf(one(pass({ Comment: 'x'.repeat(1_048_577) })))).toMatch(/larger than 1048576/);
  });

  test('whatever it is, the answer is a machine or a Problem', () => {
    void fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (state, field) => {
        problemOf(machine('A', { A: state as Json }));
        for (const name of [
          'Retry',
          'Catch',
          'Choices',
          'Branches',
          'ItemProcessor',
          'Arguments',
          'Assign',
        ])
          for (const Type of ['Task', 'Choice', 'Parallel', 'Map'])
            problemOf(machine('A', { A: { Type, End: true, [name]: field as Json } }));
      }),
      { numRuns: 200 },
    );
  });
});
