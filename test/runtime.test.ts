import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '..');
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const lock = readFileSync(join(root, 'package-lock.json'), 'utf8');

test.runIf(process.platform === 'linux')(
  'npm scripts run on the pinned Node 24, whatever the machine has',
  () => {
    const pinned = manifest.optionalDependencies[`node-linux-${process.arch}`];
    const version = execFileSync('npm', ['exec', '--offline', '-c', 'node -p process.version'], {
      cwd: root,
      encoding: 'utf8',
    });
    expect(version.trim()).toBe(`v${pinned}`);
  },
);

test('the lock file holds versions and hashes, no addresses', () => {
  expect(lock).not.toContain('"resolved"');
  expect(lock).toContain('"integrity"');
});

test('versions are exact', () => {
  const all = {
    ...manifest.dependencies,
    ...manifest.devDependencies,
    ...manifest.optionalDependencies,
  };
  for (const version of Object.values(all)) expect(version).toMatch(/^\d+\.\d+\.\d+$/);
});

test('what a production install gets has neither CDK nor the AWS SDK', () => {
  for (const name of Object.keys(manifest.dependencies))
    expect(name).not.toMatch(/cdk|@aws-sdk|constructs/);
});
