import type {
  Expression,
  Retrier,
  Scope,
  State,
  StateMachine,
  Template,
} from '../../../statemachines/asl.ts';
import {
  BATCH_JOB,
  INVOKE,
  invoke,
  PASSING_BATCH_ERRORS,
  PASSING_ERRORS,
  PASSING_JOB_ERRORS,
  RUN_STEP,
  TRAINING_JOB,
} from '../../../statemachines/resources.ts';
import type { Plan, PlannedTask } from './plan.ts';
import type { Runner } from './resources.ts';
import type { RetryPolicy } from './settings.ts';
import type { Shape } from './shape.ts';

/**
 * The third pass: a plan as a state machine. It holds ids of tasks and nothing a user wrote; values live in our table.
 * A task is four states: `T` (begin-task), `T.choice`, `T.run` (the job), `T.done` (finish-task), and two more where it
 * has a retry policy: `T.again` and `T.wait`. A cache hit and a skipped task are branches; a failed job is caught and told
 * to `T.done`, so that no error leaves its branch and siblings go on. Our own states have a space in their names, which no id has.
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

// An expression that gives nothing is an error in Step Functions.
const CAUSE =
  '$exists($states.errorOutput.Cause) ? $substring($states.errorOutput.Cause, 0, 1000) : ""';
const CAUGHT = {
  go: 'failed',
  error: '{% $states.errorOutput.Error %}',
  cause: `{% ${CAUSE} %}`,
} as const;
const FAILED = `{"error": $states.errorOutput.Error, "cause": (${CAUSE})}`;

function statesOf(task: PlannedTask, after: Onward): Named[] {
  const { id, retry } = task;
  const [choice, run, done] = [`${id}.choice`, `${id}.run`, `${id}.done`];
  const [again, wait] = [`${id}.again`, `${id}.wait`];
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
        Choices: [
          {
            Condition: '{% $states.input.go = "run" %}',
            ...(retry ? { Output: '{% $merge([$states.input, {"tried": 0}]) %}' } : {}),
            Next: run,
          },
        ],
        Default: done,
      },
    ],
    [run, job(task, retry ? again : done, done)],
    ...(retry ? tryAgain(retry, { again, wait, run, done }) : []),
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

/** What starts a job, and which of its errors pass. */
const CALLS: Readonly<
  Record<
    Runner,
    {
      call(asked: Expression): { Resource: string; Arguments: Template };
      errors: readonly string[];
    }
  >
> = {
  lambda: {
    call: (asked) => ({
      Resource: INVOKE,
      Arguments: { FunctionName: RUN_STEP, Payload: asked },
    }),
    errors: [],
  },
  sagemaker: {
    call: (asked) => ({ Resource: TRAINING_JOB, Arguments: asked }),
    errors: PASSING_JOB_ERRORS,
  },
  batch: {
    call: (asked) => ({ Resource: BATCH_JOB, Arguments: asked }),
    errors: PASSING_BATCH_ERRORS,
  },
};

/** Where there is a policy each try is another job: `tried` counts the failed ones. */
function job(task: PlannedTask, failed: string, done: string): State {
  const asked = task.retry
    ? '{% $states.input.jobs[$states.input.tried] %}'
    : '{% $states.input.job %}';
  const { call, errors } = CALLS[task.resources.runner];
  return {
    Type: 'Task',
    ...call(asked),
    Retry: [passing([...PASSING_ERRORS, ...errors])],
    Catch: [
      {
        ErrorEquals: ['States.ALL'],
        Output: task.retry ? `{% $merge([$states.input, ${FAILED}]) %}` : CAUGHT,
        Next: failed,
      },
    ],
    Output: { go: 'ran' },
    Next: done,
  };
}

/**
 * A failed job is tried again as the task's own policy says. Not by a `Retry`: Step Functions counts those of all
 * retriers together, so that a throttle or a quota that was used up for a while would count as a failure of the job, and
 * the last tries would ask for jobs that had failed already.
 */
function tryAgain(
  { count, intervalSeconds, factor, maxSeconds }: RetryPolicy,
  { again, wait, run, done }: Readonly<Record<'again' | 'wait' | 'run' | 'done', string>>,
): Named[] {
  const seconds = `$ceil(${intervalSeconds} * $power(${factor}, $states.input.tried))`;
  return [
    [
      again,
      {
        Type: 'Choice',
        Choices: [{ Condition: `{% $states.input.tried < ${count} %}`, Next: wait }],
        Default: done,
        Output: {
          go: 'failed',
          error: '{% $states.input.error %}',
          cause: '{% $states.input.cause %}',
        },
      },
    ],
    [
      wait,
      {
        Type: 'Wait',
        Seconds: `{% $min([${maxSeconds ?? LONGEST_WAIT}, ${seconds}]) %}`,
        Output: '{% $merge([$states.input, {"tried": $states.input.tried + 1}]) %}',
        Next: run,
      },
    ],
  ];
}

/** Step Functions' own for a retry that names no longest. */
const LONGEST_WAIT = 86_400;

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
