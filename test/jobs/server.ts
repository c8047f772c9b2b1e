/** A server of jobs to kill: `node server.ts DATA`, then one line of JSON a request on its standard input. */
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { JobSpec } from '../../functions/platform/ports.ts';
import { localJobs } from '../../local/jobs.ts';
import { call, jobOptions } from './local.ts';

const [data = ''] = process.argv.slice(2);
const jobs = localJobs(jobOptions(data, { cores: 4 }));
await jobs.ready;
const say = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);
say({ ready: join(data, 'jobs') });
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line) as { submit?: JobSpec; describe?: string };
  if (asked.submit) say(await jobs.submit(call, asked.submit));
  if (asked.describe !== undefined) say((await jobs.describe(call, asked.describe)) ?? null);
}
