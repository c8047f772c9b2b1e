import { expect, test } from 'vitest';
import { arrival, ending } from '../../functions/handlers/heard.ts';

const envelope = { time: '2026-11-24T12:00:00Z', source: 'aws', id: '1' };
const created = (key: string) =>
  ({
    ...envelope,
    detail: { bucket: { name: 'b' }, object: { key, size: 3, etag: 'e1' } },
  }) as never;
const ended = (machine: string, name: string, detail: object = {}) =>
  ({
    ...envelope,
    detail: {
      executionArn: `arn:aws:states:eu-west-1:1:execution:${machine}:${name}`,
      stateMachineArn: `arn:aws:states:eu-west-1:1:stateMachine:${machine}`,
      name,
      status: 'SUCCEEDED',
      ...detail,
    },
  }) as never;

test('a file put into the bucket past us is told as data that arrived', () => {
  expect(arrival(created('default0/data/sales/may.csv'))).toMatchObject({
    type: 'artifacts.data.arrived',
    subject: 'data/sales/may.csv',
    workspace: 'default0',
    data: { path: 'sales/may.csv', sizeBytes: 3, etag: 'e1' },
  });
});

test('the same fact delivered twice has one id, another fact another', () => {
  const [first, again, other] = ['x', 'x', 'y'].map((name) =>
    arrival(created(`default0/data/${name}`)),
  );
  expect(first?.id).toBe(again?.id);
  expect(first?.id).not.toBe(other?.id);
  expect(first?.id).toMatch(/^[0-9A-HJKMNP-TV-Z]{26}$/);
});

test.each([
  'default0/artifacts/data/x',
  'data/x',
  'Default0/data/x',
  'default0/data/folder/',
  'default0/data/',
])('a key that is no data of a workspace is not told: %s', (key) =>
  expect(arrival(created(key))).toBeUndefined(),
);

test('the end of an execution is told in the words that Machines promises', () => {
  const told = ending(ended('stillflow-retraining', 'default0-night-1', { output: '{"x":1}' }));
  expect(told).toMatchObject({
    type: 'machines.execution.ended',
    subject: 'executions/night-1',
    workspace: 'default0',
    data: {
      machine: 'retraining',
      execution: 'night-1',
      state: 'SUCCEEDED',
      error: null,
      cause: null,
      output: { x: 1 },
    },
  });
  expect(ending(ended('sf-default0-p-4f', 'default0-run-9'))?.data).toMatchObject({
    machine: 'p-4f',
  });
});

test.each([
  ['sf-another0-p-4f', 'default0-run-9'],
  ['default0-p-4f', 'default0-run-9'],
  ['another-retraining', 'default0-run-9'],
  ['stillflow-', 'default0-run-9'],
  ['stillflow-retraining', 'somebody'],
])('an execution that is none of ours is not told: %s %s', (machine, name) =>
  expect(ending(ended(machine, name))).toBeUndefined(),
);
