import { randomBytes, timingSafeEqual } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { buildApp } from '../functions/app.ts';
import type { Identity } from '../functions/kernel/hallway.ts';
import { mount } from '../functions/kernel/hallway.ts';
import { DEFAULT_WORKSPACE } from '../functions/kernel/ids.ts';
import type { World } from '../functions/kernel/world.ts';
import { guard } from './guard.ts';
import { takeLock } from './lock.ts';
import { openPlatform } from './platform.ts';
import { listen, PortBusy } from './server.ts';

export interface StartOptions {
  readonly host: string;
  /** 0 takes a free one; undefined takes 5000, or 5001 if that is busy. */
  readonly port: number | undefined;
  readonly data: string;
  /** Ask for a token on loopback too. */
  readonly auth: boolean;
  /** Names besides loopback's that a request may be addressed to. */
  readonly hosts: readonly string[];
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
  randomBytes: (count) => randomBytes(count),
};

/** The whole product on one machine: one process, one data folder, one port. */
export async function start(options: StartOptions): Promise<Started> {
  const data = resolve(options.data);
  const lock = takeLock(data);
  try {
    const loopback = LOOPBACK.has(options.host);
    const platform = openPlatform({ data, world: realWorld, log: options.log });
    const app = buildApp(platform);
    const needsToken = options.auth || !loopback;
    if (needsToken && !(await app.hasToken()))
      throw new Error(
        `${loopback ? '--auth' : `--host ${options.host}`} asks for a token and there is none: run 'stillflow token create --name me --role admin --data ${options.data}' first`,
      );
    const operator = Buffer.from(randomBytes(32)).toString('base64url');
    writeFileSync(join(data, OPERATOR_FILE), operator, { mode: 0o600 });
    const steps = app.hallway(needsToken ? undefined : SELF);
    const hallway = {
      ...steps,
      authenticate: async (headers: Headers) =>
        sameText(headers.get('authorization'), `Bearer ${operator}`)
          ? SELF
          : steps.authenticate(headers),
      guard: guard([...options.hosts, ...(loopback ? [] : [options.host])]),
      log: options.log,
    };
    const server = mount([...app.routes, ...platform.routes], hallway);
    const listening = await bind((request) => server.fetch(request), options);
    platform.run(app, listening.url);
    lock.publish(listening.url);
    return {
      url: listening.url,
      async stop() {
        await listening.close();
        await platform.close();
        rmSync(join(data, OPERATOR_FILE), { force: true });
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

function sameText(given: string | null, held: string): boolean {
  const [a, b] = [Buffer.from(given ?? ''), Buffer.from(held)];
  return a.length === b.length && timingSafeEqual(a, b);
}

/** An explicitly named busy port is an error; the default moves on by one (macOS keeps 5000 for itself). */
async function bind(
  fetch: (request: Request) => Response | Promise<Response>,
  options: StartOptions,
) {
  if (options.port !== undefined) return listen(fetch, options.host, options.port);
  try {
    return await listen(fetch, options.host, 5000);
  } catch (error) {
    if (!(error instanceof PortBusy)) throw error;
    return listen(fetch, options.host, 5001);
  }
}
