import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { ROOT, synthesised } from './stack/assembly.ts';

const READY_MS = 60_000;
const data = mkdtempSync(join(tmpdir(), 'stillflow-ready-'));
const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(data, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
});

/** What `npm run stack` prints until it is ready, as `name = value` and `export NAME=value` have it. */
async function start(): Promise<{ said: Map<string, string>; stop: () => Promise<unknown> }> {
  const args = ['test/assembly/start.ts', '--port', '0', '--data', data];
  const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const ended = new Promise((done) => child.once('exit', done));
  const out = await new Promise<string>((ready, failed) => {
    let text = '';
    const late = setTimeout(
      () => failed(new Error(`not ready in ${READY_MS} ms:\n${text}`)),
      READY_MS,
    );
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      if (!/Stack ready at \S+\n/.test(text)) return;
      clearTimeout(late);
      ready(text);
    });
    void ended.then((code) => failed(new Error(`ended with ${code}:\n${text}`)));
  });
  const pairs = out.matchAll(/(?:^|export |\s)([\w.-]+) ?= ?(\S+)/g);
  const said = new Map([...pairs].map(([, name = '', value = '']) => [name, value]));
  return {
    said,
    stop() {
      child.kill('SIGTERM');
      return ended;
    },
  };
}

/** As the printed lines tell a person to: the first token of the deployment. */
async function token(said: Map<string, string>): Promise<string> {
  const args = [
    'bin/aws-token.ts',
    '--table',
    said.get('stillflow-data.TableName') ?? '',
    '--name',
    'me',
  ];
  const env = {
    ...process.env,
    ...Object.fromEntries([...said].filter(([name]) => name.startsWith('AWS_'))),
  };
  const child = spawn(process.execPath, args, {
    cwd: ROOT,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  let out = '';
  for await (const chunk of child.stdout.setEncoding('utf8')) out += chunk;
  return out.trim();
}

test('npm run stack is ready within a minute, and finds on its next start what was kept', async () => {
  synthesised();
  const first = await start();
  const headers = {
    authorization: `Bearer ${await token(first.said)}`,
    'content-type': 'application/json',
  };
  const body = JSON.stringify({ name: 'kept' });
  const made = await fetch(
    `${first.said.get('stillflow-api.Url')}/api/2.0/mlflow/experiments/create`,
    { method: 'POST', headers, body },
  );
  expect(made.status).toBe(200);
  expect(await first.stop()).toBe(0);
  const second = await start();
  const found = await fetch(
    `${second.said.get('stillflow-api.Url')}/api/2.0/mlflow/experiments/get-by-name?experiment_name=kept`,
    { headers },
  );
  expect(found.status).toBe(200);
  expect(await second.stop()).toBe(0);
});
