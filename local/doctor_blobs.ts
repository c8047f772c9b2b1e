import { createHash } from 'node:crypto';
import { proxiedPath } from '../functions/artifacts/model.ts';
import type { Call } from '../functions/kernel/call.ts';
import type { WorkspaceId } from '../functions/kernel/ids.ts';
import type { Blobs, Item } from '../functions/platform/ports.ts';
import { fail, ok, type Verdict, warn } from './doctor_checks.ts';

/**
 * Blobs against Table, in any world: each file that a record names is there with the size and digest that the record
 * knows, and what only records lead to is led to by one. Reads the records that it is given and asks the port; changes
 * nothing. The rooms' keys are those of the rooms own stores; test/operations/doctor-deep.test.ts holds the list to
 * what a whole day of the product leaves behind.
 */
export interface Named {
  readonly path: string;
  /** A folder is there if anything lies in it; a model's source may be either. */
  readonly kind: 'file' | 'any';
  readonly sizeBytes?: number;
  /** SHA-256 of the bytes, in hex. */
  readonly sha256?: string;
}

export interface Held {
  readonly workspace: WorkspaceId;
  readonly item: Item;
}

/** Bytes that were there before, of a store that keeps them. */
export interface OlderBlob {
  readonly version: string;
  readonly sizeBytes: number;
  readonly modifiedAt: number;
}

export type ReadBlobs = Pick<Blobs, 'head' | 'get' | 'list' | 'pathOf'>;

export interface BlobsAsked {
  readonly records: AsyncIterable<Held> | Iterable<Held>;
  readonly blobs: ReadBlobs;
  callIn(workspace: WorkspaceId): Call;
  /** Reads the bytes of files whose digest is known; else sizes alone are compared. */
  readonly digests: boolean;
  /** The record as it is now, where it may have changed since it was read. */
  again?(held: Held): Promise<Item | undefined>;
  /** Earlier versions of a file, newest first, also of one that was deleted. */
  older?(workspace: WorkspaceId, path: string): Promise<readonly OlderBlob[]>;
  /** A file that no record leads to and that is younger may have its record yet to come. Milliseconds. */
  readonly settledAt: number;
}

export interface BlobFinding {
  readonly workspace: string;
  /** Partition and sort key of the record. */
  readonly record: string;
  readonly path: string;
  readonly why: 'missing' | 'differs';
  readonly said: string;
  /** A version that would do, to be put back by hand. */
  readonly version?: string;
}

export interface BlobsReport {
  readonly records: number;
  /** Files and folders that they name, each once. */
  readonly named: number;
  readonly missing: number;
  readonly differing: number;
  /** The first `MOST_TOLD`. */
  readonly findings: readonly BlobFinding[];
  /** Of files that only records lead to. */
  readonly unreferenced: {
    readonly count: number;
    readonly sizeBytes: number;
    readonly first: readonly string[];
  };
}

export const MOST_TOLD = 100;
const AT_ONCE = 16;
/** What lies here is found through a record alone; elsewhere people and steps put files of their own. */
const LED_TO = ['tracking/', 'kfp/specs/', 'kfp/values/'];

export async function checkBlobs(asked: BlobsAsked): Promise<BlobsReport> {
  const suspects: { held: Held; named: Named }[] = [];
  const seen = new Map<WorkspaceId, Set<string>>();
  let records = 0;
  let named = 0;
  let waiting: Promise<void>[] = [];
  for await (const held of asked.records) {
    records += 1;
    const paths = seen.get(held.workspace) ?? new Set();
    seen.set(held.workspace, paths);
    const call = asked.callIn(held.workspace);
    for (const each of namedIn(held.item, pathsOf(asked.blobs, call))) {
      if (paths.size === paths.add(each.path).size) continue;
      named += 1;
      const looking = wrongWith(asked, call, each).then((wrong) => {
        if (wrong) suspects.push({ held, named: each });
      });
      looking.catch(() => undefined); // it is thrown where all are awaited
      waiting.push(looking);
    }
    if (waiting.length < AT_ONCE) continue;
    await Promise.all(waiting);
    waiting = [];
  }
  await Promise.all(waiting);
  return {
    records,
    named,
    ...(await confirmed(asked, suspects)),
    unreferenced: await strays(asked, seen),
  };
}

/** A suspect is looked at once more, by the record as it is now: what changed in between is no fault. */
async function confirmed(asked: BlobsAsked, suspects: readonly { held: Held; named: Named }[]) {
  const findings: BlobFinding[] = [];
  const count = { missing: 0, differs: 0 };
  for (const { held, named } of suspects) {
    const call = asked.callIn(held.workspace);
    const item = asked.again ? await asked.again(held) : held.item;
    const still =
      item && namedIn(item, pathsOf(asked.blobs, call)).find(({ path }) => path === named.path);
    const wrong = still && (await wrongWith(asked, call, still));
    if (!still || !wrong) continue;
    count[wrong.why] += 1;
    if (findings.length >= MOST_TOLD) continue;
    const fits = ({ sizeBytes }: OlderBlob) =>
      still.sizeBytes === undefined || still.sizeBytes === sizeBytes;
    const older = (await asked.older?.(held.workspace, still.path))?.find(fits);
    findings.push({
      workspace: held.workspace,
      record: `${held.item.pk} ${held.item.sk}`,
      path: still.path,
      ...wrong,
      ...(older ? { version: older.version } : {}),
    });
  }
  return { missing: count.missing, differing: count.differs, findings };
}

async function wrongWith(
  { blobs, digests }: BlobsAsked,
  call: Call,
  { path, kind, sizeBytes, sha256 }: Named,
): Promise<Pick<BlobFinding, 'why' | 'said'> | undefined> {
  const head = await blobs.head(call, path);
  if (!head) {
    if (kind === 'any' && (await blobs.list(call, `${path}/`, { limit: 1 })).blobs.length > 0)
      return undefined;
    return { why: 'missing', said: kind === 'any' ? 'nothing lies there' : 'it is not there' };
  }
  if (sizeBytes !== undefined && head.sizeBytes !== sizeBytes)
    return { why: 'differs', said: `it has ${head.sizeBytes} bytes, not ${sizeBytes}` };
  if (!digests || sha256 === undefined) return undefined;
  const blob = await blobs.get(call, path);
  if (!blob) return { why: 'missing', said: 'it is not there' };
  const hash = createHash('sha256');
  for await (const chunk of blob.body) hash.update(chunk);
  return hash.digest('hex') === sha256
    ? undefined
    : { why: 'differs', said: 'its bytes are others than were recorded' };
}

/** Files that nothing leads to: left by a commit that never came, or newer than the records. */
async function strays(
  { blobs, callIn, settledAt }: BlobsAsked,
  seen: ReadonlyMap<WorkspaceId, ReadonlySet<string>>,
) {
  const first: string[] = [];
  let count = 0;
  let size = 0;
  for (const [workspace, paths] of seen)
    for (const prefix of LED_TO) {
      let after: string | undefined;
      do {
        const page = await blobs.list(
          callIn(workspace),
          prefix,
          after === undefined ? {} : { after },
        );
        for (const { path, sizeBytes, modifiedAt } of page.blobs) {
          if (paths.has(path) || modifiedAt > settledAt) continue;
          count += 1;
          size += sizeBytes;
          if (first.length < MOST_TOLD) first.push(`${workspace}/${path}`);
        }
        after = page.next;
      } while (after !== undefined);
    }
  return { count, sizeBytes: size, first };
}

type PathOf = (uri: string) => string | undefined;

/** The path in this workspace of any URI that the product gave out; undefined if the bytes are not in our keeping. */
const pathsOf =
  (blobs: ReadBlobs, call: Call): PathOf =>
  (uri) => {
    try {
      const proxied = proxiedPath(uri);
      return proxied ? `artifacts/${proxied}` : blobs.pathOf(call, uri);
    } catch {
      return undefined; // a path that no blob can have
    }
  };

/** What one record names, by the form of its key. */
export function namedIn(item: Item, pathOf: PathOf): Named[] {
  const { pk, sk } = item;
  const text = (name: string) => (typeof item[name] === 'string' ? item[name] : '');
  // Points and datasets that did not fit into their item.
  if (/^[XRD]#/.test(pk) && text('blob')) return [{ path: text('blob'), kind: 'file' }];
  if (pk === 'DATA' && text('path'))
    return [
      {
        path: `data/${text('path')}`,
        kind: 'file',
        sha256: text('digest'),
        ...(typeof item['sizeBytes'] === 'number' ? { sizeBytes: item['sizeBytes'] } : {}),
      },
    ];
  if (pk === 'VERSIONS') {
    const path = pathOf(text('uri') || text('source'));
    return path === undefined ? [] : [{ path, kind: 'any' }];
  }
  if (
    pk === 'KFP#runs' ||
    /^KFP#(versions|run)#/.test(pk) ||
    (pk.startsWith('KFP#cache#') && sk.startsWith('F#'))
  )
    return inPipelines(JSON.parse(text('record') || '{}'), pathOf);
  return [];
}

/** Whatever stands below these is somebody's own text. */
const OF_USERS = new Set(['values', 'metadata', 'tags']);

/** Specs, kept values and artifacts anywhere in a record of pipelines: runs, tasks, versions, what the cache holds. */
function inPipelines(record: unknown, pathOf: PathOf): Named[] {
  if (typeof record !== 'object' || record === null) return [];
  const { spec, blob, sizeBytes, uri, present } = record as Readonly<Record<string, unknown>>;
  const found: Named[] = [];
  if (typeof spec === 'string' && /^[0-9a-f]{64}$/.test(spec))
    found.push({ path: `kfp/specs/${spec}.json`, kind: 'file', sha256: spec });
  if (typeof blob === 'string' && typeof sizeBytes === 'number') {
    const sha256 = /\/([0-9a-f]{64})\.json$/.exec(blob)?.[1];
    found.push({ path: blob, kind: 'file', sizeBytes, ...(sha256 ? { sha256 } : {}) });
  }
  if (typeof uri === 'string' && typeof present === 'boolean') {
    const path = present ? pathOf(uri) : undefined;
    if (path !== undefined) found.push({ path, kind: 'any' });
    return found;
  }
  for (const [name, inner] of Object.entries(record))
    if (!OF_USERS.has(name)) found.push(...inPipelines(inner, pathOf));
  return found;
}

export function namedVerdict({
  records,
  named,
  missing,
  differing,
  findings,
}: BlobsReport): Verdict {
  const whole = `${records} records name ${named} files and folders`;
  if (missing + differing === 0) return ok(`${whole}, all there`);
  const first = findings.slice(0, 5).map(({ record, path, said, version }) => {
    const older = version === undefined ? '' : `, but its version ${version} would do`;
    return `${path} (${record}): ${said}${older}`;
  });
  const more = missing + differing - first.length;
  const said = `${whole}; ${missing} missing, ${differing} other than recorded: ${first.join('; ')}${more > 0 ? `; and ${more} more` : ''}`;
  const fix =
    'put these files back from a copy of the folder or the bucket; the records are left as they are';
  // Data may be written again around us, and is then told as new; nothing else may change.
  const serious = missing > 0 || findings.some(({ path }) => !path.startsWith('data/'));
  return serious ? fail(said, fix) : warn(said, 'nothing, if you wrote the data again by yourself');
}

export function strayVerdict({ unreferenced: { count, sizeBytes, first } }: BlobsReport): Verdict {
  if (count === 0) return ok('none lies about without a record');
  return warn(
    `${count} files of ${sizeBytes} bytes have no record: ${first.slice(0, 3).join(', ')}${count > 3 ? ', ..' : ''}`,
    'nothing must be done: they only take room, and belong to what was deleted or never finished',
  );
}
