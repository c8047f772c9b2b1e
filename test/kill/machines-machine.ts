import type { Json } from '../../functions/kernel/json.ts';
import { invokes, machine } from '../machines/rig.ts';

export const EXECUTION = 'e';

const step = (what: string, more: { [field: string]: Json }): Json => ({
  ...invokes('run-step', { what, round: '{% $round %}' }),
  Output: '{% $states.result.Payload %}',
  ...more,
});

/** Two rounds of a Parallel with a chain, a Map and a step that needs a second try; then a wait. */
export const machineUnderFire: Json = machine('Begin', {
  Begin: { Type: 'Pass', Assign: { round: 0, n: '{% $states.input.n %}' }, Next: 'Loop' },
  Loop: {
    Type: 'Choice',
    Choices: [{ Condition: '{% $round < 2 %}', Next: 'Fan' }],
    Default: 'Nap',
  },
  Fan: {
    Type: 'Parallel',
    Branches: [
      {
        StartAt: 'First',
        States: { First: step('first', { Next: 'Second' }), Second: step('second', { End: true }) },
      },
      {
        StartAt: 'Each',
        States: {
          Each: {
            Type: 'Map',
            Items: [1, 2, 3],
            MaxConcurrency: 2,
            ItemProcessor: { StartAt: 'Item', States: { Item: step('item', { End: true }) } },
            Output: '{% $count($states.result) %}',
            End: true,
          },
        },
      },
      {
        StartAt: 'Shaky',
        States: {
          Shaky: step('shaky', {
            Retry: [{ ErrorEquals: ['Problem.unavailable'], IntervalSeconds: 1, BackoffRate: 1 }],
            End: true,
          }),
        },
      },
    ],
    Assign: { round: '{% $round + 1 %}' },
    Next: 'Loop',
  },
  Nap: { Type: 'Wait', Seconds: 1, Next: 'Out' },
  Out: { Type: 'Succeed', Output: { n: '{% $n %}', last: '{% $states.input %}' } },
});

/** Per round: two in the chain, three items, two tries of the shaky one. */
export const EFFECTS = 2 * (2 + 3 + 2);
