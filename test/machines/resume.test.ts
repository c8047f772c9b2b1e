import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Json } from '../../functions/kernel/json.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import type { Item } from '../../functions/platform/ports.ts';
import type { Integration } from '../../local/asl/engine.ts';
import { anyMachine, expectedOf } from '../contracts/machine-model.ts';
import { testWorld } from '../world.ts';
import { call, invokes, machine, type Rig, rig } from './rig.ts';

/** All kinds of states, nested, with retries, catches, waits and variables that change in a loop. */
const everything = machine('Begin', {
  Begin: { Type: 'Pass', Assign: { round: 0, tag: '{% $uuid() %}' }, Next: 'Loop' },
  Loop: {
    Type: 'Choice',
    Choices: [{ Condition: '{% $round < 2 %}', Next: 'Fan' }],
    Default: 'Nap',
  },
  Fan: {
    Type: 'Parallel',
    Branches: [
      { StartAt: 'One', States: { One: effect('one', { End: true }) } },
      {
        StartAt: 'Each',
        States: {
          Each: {
            Type: 'Map',
            Items: ['a', 'b', 'c'],
            MaxConcurrency: 2,
            ItemProcessor: {
              StartAt: 'Item',
              States: {
                Item: effect("{% 'item-' & $states.context.Map.Item.Value %}", { Next: 'Rest' }),
                Rest: { Type: 'Wait', Seconds: 3, End: true },
              },
            },
            Output: '{% $join($states.result) %}',
            End: true,
          },
        },
      },
      {
        StartAt: 'Shaky',
        States: {
          Shaky: effect('shaky', {
            Retry: [{ ErrorEquals: ['Problem.unavailable'], IntervalSeconds: 5 }],
            Catch: [{ ErrorEquals: ['Problem.missing'], Next: 'Mended', Output: 'mended' }],
            End: true,
          }),
          Mended: { Type: 'Pass', End: true },
        },
      },
    ],
    Assign: { round: '{% $round + 1 %}', last: '{% $states.result %}' },
    Next: 'Loop',
  },
  Nap: { Type: 'Wait', Seconds: 60, Next: 'Out' },
  Out: {
    Type: 'Succeed',
    Output: { last: '{% $last %}', round: '{% $round %}', tag: '{% $length($tag) %}' },
  },
});

function effect(what: string, more: { [field: string]: Json }): { [field: string]: Json } {
  return {
    ...invokes('run-step', { what, round: '{% $round %}', tag: '{% $tag %}' }),
    Output: '{% $states.result.Payload %}',
    ...more,
  };
}

/** An effect once by id, as integrations must be: `done` outlives the server. */
function effects(done: Map<string, { args: Json; times: number }>): Integration {
  const tried = new Map<string, number>();
  return async (_call, args, context) => {
    const { what, round } = args as { what: string; round: number };
    const before = done.get(context.id);
    done.set(context.id, { args, times: (before?.times ?? 0) + (before ? 0 : 1) });
    if (before) expect(args).toEqual(before.args);
    if (what === 'shaky') {
      tried.set(context.id, 1);
      if (context.attempt < 2) throw new Problem('unavailable', 'not yet');
      throw new Problem('missing', 'never');
    }
    return `${what}${round}`;
  };
}

const output = {
  last: ['one1', 'item-a1item-b1item-c1', 'mended'],
  round: 2,
  tag: 36,
};
/** Two rounds of one, three items, and three attempts at the shaky one. */
const EFFECTS = 2 * (1 + 3 + 3);

describe('an execution whose server was killed', () => {
  test('without a kill, does each effect once', async () => {
    const done = new Map<string, { args: Json; times: number }>();
    const it = await rig({ functions: { 'stillflow-run-step': effects(done) } });
    const end = await it.run(everything);
    expect(end).toMatchObject({ state: 'SUCCEEDED', output });
    expect(done.size).toBe(EFFECTS);
  });

  test('after any of its commits goes on to the same end, with each effect once', async () => {
    const whole = await rig({ functions: { 'stillflow-run-step': effects(new Map()) } });
    await whole.run(everything);
    const commits = whole.table.commits;
    expect(commits).toBeGreaterThan(20);
    for (let dieAfter = 2; dieAfter < commits; dieAfter++) {
      const done = new Map<string, { args: Json; times: number }>();
      const world = testWorld();
      const functions = { 'stillflow-run-step': effects(done) };
      const first = await rig({ functions, world, dieAfter });
      await first.machines.define(call, 'm', everything);
      await first.machines.start(call, 'm', 'e1', {});
      await first.until(() => first.table.commits >= dieAfter);
      const second = await rig({ functions, world, items: first.table.items });
      const end = await second.end('m', 'e1');
      expect(end, `killed after commit ${dieAfter}`).toMatchObject({ state: 'SUCCEEDED', output });
      expect(done.size, `killed after commit ${dieAfter}`).toBe(EFFECTS);
      expect([...second.table.items.keys()].filter((key) => /\0XO#|\0N#/.test(key))).toEqual([]);
      expect(second.table.events).toHaveLength(1);
      const history = await second.machines.history(call, 'm', 'e1');
      expect(history.map(({ id }) => id)).toEqual(history.map((_, i) => i + 1));
      expect(history.at(-1)?.type).toBe('ExecutionSucceeded');
    }
  });

  test('and killed again and again, every few commits, still ends', async () => {
    const done = new Map<string, { args: Json; times: number }>();
    const functions = { 'stillflow-run-step': effects(done) };
    const world = testWorld();
    let it = await rig({ functions, world, dieAfter: 3 });
    await it.machines.define(call, 'm', everything);
    await it.machines.start(call, 'm', 'e1', {});
    let lives = 0;
    const over = async () => (await it.machines.describe(call, 'm', 'e1'))?.state !== 'RUNNING';
    while (!(await over())) {
      await it.until(async () => it.table.commits >= 2 || (await over()));
      it = await rig({ functions, world, items: it.table.items, dieAfter: 2 });
      lives += 1;
      expect(lives).toBeLessThan(200);
    }
    expect(lives).toBeGreaterThan(8);
    expect(await it.machines.describe(call, 'm', 'e1')).toMatchObject({ output });
    expect(done.size).toBe(EFFECTS);
  });

  test('whatever the machine, ends as if nothing had happened', async () => {
    await fc.assert(
      fc.asyncProperty(
        anyMachine(),
        fc.integer({ min: 0, max: 9 }),
        fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 6 }),
        async (definition, n, lives) => {
          const expected = expectedOf(definition, { n });
          fc.pre(expected !== undefined);
          const world = testWorld();
          let items: Map<string, Item> | undefined;
          for (const dieAfter of [3, ...lives]) {
            const it: Rig = await rig({ world, dieAfter, ...(items ? { items } : {}) });
            if (!items) {
              await it.machines.define(call, 'm', definition as unknown as Json);
              await it.machines.start(call, 'm', 'e1', { n });
            }
            items = it.table.items;
            await it.until(
              async () =>
                it.table.commits >= dieAfter ||
                (await it.machines.describe(call, 'm', 'e1'))?.state !== 'RUNNING',
            );
          }
          const last = await rig({ world, ...(items ? { items } : {}) });
          const { state, output, error } = await last.end('m', 'e1');
          expect({ state, output, error }).toEqual(expected);
        },
      ),
      { numRuns: 100 },
    );
  });

  test('keeps the time of a wait and of a retry', async () => {
    const world = testWorld();
    const started = world.now();
    const first = await rig({ world, dieAfter: 3 });
    await first.machines.define(
      call,
      'm',
      machine('W', { W: { Type: 'Wait', Seconds: 600, End: true } }),
    );
    await first.machines.start(call, 'm', 'e1', {});
    await first.until(() => first.table.commits >= 3);
    world.pass(started + 599_000 - world.now());
    const second = await rig({ world, items: first.table.items });
    const end = await second.end('m', 'e1');
    expect((end.endedAt ?? 0) - started).toBe(600_000);
  });

  test('that had been stopped: its task is told to stop again, then all is swept', async () => {
    const calls: boolean[] = [];
    const hangs: Integration = (_call, _args, _context, signal) => {
      calls.push(signal.aborted);
      return signal.aborted ? Promise.reject(new Error('stopped')) : new Promise(() => undefined);
    };
    const functions = { 'stillflow-run-step': hangs };
    const first = await rig({ functions });
    await first.machines.define(
      call,
      'm',
      machine('T', { T: { ...invokes('run-step'), End: true } }),
    );
    await first.machines.start(call, 'm', 'e1', {});
    await first.until(() => calls.length === 1);
    await first.machines.stop(call, 'm', 'e1', 'enough');
    // The integration never comes back, and the process dies meanwhile.
    const second = await rig({ functions, items: first.table.items });
    expect(calls).toEqual([false, true]);
    expect([...second.table.items.keys()].filter((key) => /\0XO#|\0N#/.test(key))).toEqual([]);
    expect(await second.machines.describe(call, 'm', 'e1')).toMatchObject({
      state: 'ABORTED',
      cause: 'enough',
    });
  });

  test('is found in every workspace that is told', async () => {
    const other = { ...call, workspace: 'team0001' as typeof call.workspace };
    const first = await rig({ dieAfter: 6 });
    const wait = machine('W', { W: { Type: 'Wait', Seconds: 9, End: true } });
    for (const by of [call, other]) {
      await first.machines.define(by, 'm', wait);
      await first.machines.start(by, 'm', 'e1', { of: by.workspace });
    }
    await first.until(() => first.table.commits >= 6);
    const second = await rig({
      items: first.table.items,
      workspaces: [call.workspace, 'team0001'],
    });
    await second.end('m', 'e1');
    await second.until(
      async () => (await second.machines.describe(other, 'm', 'e1'))?.state === 'SUCCEEDED',
    );
    expect(await second.machines.describe(other, 'm', 'e1')).toMatchObject({
      output: { of: 'team0001' },
    });
  });
});
