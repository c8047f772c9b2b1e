import { join } from 'node:path';
import type { Job, JobSpec } from '../../functions/platform/ports.ts';
import { localJobs } from '../../local/jobs.ts';
import { call, jobOptions } from '../jobs/local.ts';

/** Jobs in `folder` whose commands are sh scripts. */
export async function jobsOf(folder: string) {
  const jobs = localJobs(jobOptions(folder, { dir: join(folder, 'jobs'), logBytes: 1 << 20 }));
  await jobs.ready;
  return {
    async run(name: string, script: string): Promise<Job> {
      const spec: JobSpec = {
        name,
        image: 'busybox',
        command: ['sh', '-c', script],
        env: {},
        inputs: [],
        outputs: [],
        resources: {},
        nodes: 1,
        deadlineSeconds: 60,
      };
      return jobs.run(call, await jobs.prepare(call, spec), new AbortController().signal);
    },
    close: () => jobs.close(),
  };
}

// As a program: runs the script in a server's life, and another job in a second one.
if (process.argv[1] === import.meta.filename) {
  const [, , folder = '', script = ''] = process.argv;
  for (const [name, text] of [
    ['j1', script],
    ['j2', 'exit 0'],
  ] as const) {
    const jobs = await jobsOf(folder);
    const { state, failure } = await jobs.run(name, text);
    console.log(failure ?? state);
    await jobs.close();
  }
}
