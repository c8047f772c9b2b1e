import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { candidateOf, decide, noVersion, outputAt, refusalOf } from '../../functions/loops/gate.ts';
import { Gate } from '../../functions/triggers/model.ts';

const gate = (more = {}) =>
  Gate.parse({ model: 'demand', metric: 'wape', direction: 'lower', ...more });
const side = { version: 5, after: 0.1, champion: 4, before: 0.2 };

describe('the gate', () => {
  test.each([
    ['lower is better', {}, {}, 'promote'],
    ['lower, but worse', {}, { after: 0.3 }, 'kept'],
    ['equal is not better', {}, { after: 0.2 }, 'kept'],
    ['higher is better', { direction: 'higher' }, { after: 0.3 }, 'promote'],
    ['higher, but worse', { direction: 'higher' }, { after: 0.1 }, 'kept'],
    ['enough better', { minimumImprovement: 0.5 }, {}, 'promote'],
    ['not enough better', { minimumImprovement: 0.51 }, {}, 'kept'],
    [
      'a negative champion',
      { direction: 'higher', minimumImprovement: 0.1 },
      { before: -10, after: -9.5 },
      'kept',
    ],
    ['a champion of zero', {}, { before: 0, after: -1 }, 'promote'],
    ['no champion', {}, { champion: undefined, before: undefined }, 'promote'],
    ['no metric', {}, { after: undefined }, 'refused'],
    ['NaN', {}, { after: Number.NaN }, 'refused'],
    ['Infinity', { direction: 'higher' }, { after: Number.POSITIVE_INFINITY }, 'refused'],
    ['no metric and no champion', {}, { champion: undefined, after: undefined }, 'refused'],
    ['a champion without metric', {}, { before: undefined }, 'refused'],
    ['a champion of NaN', {}, { before: Number.NaN }, 'refused'],
    ['the champion itself', {}, { champion: 5 }, 'promote'],
  ])('%s', (_what, rules, sides, outcome) => {
    const decision = decide(gate(rules), { ...side, ...sides });
    expect(decision.outcome).toBe(outcome);
    expect(decision.reason).toMatch(/\S/);
  });

  test('a value that is no number never wins; turning the direction turns the winner', () => {
    const value = fc.option(fc.double(), { nil: undefined });
    void fc.assert(
      fc.property(
        value,
        value,
        fc.double({ min: 0, max: 2, noNaN: true }),
        (after, before, minimumImprovement) => {
          const both = { ...side, after, before };
          const lower = decide(gate({ minimumImprovement }), both).outcome;
          const higher = decide(gate({ minimumImprovement, direction: 'higher' }), both).outcome;
          const sane = [after, before].every((each) => Number.isFinite(each));
          if (!sane) expect([lower, higher]).toEqual(['refused', 'refused']);
          else expect([lower, higher].filter((each) => each === 'promote').length).toBeLessThan(2);
        },
      ),
    );
  });
});

describe('what a run left', () => {
  const run = {
    tracked: ['a', 'b'],
    tasks: [
      { name: 'train', state: 'SUCCEEDED', outputs: { Output: 1, model_version: '7' } },
      { name: 'judge', state: 'SUCCEEDED', outputs: { wape: 0.1 } },
    ],
  };
  test('an output by its place', () => {
    expect(outputAt(run, 'judge.wape')).toBe(0.1);
    expect(outputAt(run, 'judge.none')).toBeUndefined();
    expect(outputAt(run, 'none.wape')).toBeUndefined();
  });
  test.each([
    [{}, 7],
    [{ version: 'train.Output' }, 1],
    [{ version: 'train.none' }, undefined],
    [{ version: 'judge.wape' }, undefined],
  ])('the candidate by %j is %s', (rules, version) => {
    expect(candidateOf(run, gate(rules), [])).toBe(version);
  });
  test.each([['0'], [''], [-1], [1.5], ['x'], [null], [true]])('%j is no version', (value) => {
    const tasks = [{ name: 'train', state: 'SUCCEEDED', outputs: { version: value } }];
    expect(candidateOf({ tasks, tracked: [] }, gate(), [])).toBeUndefined();
  });
  test('the newest version that a step of the run made comes before any output', () => {
    const versions = [
      { version: 9, runId: 'other' },
      { version: 8, runId: 'b' },
      { version: 6, runId: 'a' },
      { version: 5 },
    ];
    expect(candidateOf(run, gate(), versions)).toBe(8);
    expect(candidateOf(run, gate({ version: 'train.Output' }), versions)).toBe(1);
  });
  test('two versions without a place are no candidate', () => {
    const tasks = ['1', '2'].map((version) => ({
      name: version,
      state: 'x',
      outputs: { version },
    }));
    expect(candidateOf({ tasks, tracked: [] }, gate(), [])).toBeUndefined();
  });
  test('where none is found, says what to set', () => {
    expect(noVersion({ tasks: [], tracked: [] }, gate())).toBe(
      'the pipeline registered no new version',
    );
    expect(noVersion(run, gate())).toBe(
      'the pipeline registered no new version; if an output says its number, set gate.version to it: "train.Output", "train.model_version", "judge.wape"',
    );
    expect(noVersion(run, gate({ version: 'train.none' }))).toBe(
      'the pipeline registered no new version: train.none, which gate.version names, gave no number',
    );
    const outputs = Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`output-${i}`, i]));
    const many = { tasks: [{ name: 'train', state: 'x', outputs }], tracked: [] };
    expect(noVersion(many, gate()).length).toBeLessThan(300);
  });
  test('the reason of a failed step, else that of the machine', () => {
    const tasks = [{ name: 'validate', state: 'FAILED', error: 'leak found', outputs: {} }];
    expect(refusalOf({ tasks, tracked: [] }, 'States.TaskFailed').reason).toBe(
      'validate: leak found',
    );
    expect(refusalOf(run, 'timed out').reason).toBe('timed out');
    expect(refusalOf(undefined, 'no pipeline').reason).toBe('no pipeline');
  });
});
