import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startTimeOf } from '../../local/process.ts';
import { dataFolder } from '../jobs/local.ts';
import { until } from '../jobs/until.ts';

const HOST = join(import.meta.dirname, '../jobs/host.ts');
let folder: Awaited<ReturnType<typeof dataFolder>>;
beforeEach(async () => {
  folder = await dataFolder();
});
afterEach(() => folder.remove());

async function startHost() {
  const child = spawn(process.execPath, [HOST, folder.data, folder.uri('models/v1')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return async () => {
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
}
const starts = async () =>
  ((await folder.read('models/v1/starts')) ?? '').split('\n').filter(Boolean).map(Number);

test('a killed server leaves no model server behind, and the next one serves again', async () => {
  await folder.put('models/v1/model.json', '{"name":"v1"}');
  for (let round = 1; round <= 3; round++) {
    const kill = await startHost();
    const pids = await starts();
    expect(pids).toHaveLength(round);
    const live = pids.filter((pid) => startTimeOf(pid) !== undefined);
    expect(live).toEqual(pids.slice(-1));
    await kill();
    await until('the model server to end', () =>
      pids.every((pid) => startTimeOf(pid) === undefined) ? true : undefined,
    );
  }
});
