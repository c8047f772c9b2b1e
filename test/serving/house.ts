import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { allow } from '../../functions/governance/policy.ts';
import type { Event } from '../../functions/kernel/event.ts';
import { mount } from '../../functions/kernel/hallway.ts';
import { DEFAULT_WORKSPACE } from '../../functions/kernel/ids.ts';
import type { Json } from '../../functions/kernel/json.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import type { Blobs, Table, Task } from '../../functions/platform/ports.ts';
import type { Room } from '../../functions/room.ts';
import type { ServedVersion } from '../../functions/serving/model.ts';
import type { Integration } from '../../local/asl/engine.ts';
import { openBlobs } from '../../local/blobs.ts';
import { openBus } from '../../local/bus.ts';
import { type LocalMachines, localMachines } from '../../local/machines.ts';
import { openTable } from '../../local/table.ts';
import { RUN_STEP, TRAINING_JOB } from '../../statemachines/resources.ts';
import { handTimers } from '../machines/rig.ts';
import { type TestWorld, testCall, testWorld } from '../world.ts';
import { memoryEndpoints } from './endpoints.ts';

export const call = testCall();

const written = (name: string): Json =>
  JSON.parse(readFileSync(join('statemachines', `${name}.asl.json`), 'utf8'));
const WRITTEN_TEXTS = {
  retraining: written('retraining'),
  'deploy-endpoint': written('deploy-endpoint'),
};

/** Registered versions, and an alias that tells its moves as the registry does. */
function shelf(table: Table) {
  const versions = new Map<string, ServedVersion & { runId?: string }>();
  const aliases = new Map<string, number>();
  const find = (name: string, version: number) => versions.get(`${name}/${version}`);
  return {
    add(name: string, version: number, runId?: string) {
      const source = `mem://models/${name}/${version}`;
      versions.set(`${name}/${version}`, { name, version, source, ...(runId ? { runId } : {}) });
    },
    async setAlias(
      at: typeof call,
      alias: { name: string; alias: string; version: number; from?: number | null },
    ) {
      const now = aliases.get(`${alias.name}@${alias.alias}`) ?? null;
      if (now === alias.version) return;
      if (alias.from !== undefined && now !== alias.from)
        throw new Problem('precondition', `${alias.alias} was moved to version ${now} meanwhile`);
      const data = { name: alias.name, alias: alias.alias, version: alias.version };
      const key = `${alias.name}@${alias.alias}`;
      await table.commit(at, [{ put: { pk: 'test-alias', sk: key, version: alias.version } }], {
        type: 'registry.alias.set',
        subject: `models/${alias.name}`,
        data,
      });
      aliases.set(key, alias.version);
    },
    aliasOf: (name: string, alias: string) => aliases.get(`${name}@${alias}`),
    newest: (name: string) =>
      [...versions.values()]
        .filter((each) => each.name === name)
        .sort((a, b) => b.version - a.version),
    models: {
      async version(_call: typeof call, name: string, version: number) {
        const found = find(name, version);
        if (!found) throw new Problem('missing', `Model version ${name}/${version} not found.`);
        return found;
      },
      async aliased(_call: typeof call, name: string, alias: string) {
        const found = find(name, aliases.get(`${name}@${alias}`) ?? 0);
        if (!found) throw new Problem('missing', `Model ${name} has no alias ${alias}.`);
        return found;
      },
      locate: (_call: typeof call, source: string) => source,
    },
  };
}

export interface Ground {
  readonly world: TestWorld;
  readonly table: Table;
  readonly blobs: Blobs;
  readonly machines: LocalMachines;
  readonly endpoints: ReturnType<typeof memoryEndpoints>['port'];
  readonly secret: Uint8Array;
}

/** So many turns of the event loop without any work under way. */
const STILL_TURNS = 300;

interface Answered {
  readonly status: number;
  readonly body: never;
  readonly text: string;
  readonly headers: Headers;
}

/** The rooms under test on the local table, bus and interpreter; the clock is turned by hand. */
export async function house(
  build: (ground: Ground, shelf: ReturnType<typeof shelfOf>) => Room[],
  more: {
    tasks?: Record<string, Task>;
    role?: 'admin' | 'write' | 'read';
    /** What runs a machine's job state. */
    job?: Integration;
  } = {},
) {
  const folder = mkdtempSync(join(tmpdir(), 'stillflow-serving-'));
  const world = testWorld();
  const secret = new Uint8Array(32).fill(7);
  const kept = openTable({ folder: join(folder, 'table'), world, noSync: true, feeds: ['LOG#'] });
  const files = openBlobs({
    folder: join(folder, 'blobs'),
    world,
    secret,
    url: 'http://localhost',
  });
  let busy = 0;
  let done = 0;
  /** Known to be under way, so that the clock stands meanwhile. */
  async function watched<T>(work: () => Promise<T>): Promise<T> {
    busy += 1;
    try {
      return await work();
    } finally {
      busy -= 1;
      done += 1;
    }
  }
  /** With its bytes: who reads a file from the disk is at work, though nothing of ours sees it. */
  async function read(...args: Parameters<Blobs['get']>): ReturnType<Blobs['get']> {
    const found = await files.get(...args);
    if (!found) return found;
    const bytes = await new Response(found.body).arrayBuffer();
    return { ...found, body: new Response(bytes).body ?? found.body };
  }
  /** The shelf's models lie at `mem://`, in blobs of the same path. */
  const blobs: Blobs = {
    ...files,
    put: (...args) => watched(() => files.put(...args)),
    get: (...args) => watched(() => read(...args)),
    head: (...args) => watched(() => files.head(...args)),
    list: (...args) => watched(() => files.list(...args)),
    pathOf: (at, uri) => (uri.startsWith('mem://') ? uri.slice(6) : files.pathOf(at, uri)),
  };
  const listeners: ((event: Event | undefined) => Promise<void>)[] = [];
  const heralds: ((event: Event | undefined) => Promise<void>)[] = [];
  const counts = { get: 0, query: 0, commit: 0 };
  function counted<T>(what: keyof typeof counts, work: () => Promise<T>): Promise<T> {
    counts[what] += 1;
    return watched(work);
  }
  const table: Table = {
    ...kept,
    get: (...args) => counted('get', () => kept.get(...args)),
    getMany: (...args) => counted('get', () => kept.getMany(...args)),
    query: (...args) => counted('query', () => kept.query(...args)),
    commit: (...args) =>
      counted('commit', async () => {
        for (const herald of heralds) await herald(args[2]);
        await kept.commit(...args);
        for (const listener of listeners) await listener(args[2]);
      }),
  };
  const timers = handTimers(world);
  const logged: Record<string, unknown>[] = [];
  const log = (line: Record<string, unknown>) => void logged.push(line);
  const machines = localMachines({ table, world, timers, written: WRITTEN_TEXTS, log });
  const servers = new Map<
    string,
    Parameters<typeof memoryEndpoints>[0] extends Map<string, infer M> ? M : never
  >();
  const endpoints = memoryEndpoints(servers);
  const shelves = shelfOf(table);
  const ground = {
    world,
    table,
    blobs,
    machines,
    endpoints: endpoints.port,
    secret,
  };
  const rooms = build(ground, shelves);
  /** Lines of the bus that wait for a timer: one that does not, and is not idle, is at work. */
  let paused = 0;
  const bus = openBus({
    table: kept,
    world,
    followers: rooms.flatMap((room) => room.followers),
    folders: rooms.flatMap((room) => room.folders),
    log,
    later(run, ms) {
      paused += 1;
      const cancel = timers.at(world.now() + ms, () => {
        paused -= 1;
        run();
      });
      return {
        cancel() {
          paused -= 1;
          cancel();
        },
      };
    },
  });
  const tasks = Object.assign({}, ...rooms.map((room) => room.tasks), more.tasks);
  const { job } = more;
  const run: Integration | undefined = job && ((...args) => watched(() => job(...args)));
  await machines.serve({
    tasks,
    functions: run ? { [RUN_STEP]: run } : {},
    integrations: run ? { [TRAINING_JOB]: run } : {},
    workspaces: [DEFAULT_WORKSPACE],
  });
  bus.start();
  const role = more.role ?? 'admin';
  const app = mount(
    rooms.flatMap((room) => room.routes),
    {
      world,
      guard: () => 'http://localhost',
      authenticate: async (headers) =>
        headers.get('x-nobody')
          ? undefined
          : { workspace: DEFAULT_WORKSPACE, caller: { name: 'ada', role } },
      allow,
      repeated: (at, retry) => kept.repeated({ ...at, retry }),
      refused: async () => undefined,
      log,
    },
  );

  const turn = () => new Promise((resolve) => setImmediate(resolve));
  /** Turns the event loop, and the clock when all else stands still, until this holds. */
  async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
    let still = 0;
    let seen = done;
    for (let rings = 0; rings < 200; ) {
      if (await condition()) return;
      await turn();
      const resting = busy === 0 && seen === done && (bus.idle() || paused > 0);
      still = resting ? still + 1 : 0;
      seen = done;
      if (still < STILL_TURNS) continue;
      still = 0;
      rings += 1;
      timers.ring();
    }
    throw new Error(`it never came to pass; logged ${JSON.stringify(logged).slice(0, 3000)}`);
  }

  return {
    ...ground,
    counts,
    servers,
    endpointsHeld: endpoints,
    shelf: shelves,
    timers,
    logged,
    tasks: tasks as Record<string, Task>,
    /** Called between what was read for a commit and the commit. */
    beforeCommit: (herald: (event: Event | undefined) => Promise<void>) => {
      heralds.push(herald);
    },
    /** Called between a commit and its answer. */
    afterCommit: (listener: (event: Event | undefined) => Promise<void>) => {
      listeners.push(listener);
    },
    bus,
    until,
    turn,
    /** Nothing is running and nothing waits to be heard. */
    quiet: () => until(() => bus.idle() && machines.running() === 0),
    async ask(method: string, path: string, body?: unknown, headers = {}): Promise<Answered> {
      world.pass(1); // ids sort by time
      const raw = typeof body === 'string' || body instanceof Uint8Array;
      const response = await app.request(path, {
        method,
        headers: {
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: (raw ? body : JSON.stringify(body)) as BodyInit }),
      });
      const text = await response.text();
      let read: unknown;
      try {
        read = JSON.parse(text);
      } catch {
        read = text;
      }
      return { status: response.status, body: read as never, text, headers: response.headers };
    },
    /** Throws if any follower gave an event up. */
    async close() {
      const letters = bus.letters().map(({ follower, error }) => `${follower}: ${error}`);
      await bus.stop();
      for (let i = 0; i < 3; i += 1) await turn(); // a wake that was under way ends
      await machines.close();
      await kept.close();
      rmSync(folder, { recursive: true, force: true });
      if (letters.length) throw new Error(letters.join('\n'));
    },
  };
}
export type House = Awaited<ReturnType<typeof house>>;
const shelfOf = shelf;
