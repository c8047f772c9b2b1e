import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readDocument } from '../../functions/pipelines/document.ts';
import { runsImage } from '../../local/job_images.ts';
import { type Answer, type PipelineRig, pipelineRig } from '../pipelines/rig.ts';

const diamond = readDocument(
  readFileSync(join(import.meta.dirname, '../golden/diamond.yaml'), 'utf8'),
).pipeline as Answer;

let rig: PipelineRig;
beforeAll(() => {
  rig = pipelineRig(undefined, { runsImage, ends: afterAll });
});

const REFUSED =
  "needs a container engine, and this machine's server runs none: use an image of python, UBI python, alpine, busybox or bash, or run it in an account.";

test.each<[string, string[], string | undefined]>([
  ['pytorch/pytorch:2.4', ['python3', '-c', '1'], REFUSED],
  ['registry.example/team/python-tools@sha256:00', ['python3'], REFUSED],
  [
    'python:3.12',
    ['Rscript', 'fit.R'],
    "is not pulled here, and its command 'Rscript' is not one of python3, sh or bash: begin it with one of these, or run it in an account.",
  ],
  ['docker.io/library/python:3.12', ['python3', '-c', '1'], undefined],
  ['registry.example/ubi9/python-311:1', ['sh', '-c', 'true'], undefined],
])('a task of image %s with %j is refused by name, or runs', async (image, command, why) => {
  const spec = structuredClone(diamond);
  const [label] = Object.keys(spec.deploymentSpec.executors);
  Object.assign(spec.deploymentSpec.executors[label ?? ''].container, { image, command });
  const before = (await rig.ask('GET', '/apis/v2beta1/runs')).body.total_size;
  const made = await rig.ask('POST', '/apis/v2beta1/runs', {
    display_name: 'x',
    pipeline_spec: spec,
    runtime_config: { parameters: { n: 1 } },
  });
  const message = `Invalid input error: task 'add': image '${image}' ${why}`;
  expect(made).toMatchObject(
    why === undefined ? { status: 200 } : { status: 400, body: { message } },
  );
  const after = (await rig.ask('GET', '/apis/v2beta1/runs')).body.total_size ?? 0;
  expect(after - (before ?? 0)).toBe(why === undefined ? 1 : 0);
});
