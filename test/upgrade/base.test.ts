import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ChildServer, startServer } from '../child.ts';
import { READINGS } from './readings.ts';

const base = join(import.meta.dirname, 'base');

describe('a data folder of an earlier release', { timeout: 60_000 }, () => {
  const data = mkdtempSync(join(tmpdir(), 'base-'));
  const answers = JSON.parse(readFileSync(join(base, 'answers.json'), 'utf8')) as Record<
    string,
    unknown
  >;
  let server: ChildServer;
  beforeAll(async () => {
    cpSync(join(base, 'data'), data, { recursive: true });
    server = await startServer({ data });
  }, 60_000);
  afterAll(async () => {
    await server?.stop({ keep: true });
    rmSync(data, { recursive: true, force: true });
  });

  test('names the commit that wrote it', () => {
    expect(readFileSync(join(base, 'commit'), 'utf8')).toMatch(/^[0-9a-f]{40}\n$/);
    expect(existsSync(join(base, 'table.json'))).toBe(true);
  });

  test.each(READINGS)('answers $name as it did', async ({ name, method, path, body }) => {
    const answer = await fetch(server.url + path, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')?.includes('json') ? JSON.parse(text) : text).toEqual(
      answers[name],
    );
  });

  test('takes new writes', async () => {
    const answer = await fetch(`${server.url}/api/2.0/mlflow/experiments/create`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'after the upgrade' }),
    });
    expect(answer.status).toBe(200);
    expect(
      Number(((await answer.json()) as { experiment_id: string }).experiment_id),
    ).toBeGreaterThan(1);
  });
});
