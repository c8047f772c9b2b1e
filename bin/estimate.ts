import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { costPage } from '../lib/cost_page.ts';
import type { Templates } from '../lib/estimate.ts';

/**
 * `npm run estimate`: what the synthesised templates of cdk.out cost, idle and by the call, as docs/guides/cost.md has
 * it. Synthesises where there is no cdk.out, asks no network, and fails by name on a resource that it has no price for.
 */
const ROOT = join(import.meta.dirname, '..');

function templatesIn(folder: string): Templates {
  const files = readdirSync(folder).filter((name) =>
    /^stillflow-[a-z]+\.template\.json$/.test(name),
  );
  if (files.length === 0) throw new Error(`no template of ours lies in ${folder}`);
  return Object.fromEntries(
    files
      .sort()
      .map((name) => [
        name.replace('.template.json', ''),
        JSON.parse(readFileSync(join(folder, name), 'utf8')),
      ]),
  );
}

function synthesize(folder: string): void {
  for (const script of ['bin/layers.ts', 'bin/deploy.ts']) {
    const { status } = spawnSync(process.execPath, [script], {
      cwd: ROOT,
      env: { ...process.env, CDK_OUTDIR: folder },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    if (status !== 0) throw new Error(`${script} failed; its own words are above`);
  }
}

try {
  const { values } = parseArgs({
    options: { out: { type: 'string', default: join(ROOT, 'cdk.out') } },
  });
  if (!existsSync(values.out)) synthesize(values.out);
  process.stdout.write(costPage(templatesIn(values.out)));
} catch (error) {
  process.stderr.write(`stillflow: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
