import { SFNClient } from '@aws-sdk/client-sfn';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Json } from '../../functions/kernel/json.ts';
import { stepFunctions } from '../../functions/platform/aws/machines.ts';
import type { Machines } from '../../functions/platform/ports.ts';
import { callIn, newWorkspace } from '../contracts/calls.ts';
import { anyMachine, expectedOf } from '../contracts/machine-model.ts';
import { ended, machinesContract } from '../contracts/machines.ts';
import { fixtures } from '../machines/fixtures.ts';
import { rig } from '../machines/rig.ts';
import { type Oracle, startMoto } from '../oracles/oracle.ts';

const started: Promise<Oracle> = startMoto();
let machines: Machines;

async function open(): Promise<Machines> {
  const { url } = await started;
  // Without this it answers every execution with a canned success.
  const answer = await fetch(`${url}/moto-api/config`, {
    method: 'POST',
    body: JSON.stringify({ stepfunctions: { execute_state_machine: true } }),
  });
  if (!answer.ok) throw new Error(`moto answered ${answer.status}`);
  const client = new SFNClient({
    region: 'us-east-1',
    endpoint: url,
    credentials: { accessKeyId: 'oracle', secretAccessKey: 'oracle' },
  });
  return stepFunctions({
    client,
    arn: 'arn:aws:states:us-east-1:123456789012',
    roleArn: 'arn:aws:iam::123456789012:role/machines',
  });
}

beforeAll(async () => {
  machines = await open();
});
afterAll(async () => (await started).stop());

machinesContract({
  on: 'Step Functions as moto plays it',
  runs: 12,
  open: async () => ({ machines: await open() }),
  skips: {
    'defines no other text under a name that is taken':
      'it answers with the first machine, whatever the text; AWS: StateMachineAlreadyExists, see machines-faults',
    'refuses a bad definition':
      'it checks no definition; AWS: InvalidDefinition, see machines-faults',
    'tells why it was stopped': 'it forgets the cause',
    'lets a machine start another by its address, once':
      'its startExecution does not find the StateMachineArn that Arguments hold',
    'tells the bus of every end once': 'EventBridge tells it, not the adapter',
  },
});

/** Runs the same text in both and compares how it ended and what it told on the way. */
async function compare(definition: Json, input: Json, withEvents: boolean) {
  const call = callIn(newWorkspace());
  const ours = await rig();
  const mine = await ours.run(definition, input);
  await machines.define(call, 'm', definition);
  await machines.start(call, 'm', 'e', input);
  const theirs = await ended(machines, call, 'm', 'e');
  const shown = ({ state, output, error }: typeof mine) => ({ state, output, error });
  expect(shown(mine)).toEqual(shown(theirs));
  if (!withEvents) return;
  const told = (await machines.history(call, 'm', 'e')).map(({ type }) => type);
  expect(await ours.types('m', 'e1')).toEqual(told);
}

describe('our interpreter and moto', () => {
  for (const { name, definition, input = {}, oracle } of fixtures) {
    if (oracle?.skips) test.skip(`${name} (${oracle.skips})`, () => undefined);
    else
      test(`${name}${oracle?.events ? ` (not its events: ${oracle.events})` : ''}`, () =>
        compare(definition, input, oracle?.events === undefined));
  }

  test('end random machines alike', async () => {
    await fc.assert(
      fc.asyncProperty(anyMachine(), fc.integer({ min: 0, max: 9 }), async (definition, n) => {
        fc.pre(expectedOf(definition, { n }) !== undefined);
        await compare(definition as unknown as Json, { n }, false);
      }),
      { numRuns: 15 },
    );
  });
});
