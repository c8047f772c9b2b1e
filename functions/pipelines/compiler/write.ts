import type { Retrier, Scope, State, StateMachine } from '../../../statemachines/asl.ts';
import {
  INVOKE,
  invoke,
  PASSING_ERRORS,
  PASSING_JOB_ERRORS,
  RUN_STEP,
  TRAINING_JOB,
} from '../../../statemachines/resources.ts';
import type { Plan, PlannedTask } from './plan.ts';
import type { RetryPolicy } from './settings.ts';
import type { Shape } from './shape.ts';

/**
 * The third pass: a plan as a state machine. It holds ids of tasks and nothing a user wrote; values live in our table.
 * A task is at most four states: `T` (begin-task), `T.choice`, `T.run` (the job), `T.done` (finish-task). A cache hit
 * and a skipped task are branches; a failed job is caught and told to `T.done`, so that no error leaves its branch and
 * siblings go on. Our own states have a space in their names, which no id has.
 */
export function machineOf(plan: Plan): StateMachine {
  const tasks = new Map(plan.tasks.map((task) => [task.id, task]));
  const number = { of: 0 };

  function scope(shape: Shape): Scope {
    const states: Named[] = [];
    const start = draw(shape, undefined, states);
    return { StartAt: start, States: Object.fromEntries(states) };
  }

  /** Adds the states of a shape, in the order in which they run, and returns the first one's name. */
  function draw(shape: Shape, next: string | undefined, into: Named[]): string {
    if (typeof shape === 'string') {
      into.push(...statesOf(tasks.get(shape) as PlannedTask, onward(next)));
      return shape;
    }
    if ('parallel' in shape) {
      number.of += 1;
      const name = `Parallel ${number.of}`;
      into.push([name, parallel(shape.parallel.map(scope), onward(next))]);
      return name;
    }
    const parts: Named[][] = [];
    let following = next;
    for (const part of [...shape.series].reverse()) {
      const states: Named[] = [];
      following = draw(part, following, states);
      parts.unshift(states);
    }
    into.push(...parts.flat());
    return following as string;
  }

  const states: Named[] = [];
  const start = draw(plan.shape, FINISH, states);
  return {
    QueryLanguage: 'JSONata',
    StartAt: start,
    States: Object.fromEntries([...states, ...ending()]),
  };
}

type Named = readonly [name: string, state: State];
type Onward = { readonly Next: string } | { readonly End: true };
const onward = (next: string | undefined): Onward =>
  next === undefined ? { End: true } : { Next: next };

const FINISH = 'Finish run';

/** What passes by itself is tried for some minutes before it counts. */
const passing = (errors: readonly string[]): Retrier => ({
  ErrorEquals: errors,
  IntervalSeconds: 1,
  BackoffRate: 2,
  MaxAttempts: 8,
  MaxDelaySeconds: 60,
  JitterStrategy: 'FULL',
});

const CAUGHT = {
  go: 'failed',
  error: '{% $states.errorOutput.Error %}',
  // An expression that gives nothing is an error in Step Functions.
  cause:
    '{% $exists($states.errorOutput.Cause) ? $substring($states.errorOutput.Cause, 0, 1000) : "" %}',
};

function statesOf(task: PlannedTask, after: Onward): Named[] {
  const { id } = task;
  const [choice, run, done] = [`${id}.choice`, `${id}.run`, `${id}.done`];
  return [
    [
      id,
      {
        Type: 'Task',
        Resource: INVOKE,
        Arguments: invoke('begin-task', { task: id }),
        Retry: [passing(PASSING_ERRORS)],
        Catch: [{ ErrorEquals: ['States.ALL'], Output: CAUGHT, Next: done }],
        Output: '{% $states.result.Payload %}',
        Next: choice,
      },
    ],
    [
      choice,
      {
        Type: 'Choice',
        Choices: [{ Condition: '{% $states.input.go = "run" %}', Next: run }],
        Default: done,
      },
    ],
    [run, job(task, done)],
    [
      done,
      {
        Type: 'Task',
        Resource: INVOKE,
        Arguments: invoke('finish-task', { task: id, ended: '{% $states.input %}' }),
        Retry: [passing(PASSING_ERRORS)],
        Output: '{% $states.result.Payload %}',
        ...after,
      },
    ],
  ];
}

/** A failed job is tried again only as the task's own policy says, each time as another job. */
function job(task: PlannedTask, done: string): State {
  const asked = task.retry
    ? `$states.input.jobs[$min([$states.context.State.RetryCount, ${task.retry.count}])]`
    : '$states.input.job';
  const onLambda = task.resources.runner === 'lambda';
  const errors = onLambda ? PASSING_ERRORS : [...PASSING_ERRORS, ...PASSING_JOB_ERRORS];
  return {
    Type: 'Task',
    ...(onLambda
      ? { Resource: INVOKE, Arguments: { FunctionName: RUN_STEP, Payload: `{% ${asked} %}` } }
      : { Resource: TRAINING_JOB, Arguments: `{% ${asked} %}` }),
    Retry: [passing(errors), ...(task.retry ? [again(task.retry)] : [])],
    Catch: [{ ErrorEquals: ['States.ALL'], Output: CAUGHT, Next: done }],
    Output: { go: 'ran' },
    Next: done,
  };
}

const again = (policy: RetryPolicy): Retrier => ({
  ErrorEquals: ['States.ALL'],
  IntervalSeconds: policy.intervalSeconds,
  BackoffRate: policy.factor,
  MaxAttempts: policy.count,
  ...(policy.maxSeconds ? { MaxDelaySeconds: policy.maxSeconds } : {}),
});

const parallel = (branches: Scope[], after: Onward): State => ({
  Type: 'Parallel',
  Branches: branches,
  // The branches' own words stand in their own states; all of them together could pass what a state may hold.
  Output: '{% {"branches": $count($states.result)} %}',
  ...after,
});

function ending(): Named[] {
  return [
    [
      FINISH,
      {
        Type: 'Task',
        Resource: INVOKE,
        Arguments: invoke('finish-dag'),
        Retry: [passing(PASSING_ERRORS)],
        Output: '{% $states.result.Payload %}',
        Next: 'Run outcome',
      },
    ],
    [
      'Run outcome',
      {
        Type: 'Choice',
        Choices: [{ Condition: '{% $states.input.state = "SUCCEEDED" %}', Next: 'Run succeeded' }],
        Default: 'Run failed',
      },
    ],
    ['Run succeeded', { Type: 'Succeed' }],
    ['Run failed', { Type: 'Fail', Error: 'Pipeline.Failed', Cause: '{% $states.input.error %}' }],
  ];
}
