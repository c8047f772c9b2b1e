import { existsSync } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { open } from 'lmdb';
import { type Call, systemCall } from '../functions/kernel/call.ts';
import type { WorkspaceId } from '../functions/kernel/ids.ts';
import { pathSegments } from '../functions/kernel/path.ts';
import type { BlobHead, Item } from '../functions/platform/ports.ts';
import { verifyAudit } from './audit.ts';
import { enter, openFile, streamFile } from './blob_files.ts';
import { listFolder } from './blob_list.ts';
import {
  type BlobsReport,
  checkBlobs,
  type Held,
  namedVerdict,
  type ReadBlobs,
  strayVerdict,
} from './doctor_blobs.ts';
import { type Check, fail, ok, reasonOf, skipped, type Verdict } from './doctor_checks.ts';

const HOUR_MS = 3_600_000;

/** Reads everything in a data folder, also while a server runs on it: nothing is opened for writing. */
export function deepChecks(folder: string, now: () => number): Check[] {
  const data = resolve(folder);
  let walked: Promise<BlobsReport> | undefined;
  const walk = async (verdict: (report: BlobsReport) => Verdict) => {
    walked ??= inspected(data, now());
    return walked.then(verdict, (error: unknown) =>
      fail(reasonOf(error), 'put back a copy of the data folder (docs/guides/operations.md)'),
    );
  };
  const there = existsSync(join(data, 'table/data.mdb'));
  const none = () => skipped('there is no table yet');
  return [
    {
      name: 'blobs',
      looksAt: `each file that a record names, below ${join(data, 'blobs/data')}`,
      run: () => (there ? walk(namedVerdict) : none()),
    },
    {
      name: 'strays',
      looksAt: 'files that only records lead to',
      run: () => (there ? walk(strayVerdict) : none()),
    },
    {
      name: 'audit',
      looksAt: 'the chain of each subject, and the anchors',
      run: () => (there ? audit(data) : none()),
    },
  ];
}

async function audit(data: string): Promise<Verdict> {
  const lines: string[] = [];
  const asked = { data, url: undefined, token: undefined, kept: undefined };
  const whole = await verifyAudit({ ...asked, write: (line) => void lines.push(line) });
  const amiss = lines.filter((line) => line.startsWith('amiss'));
  const sum = lines.find((line) => /^\d+ entries/.test(line)) ?? '';
  if (whole) return ok(sum);
  return fail(
    `${sum}: ${amiss.slice(0, 3).join('; ')}`,
    'somebody changed the records by hand: compare with a copy from before (stillflow audit verify names each)',
  );
}

/** A look at the file as it was at one moment; a record that seems wrong is read again as it is by then. */
async function inspected(data: string, now: number): Promise<BlobsReport> {
  const root = open({ path: join(data, 'table'), readOnly: true, maxDbs: 8, pageSize: 8192 });
  try {
    const items = root.openDB<Item, Buffer>({ name: 'items', keyEncoding: 'binary' });
    const alive = (item: Item | undefined) => {
      const until = item?.['expiresAt'];
      return typeof until === 'number' && until <= now ? undefined : item;
    };
    function* records(): Generator<Held> {
      if (!items) return; // a table that holds nothing yet
      for (const { key, value } of items.getRange({})) {
        const [workspace = ''] = key.toString().split('\0', 1);
        if (alive(value)) yield { workspace: workspace as WorkspaceId, item: value };
      }
    }
    return await checkBlobs({
      records: records(),
      blobs: readBlobs(join(data, 'blobs', 'data')),
      callIn: (workspace): Call => systemCall(workspace, 'doctor', 'doctor', now + HOUR_MS),
      digests: true,
      again: async ({ workspace, item: { pk, sk } }) =>
        alive(items.get(Buffer.from(`${workspace}\0${pk}\0${sk}`))),
      settledAt: now - HOUR_MS,
    });
  } catch (error) {
    throw new Error(`the table could not be read: ${reasonOf(error)}`, { cause: error });
  } finally {
    await root.close();
  }
}

/** Blobs as files, to be read: a server's own adapter clears what was half written when it opens. */
function readBlobs(folder: string): ReadBlobs {
  async function within<T>(
    call: Call,
    path: string,
    read: (name: string) => Promise<T | undefined>,
  ) {
    const segments = [call.workspace, ...pathSegments(path, 'path')];
    const place = await enter(folder, segments.slice(0, -1), false).catch(() => undefined);
    if (!place) return undefined;
    try {
      return await read(join(place.path, segments.at(-1) ?? ''));
    } finally {
      await place.close();
    }
  }
  const headOf = (path: string, stats: { size: bigint; mtimeNs: bigint }): BlobHead => ({
    path,
    sizeBytes: Number(stats.size),
    etag: String(stats.mtimeNs),
    modifiedAt: Number(stats.mtimeNs / 1_000_000n),
  });
  return {
    head: (call, path) =>
      within(call, path, async (name) => {
        const stats = await lstat(name, { bigint: true }).catch(() => undefined);
        return stats?.isFile() ? headOf(path, stats) : undefined;
      }),
    async get(call, path) {
      const file = await within(call, path, openFile);
      if (!file) return undefined;
      const head = headOf(path, await file.stat({ bigint: true }));
      return { ...head, body: streamFile(file, 0, head.sizeBytes - 1) };
    },
    list: (call, prefix, options = {}) =>
      listFolder(folder, call.workspace, prefix, options, headOf),
    pathOf(call, uri) {
      const root = `${join(folder, call.workspace)}/`;
      return uri.startsWith(root) ? uri.slice(root.length).replace(/\/$/, '') : undefined;
    },
  };
}
