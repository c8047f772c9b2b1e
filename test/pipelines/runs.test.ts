import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { readDocument } from '../../functions/pipelines/document.ts';
import { type PipelineRig, pipelineRig, type Steps } from './rig.ts';

const golden = (name: string) =>
  readDocument(readFileSync(join(import.meta.dirname, `../golden/${name}.yaml`), 'utf8')).pipeline;

const twoSteps: Steps = ({ name }) =>
  ({
    prepare: {
      parameters: { Output: '10 rows' },
      artifacts: { data: { text: '1\n2', metadata: { rows: 10 } } },
    },
    train: {
      parameters: { Output: 4.5 },
      artifacts: { model: { text: '2.25' }, metrics: { metadata: { mean: 4.5 } } },
    },
    report: { parameters: { text: '10 rows: 4.5' } },
  })[name] ?? {};

let rig: PipelineRig;
afterEach(() => rig?.close());

test('a run succeeds', async () => {
  rig = await pipelineRig(twoSteps);
  const run = await rig.run(golden('two_step'), { rows: 10 });
  console.log(JSON.stringify(run, null, 1), JSON.stringify(rig.logged));
  expect(run.state).toBe('SUCCEEDED');
});
