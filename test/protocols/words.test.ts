import { describe, expect, test } from 'vitest';
import { Problem, type ProblemCode } from '../../functions/kernel/problem.ts';
import type { Protocol } from '../../functions/kernel/route.ts';
import { API_WORDS, api } from '../../functions/protocols/api.ts';
import { INFERENCE_WORDS, inference } from '../../functions/protocols/inference.ts';
import { KFP_WORDS, kfp } from '../../functions/protocols/kfp.ts';
import { KUBE_WORDS } from '../../functions/protocols/kube.ts';
import { MLFLOW_WORDS, mlflow } from '../../functions/protocols/mlflow.ts';

const CODES = Object.keys(MLFLOW_WORDS) as ProblemCode[];

test('every wire words the same codes', () => {
  for (const words of [API_WORDS, INFERENCE_WORDS, KFP_WORDS, KUBE_WORDS])
    expect(Object.keys(words).sort()).toEqual([...CODES].sort());
});

const WIRES: [
  Protocol,
  Readonly<Record<ProblemCode, readonly [number, unknown]>>,
  (body: Record<string, unknown>) => unknown,
][] = [
  [mlflow, MLFLOW_WORDS, (body) => body['error_code']],
  [kfp, KFP_WORDS, (body) => body['code']],
];

describe.each(WIRES)('$name', (protocol, words, wordOf) => {
  test.each(CODES)('%s', async (code) => {
    const answer = protocol.problem(new Problem(code, 'why', { cause: new Error('secret') }));
    const body = (await answer.json()) as Record<string, unknown>;
    expect([answer.status, wordOf(body)]).toEqual([...words[code]]);
    expect(body['message']).toBe('why');
    expect(JSON.stringify(body)).not.toContain('secret');
  });
});

test('our own face answers problem details, inference its one field', async () => {
  const problem = new Problem('invalid', 'name: is too long', { field: 'name' });
  const answer = api.problem(problem);
  expect(answer.headers.get('content-type')).toBe('application/problem+json');
  expect(await answer.json()).toMatchObject({
    status: 400,
    detail: 'name: is too long',
    field: 'name',
    title: 'invalid',
  });
  expect(await inference.problem(problem).json()).toEqual({ error: 'name: is too long' });
});

test('a face may say another status or word than the table', async () => {
  const answer = mlflow.problem(
    new Problem('invalid', 'why', { status: 409, word: 'ALREADY_EXISTS' }),
  );
  expect([answer.status, ((await answer.json()) as { error_code: string }).error_code]).toEqual([
    409,
    'ALREADY_EXISTS',
  ]);
});
