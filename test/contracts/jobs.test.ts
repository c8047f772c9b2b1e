import { localJobs } from '../../local/jobs.ts';
import { call, dataFolder, jobOptions, stranger } from '../jobs/local.ts';
import { jobsContract } from './jobs.ts';

jobsContract('one machine', async () => {
  const folder = await dataFolder();
  const jobs = localJobs(jobOptions(folder.data, { blobs: { pathOf: folder.pathOf }, cores: 4 }));
  return {
    ...folder,
    jobs,
    call,
    stranger,
    async close() {
      await jobs.close();
      await folder.remove();
    },
  };
});
