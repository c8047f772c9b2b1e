import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ROOT } from '../../lib/stage.ts';
import { synthesize } from './templates.ts';

const LOCK = join(ROOT, 'test/stacks/requirements.lock');

/** cfn-lint in a venv named by its lock; made once, which needs the network. */
function cfnLint(): string {
  const hash = createHash('sha256').update(readFileSync(LOCK)).digest('hex').slice(0, 12);
  const venv = join(ROOT, '.venvs', `stacks-${hash}`);
  const whole = join(venv, 'whole');
  if (!existsSync(whole)) {
    mkdirSync(join(ROOT, '.venvs'), { recursive: true });
    const pip = ['-m', 'pip', 'install', '--quiet', '--require-hashes', '-r', LOCK];
    for (const [program, asked] of [
      ['python3', ['-m', 'venv', '--clear', venv]],
      [join(venv, 'bin/python'), pip],
    ] as const) {
      const { status, stderr } = spawnSync(program, asked, { encoding: 'utf8' });
      if (status !== 0) throw new Error(`${program} ${asked.join(' ')}: ${stderr}`);
    }
    writeFileSync(`${whole}.${process.pid}`, '');
    renameSync(`${whole}.${process.pid}`, whole);
  }
  return join(venv, 'bin/cfn-lint');
}

const lint = (files: readonly string[]) =>
  // W3005: the CDK writes dependencies that a reference says already.
  spawnSync(cfnLint(), ['--ignore-checks', 'W3005', '--', ...files], {
    encoding: 'utf8',
  });

test('cfn-lint finds nothing in the templates, and something in one with a mistake', () => {
  const { templates, folder } = synthesize();
  const files = Object.keys(templates).map((name) => join(folder, `${name}.template.json`));
  expect(files.length).toBe(5);
  const { stdout, stderr, status } = lint(files);
  expect([stdout, stderr, status]).toEqual(['', '', 0]);
  const wrong = join(folder, 'wrong.template.json');
  writeFileSync(
    wrong,
    JSON.stringify({
      Resources: { Q: { Type: 'AWS::SQS::Queue', Properties: { DelaySecond: 1 } } },
    }),
  );
  expect(lint([wrong]).stdout).toContain('DelaySecond');
});
