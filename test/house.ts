import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { hallwaySteps } from '../functions/hallway.ts';
import type { Role } from '../functions/kernel/call.ts';
import type { Event, Told } from '../functions/kernel/event.ts';
import { mount } from '../functions/kernel/hallway.ts';
import type { WorkspaceId } from '../functions/kernel/ids.ts';
import type { Json } from '../functions/kernel/json.ts';
import type { Blobs, Item, Platform, Task } from '../functions/platform/ports.ts';
import type { Room } from '../functions/room.ts';
import type { Integration } from '../local/asl/engine.ts';
import { type LocalBlobs, openBlobs } from '../local/blobs.ts';
import { openBus } from '../local/bus.ts';
import { type LocalMachines, localMachines } from '../local/machines.ts';
import { type LocalTable, openTable } from '../local/table.ts';
import { RUN_STEP, TRAINING_JOB } from '../statemachines/resources.ts';
import { counted, tapped } from './contracts/counted.ts';
import { handTimers } from './machines/rig.ts';
import { type TestWorld, testCall, testWorld } from './world.ts';

export const call = testCall();

/** The ports that rooms are built on. Jobs and endpoints are there where the test puts in its own. */
export interface Ground extends Platform {
  readonly world: TestWorld;
  readonly blobs: LocalBlobs;
  readonly machines: LocalMachines;
}
export interface HouseOptions {
  /** Ports put in the place of the house's own. */
  readonly ports?: (own: Ground) => Partial<Ground>;
  /** What machines may invoke beside the tasks of the rooms. */
  readonly tasks?: Readonly<Record<string, Task>>;
  /** What runs a machine's job state. */
  readonly job?: Integration;
  readonly onDecode?: (item: Item) => void;
  /** Of a house that stands: this one is another process over its table and blobs. */
  readonly folder?: string;
  /** Says when the house is closed: at the end of the test, or with `afterAll` of the file. */
  readonly ends?: (close: () => Promise<void>) => void;
}
export interface Asked {
  readonly headers?: Readonly<Record<string, string>>;
  /** A workspace of 8 characters. */
  readonly who?: string;
  readonly role?: Role | 'nobody';
}
export interface Answer {
  readonly status: number;
  /** Parsed where it is JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever the wire says.
  readonly body: any;
  readonly text: string;
  readonly headers: Headers;
}
/** Called with what is to be committed, or was. */
type Fault = (event: Event | undefined) => Promise<void>;

const URL_OF_HOUSE = 'http://localhost';
const TABLE = ['get', 'getMany', 'query', 'commit', 'entries', 'repeated'] as const;
const BLOBS = ['put', 'get', 'head', 'list', 'remove'] as const;
/** So many turns of the event loop without any work under way. */
const STILL_TURNS = 300;
/** So many turns, at most, from one look at a condition to the next. */
const LOOK_TURNS = 20;
const RINGS = 200;
const DEADLINE_MS = 15_000;

const written = (name: string): Json =>
  JSON.parse(readFileSync(join('statemachines', `${name}.asl.json`), 'utf8'));
const WRITTEN = {
  retraining: written('retraining'),
  'deploy-endpoint': written('deploy-endpoint'),
};

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** What is known to be under way, so that the clock stands meanwhile. */
function watch() {
  const seen = { busy: 0, done: 0 };
  async function watched<T>(work: () => T): Promise<Awaited<T>> {
    seen.busy += 1;
    try {
      return await work();
    } finally {
      seen.busy -= 1;
      seen.done += 1;
    }
  }
  return { seen, watched };
}
type Watched = ReturnType<typeof watch>['watched'];

/** With the bytes of what was found: who reads a file from the disk is at work, though nothing of ours sees it. */
function watchedBlobs(files: LocalBlobs, watched: Watched): LocalBlobs {
  return tapped(files, BLOBS, (method, run) => {
    if (method !== 'get') return watched(run);
    return watched(run as () => ReturnType<Blobs['get']>).then((found) => {
      if (!found) return found;
      const reader = found.body.getReader();
      const body = new ReadableStream<Uint8Array>(
        {
          async pull(into) {
            const { done, value } = await watched(() => reader.read());
            if (done) into.close();
            else into.enqueue(value);
          },
          cancel: (why) => reader.cancel(why),
        },
        { highWaterMark: 0 },
      );
      return { ...found, body };
    });
  });
}

/**
 * The rooms under test behind the real hallway and policy, on the local table, blobs, bus and interpreter. Clock and
 * randomness are turned by hand. The bus begins to deliver at the first `until` or `quiet`.
 */
export function openHouse<Rooms extends Readonly<Record<string, Room>>>(
  build: (ground: Ground) => Rooms,
  options: HouseOptions = {},
) {
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'stillflow-house-'));
  const world = testWorld();
  const secret = new Uint8Array(32).fill(7);
  const { onDecode, job } = options;
  const logged: Record<string, unknown>[] = [];
  const log = (line: Record<string, unknown>) => void logged.push(line);
  const { seen, watched } = watch();
  const before: Fault[] = [];
  const after: Fault[] = [];

  const kept = openTable({
    folder: join(folder, 'table'),
    world,
    noSync: true,
    feeds: ['LOG#'],
    ...(onDecode ? { onDecode } : {}),
  });
  const { table, counts } = counted(
    tapped<LocalTable>(kept, TABLE, (method, run, given) =>
      watched(async () => {
        const commits = method === 'commit';
        for (const fault of commits ? before : []) await fault(given[2]);
        const answer = await run();
        for (const fault of commits ? after : []) await fault(given[2]);
        return answer;
      }),
    ),
  );
  const files = openBlobs({ folder: join(folder, 'blobs'), world, secret, url: URL_OF_HOUSE });
  const blobs = watchedBlobs(files, watched);
  const timers = handTimers(world);
  const machines = localMachines({ table, world, timers, written: WRITTEN, log });
  const none = {} as never;
  const own: Ground = {
    ...{ world, table, blobs, machines, secret, url: URL_OF_HOUSE, artifacts: 'proxy' },
    ...{ jobs: none, endpoints: none },
  };
  const ground: Ground = { ...own, ...options.ports?.(own) };
  const rooms = build(ground);
  const all = Object.values(rooms);

  /** Lines of the bus that wait for a timer: one that does not, and is not idle, is at work. */
  let paused = 0;
  const bus = openBus({
    table: kept,
    world,
    followers: all.flatMap((room) => room.followers),
    folders: all.flatMap((room) => room.folders),
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
  const tasks: Record<string, Task> = Object.assign(
    {},
    ...all.map((room) => room.tasks),
    options.tasks,
  );
  const run: Integration | undefined = job && ((...args) => watched(() => job(...args)));
  const served = machines.serve({
    tasks,
    functions: run ? { [RUN_STEP]: run } : {},
    integrations: run ? { [TRAINING_JOB]: run } : {},
    workspaces: [call.workspace],
  });
  const app = mount(
    all.flatMap((room) => room.routes),
    {
      ...hallwaySteps({ table, world }, async (headers) => {
        const role = (headers.get('x-role') ?? 'admin') as Role | 'nobody';
        const workspace = (headers.get('x-who') ?? call.workspace) as WorkspaceId;
        return role === 'nobody' ? undefined : { workspace, caller: { name: 'ada', role } };
      }),
      guard: () => URL_OF_HOUSE,
      log,
    },
  );

  /** So that the bus rests no longer than it must. */
  let awaited = false;
  function hurry(): void {
    bus.start();
    if (awaited || bus.idle()) return;
    awaited = true;
    void bus.settled().then(() => {
      awaited = false;
    });
  }
  /** Turns the event loop, and the clock when all else stands still, until this holds; gives what it found. */
  async function until<T>(look: () => T | Promise<T>): Promise<T> {
    const end = Date.now() + DEADLINE_MS;
    await served;
    let still = 0;
    for (let rings = 0; rings < RINGS && Date.now() < end; ) {
      hurry();
      const found = await look();
      if (found) return found;
      const { done } = seen; // what it looked at itself is no sign of life
      for (let i = 0; i < LOOK_TURNS && seen.done === done; i += 1) {
        await turn();
        still = seen.busy === 0 && (bus.idle() || paused > 0) ? still + 1 : 0;
      }
      if (seen.done !== done) still = 0;
      if (still < STILL_TURNS) continue;
      still = 0;
      rings += 1;
      timers.ring();
    }
    throw new Error(`it never came to pass; logged ${JSON.stringify(logged).slice(0, 3000)}`);
  }

  /** The answer as it comes, for bodies that are no text. */
  const request = (path: string, init?: RequestInit) =>
    watched(async () => {
      await served;
      world.pass(1); // ids sort by time
      return app.request(`${URL_OF_HOUSE}${path}`, init);
    });
  /** Text, bytes and streams are sent as they are; what is not bytes, as JSON. */
  async function ask(method: string, path: string, body?: unknown, more: Asked = {}) {
    const { headers, who, role } = more;
    const raw = body instanceof Uint8Array || body instanceof ReadableStream;
    const sent = raw || typeof body === 'string' ? body : JSON.stringify(body);
    const response = await request(path, {
      method,
      headers: {
        ...(raw || body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(who === undefined ? {} : { 'x-who': who }),
        ...(role === undefined ? {} : { 'x-role': role }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: sent as BodyInit, duplex: 'half' }),
    });
    const text = await watched(() => response.text());
    const json = /^application\/(\w+\+)?json/.test(response.headers.get('content-type') ?? '');
    const answer: Answer = {
      status: response.status,
      body: json && text ? JSON.parse(text) : undefined,
      text,
      headers: response.headers,
    };
    return answer;
  }

  /** Throws if a follower gave an event up, or the log holds an error that the test did not take out of it. */
  async function close(): Promise<void> {
    const letters = bus.letters().map(({ follower, error }) => `${follower}: ${error}`);
    await bus.stop();
    for (let i = 0; i < 3; i += 1) await turn(); // a wake that was under way ends
    await machines.close();
    await kept.close();
    if (!options.folder) rmSync(folder, { recursive: true, force: true });
    const errors = logged
      .filter(({ level }) => level === 'error')
      .map((line) => JSON.stringify(line));
    if (letters.length + errors.length > 0) throw new Error([...letters, ...errors].join('\n'));
  }
  (options.ends ?? onTestFinished)(close);

  return {
    ...ground,
    rooms,
    folder,
    counts,
    timers,
    logged,
    tasks,
    bus,
    ask,
    request,
    until,
    /** Nothing is running and nothing waits to be heard or folded. */
    quiet: () => until(() => bus.idle() && machines.running() === 0),
    /** The audit of one subject. */
    told: async (subject: string, who?: string): Promise<Told[]> =>
      (await table.entries(who === undefined ? call : testCall({ workspace: who }), subject))
        .entries,
    /** Between what was read for a commit and the commit. */
    beforeCommit: (fault: Fault) => void before.push(fault),
    /** Between a commit and its answer. */
    afterCommit: (fault: Fault) => void after.push(fault),
  };
}
export type House<Rooms extends Readonly<Record<string, Room>> = Readonly<Record<string, Room>>> =
  ReturnType<typeof openHouse<Rooms>>;
