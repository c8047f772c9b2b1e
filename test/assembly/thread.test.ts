import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { judgeThread, readSeen, type Seen } from '../clients/thread/judge.ts';
import { runClient } from '../clients/venv.ts';
import { ask, credentialsOf, drop, firstToken, until } from './checks.ts';
import { HURRY_MS, type Opened, openStack } from './open.ts';
import { REGION } from './stack/intrinsics.ts';
import { fields, list, text } from './stack/values.ts';

/** How the account differs from one machine for the thread: each entry is what one line below does. It may only shrink. */
const differences = JSON.parse(
  readFileSync(join(import.meta.dirname, 'differences.json'), 'utf8'),
) as Record<string, string>;
const MOST_DIFFERENCES = 3;
const made = new Set<string>();
/** What is done for a difference, which must be on the list. */
function differing<T>(name: string, value: T): T {
  if (!differences[name]) throw new Error(`differences.json does not list '${name}'`);
  made.add(name);
  return value;
}

describe('the thread on what the stacks make: by unmodified clients', () => {
  let opened: Opened;
  let token: string;
  let seen: Seen;
  beforeAll(async () => {
    opened = await openStack();
    differing('waits', HURRY_MS);
    const { stack } = opened;
    token = await firstToken(stack);
    const { accessKeyId, secretAccessKey } = credentialsOf(stack);
    const env = {
      ...differing('token', { MLFLOW_TRACKING_TOKEN: token }),
      ...differing('artifacts', {
        AWS_ENDPOINT_URL: stack.gateway,
        AWS_REGION: REGION,
        AWS_DEFAULT_REGION: REGION,
        AWS_ACCESS_KEY_ID: accessKeyId,
        AWS_SECRET_ACCESS_KEY: secretAccessKey,
        PYTHONPATH: stack.pythonPath,
      }),
    };
    const url = text(stack.outputs['stillflow-api.Url']);
    seen = readSeen(await runClient('thread', 'thread.py', [url], env, 400_000));
  }, 480_000);
  afterAll(() => opened?.close());

  judgeThread(() => seen);

  test('a file put into the bucket past us retrains too', async () => {
    const points = Array.from({ length: 20 }, (_, x) => `${x},${4 * x + 0.001 * (x % 2)}\n`);
    await drop(opened.stack, 'default0/data/drops/past-us.csv', `x,y\n${points.join('')}`);
    const retrained = await until(
      opened.stack,
      'the retraining of a file put into the bucket',
      async () => {
        const answer = fields(await ask(opened.stack, token, 'GET', '/api/retrainings'));
        const ended = list(answer['retrainings'])
          .map(fields)
          .filter(({ state }) => state !== 'running');
        return ended.length === 4 && ended[0];
      },
      120_000,
    );
    expect(retrained['state']).toBe('promoted');
  });

  test('nothing was denied, and no function failed but to say what the thread asks for', () => {
    const { access, host } = opened.stack;
    expect(access.denials).toEqual([]);
    const meant =
      /^(Problem\.unavailable: line is (creating|updating)|StepFailed: ValueError: y may not)/;
    const failed = host.failures.map(({ at, errorType, errorMessage }) => [
      `${errorType}: ${errorMessage}`,
      at,
    ]);
    expect(failed.filter(([words = '']) => !meant.test(words))).toEqual([]);
  });

  test('the differences from one machine are those on the list', () => {
    expect([...made].sort()).toEqual(Object.keys(differences).sort());
    expect(made.size).toBeLessThanOrEqual(MOST_DIFFERENCES);
  });
});
