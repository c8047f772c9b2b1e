import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, getPriority, loadavg, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { CONTENDERS } from './contenders.ts';
import { type Figures, table } from './figures.ts';
import { measure } from './session.ts';

/**
 * MLflow, Stillflow and the floor in turn, each alone, under one client's load; a table, and what was measured in
 * docs/evidence. Needs `npm run build` and, the first time, pip.
 *
 *     npm run bench [-- --quick] [-- --only stillflow,floor]
 */
const { values } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, only: { type: 'string' } },
});
const root = resolve(import.meta.dirname, '..');
const git = (...args: string[]) => execFileSync('git', args, { cwd: root }).toString().trim();
const only = values.only?.split(',');
const chosen = CONTENDERS.filter(
  ({ name }) => !only || only.some((prefix) => name.startsWith(prefix)),
);

const from = new Date();
const machine = {
  commit: git('rev-parse', 'HEAD'),
  changed: git('status', '--porcelain', '--', 'functions', 'local', 'bin', 'bench').length > 0,
  node: process.version,
  cpu: cpus()[0]?.model ?? 'unknown',
  cores: cpus().length,
  memoryGb: Math.round(totalmem() / 1e9),
  loadBefore: loadavg(),
  priority: getPriority(),
  at: from.toISOString(),
  quick: values.quick,
};
console.log(
  `node ${machine.node}, ${machine.cores} x ${machine.cpu}, load ${machine.loadBefore.map((load) => load.toFixed(1)).join(' ')}`,
);
if ((machine.loadBefore[0] ?? 0) > 1)
  console.log('The machine is not quiet: read ratios, not figures.');

const results: Record<string, Figures> = {};
for (const contender of chosen) {
  console.log(contender.name);
  const figures: Figures = {};
  results[contender.name] = figures;
  const session = { quick: values.quick, figures, log: (line: string) => console.log(line) };
  try {
    await measure(contender, session);
  } catch (error) {
    console.log(`  not all measured: ${error instanceof Error ? error.message : error}`);
    process.exitCode = 1;
  }
}
console.log(`\n${table(results)}`);
console.log('\n"same": less than 1.5 times apart, which this bench does not call a difference.');

if (!only) {
  const file = join(root, 'docs/evidence', `bench-${from.toISOString().slice(0, 10)}.json`);
  mkdirSync(join(root, 'docs/evidence'), { recursive: true });
  const evidence = { machine, loadAfter: loadavg(), results };
  writeFileSync(file, `${JSON.stringify(evidence, null, 2)}\n`);
  console.log(`Written to ${file.slice(root.length + 1)}`);
}
