import * as fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Call } from '../../functions/kernel/call.ts';
import type { Event } from '../../functions/kernel/event.ts';
import type { Json } from '../../functions/kernel/json.ts';
import type { Execution, Machines } from '../../functions/platform/ports.ts';
import { callIn, newWorkspace } from './calls.ts';
import { anyMachine, expectedOf } from './machine-model.ts';

export interface MachinesUnderTest {
  readonly machines: Machines;
  /** The events committed so far, where the adapter itself commits them. */
  readonly events?: readonly Event[];
}

export interface MachinesSuite {
  readonly on: string;
  open(): Promise<MachinesUnderTest>;
  /** Random machines that the model test runs. */
  readonly runs: number;
  /** Cases left out, each with the reason. */
  readonly skips?: { readonly [name: string]: string };
}

const succeed = (Output: Json): Json => ({
  QueryLanguage: 'JSONata',
  StartAt: 'A',
  States: { A: { Type: 'Pass', Output, End: true } },
});
const waits: Json = {
  QueryLanguage: 'JSONata',
  StartAt: 'W',
  States: { W: { Type: 'Wait', Seconds: 90_000, End: true } },
};

/** Waits until the execution has ended, by asking; at most ten seconds. */
export async function ended(
  machines: Machines,
  call: Call,
  machine: string,
  execution: string,
): Promise<Execution> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const found = await machines.describe(call, machine, execution);
    if (found && found.state !== 'RUNNING') return found;
    if (Date.now() > deadline) throw new Error(`${machine}/${execution} has not ended`);
    await new Promise((go) => setTimeout(go, 10));
  }
}

/** What every Machines keeps, whatever runs beneath. */
export function machinesContract({ on, open, runs, skips = {} }: MachinesSuite) {
  describe(`Machines on ${on}`, () => {
    let machines: Machines;
    let events: readonly Event[] | undefined;
    const fresh = (): Call => callIn(newWorkspace());
    const held = (name: string, run: () => Promise<void>) => {
      const why = skips[name];
      if (why) test.skip(`${name} (${why})`, run);
      else test(name, run);
    };
    beforeAll(async () => {
      ({ machines, events } = await open());
    });

    held('runs a machine to its end, and describes it', async () => {
      const call = fresh();
      await machines.define(call, 'm', succeed({ n: '{% $states.input.n + 1 %}' }));
      await machines.start(call, 'm', 'e', { n: 1 });
      const end = await ended(machines, call, 'm', 'e');
      expect(end).toMatchObject({
        machine: 'm',
        execution: 'e',
        state: 'SUCCEEDED',
        input: { n: 1 },
        output: { n: 2 },
      });
      expect(end.endedAt).toBeGreaterThanOrEqual(end.startedAt);
    });

    held('defines the same text twice', async () => {
      const call = fresh();
      await machines.define(call, 'm', succeed({ a: 1, b: 2 }));
      await machines.define(call, 'm', succeed({ b: 2, a: 1 }));
      expect(await machines.definition(call, 'm')).toEqual(succeed({ a: 1, b: 2 }));
    });

    held('defines no other text under a name that is taken', async () => {
      const call = fresh();
      await machines.define(call, 'm', succeed({ a: 1, b: 2 }));
      await expect(machines.define(call, 'm', succeed(2))).rejects.toMatchObject({
        code: 'conflict',
      });
      expect(await machines.definition(call, 'm')).toEqual(succeed({ a: 1, b: 2 }));
    });

    held('refuses a bad definition', async () => {
      const call = fresh();
      const bad: Json = { QueryLanguage: 'JSONata', StartAt: 'A', States: { B: { Type: 'Pass' } } };
      await expect(machines.define(call, 'm', bad)).rejects.toMatchObject({ code: 'invalid' });
      expect(await machines.definition(call, 'm')).toBeUndefined();
    });

    held('refuses a bad name, and the name of a written machine', async () => {
      const call = fresh();
      for (const name of ['', 'a b', 'a/b', '../x', 'x'.repeat(69), 'é'])
        await expect(machines.define(call, name, succeed(1))).rejects.toMatchObject({
          code: 'invalid',
        });
      await expect(machines.define(call, 'retraining', succeed(1))).rejects.toMatchObject({
        code: 'conflict',
      });
    });

    held('starts once by name: the same input is silent, another exists', async () => {
      const call = fresh();
      await machines.define(call, 'm', waits);
      await machines.start(call, 'm', 'e', { a: 1, b: [2] });
      await machines.start(call, 'm', 'e', { b: [2], a: 1 });
      await expect(machines.start(call, 'm', 'e', { a: 2 })).rejects.toMatchObject({
        code: 'exists',
      });
      expect((await machines.describe(call, 'm', 'e'))?.input).toEqual({ a: 1, b: [2] });
      await machines.stop(call, 'm', 'e', 'done with it');
    });

    held('also once it has ended', async () => {
      const call = fresh();
      await machines.define(call, 'm', succeed(1));
      await machines.start(call, 'm', 'e', { a: 1 });
      await ended(machines, call, 'm', 'e');
      await machines.start(call, 'm', 'e', { a: 1 });
      await expect(machines.start(call, 'm', 'e', { a: 2 })).rejects.toMatchObject({
        code: 'exists',
      });
    });

    held('starts nothing that is not defined, badly named, or too large', async () => {
      const call = fresh();
      await expect(machines.start(call, 'm', 'e', {})).rejects.toMatchObject({ code: 'missing' });
      await machines.define(call, 'm', succeed(1));
      await expect(machines.start(call, 'm', 'a/b', {})).rejects.toMatchObject({ code: 'invalid' });
      await expect(machines.start(call, 'm', 'x'.repeat(71), {})).rejects.toMatchObject({
        code: 'invalid',
      });
      await expect(machines.start(call, 'm', 'e', 'x'.repeat(262_144))).rejects.toMatchObject({
        code: 'too_large',
      });
      expect(await machines.describe(call, 'm', 'e')).toBeUndefined();
    });

    held('stops an execution, which ends ABORTED, as often as one likes', async () => {
      const call = fresh();
      await machines.define(call, 'm', waits);
      await machines.start(call, 'm', 'e', {});
      await machines.stop(call, 'm', 'e', 'nobody needs it');
      const end = await ended(machines, call, 'm', 'e');
      expect(end).toMatchObject({ state: 'ABORTED' });
      await machines.stop(call, 'm', 'e', 'again');
      expect(await machines.describe(call, 'm', 'e')).toEqual(end);
      await expect(machines.stop(call, 'm', 'other', '')).rejects.toMatchObject({
        code: 'missing',
      });
    });

    held('tells why it was stopped', async () => {
      const call = fresh();
      await machines.define(call, 'm', waits);
      await machines.start(call, 'm', 'e', {});
      await machines.stop(call, 'm', 'e', 'nobody needs it');
      expect(await ended(machines, call, 'm', 'e')).toMatchObject({ cause: 'nobody needs it' });
    });

    held('tells the history in order, also from a place on', async () => {
      const call = fresh();
      await machines.define(call, 'm', {
        QueryLanguage: 'JSONata',
        StartAt: 'A',
        States: {
          A: { Type: 'Pass', Assign: { x: 5 }, Next: 'B' },
          B: { Type: 'Fail', Error: 'Mine', Cause: '{% $string($x) %}' },
        },
      });
      await machines.start(call, 'm', 'e', { a: 1 });
      expect(await ended(machines, call, 'm', 'e')).toMatchObject({
        state: 'FAILED',
        error: 'Mine',
        cause: '5',
      });
      const history = await machines.history(call, 'm', 'e');
      expect(history.map(({ id, type }) => [id, type])).toEqual([
        [1, 'ExecutionStarted'],
        [2, 'PassStateEntered'],
        [3, 'PassStateExited'],
        [4, 'FailStateEntered'],
        [5, 'ExecutionFailed'],
      ]);
      expect(JSON.parse(String(history[0]?.details['input']))).toEqual({ a: 1 });
      expect(history[1]?.details['name']).toBe('A');
      expect(history[4]?.details).toMatchObject({ error: 'Mine', cause: '5' });
      for (const { id, previousEventId } of history) expect(previousEventId).toBeLessThan(id);
      expect(await machines.history(call, 'm', 'e', 3)).toEqual(history.slice(3));
      expect(await machines.history(call, 'm', 'e', 5)).toEqual([]);
      await expect(machines.history(call, 'm', 'other')).rejects.toMatchObject({ code: 'missing' });
    });

    held('keeps workspaces apart', async () => {
      const [mine, other] = [fresh(), fresh()];
      await machines.define(mine, 'm', succeed(1));
      await machines.start(mine, 'm', 'e', {});
      await ended(machines, mine, 'm', 'e');
      expect(await machines.definition(other, 'm')).toBeUndefined();
      expect(await machines.describe(other, 'm', 'e')).toBeUndefined();
      await expect(machines.start(other, 'm', 'e', {})).rejects.toMatchObject({ code: 'missing' });
      await expect(machines.history(other, 'm', 'e')).rejects.toMatchObject({ code: 'missing' });
      await machines.define(other, 'm', succeed(2));
      await machines.start(other, 'm', 'e', {});
      expect((await ended(machines, other, 'm', 'e')).output).toBe(2);
    });

    held('removes a machine, as often as one likes', async () => {
      const call = fresh();
      await machines.define(call, 'm', succeed(1));
      await machines.remove(call, 'm');
      await machines.remove(call, 'm');
      expect(await machines.definition(call, 'm')).toBeUndefined();
      await expect(machines.start(call, 'm', 'e', {})).rejects.toMatchObject({ code: 'missing' });
      await expect(machines.remove(call, 'retraining')).rejects.toMatchObject({ code: 'conflict' });
      await machines.define(call, 'm', succeed(2));
      await machines.start(call, 'm', 'f', {});
      expect((await ended(machines, call, 'm', 'f')).output).toBe(2);
    });

    held('lets a machine start another by its address, once', async () => {
      const call = fresh();
      await machines.define(call, 'child', succeed({ twice: '{% $states.input.n * 2 %}' }));
      await machines.define(call, 'parent', {
        QueryLanguage: 'JSONata',
        StartAt: 'S',
        States: {
          S: {
            Type: 'Task',
            Resource: 'arn:aws:states:::states:startExecution.sync:2',
            Arguments: {
              StateMachineArn: '{% $states.input.address.StateMachineArn %}',
              Name: '{% $states.input.address.Name %}',
              Input: { n: 21 },
            },
            Output: {
              status: '{% $states.result.Status %}',
              output: '{% $states.result.Output %}',
              name: '{% $states.result.Name %}',
            },
            End: true,
          },
        },
      });
      const address = machines.address(call, 'child', 'kid');
      await machines.start(call, 'parent', 'p', { address });
      const end = await ended(machines, call, 'parent', 'p');
      expect({ cause: end.cause, output: end.output }).toEqual({
        cause: undefined,
        output: {
          status: 'SUCCEEDED',
          output: { twice: 42 },
          name: address.Name,
        },
      });
      expect(await machines.describe(call, 'child', 'kid')).toMatchObject({
        output: { twice: 42 },
      });
    });

    held('tells the bus of every end once', async () => {
      const call = fresh();
      await machines.define(call, 'm', succeed({ o: 1 }));
      await machines.start(call, 'm', call.workspace, {});
      await ended(machines, call, 'm', call.workspace);
      expect(
        (events ?? []).filter(({ subject }) => subject === `executions/${call.workspace}`),
      ).toEqual([
        {
          type: 'machines.execution.ended',
          subject: `executions/${call.workspace}`,
          data: {
            machine: 'm',
            execution: call.workspace,
            state: 'SUCCEEDED',
            error: null,
            cause: null,
            output: { o: 1 },
          },
        },
      ]);
    });

    held('runs any small machine to the end that the model foretells', async () => {
      const call = fresh();
      let count = 0;
      await fc.assert(
        fc.asyncProperty(anyMachine(), fc.integer({ min: 0, max: 9 }), async (definition, n) => {
          const expected = expectedOf(definition, { n });
          fc.pre(expected !== undefined);
          const name = `m${count++}`;
          await machines.define(call, name, definition as unknown as Json);
          await machines.start(call, name, 'e', { n });
          const { state, output, error } = await ended(machines, call, name, 'e');
          expect({ state, output, error }).toEqual(expected);
        }),
        { numRuns: runs },
      );
    });
  });
}
