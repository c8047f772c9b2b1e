import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Problem } from '../functions/kernel/problem.ts';
import type { World } from '../functions/kernel/world.ts';
import type {
  EndpointSpec,
  EndpointState,
  EndpointStatus,
  InferenceAnswer,
  InferenceRequest,
} from '../functions/platform/ports.ts';
import { type Copy, type CopyOptions, HungUp, startCopy } from './endpoint_copy.ts';
import { LOOK_MS, type ScaleChange, type Scaling, scalingOf } from './endpoint_scaling.ts';
import { writeRecord } from './job_folder.ts';
import { removeTree } from './remove_tree.ts';

export interface EndpointOptions extends Omit<CopyOptions, 'spec' | 'folder' | 'signal'> {
  readonly world: World;
  readonly folder: string;
  readonly log: (line: Record<string, unknown>) => void;
  /** Runs starts of all endpoints a few at a time. */
  readonly gate: <T>(start: () => Promise<T>) => Promise<T>;
}

export interface Endpoint {
  deploy(spec: EndpointSpec): Promise<void>;
  status(): EndpointStatus;
  ask(request: InferenceRequest, deadline: number): Promise<InferenceAnswer>;
  close(): Promise<void>;
}

/** What is served, and by whom. */
interface Revision {
  readonly spec: EndpointSpec;
  copies: Copy[];
  /** The one start under way, however many wait for it. */
  starting: Promise<Copy> | undefined;
  readonly scaling: Scaling;
  /** More copies are on their way. */
  growing: boolean;
  /** Another took its place: a copy that comes up late is not kept. */
  retired: boolean;
}

const MAX_HELD = 10_000;
const DRAIN_MS = 60_000;
const BACKOFF_MS = 500;
const LONGEST_BACKOFF_MS = 60_000;
/** Whoever has run so long and then ends starts anew without waiting. */
const HEALTHY_MS = 60_000;
const KEPT_STARTS = 5;

/**
 * The life of one endpoint on one machine: start, ping, switch, stop. `serving` answers; `next` is on its way to.
 * Both records are on the disk before they hold (`spec.json` what was asked for, `serving.json` what answers), so that
 * a new server goes on where this one ended.
 */
export function openEndpoint(
  options: EndpointOptions,
  asked: EndpointSpec,
  served: EndpointSpec | undefined,
): Endpoint {
  const { world } = options;
  let target = asked;
  let serving: Revision | undefined = served && revisionOf(served);
  /** Why the target could not be switched to, and why what answers last ended. */
  let failure: string | undefined;
  let crash: string | undefined;
  let deploying: Promise<void> | undefined;
  let lookTimer: NodeJS.Timeout | undefined;
  let restartTimer: NodeJS.Timeout | undefined;
  const closing = new AbortController();
  let closed = false;
  let held = 0;
  let failures = 0;
  let notBefore = 0;
  let startNumber = world.now();

  function revisionOf(spec: EndpointSpec): Revision {
    const scaling = scalingOf(spec, world.now());
    return { spec, copies: [], starting: undefined, scaling, growing: false, retired: false };
  }

  /** One more copy of a revision; all who ask meanwhile share the start. */
  function start(revision: Revision): Promise<Copy> {
    revision.starting ??= options
      .gate(() => startOne(revision))
      .catch((error: Error) => {
        if (revision === serving) crashed(error.message);
        throw error;
      })
      .finally(() => {
        revision.starting = undefined;
      });
    return revision.starting;
  }

  async function startOne(revision: Revision): Promise<Copy> {
    if (closed) throw new Problem('unavailable', 'The server is stopping.');
    startNumber += 1;
    const folder = join(options.folder, 'starts', String(startNumber));
    await mkdir(folder, { recursive: true });
    await forgetOldStarts();
    const began = world.now();
    const copy = await startCopy({
      ...options,
      spec: revision.spec,
      folder,
      signal: closing.signal,
    });
    if (closed || revision.retired) {
      await copy.stop(0);
      throw new Problem('unavailable', 'The server is stopping.');
    }
    revision.copies.push(copy);
    if (revision === serving) crash = undefined;
    keepLooking();
    void copy.ended.then(() => lost(revision, copy, world.now() - began));
    return copy;
  }

  /** A copy that ended without being asked to is started again, later each time. */
  function lost(revision: Revision, copy: Copy, livedMs: number): void {
    if (!revision.copies.includes(copy)) return;
    revision.copies = revision.copies.filter((other) => other !== copy);
    options.log({ level: 'warn', message: 'model server ended', endpoint: target.name, livedMs });
    if (closed || revision !== serving) return;
    if (livedMs > HEALTHY_MS) failures = 0;
    crashed('The model server ended by itself.');
    if (revision.copies.length < revision.spec.scale.minimum) restartLater(revision);
  }

  /** The first time at once, then later and later. */
  function crashed(why: string): void {
    crash = why.slice(0, 4000);
    failures = Math.min(failures + 1, 20);
    const wait = failures === 1 ? 0 : BACKOFF_MS * 2 ** (failures - 2);
    notBefore = world.now() + Math.min(LONGEST_BACKOFF_MS, wait);
  }

  function restartLater(revision: Revision): void {
    clearTimeout(restartTimer);
    restartTimer = setTimeout(
      () => {
        const { minimum } = revision.spec.scale;
        if (closed || revision !== serving || revision.copies.length >= minimum) return;
        // One after the other, until there are as many as there must be.
        start(revision).then(
          () => restartLater(revision),
          () => restartLater(revision),
        );
      },
      Math.max(0, notBefore - world.now()),
    );
    restartTimer.unref();
  }

  async function roll(spec: EndpointSpec): Promise<void> {
    const next = revisionOf(spec);
    try {
      await start(next);
      for (let more = 1; more < spec.scale.minimum; more++) await start(next);
    } catch (error) {
      await retire(next);
      if (!closed && target === spec) failure = (error as Error).message.slice(0, 4000);
      return;
    }
    // A later deploy came in between: it starts from here, and this one never answers.
    if (closed || target !== spec) return retire(next);
    await writeRecord(join(options.folder, 'serving.json'), spec);
    const old = serving;
    serving = next;
    crash = undefined;
    failures = 0;
    notBefore = 0;
    keepLooking();
    if (old) await retire(old);
  }

  async function retire(revision: Revision): Promise<void> {
    const copies = revision.copies;
    revision.copies = [];
    revision.retired = true;
    await Promise.all(copies.map((copy) => copy.stop(closed ? 0 : DRAIN_MS)));
  }

  /** One deploy at a time; the newest target is taken up when the running one is through. */
  function advance(): void {
    deploying ??= (async () => {
      while (!closed && serving?.spec.revision !== target.revision && failure === undefined)
        await roll(target);
    })()
      .catch((error: unknown) => {
        failure = 'The endpoint could not be switched.';
        options.log({ level: 'error', message: 'deploy failed', cause: error });
      })
      .finally(() => {
        deploying = undefined;
      });
  }

  /** Looks at the load as long as there is any, or a copy that could go: an idle endpoint costs nothing. */
  function keepLooking(): void {
    if (lookTimer || closed) return;
    lookTimer = setTimeout(() => {
      lookTimer = undefined;
      if (closed || !serving) return;
      const active = activeIn(serving);
      scale(serving, active);
      if (active > 0 || serving.copies.length > serving.spec.scale.minimum) keepLooking();
    }, LOOK_MS);
    lookTimer.unref();
  }

  const activeIn = (revision: Revision) =>
    held + revision.copies.reduce((sum, copy) => sum + copy.active, 0);

  function wake(revision: Revision): Promise<Copy> {
    if (!revision.starting) logScaled(0, { to: 1, why: 'a request came' });
    return start(revision);
  }

  const logScaled = (from: number, change: ScaleChange) =>
    options.log({ level: 'info', message: 'scaled', endpoint: target.name, from, ...change });

  function scale(revision: Revision, active: number): void {
    const from = revision.copies.length;
    if (from === 0 || revision.growing || revision.starting) return;
    const change = revision.scaling.look(from, active, world.now());
    if (!change) return;
    logScaled(from, change);
    if (change.to > from) void grow(revision, change.to);
    // The busiest stay; the others answer what they have and go.
    const surplus = revision.copies.sort((a, b) => b.active - a.active).splice(change.to);
    for (const copy of surplus) copy.stop(DRAIN_MS).catch(() => {});
  }

  async function grow(revision: Revision, to: number): Promise<void> {
    revision.growing = true;
    try {
      while (!closed && revision === serving && revision.copies.length < to) await start(revision);
    } catch (cause) {
      const message = 'a further copy did not start';
      options.log({ level: 'warn', message, endpoint: target.name, cause: String(cause) });
    } finally {
      revision.growing = false;
    }
  }

  /** A copy to ask, taken: the least busy; the first ones wait for the start. */
  async function copyFor(deadline: number): Promise<Copy> {
    const revision = serving;
    if (!revision) {
      if (failure !== undefined || !deploying)
        throw new Problem('unavailable', `Endpoint '${target.name}' failed: ${failure}`, {
          retryAfterSeconds: 30,
        });
      await hold(deploying, deadline);
      return copyFor(deadline);
    }
    const [first, ...others] = revision.copies;
    if (first) {
      const copy = others.reduce((least, one) => (one.active < least.active ? one : least), first);
      copy.take();
      keepLooking();
      return copy;
    }
    const wait = revision.starting ? 0 : notBefore - world.now();
    if (wait > 0) await hold(delay(wait), deadline);
    if (serving === revision && revision.copies.length === 0)
      await hold(
        wake(revision).catch((error: Error) => {
          throw new Problem(
            'unavailable',
            `The model server of '${target.name}' did not start: ${error.message}`,
            { cause: error, retryAfterSeconds: 30 },
          );
        }),
        deadline,
      );
    return copyFor(deadline);
  }

  /** Waits, but no longer than the request may, and not with too many others. */
  async function hold(until: Promise<unknown>, deadline: number): Promise<void> {
    if (held >= MAX_HELD)
      throw new Problem('exhausted', `Too many requests wait for '${target.name}' to start.`, {
        retryAfterSeconds: 5,
      });
    held += 1;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const left = Math.min(2 ** 31 - 1, Math.max(0, deadline - world.now()));
      timer = setTimeout(
        () =>
          reject(
            new Problem('unavailable', `Endpoint '${target.name}' is still starting.`, {
              retryAfterSeconds: 5,
            }),
          ),
        left,
      );
    });
    try {
      await Promise.race([until, late]);
    } finally {
      clearTimeout(timer);
      held -= 1;
    }
  }

  async function forgetOldStarts(): Promise<void> {
    const folder = join(options.folder, 'starts');
    const live = new Set(await readdir(folder));
    const old = [...live].sort((a, b) => Number(a) - Number(b)).slice(0, -KEPT_STARTS * 2);
    for (const name of old) await removeTree(join(folder, name));
  }

  function state(): EndpointState {
    if (!serving) return failure === undefined ? 'creating' : 'failed';
    if (deploying && serving.spec.revision !== target.revision) return 'updating';
    if (serving.copies.length > 0 || serving.starting) return 'in-service';
    return crash === undefined ? 'stopped' : 'failed';
  }

  if (serving && serving.spec.scale.minimum > 0) restartLater(serving);
  advance();

  return {
    async deploy(spec) {
      if (spec.revision === target.revision && failure === undefined) return;
      await writeRecord(join(options.folder, 'spec.json'), spec);
      target = spec;
      failure = undefined;
      advance();
    },
    status() {
      const why = failure ?? crash;
      return {
        name: target.name,
        revision: serving?.spec.revision,
        target: target.revision,
        state: state(),
        copies: serving?.copies.length ?? 0,
        ...(why === undefined ? {} : { failure: why }),
      };
    },
    async ask(request, deadline) {
      for (let attempt = 1; ; attempt++) {
        const copy = await copyFor(deadline);
        try {
          const answer = await copy.ask(request, deadline - world.now());
          return answer;
        } catch (error) {
          if (!(error instanceof HungUp))
            throw new Problem('unavailable', `Endpoint '${target.name}' did not answer in time.`, {
              cause: error,
              retryAfterSeconds: 5,
            });
          if (attempt === 2)
            throw new Problem(
              'unavailable',
              `The model server of '${target.name}' ended while it answered.`,
              {
                cause: error,
                retryAfterSeconds: 5,
              },
            );
          // Its end is noticed a moment after the connection's; then another copy answers, or a new one.
          await Promise.race([copy.ended, delay(500)]);
        }
      }
    },
    async close() {
      closed = true;
      closing.abort();
      clearTimeout(lookTimer);
      clearTimeout(restartTimer);
      const starting = serving?.starting;
      if (serving) await retire(serving);
      await Promise.allSettled([deploying, starting]);
    },
  };
}
