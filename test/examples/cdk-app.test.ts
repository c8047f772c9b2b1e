import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { readDocument } from '../../functions/pipelines/document.ts';
import { clientPython } from '../clients/venv.ts';

const root = resolve(import.meta.dirname, '../..');
const WRITE = `
import sys
from kfp import compiler
import pipeline
compiler.Compiler().compile(pipeline.demand, sys.argv[1])
`;

/** Which kfp wrote it, and where its YAML breaks lines, is no matter of the pipeline's. */
const meaning = (path: string) => {
  const { pipeline } = readDocument(readFileSync(path, 'utf8'));
  const { sdkVersion: _, ...spec } = pipeline as Record<string, unknown>;
  return spec;
};

test('demand-forecast.yaml is what kfp makes of examples/demand/pipeline.py', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'stillflow-cdk-app-'));
  const file = join(folder, 'demand-forecast.yaml');
  execFileSync(await clientPython('kfp'), ['-c', WRITE, file], {
    cwd: join(root, 'examples/demand'),
    env: { ...process.env, PYTHONPATH: '.', PYTHONDONTWRITEBYTECODE: '1' },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const [made, kept] = [file, join(root, 'examples/cdk-app/demand-forecast.yaml')].map(meaning);
  rmSync(folder, { recursive: true });
  expect(kept).toEqual(made);
});
