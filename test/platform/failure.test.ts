import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { failureOf, reasonOf } from '../../functions/platform/failure.ts';

/** Shapes of causes as AWS documents them, and as the local engine words them. */
const request = '7c4d24f5-6b0e-4a3a-9a0b-6a4a2d1e4f53';
const shapes: readonly [string, { error?: string; cause?: string }, string][] = [
  [
    'a Python function that raised',
    {
      error: 'StepFailed',
      cause: JSON.stringify({
        errorMessage: 'ValueError: y may not be negative (exit code 1)',
        errorType: 'StepFailed',
        requestId: request,
        stackTrace: ['  File "/var/task/handler.py", line 51, in handler\n    raise StepFailed('],
      }),
    },
    'ValueError: y may not be negative (exit code 1)',
  ],
  [
    'a task of ours that threw a Problem',
    {
      error: 'Problem.missing',
      cause: JSON.stringify({
        errorType: 'Problem.missing',
        errorMessage: 'Run 4f not found.',
        trace: ['Problem.missing: Run 4f not found.', '    at perform (file:///var/task/i.mjs)'],
      }),
    },
    'Run 4f not found.',
  ],
  [
    'a function that ran out of time',
    {
      error: 'Sandbox.Timedout',
      cause: JSON.stringify({
        errorType: 'Sandbox.Timedout',
        errorMessage: `RequestId: ${request} Error: Task timed out after 900.00 seconds`,
      }),
    },
    "It ran past the function's limit of 900 seconds.",
  ],
  [
    'the same, without a type',
    {
      error: 'Lambda.Unknown',
      cause: `The cause could not be determined because Lambda did not return an error type. Returned payload: {"errorMessage":"2026-07-01T10:00:00.000Z ${request} Task timed out after 3.00 seconds"}`,
    },
    "It ran past the function's limit of 3 seconds.",
  ],
  [
    'a function that was killed',
    {
      error: 'Runtime.ExitError',
      cause: JSON.stringify({
        errorType: 'Runtime.ExitError',
        errorMessage: `RequestId: ${request} Error: Runtime exited with error: signal: killed`,
      }),
    },
    'The function was killed, as happens when its memory runs out.',
  ],
  [
    'a training job whose failure file said why',
    {
      error: 'States.TaskFailed',
      cause: JSON.stringify({
        TrainingJobName: 'default0-train',
        TrainingJobStatus: 'Failed',
        SecondaryStatus: 'Failed',
        FailureReason: 'AlgorithmError: KeyError: "price" (exit code 1), exit code: 1',
        ResourceConfig: { InstanceType: 'ml.m5.large', InstanceCount: 1 },
      }),
    },
    'KeyError: "price" (exit code 1)',
  ],
  [
    'a training job that left no failure file',
    {
      error: 'States.TaskFailed',
      cause: JSON.stringify({
        TrainingJobStatus: 'Failed',
        FailureReason: 'AlgorithmError: , exit code: 3',
      }),
    },
    'The command ended with exit code 3.',
  ],
  [
    'a training job past its deadline',
    {
      error: 'States.TaskFailed',
      cause: JSON.stringify({
        TrainingJobStatus: 'Stopped',
        SecondaryStatus: 'MaxRuntimeExceeded',
      }),
    },
    'The job ran past its deadline and was stopped.',
  ],
  [
    'a training job that somebody stopped',
    {
      error: 'States.TaskFailed',
      cause: JSON.stringify({ TrainingJobStatus: 'Stopped', SecondaryStatus: 'Stopped' }),
    },
    'The job ended stopped.',
  ],
  [
    'a processing job with an exit message',
    {
      error: 'States.TaskFailed',
      cause: JSON.stringify({
        ProcessingJobName: 'default0-clean',
        ProcessingJobStatus: 'Failed',
        ExitMessage: 'no such column: price',
        FailureReason: 'AlgorithmError: , exit code: 2',
      }),
    },
    'no such column: price',
  ],
  [
    'a quota, as the SDK words it',
    {
      error: 'SageMaker.ResourceLimitExceededException',
      cause:
        "The account-level service limit 'ml.g5.xlarge for training job usage' is 0 Instances. (Service: SageMaker, Status Code: 400, Request ID: 7c4d24f5)",
    },
    "The account-level service limit 'ml.g5.xlarge for training job usage' is 0 Instances.",
  ],
  [
    'an execution that failed by a function that failed',
    {
      error: 'States.TaskFailed',
      cause: JSON.stringify({
        ExecutionArn: 'arn:aws:states:eu-central-1:123456789012:execution:m:e',
        Status: 'FAILED',
        Error: 'StepFailed',
        Cause: JSON.stringify({ errorType: 'StepFailed', errorMessage: 'too hot' }),
      }),
    },
    'too hot',
  ],
  [
    'an execution that was stopped without a word',
    { error: 'States.TaskFailed', cause: JSON.stringify({ Status: 'ABORTED', Input: '{}' }) },
    'The execution ended ABORTED.',
  ],
  [
    'a job on one machine',
    { error: 'States.TaskFailed', cause: 'ValueError: y may not be negative (exit code 1)' },
    'ValueError: y may not be negative (exit code 1)',
  ],
  [
    'a time-out without a cause',
    { error: 'States.Timeout', cause: '' },
    'It ran past its time limit.',
  ],
  ['an error nobody knows', { error: 'Acme.Broken' }, 'Acme.Broken'],
  ['JSON that says nothing', { error: 'E', cause: '{"a":1}' }, '{"a":1}'],
];

describe('why a state failed, for people', () => {
  test.each(shapes)('%s', (_, ended, reason) => {
    expect(reasonOf(ended)).toBe(reason);
  });

  test('a cause that was cut off in its stack still says why', () => {
    const whole = JSON.stringify({
      errorType: 'StepFailed',
      errorMessage: 'a "b"\nc',
      stackTrace: ['x'.repeat(40_000)],
    });
    expect(reasonOf({ error: 'StepFailed', cause: whole.slice(0, 32_768) })).toBe('a "b"\nc');
  });

  test('nobody said', () => expect(reasonOf({})).toBeUndefined());

  test('executions within executions end, however deep', () => {
    let cause = 'deep';
    for (let depth = 0; depth < 6; depth++) cause = JSON.stringify({ Error: 'E', Cause: cause });
    expect(reasonOf({ error: 'E', cause })).toBe('deep');
    for (let depth = 0; depth < 6; depth++) cause = JSON.stringify({ Error: 'E', Cause: cause });
    expect(reasonOf({ error: 'E', cause })).toContain('Cause');
  });

  test('any text that is no JSON comes through, and nothing throws', () => {
    fc.assert(
      fc.property(fc.string(), fc.json(), (text, json) => {
        for (const cause of [text, json, `{${text}`]) reasonOf({ error: 'E', cause });
        const plain = `x ${text}`.trim();
        expect(reasonOf({ error: 'E', cause: plain })).toBe(plain);
      }),
    );
  });
});

test.each([
  ['CapacityError: none left', { failure: 'CapacityError: none left' }],
  ['AlgorithmError: too hot, exit code: 7', { failure: 'too hot', exitCode: 7 }],
  ['AlgorithmError: a, exit code: 7, exit code: 7', { failure: 'a, exit code: 7', exitCode: 7 }],
  [undefined, {}],
])('a job that failed by %j', (reason, said) => {
  expect(failureOf(reason)).toEqual(said);
});
