import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import type { HistoryEvent } from '../../functions/platform/ports.ts';
import { type StateChange, statesSeen, statesSince } from '../../functions/platform/states.ts';

/** `+T a`: Task a is entered; `- a`: it exits; `! a`: it fails, which names it only by the event before. */
function history(...lines: string[]): HistoryEvent[] {
  const lastOf = new Map<string, number>();
  return lines.map((line, at) => {
    const [what = '', name = ''] = line.split(' ');
    const id = at + 1;
    const previousEventId = lastOf.get(name) ?? 0;
    lastOf.set(name, id);
    const kind = what === '+P' ? 'ParallelStateEntered' : 'TaskStateEntered';
    const type = what === '!' ? 'TaskFailed' : what === '-' ? 'TaskStateExited' : kind;
    const details = what === '!' ? {} : { name };
    return { id, previousEventId, type, timestamp: id * 10, details };
  });
}
const known = (states: readonly StateChange[]) =>
  Object.fromEntries(states.map((state) => [state.name, state]));

const WHOLE = history(
  '+P all',
  '+T a',
  '+T b',
  '! a',
  '- b',
  '- a',
  '+T c',
  '- all',
  '- c',
  '+T d',
);

test('a step that is open is told again, a state that holds others is not waited for', () => {
  expect(statesSince(WHOLE.slice(0, 3), 0, false)).toMatchObject({ next: 1 });
  const { states, next } = statesSince(WHOLE.slice(6, 8), 6, false);
  expect(states).toEqual([
    { name: 'all', status: 'succeeded', exitedAt: 80 },
    { name: 'c', status: 'running', enteredAt: 70 },
  ]);
  expect(next).toBe(6);
  expect(statesSince([], 9, false)).toEqual({ states: [], next: 9 });
  // More is to be read, and the open step began it: on it goes.
  expect(statesSince(WHOLE.slice(1, 3), 1, true)).toMatchObject({ next: 3 });
});

test('answers laid over each other say what one answer of all events says, however often one asks', () => {
  void fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 12 }), (steps) => {
      let shown: Record<string, StateChange> = {};
      let next = 0;
      let end = 0;
      for (const step of [...steps, WHOLE.length]) {
        end = Math.min(WHOLE.length, end + step);
        const seen = statesSince(WHOLE.slice(next, end), next, false);
        for (const state of seen.states)
          shown = { ...shown, [state.name]: { ...shown[state.name], ...state } };
        expect(seen.next).toBeGreaterThanOrEqual(next);
        next = seen.next;
      }
      expect(shown).toEqual(known(statesSeen(WHOLE)));
    }),
  );
});
