import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildApp } from '../../functions/app.ts';
import type { Call, Role } from '../../functions/kernel/call.ts';
import { mount } from '../../functions/kernel/hallway.ts';
import { WorkspaceId } from '../../functions/kernel/ids.ts';
import { pages } from '../../functions/kernel/page.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import type { Route } from '../../functions/kernel/route.ts';
import type { EndpointSpec, Item, Key, Write } from '../../functions/platform/ports.ts';
import { MachineError } from '../../local/asl/errors.ts';
import { type LocalBus, openBus } from '../../local/bus.ts';
import { lettersOf } from '../../local/letters.ts';
import { openPlatform } from '../../local/platform.ts';
import { installationSecret } from '../../local/secret.ts';
import { PROCESSING_JOB, RUN_STEP, TRAINING_JOB } from '../../statemachines/resources.ts';
import { counted } from '../contracts/counted.ts';
import { answer, memoryEndpoints } from '../serving/endpoints.ts';
import { testCall, testWorld } from '../world.ts';

/** One request as a test makes it. `query` values that are lists are repeated. */
export interface Asked {
  readonly method: string;
  /** With its parameters filled in, and encoded. */
  readonly path: string;
  readonly query?: Readonly<Record<string, unknown>>;
  readonly body?: string | Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
  readonly workspace?: string;
  readonly role?: Role;
}
export interface Answered {
  readonly status: number;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: answers are looked at field by field.
  readonly body: any;
  readonly headers: Headers;
}
export const OWNER = 'tenanta1';
export const STRANGER = 'tenantb2';

/** What was deployed where entities were planted: model servers are no part of a data folder. */
const deployed: { call: Call; spec: EndpointSpec }[] = [];
function modelServers() {
  const { port } = memoryEndpoints(new Map([['*', () => answer('{"predictions": [1.5]}')]]));
  for (const { call, spec } of deployed)
    void port.deploy(call, spec).then(() => port.describe(call, spec.name));
  return port;
}

/** The same object, with each of these methods' calls that did not fail told to `note`. */
function noted<T extends object>(target: T, names: readonly string[], note: () => void): T {
  return new Proxy(target, {
    get(held, name, receiver) {
      const found: unknown = Reflect.get(held, name, receiver);
      if (typeof found !== 'function' || !names.includes(String(name))) return found;
      return async (...given: unknown[]) => {
        const said: unknown = await found.apply(held, given);
        note();
        return said;
      };
    },
  });
}
const CHANGES = {
  table: ['commit'],
  blobs: ['put', 'remove', 'startUpload', 'completeUpload', 'abortUpload'],
  endpoints: ['deploy', 'remove'],
};

/**
 * The whole product on the local ports: every room, every route, the real hallway but for the credential, which two
 * headers stand for. Nothing runs by itself (no followers, no machines), so what a request writes is its own doing.
 * `from`: a data folder to start with.
 */
export function openGround(from?: string) {
  const data = mkdtempSync(join(tmpdir(), 'stillflow-sweep-'));
  if (from) cpSync(from, data, { recursive: true });
  const world = testWorld(seeds++);
  const logged: Record<string, unknown>[] = [];
  const log = (line: Record<string, unknown>) => void logged.push(line);
  const platform = openPlatform({ data, world, url: 'http://localhost', log, noSync: true });
  const counting = counted(platform.table);
  let changes = 0;
  const note = () => {
    changes += 1;
  };
  const models = modelServers();
  const endpoints = noted(models, CHANGES.endpoints, note);
  const app = buildApp(
    {
      ...platform,
      table: noted(counting.table, CHANGES.table, note),
      letters: lettersOf(() => bus),
      blobs: noted(platform.blobs, CHANGES.blobs, note),
      endpoints: {
        ...endpoints,
        async deploy(call, spec) {
          if (!from) deployed.push({ call, spec });
          await endpoints.deploy(call, spec);
        },
      },
    },
    platform.steps,
  );
  // It delivers nothing by itself: only what was set aside, when a request asks for it.
  const { followers, folders } = app;
  const bus: LocalBus = openBus({ table: platform.table, world, followers, folders, log });
  const hono = mount(app.routes, {
    ...app.hallway(undefined),
    guard: () => 'http://localhost',
    log,
    async authenticate(headers) {
      const given = headers.get('x-test-workspace');
      if (!given) return undefined;
      const workspace = WorkspaceId.parse(given);
      const role = (headers.get('x-test-role') ?? 'admin') as Role;
      return { workspace, caller: { name: `ada-${role}`, role } };
    },
  });
  const raw = platform.table.root.openDB<Buffer, Buffer>({
    name: 'items',
    keyEncoding: 'binary',
    encoding: 'binary',
  });

  /** Every item with its key, and every file besides the table's with its size. `but` leaves keys out. */
  function digest(but?: (key: string) => boolean): string {
    const hash = createHash('sha256');
    for (const { key, value } of raw.getRange()) {
      if (but?.(key.toString())) continue;
      hash.update(key).update(value);
    }
    for (const file of files(data)) hash.update(file);
    return hash.digest('hex');
  }
  const keys = () => [...raw.getKeys()].map((key) => key.toString().replaceAll('\0', ' '));

  const typed = platform.table.root.openDB<Item, Buffer>({ name: 'items', keyEncoding: 'binary' });
  // lmdb gives values that lie in its own memory.
  const snapshot = () =>
    new Map([...raw.getRange()].map(({ key, value }) => [key.toString('hex'), Buffer.from(value)]));
  const items = new Map(
    [...typed.getRange()].map(({ key, value }) => [key.toString('hex'), value]),
  );
  const first = { items: snapshot(), files: [...files(data)].join(''), letters: bus.letters() };

  /**
   * All as it was when this ground was opened, but for the clock (what is kept in memory may grow old meanwhile) and
   * what only the Table adapter may touch: events and retry keys stay.
   */
  async function restore(): Promise<void> {
    const now = snapshot();
    const writes = new Map<string, Write[]>();
    const add = (hexKey: string, write: (key: Key) => Write) => {
      const [workspace = '', pk = '', sk = ''] = Buffer.from(hexKey, 'hex').toString().split('\0');
      if (OWN.test(pk)) return;
      writes.set(workspace, [...(writes.get(workspace) ?? []), write({ pk, sk })]);
    };
    for (const key of now.keys())
      if (!first.items.has(key)) add(key, (found) => ({ remove: found }));
    for (const [key, value] of first.items) {
      const item = items.get(key);
      if (item && !now.get(key)?.equals(value)) add(key, () => ({ put: item }));
    }
    for (const [workspace, all] of writes)
      for (let at = 0; at < all.length; at += MAX_WRITES)
        await platform.table.commit(testCall({ workspace }), all.slice(at, at + MAX_WRITES));
    for (const letter of first.letters)
      if (!bus.letter(letter.id)) await platform.table.letters.put(letter.id, letter);
    if (from && [...files(data)].join('') !== first.files) {
      rmSync(join(data, 'blobs'), { recursive: true });
      cpSync(join(from, 'blobs'), join(data, 'blobs'), { recursive: true });
    }
    for (const { call, spec } of deployed) {
      await models.deploy(call, spec);
      await models.describe(call, spec.name); // up at the first look
    }
    world.pass(MEMORY_MS);
  }

  async function ask(asked: Asked): Promise<Answered> {
    world.pass(1);
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(asked.query ?? {}))
      for (const one of Array.isArray(value) ? value : [value])
        query.append(name, typeof one === 'object' ? JSON.stringify(one) : String(one));
    const tail = query.size ? `?${query}` : '';
    const response = await hono.request(`http://localhost${asked.path}${tail}`, {
      method: asked.method,
      headers: {
        'x-test-workspace': asked.workspace ?? OWNER,
        'x-test-role': asked.role ?? 'admin',
        ...(asked.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...asked.headers,
      },
      ...(asked.body === undefined ? {} : { body: asked.body as BodyInit, duplex: 'half' }),
    } as RequestInit);
    const text = await response.text();
    let body: unknown;
    try {
      body = JSON.parse(text);
    } catch {
      body = undefined;
    }
    return { status: response.status, text, body, headers: response.headers };
  }

  /** Lets followers and machines work while `during` runs, and until they have nothing left to do. Jobs fail at once. */
  async function alive(during: () => Promise<void>): Promise<void> {
    const bus = openBus({
      table: platform.table,
      world,
      followers: app.followers,
      folders: app.folders,
      log,
    });
    bus.start();
    const noJob = async () => {
      throw new MachineError('States.TaskFailed', 'no job runs here');
    };
    await platform.machines.serve({
      tasks: app.tasks,
      functions: { [RUN_STEP]: noJob },
      integrations: { [TRAINING_JOB]: noJob, [PROCESSING_JOB]: noJob },
      workspaces: [WorkspaceId.parse(OWNER)],
    });
    await during();
    await until(() => bus.idle() && platform.machines.running() === 0);
    await bus.stop();
  }

  const remove = () => rmSync(data, { recursive: true, force: true });
  return {
    data,
    app,
    platform,
    counts: counting.counts,
    /** How often something was written so far. */
    changes: () => changes,
    logged,
    ask,
    alive,
    digest,
    restore,
    keys,
    pages: pages(installationSecret(data)),
    call: testCall({ workspace: OWNER }),
    remove,
    async close() {
      await platform.close();
      remove();
    },
  };
}
export type Ground = ReturnType<typeof openGround>;
let seeds = 1;
/** Longer than a routing record is believed. */
/** Partitions of the Table adapter: events, retry keys, the counter. */
const OWN = /^[EIK]#/;
/** Of one commit. */
const MAX_WRITES = 90;
const MEMORY_MS = 61_000;

const DEADLINE_MS = 15_000;

export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + DEADLINE_MS;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error('it never came to pass');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function* files(folder: string, at = ''): Generator<string> {
  for (const entry of readdirSync(join(folder, at), { withFileTypes: true })) {
    const path = join(at, entry.name);
    if (path === 'table') continue;
    if (entry.isDirectory()) yield* files(folder, path);
    else yield `${path} ${statSync(join(folder, path)).size}\n`;
  }
}

/** A route by what it is called in tables: `/ajax-api` stands beside `/api` and is the same route. */
export const nameOf = (route: Route) =>
  `${route.method} ${route.path.replace(/^\/ajax-api\//, '/api/')}`;

/** Routes by name; the second of a name must be the first's twin, so that to try one is to try both. */
export function byName(routes: readonly Route[]): Map<string, { route: Route; twins: Route[] }> {
  const found = new Map<string, { route: Route; twins: Route[] }>();
  for (const route of routes) {
    const known = found.get(nameOf(route));
    if (!known) found.set(nameOf(route), { route, twins: [] });
    else if (known.route.run !== route.run || known.route.input !== route.input)
      throw new Problem('internal', `${route.path} is no twin of ${known.route.path}`);
    else known.twins.push(route);
  }
  return found;
}
