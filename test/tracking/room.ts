import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { Call } from '../../functions/kernel/call.ts';
import { mount } from '../../functions/kernel/hallway.ts';
import type { WorkspaceId } from '../../functions/kernel/ids.ts';
import type { Blobs, Item, Table } from '../../functions/platform/ports.ts';
import { trackingRoom } from '../../functions/tracking/index.ts';
import { type LocalBus, openBus } from '../../local/bus.ts';
import { openTable } from '../../local/table.ts';
import { testCall, testWorld } from '../world.ts';

/** Requests to the table by verb since the last `reset`. */
export interface Counts {
  get: number;
  getMany: number;
  query: number;
  commit: number;
}

/** The table, counting each request to it. */
export function counted(table: Table): {
  table: Table;
  counts: Counts;
  reset(): void;
  total(): number;
} {
  const counts: Counts = { get: 0, getMany: 0, query: 0, commit: 0 };
  const ticked = <T>(verb: keyof Counts, answer: T, requests = 1): T => {
    counts[verb] += requests;
    return answer;
  };
  const counting: Table = {
    get: (...args) => ticked('get', table.get(...args)),
    // DynamoDB takes a hundred keys at once.
    getMany: (...args) =>
      ticked('getMany', table.getMany(...args), Math.max(1, Math.ceil(args[1].length / 100))),
    query: (...args) => ticked('query', table.query(...args)),
    commit: (...args) => ticked('commit', table.commit(...args)),
    entries: (...args) => table.entries(...args),
    repeated: (...args) => table.repeated(...args),
  };
  return {
    table: counting,
    counts,
    reset: () => Object.assign(counts, { get: 0, getMany: 0, query: 0, commit: 0 }),
    total: () => counts.get + counts.getMany + counts.query + counts.commit,
  };
}

/** Bytes by path in memory: what the tracking room needs of Blobs, for points and datasets too large for the table. */
export function memoryBlobs(): Blobs & { readonly paths: Map<string, Uint8Array> } {
  const paths = new Map<string, Uint8Array>();
  const at = (call: Call, path: string) => `${call.workspace}/${path}`;
  const none = () => Promise.reject(new Error('not used by the tracking room'));
  return {
    paths,
    async put(call, path, body) {
      const bytes = new Uint8Array(await new Response(body as BodyInit).arrayBuffer());
      paths.set(at(call, path), bytes);
      return { path, sizeBytes: bytes.length, etag: '', modifiedAt: 0 };
    },
    async get(call, path) {
      const bytes = paths.get(at(call, path));
      if (!bytes) return undefined;
      const body = new Blob([bytes as BlobPart]).stream();
      return { path, sizeBytes: bytes.length, etag: '', modifiedAt: 0, body };
    },
    head: none,
    list: none,
    remove: none,
    sign: none,
    startUpload: none,
    signPart: none,
    completeUpload: none,
    abortUpload: none,
    locate: (call, prefix) => `s3://bucket/${call.workspace}/${prefix}`,
    pathOf(call, uri) {
      const start = `s3://bucket/${call.workspace}/`;
      return uri.startsWith(start) ? uri.slice(start.length) : undefined;
    },
  };
}

export interface TrackingApp {
  /** The answer's status and body. */
  ask(method: string, path: string, body?: unknown, who?: string): Promise<Answer>;
  post(path: string, body: unknown, who?: string): Promise<Answer>;
  get(path: string, query?: Record<string, string | string[]>, who?: string): Promise<Answer>;
  /** Lets the compactor fold all that waits. */
  fold(): Promise<void>;
  readonly room: ReturnType<typeof trackingRoom>;
  readonly counting: ReturnType<typeof counted>;
  readonly blobs: ReturnType<typeof memoryBlobs>;
  readonly world: ReturnType<typeof testWorld>;
  readonly call: Call;
  readonly folder: string;
}
export interface Answer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever the wire says.
  readonly body: any;
  readonly text: string;
}

/** The tracking room behind the real hallway, on the embedded table; `who` names a workspace of 8 characters. */
export function openTracking(
  options: {
    artifacts?: 'proxy' | 'direct';
    onDecode?: (item: Item) => void;
    folder?: string;
  } = {},
): TrackingApp {
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'stillflow-tracking-'));
  const world = testWorld(7);
  const { onDecode } = options;
  const watched = onDecode ? { onDecode } : {};
  const local = openTable({ folder, world, feeds: ['LOG#'], noSync: true, ...watched });
  const counting = counted(local);
  const blobs = memoryBlobs();
  const artifacts = options.artifacts ?? 'proxy';
  const platform = { table: counting.table, blobs, world, artifacts, secret: new Uint8Array(32) };
  const files = {
    list: () => Promise.reject(new Error('no files here')),
    send: () => Promise.reject(new Error('no files here')),
  };
  const abilities = { multipartUploads: true, multipartDownloads: true };
  const room = trackingRoom(platform, files, abilities);
  const hono = mount(room.routes, {
    world,
    guard: () => 'http://localhost',
    authenticate: async (headers) => ({
      workspace: (headers.get('x-who') ?? 'default0') as WorkspaceId,
      caller: { name: 'ada', role: 'admin' },
    }),
    allow: () => true,
    repeated: async () => undefined,
    refused: async () => undefined,
    log: (line) => console.error(line),
  });
  let bus: LocalBus | undefined;
  onTestFinished(async () => {
    await bus?.stop();
    await local.close();
    if (!options.folder) rmSync(folder, { recursive: true, force: true });
  });

  async function ask(method: string, path: string, body?: unknown, who = 'default0') {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const response = await hono.request(`http://localhost${path}`, {
      method,
      headers: {
        'x-who': who,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: text }),
    });
    const answered = await response.text();
    const json = /^application\/(problem\+)?json/.test(response.headers.get('content-type') ?? '');
    return {
      status: response.status,
      body: json ? JSON.parse(answered) : undefined,
      text: answered,
    };
  }

  return {
    ask,
    post: (path, body, who) => ask('POST', `/api/2.0/mlflow/${path}`, body, who),
    get(path, query = {}, who) {
      const search = new URLSearchParams();
      for (const [name, value] of Object.entries(query))
        for (const one of [value].flat()) search.append(name, one);
      return ask('GET', `/api/2.0/mlflow/${path}?${search}`, undefined, who);
    },
    async fold() {
      if (!bus) {
        const later = (run: () => void) => {
          setImmediate(run);
          return { cancel: () => undefined };
        };
        bus = openBus({
          table: local,
          world,
          followers: [],
          folders: room.folders,
          log: () => undefined,
          later,
        });
        bus.start();
      }
      await bus.settled();
    },
    room,
    counting,
    blobs,
    world,
    call: testCall(),
    folder,
  };
}

/** A run made through the front door. */
export async function newRun(
  app: TrackingApp,
  more: Record<string, unknown> = {},
  who?: string,
): Promise<string> {
  const { status, body } = await app.post('runs/create', { experiment_id: '0', ...more }, who);
  if (status !== 200) throw new Error(JSON.stringify(body));
  return body.run.info.run_id;
}

/** The data of a run as the wire gives it, tags and params by key. */
export async function dataOf(app: TrackingApp, id: string, who?: string) {
  const { body } = await app.get('runs/get', { run_id: id }, who);
  const byKey = (list: { key: string; value: unknown }[] = []) =>
    Object.fromEntries(list.map(({ key, value }) => [key, value]));
  const { metrics, params, tags } = body.run.data;
  return {
    info: body.run.info,
    inputs: body.run.inputs,
    outputs: body.run.outputs,
    metrics: byKey(metrics),
    params: byKey(params),
    tags: byKey(tags),
  };
}
