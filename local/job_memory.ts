import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * The bytes of memory that a process group holds. What its processes share is counted for each, which is quick, until
 * that exceeds `limitBytes`; then once, in shares: the children of a step that forks after loading its data hold it
 * together. Source: proc(5), stat field 5, VmRSS of status, Pss of smaps_rollup; ps(1) where there is no /proc.
 */
export async function groupMemory(group: number, limitBytes: number): Promise<number> {
  const members = await membersOf(group);
  if (!members) return listedMemory(group);
  const resident = sum(await Promise.all(members.map((pid) => residentOf(pid))));
  if (resident <= limitBytes) return resident;
  return sum(
    await Promise.all(members.map(async (pid) => (await shareOf(pid)) ?? residentOf(pid))),
  );
}

const sum = (sizes: readonly number[]) => sizes.reduce((all, size) => all + size, 0);

/** Undefined where there is no /proc. */
async function membersOf(group: number): Promise<string[] | undefined> {
  const names = await readdir('/proc').catch(() => undefined);
  const pids = names?.filter((name) => /^\d+$/.test(name)) ?? [];
  if (!pids.length) return undefined;
  const groups = await Promise.all(
    pids.map(async (pid) => {
      const stat = await textOf(pid, 'stat');
      return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2]);
    }),
  );
  return pids.filter((_pid, index) => groups[index] === group);
}

const residentOf = async (pid: string) => kilobytes(await textOf(pid, 'status'), 'VmRSS') ?? 0;
const shareOf = async (pid: string) => kilobytes(await textOf(pid, 'smaps_rollup'), 'Pss');

function kilobytes(text: string, name: string): number | undefined {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1];
  return found === undefined ? undefined : Number(found) * 1024;
}

/** Empty once the process is gone, or where it may not be read. */
const textOf = (pid: string, file: string): Promise<string> =>
  readFile(`/proc/${pid}/${file}`, 'latin1').catch(() => '');

async function listedMemory(group: number): Promise<number> {
  const { stdout } = await run('ps', ['-axo', 'pgid=,rss=']);
  const rows = stdout.split('\n').map((line) => line.trim().split(/\s+/).map(Number));
  return sum(rows.filter(([of]) => of === group).map(([, size = 0]) => size * 1024));
}
