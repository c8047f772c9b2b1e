import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '..');
const house = mkdtempSync(join(tmpdir(), 'walls-'));

/** Where a bad import is planted, and what it imports. Each folder's wall has at least one. */
const PLANTED: [file: string, imported: string][] = [
  ['functions/kernel/planted.ts', '../platform/ports.ts'],
  ['functions/kernel/planted2.ts', '@aws-sdk/client-s3'],
  ['functions/protocols/planted.ts', '../tracking/service.ts'],
  ['functions/protocols/planted2.ts', '../platform/ports.ts'],
  ['functions/platform/ports.ts', '../protocols/api.ts'],
  ['functions/platform/aws/planted.ts', '../../registry/service.ts'],
  ['functions/platform/aws/planted2.ts', 'aws-cdk-lib'],
  ...[
    'artifacts',
    'tracking',
    'traces',
    'evaluation',
    'governance',
    'workspaces',
    'notebooks',
    'site',
  ].map((room): [string, string] => [`functions/${room}/planted.ts`, '../registry/service.ts']),
  ['functions/tracking/planted2.ts', '../artifacts/service.ts'],
  ['functions/tracking/planted3.ts', '@aws-sdk/client-dynamodb'],
  ['functions/tracking/planted4.ts', '../../local/table.ts'],
  ...['registry', 'training', 'pipelines'].map((room): [string, string] => [
    `functions/${room}/planted.ts`,
    '../serving/service.ts',
  ]),
  ['functions/registry/planted2.ts', '../tracking/store.ts'],
  ...['serving', 'tuning', 'triggers', 'federated', 'edge'].map((room): [string, string] => [
    `functions/${room}/planted.ts`,
    '../loops/service.ts',
  ]),
  ['functions/serving/planted2.ts', '../triggers/service.ts'],
  ['functions/loops/planted.ts', '../registry/store.ts'],
  ['functions/loops/planted2.ts', '../../lib/data-stack.ts'],
  ['statemachines/planted.ts', '../functions/kernel/problem.ts'],
  ['local/planted.ts', '@aws-sdk/client-s3'],
  ['local/planted2.ts', '../functions/platform/aws/table.ts'],
  ['lib/planted.ts', '../local/table.ts'],
];
/** And what must pass: the walls are not simply shut. */
const ALLOWED: [file: string, imported: string][] = [
  ['functions/registry/allowed.ts', '../tracking/service.ts'],
  ['functions/loops/allowed.ts', '../serving/service.ts'],
  ['functions/tracking/allowed.ts', '../platform/ports.ts'],
  ['functions/platform/aws/allowed.ts', '@aws-sdk/client-s3'],
  ['local/allowed.ts', '../functions/app.ts'],
];

const findings = new Map<string, string[]>();

beforeAll(() => {
  writeFileSync(join(house, 'biome.json'), readFileSync(join(root, 'biome.json')));
  symlinkSync(join(root, 'node_modules'), join(house, 'node_modules'));
  execFileSync('git', ['init', '-q'], { cwd: house });
  for (const [file, imported] of [...PLANTED, ...ALLOWED]) {
    mkdirSync(dirname(join(house, file)), { recursive: true });
    writeFileSync(join(house, file), `import * as x from '${imported}';\n\nexport const y = x;\n`);
  }
  const biome = join(root, 'node_modules/.bin/biome');
  const args = [
    'lint',
    '--only=style/noRestrictedImports',
    '--reporter=json',
    '--max-diagnostics=none',
    '.',
  ];
  let text: string;
  try {
    text = execFileSync(biome, args, {
      cwd: house,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  } catch (error) {
    text = (error as { stdout: string }).stdout;
  }
  const report = JSON.parse(text.slice(text.indexOf('{'))) as {
    diagnostics: { category: string; location: { path: string | { file: string } } }[];
  };
  for (const { category, location } of report.diagnostics) {
    const path = typeof location.path === 'string' ? location.path : location.path.file;
    findings.set(path, [...(findings.get(path) ?? []), category]);
  }
}, 60_000);
afterAll(() => rmSync(house, { recursive: true }));

const found = (file: string) => [...findings.keys()].some((path) => path.endsWith(file));

describe('each wall stops the bad import planted at it', () => {
  test.each(PLANTED)('%s may not import %s', (file) => expect(found(file)).toBe(true));
});
describe('and lets the good one through', () => {
  test.each(ALLOWED)('%s may import %s', (file) => expect(found(file)).toBe(false));
});
