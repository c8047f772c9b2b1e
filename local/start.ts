import { randomBytes, timingSafeEqual } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type BuiltApp, buildApp } from '../functions/app.ts';
import type { Hallway, Identity } from '../functions/kernel/hallway.ts';
import { mount } from '../functions/kernel/hallway.ts';
import { DEFAULT_WORKSPACE } from '../functions/kernel/ids.ts';
import type { World } from '../functions/kernel/world.ts';
import { stepTokensOf } from '../functions/workspaces/index.ts';
import { declareApp } from './app.ts';
import { codeOf } from './blob_files.ts';
import { guard } from './guard.ts';
import { takeLock } from './lock.ts';
import { openPlatform } from './platform.ts';
import { listen, PortBusy } from './server.ts';
import { webRoutes } from './web.ts';

export interface StartOptions {
  readonly host: string;
  /** 0 takes a free one; undefined takes 5000, or 5001 if that is busy. */
  readonly port: number | undefined;
  readonly data: string;
  /** Ask for a token on loopback too. */
  readonly auth: boolean;
  /** Names besides loopback's that a request may be addressed to. */
  readonly hosts: readonly string[];
  /** A folder whose definitions are declared before anybody is answered. */
  readonly app?: string;
  readonly log: (line: Record<string, unknown>) => void;
}

export interface Started {
  readonly url: string;
  stop(): Promise<void>;
}

const LOOPBACK = new Set(['127.0.0.1', 'localhost', '::1']);

/** Who asks without a credential on this machine's own loopback. */
const SELF: Identity = { workspace: DEFAULT_WORKSPACE, caller: { name: 'local', role: 'admin' } };

/** In the data folder, mode 0600: what the `stillflow token` command shows a running server. Made anew each start. */
export const OPERATOR_FILE = 'operator';

export const realWorld: World = {
  now: () => Date.now(),
  randomBytes: pooledBytes(),
};

/** The system's randomness, fetched 4 KB at a time: each id asks for some bytes, and asking costs more than they do. */
function pooledBytes(): World['randomBytes'] {
  let pool = randomBytes(0);
  return (count) => {
    if (count > 256) return randomBytes(count);
    if (pool.length < count) pool = randomBytes(4096);
    const bytes = Uint8Array.from(pool.subarray(0, count));
    pool = pool.subarray(count);
    return bytes;
  };
}

/** The whole product on one machine: one process, one data folder, one port. */
export async function start(options: StartOptions): Promise<Started> {
  try {
    return await begin(options);
  } catch (error) {
    // A start writes its lock and its operator's token: without room for them there is none.
    if (codeOf(error) !== 'ENOSPC' && codeOf(error) !== 'EDQUOT') throw error;
    const why = `the disk that holds ${options.data} is full: make room and start again; nothing is lost`;
    throw new Error(why, { cause: error });
  }
}

async function begin(options: StartOptions): Promise<Started> {
  const data = resolve(options.data);
  const lock = takeLock(data);
  const undo: (() => Promise<void> | void)[] = [() => lock.release()];
  const stop = async () => {
    for (const step of undo.reverse()) await step();
  };
  try {
    // The address is part of the platform (signed URLs, steps), so it is taken before anything can answer on it.
    const ready = Promise.withResolvers<Fetch>();
    let answer: Fetch = async (request) => (await ready.promise)(request);
    const listening = await bind((request) => answer(request), options);
    const platform = openPlatform({ data, world: realWorld, url: listening.url, log: options.log });
    undo.push(
      () => platform.close(),
      () => listening.close(),
    );
    const app: BuiltApp = buildApp(platform, {
      ...platform.steps,
      log: options.log,
      ...(needsToken(options) ? { stepTokens: stepTokensOf(platform) } : {}),
    });
    const server = mount([...app.routes, ...webRoutes()], await hallwayOf(app, data, options));
    undo.splice(1, 0, () => rmSync(join(data, OPERATOR_FILE), { force: true }));
    answer = (request) =>
      request.url.includes('/blobs/') ? serveBlob(request) : server.fetch(request);
    const serveBlob = async (request: Request) =>
      (await platform.blobs.serve(request)) ?? server.fetch(request);
    ready.resolve(answer);
    await platform.run(app);
    if (options.app !== undefined) {
      const declared = await declareApp(options.app, app.rooms, realWorld);
      options.log({ level: 'info', message: `${options.app} declares ${declared.join(', ')}` });
    }
    lock.publish(listening.url);
    return { url: listening.url, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** On loopback whoever asks is this machine's own user, unless `--auth`; anywhere else a token is asked for. */
async function hallwayOf(app: BuiltApp, data: string, options: StartOptions): Promise<Hallway> {
  const loopback = LOOPBACK.has(options.host);
  const asks = needsToken(options);
  if (asks && !(await app.hasToken()))
    throw new Error(
      `${loopback ? '--auth' : `--host ${options.host}`} asks for a token and there is none: run 'stillflow token create --name me --role admin --data ${options.data}' first`,
    );
  const operator = Buffer.from(randomBytes(32)).toString('base64url');
  writeFileSync(join(data, OPERATOR_FILE), operator, { mode: 0o600 });
  const steps = app.hallway(asks ? undefined : SELF);
  return {
    ...steps,
    authenticate: async (headers) =>
      sameText(headers.get('authorization'), `Bearer ${operator}`)
        ? SELF
        : steps.authenticate(headers),
    guard: guard([...options.hosts, ...(loopback ? [] : [options.host])]),
    log: options.log,
  };
}

const needsToken = ({ auth, host }: StartOptions): boolean => auth || !LOOPBACK.has(host);

function sameText(given: string | null, held: string): boolean {
  const [a, b] = [Buffer.from(given ?? ''), Buffer.from(held)];
  return a.length === b.length && timingSafeEqual(a, b);
}

type Fetch = (request: Request) => Response | Promise<Response>;

/** An explicitly named busy port is an error; the default moves on by one (macOS keeps 5000 for itself). */
async function bind(fetch: Fetch, options: StartOptions) {
  if (options.port !== undefined) return listen(fetch, options.host, options.port);
  try {
    return await listen(fetch, options.host, 5000);
  } catch (error) {
    if (!(error instanceof PortBusy)) throw error;
    return listen(fetch, options.host, 5001);
  }
}
