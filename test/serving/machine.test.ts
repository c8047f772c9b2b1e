import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, expect, test } from 'vitest';
import { readMachine } from '../../local/asl/check.ts';
import { PASSING_ERRORS, RESOURCES } from '../../statemachines/resources.ts';

/** The package has no types of its own. */
const validator = createRequire(import.meta.url)('asl-validator') as (
  definition: unknown,
) => unknown;

describe.each(['deploy-endpoint', 'retraining'])('%s.asl.json', (name) => {
  const text = readFileSync(`statemachines/${name}.asl.json`, 'utf8');
  const machine = JSON.parse(text);
  const tasks = Object.values(machine.States as Record<string, Task>).filter(
    ({ Type }) => Type === 'Task',
  );
  interface Task {
    Type: string;
    Resource: string;
    Retry?: { ErrorEquals: string[]; MaxAttempts: number }[];
    Arguments: { FunctionName?: string };
  }

  test('passes asl-validator and our own reading', () => {
    expect(validator(machine)).toMatchObject({ isValid: true });
    expect(() => readMachine(machine)).not.toThrow();
  });

  test('calls only what machines may call, and functions of ours', () => {
    const allowed = RESOURCES.map(({ arn }) => arn);
    for (const task of tasks) expect(allowed).toContain(task.Resource);
    for (const { Arguments } of tasks)
      if (Arguments.FunctionName) expect(Arguments.FunctionName).toMatch(/^stillflow-[a-z-]+$/);
  });

  test('tries again what passes by itself, a bounded number of times', () => {
    for (const { Resource, Retry } of tasks) {
      if (!Resource.includes('lambda')) continue;
      const tried = new Set(Retry?.flatMap(({ ErrorEquals }) => ErrorEquals));
      if (!tried.has('States.ALL')) expect([...tried].sort()).toEqual([...PASSING_ERRORS].sort());
      for (const { MaxAttempts } of Retry ?? []) expect(MaxAttempts).toBeLessThanOrEqual(60);
    }
  });
});
