import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readDocument } from '../../functions/pipelines/document.ts';
import { MachineError } from '../../local/asl/errors.ts';
import { pipelineRig, type Steps } from './rig.ts';

/** Its step `collect` is tried three times more; here as a SageMaker job. */
const settings = readDocument(
  readFileSync(join(import.meta.dirname, '../golden/settings.yaml'), 'utf8').replace(
    /(exec-collect:[\s\S]*?\n {8}env:\n)/,
    '$1        - name: STILLFLOW_RUNNER\n          value: sagemaker\n',
  ),
).pipeline;
const quota = (limit: number) =>
  new MachineError(
    'SageMaker.ResourceLimitExceededException',
    `The account-level service limit 'ml.g5.xlarge for training job usage' is ${limit} Instances, with current utilization of ${limit} Instances and a request delta of 1 Instances. Please use AWS Service Quotas to request an increase for this quota. (Service: SageMaker, Status Code: 400, Request ID: 7d)`,
  );

test('a quota that is used up for a while is none of the tries of a retry policy', async () => {
  const started: string[] = [];
  const refused: string[] = [];
  const steps: Steps = ({ name, spec }) => {
    if (name !== 'collect') return {};
    if (!refused.includes(spec.name)) {
      refused.push(spec.name);
      throw quota(1);
    }
    started.push(spec.name);
    return { fail: `try ${started.length}` };
  };
  const rig = pipelineRig(steps);
  const run = await rig.run(settings);
  expect(run.error.message).toBe('collect: try 4');
  expect(new Set(started).size).toBe(4);
  expect(started).toEqual(refused);
});

test('a quota that stays used up fails the step with its name', async () => {
  const rig = pipelineRig(({ name }) => {
    if (name === 'collect') throw quota(0);
    return {};
  });
  const run = await rig.run(settings);
  expect(run.state).toBe('FAILED');
  expect(run.error.message).toBe(
    "collect: The quota 'ml.g5.xlarge for training job usage' of this account is 0, 0 of it in use, and this asks for 1 more. New accounts begin with 0 here: ask for more in the Service Quotas console under Amazon SageMaker, by that name.",
  );
});
