import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { compile } from '../../functions/pipelines/compiler/compile.ts';
import { readDocument } from '../../functions/pipelines/document.ts';
import { BATCH_JOB } from '../../statemachines/resources.ts';

const settings = (runner: string) =>
  readDocument(
    readFileSync(join(import.meta.dirname, '../golden/settings.yaml'), 'utf8').replace(
      /(exec-collect:[\s\S]*?\n {8}env:\n)/,
      `$1        - name: STILLFLOW_RUNNER\n          value: ${runner}\n`,
    ),
  ).pipeline;

test('a step that asks for the cluster is a job of AWS Batch, and only that step', () => {
  const { definition } = compile(settings('batch'));
  const found = [
    ...JSON.stringify(definition).matchAll(/"(\w+)\.run":\{"Type":"Task","Resource":"([^"]+)"/g),
  ];
  expect(found.filter(([, , arn]) => arn === BATCH_JOB).map(([, task]) => task)).toEqual([
    'collect',
  ]);
});

test('a runner that there is not is refused with those that there are', () => {
  expect(() => compile(settings('fargate'))).toThrow(
    "STILLFLOW_RUNNER must be one of lambda, sagemaker, batch, not 'fargate'.",
  );
});
