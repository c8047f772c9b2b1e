import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Json } from '../../functions/kernel/json.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import { compile } from '../../functions/pipelines/compiler/compile.ts';
import { readDocument } from '../../functions/pipelines/document.ts';
import { RESOURCES } from '../../statemachines/resources.ts';
import { type Left, pipelineRig } from '../pipelines/rig.ts';

const validate = createRequire(import.meta.url)('asl-validator') as (
  definition: unknown,
  options?: { checkArn?: boolean; checkPaths?: boolean },
) => { isValid: boolean; errorsText(separator?: string): string };

const text = (name: string) => readFileSync(join(import.meta.dirname, name), 'utf8');
interface Recorded {
  readonly parameters: Record<string, Json>;
  /** What the job of each task left when the kfp client ran it on a real server. */
  readonly steps: Record<string, Left>;
  /** What reached these tasks. */
  readonly inputs: Record<string, Record<string, Json>>;
  readonly outputs?: Record<string, Json>;
}
const recorded = JSON.parse(text('recorded.json')) as Record<string, Recorded>;
const documents = readdirSync(import.meta.dirname)
  .filter((name) => name.endsWith('.yaml'))
  .map((name) => name.slice(0, -'.yaml'.length));

const refused: Record<string, string> = {
  condition: "task 'condition-1': a condition (dsl.If, dsl.Condition) is not supported yet.",
};

test('every compiled pipeline of this folder is either run or refused', () => {
  expect([...Object.keys(recorded), ...Object.keys(refused)].sort()).toEqual(documents.sort());
});

describe.each(Object.keys(recorded))('%s', (name) => {
  const { pipeline } = readDocument(text(`${name}.yaml`));

  test('compiles to its golden machine', () => {
    const path = join(import.meta.dirname, `${name}.asl.json`);
    const written = `${JSON.stringify(compile(pipeline).definition, null, 2)}\n`;
    // STILLFLOW_GOLDEN=1 rewrites; the diff is then read.
    if (process.env['STILLFLOW_GOLDEN']) writeFileSync(path, written);
    expect(written).toBe(readFileSync(path, 'utf8'));
  });

  test('is valid ASL and calls only what machines may call', () => {
    const { definition } = compile(pipeline);
    const verdict = validate(definition);
    expect(verdict.errorsText()).toBe('');
    expect(verdict.isValid).toBe(true);
    const arns = [...JSON.stringify(definition).matchAll(/"Resource":"([^"]+)"/g)].map(
      ([, arn]) => arn,
    );
    expect(arns.length).toBeGreaterThan(0);
    for (const arn of arns) expect(RESOURCES.map((each) => each.arn)).toContain(arn);
  });

  test('runs: each task once, after its inputs, with the values of the record', async () => {
    const { parameters, steps, inputs, outputs } = recorded[name] as Recorded;
    const rig = pipelineRig((step) => steps[step.name] ?? { fail: `no record of ${step.name}` });
    const run = await rig.run(pipeline, parameters);
    expect(run.error).toBeUndefined();
    expect(run.state).toBe('SUCCEEDED');
    expect(rig.ran.map((job) => job.name).sort()).toEqual(Object.keys(steps).sort());
    const { plan } = compile(pipeline);
    const order = rig.ran.map((job) => job.name);
    for (const task of plan.tasks)
      for (const need of task.needs)
        expect(order.indexOf(need), `${need} before ${task.id}`).toBeLessThan(
          order.indexOf(task.id),
        );
    for (const [task, expected] of Object.entries(inputs))
      expect(
        rig.ran.find((job) => job.name === task)?.file.executorInput.inputs.parameterValues,
      ).toEqual(expected);
    expect(run.outputs).toEqual(outputs);
  });
});

test.each(Object.entries(refused))('%s is refused by name', (name, message) => {
  const { pipeline } = readDocument(text(`${name}.yaml`));
  expect(() => compile(pipeline)).toThrow(Problem);
  expect(() => compile(pipeline)).toThrow(message);
});
