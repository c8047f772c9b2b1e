import * as fc from 'fast-check';
import type { Json } from '../../functions/kernel/json.ts';
import type { MachineState } from '../../functions/platform/ports.ts';
import type { Scope, State, StateMachine } from '../../statemachines/asl.ts';

/**
 * Small machines whose end can be told without running them: each state is drawn as a plan of what it does to a
 * number, printed as ASL, and interpreted here in a few lines that share nothing with the interpreter.
 */
type Step =
  | { readonly kind: 'add'; readonly by: number }
  | { readonly kind: 'keep'; readonly by: number }
  | { readonly kind: 'branch'; readonly above: number; readonly inner: readonly Step[] }
  | {
      readonly kind: 'parallel';
      readonly branches: readonly (readonly Step[])[];
      readonly caught: boolean;
    }
  | {
      readonly kind: 'map';
      readonly count: number;
      readonly each: readonly Step[];
      readonly caught: boolean;
    }
  | { readonly kind: 'fail'; readonly error: string };

const plans = fc.letrec<{ step: Step; steps: Step[] }>((tie) => ({
  step: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.record({ kind: fc.constant('add' as const), by: fc.integer({ min: -9, max: 9 }) }),
    fc.record({ kind: fc.constant('keep' as const), by: fc.integer({ min: 1, max: 9 }) }),
    fc.record({
      kind: fc.constant('branch' as const),
      above: fc.integer({ min: -5, max: 15 }),
      inner: tie('steps'),
    }),
    fc.record({
      kind: fc.constant('parallel' as const),
      branches: fc.array(tie('steps'), { minLength: 1, maxLength: 3 }),
      caught: fc.boolean(),
    }),
    fc.record({
      kind: fc.constant('map' as const),
      count: fc.integer({ min: 0, max: 3 }),
      each: tie('steps'),
      caught: fc.boolean(),
    }),
    fc.record({ kind: fc.constant('fail' as const), error: fc.constantFrom('Red', 'Blue') }),
  ),
  steps: fc.array(tie('step'), { minLength: 1, maxLength: 3 }),
}));

/** A machine, with its plan hidden in Comment. */
export const anyMachine = (): fc.Arbitrary<StateMachine> =>
  plans.steps.map((steps) => ({
    QueryLanguage: 'JSONata' as const,
    Comment: JSON.stringify(steps),
    ...print(steps, { next: 0 }),
  }));

/** The number carried is `$states.input.n`; variables are named by their state, so that no two scopes share one. */
function print(steps: readonly Step[], names: { next: number }): Scope {
  const states: { [name: string]: State } = {};
  const own = steps.map(() => `S${names.next++}`);
  const end = `Z${names.next++}`;
  steps.forEach((step, i) => {
    const name = own[i] ?? end;
    printStep(states, step, name, own[i + 1] ?? end, names);
  });
  states[end] = { Type: 'Succeed', Output: '{% $states.input %}' };
  return { StartAt: own[0] ?? end, States: states };
}

function printStep(
  states: { [name: string]: State },
  step: Step,
  name: string,
  Next: string,
  names: { next: number },
) {
  const caught = (is: boolean) =>
    is
      ? { Catch: [{ ErrorEquals: ['Red'], Output: { n: '{% $states.input.n - 100 %}' }, Next }] }
      : {};
  switch (step.kind) {
    case 'add':
      states[name] = { Type: 'Pass', Output: { n: `{% $states.input.n + ${step.by} %}` }, Next };
      break;
    case 'keep':
      states[name] = {
        Type: 'Pass',
        Assign: { [`v${name}`]: `{% $states.input.n * ${step.by} %}` },
        Next: `${name}b`,
      };
      states[`${name}b`] = { Type: 'Pass', Output: { n: `{% $v${name} + 1 %}` }, Next };
      break;
    case 'branch': {
      const inner = print(step.inner, names);
      states[name] = {
        Type: 'Choice',
        Choices: [{ Condition: `{% $states.input.n > ${step.above} %}`, Next: inner.StartAt }],
        Default: Next,
      };
      for (const [each, state] of Object.entries(inner.States))
        states[each] =
          state.Type === 'Succeed' ? { Type: 'Pass', Output: '{% $states.input %}', Next } : state;
      break;
    }
    case 'parallel':
      states[name] = {
        Type: 'Parallel',
        Branches: step.branches.map((branch) => print(branch, names)),
        Output: { n: '{% $sum($states.result.n) %}' },
        ...caught(step.caught),
        Next,
      };
      break;
    case 'map':
      states[name] = {
        Type: 'Map',
        Items: `{% [0..${step.count - 1}] %}`,
        ItemSelector: {
          n: '{% $states.input.n + $states.context.Map.Item.Value * 10 + $states.context.Map.Item.Index %}',
        },
        ItemProcessor: { ProcessorConfig: { Mode: 'INLINE' }, ...print(step.each, names) },
        Output: { n: '{% $sum($append([0], $states.result.n)) %}' },
        ...caught(step.caught),
        Next,
      };
      break;
    case 'fail':
      states[name] = {
        Type: 'Choice',
        Choices: [{ Condition: '{% $states.input.n % 2 = 0 %}', Next: `${name}x` }],
        Default: Next,
      };
      states[`${name}x`] = { Type: 'Fail', Error: step.error, Cause: 'drawn' };
  }
}

export interface Expected {
  readonly state: MachineState;
  readonly output: Json | undefined;
  readonly error: string | undefined;
}

/** How it must end, or undefined where two branches fail with different errors and the engine may choose. */
export function expectedOf(definition: StateMachine, input: { n: number }): Expected | undefined {
  const steps: Step[] = JSON.parse(definition.Comment ?? '[]');
  try {
    return { state: 'SUCCEEDED', output: { n: walk(steps, input.n) }, error: undefined };
  } catch (error) {
    if (error instanceof Ambiguous) return undefined;
    if (!(error instanceof Failed)) throw error;
    return { state: 'FAILED', output: undefined, error: error.message };
  }
}

class Failed extends Error {}

function walk(steps: readonly Step[], start: number): number {
  let n = start;
  for (const step of steps) n = take(step, n);
  return n;
}

function take(step: Step, n: number): number {
  switch (step.kind) {
    case 'add':
      return n + step.by;
    case 'keep':
      return n * step.by + 1;
    case 'branch':
      return n > step.above ? walk(step.inner, n) : n;
    case 'fail':
      if (n % 2 === 0) throw new Failed(step.error);
      return n;
    case 'parallel':
      return catching(step.caught, n, () =>
        sum(step.branches.map((branch) => () => walk(branch, n))),
      );
    case 'map':
      return catching(step.caught, n, () =>
        sum(Array.from({ length: step.count }, (_, i) => () => walk(step.each, n + i * 10 + i))),
      );
  }
}

function sum(parts: readonly (() => number)[]): number {
  let total = 0;
  const errors = new Set<string>();
  for (const part of parts) {
    try {
      total += part();
    } catch (error) {
      if (!(error instanceof Failed)) throw error;
      errors.add(error.message);
    }
  }
  if (errors.size > 1) throw new Ambiguous();
  for (const error of errors) throw new Failed(error);
  return total;
}

/** Two branches fail with different errors: which one is first is the engine's affair. */
class Ambiguous extends Error {}

function catching(caught: boolean, n: number, run: () => number): number {
  try {
    return run();
  } catch (error) {
    if (caught && error instanceof Failed && error.message === 'Red') return n - 100;
    throw error;
  }
}
